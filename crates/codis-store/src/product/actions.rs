//! Actions: published by whoever changed something, followed and acknowledged by proxies.

use std::time::Duration;

use codis_core::{Action, Proxy, ProxyId, ProxyState};
use tokio::time::{Instant, timeout_at};

use super::writes::create;
use super::{Product, Result, corrupt};
use crate::error::ErrorKind;
use crate::node::{Acl, CreateMode, Op};
use crate::watch::Watch;
use crate::wire;

/// Actions removed in one transaction.
const BATCH: usize = 64;

/// An action that proxies can see now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its number.
    pub seq: u64,
    /// Who must acknowledge it: the proxies that were online.
    pub receivers: Vec<ProxyId>,
}

/// Who has acknowledged an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    /// Those that have.
    pub acked: Vec<ProxyId>,
    /// Those that have not yet.
    pub waiting: Vec<ProxyId>,
    /// Those that have not, and whose node is gone.
    pub gone: Vec<ProxyId>,
}

impl Product {
    /// Publishes an action to the proxies that are online now. `seq` and `receivers` of the given one are not used.
    ///
    /// The nodes it speaks of are written before. Two steps in three round trips: a number is drawn, then response node
    /// and action appear together. An interruption between them leaves a response node without an action, which
    /// nobody looks at and [`Product::gc_actions`] removes. Fences are not looked at here: see [`Product::stale_fences`].
    ///
    /// # Errors
    /// `Corrupt` when a proxy's node cannot be understood: it might be online.
    pub async fn publish(&self, action: &Action) -> Result<Published> {
        let action = Action { receivers: Vec::new(), ..action.clone() };
        let drawing = wire::action_json(self.name.as_str(), &action);
        let dir = self.layout.actions();
        // The node that draws the number goes again at once, so it need not know the receivers.
        let (online, seq, ()) =
            tokio::try_join!(self.online_records(), self.next_seq(&drawing), self.store.ensure_dir(&dir))?;
        let (receivers, records) = online.into_iter().unzip();
        let record = wire::action_json(self.name.as_str(), &Action { receivers: records, ..action });
        self.store.commit_settled(self.publication(seq, &record).into()).await?;
        Ok(Published { seq, receivers })
    }

    /// Ids of the online proxies and the text of their nodes.
    async fn online_records(&self) -> Result<Vec<(ProxyId, String)>> {
        let mut online = Vec::new();
        for (path, node) in self.proxy_nodes().await? {
            let proxy = wire::proxy_from(&node.data).map_err(|error| corrupt(&path, error))?;
            if proxy.state == ProxyState::Online {
                // It is UTF-8: it has just been read as JSON.
                online.push((proxy.id, String::from_utf8_lossy(&node.data).into_owned()));
            }
        }
        Ok(online)
    }

    /// Who of the receivers has acknowledged an action so far.
    pub async fn acks(&self, seq: u64, receivers: &[ProxyId]) -> Result<Acks> {
        let lists = [self.layout.proxies(), self.layout.response(seq)];
        // One proxy that answers and leaves in between counts as gone for this look only.
        let mut lists = self.store.children_many(&lists).await?.into_iter().map(Option::unwrap_or_default);
        let registered = lists.next().unwrap_or_default();
        let answered = lists.next().unwrap_or_default();
        Ok(sort_acks(receivers, &registered, &answered))
    }

    /// Waits until all receivers have acknowledged or are gone, at most `patience`. Wakes by watches, without polling.
    pub async fn await_acks(&self, seq: u64, receivers: &[ProxyId], patience: Duration) -> Result<Acks> {
        let deadline = Instant::now() + patience;
        let (proxies, response) = (self.layout.proxies(), self.layout.response(seq));
        loop {
            // Registrations first: a proxy that answers and then leaves has answered.
            let (registered, mut leaving) = self.store.watch_children(&proxies).await?;
            let (answered, mut answering) = self.store.watch_children(&response).await?;
            let acks = sort_acks(receivers, &registered, &answered);
            if acks.waiting.is_empty() {
                return Ok(acks);
            }
            let changed = async {
                tokio::select! {
                    fired = leaving.fired() => fired,
                    fired = answering.fired() => fired,
                }
            };
            if timeout_at(deadline, changed).await.is_err() {
                return Ok(acks);
            }
        }
    }

    /// Numbers of the actions there are, ascending, and a notice for when one comes or goes. Names that are no
    /// numbers are not ours and left out.
    pub async fn watch_actions(&self) -> Result<(Vec<u64>, Watch)> {
        let dir = self.layout.actions();
        let (names, watch) = match self.store.watch_children(&dir).await {
            Err(error) if error.kind == ErrorKind::NoNode => {
                self.store.ensure_dir(&dir).await?;
                self.store.watch_children(&dir).await?
            }
            watched => watched?,
        };
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        numbers.sort_unstable();
        Ok((numbers, watch))
    }

    /// Reads an action; `None` when it has been removed.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be understood.
    pub async fn action(&self, seq: u64) -> Result<Option<Action>> {
        let path = self.layout.action(seq);
        match self.store.get(&path).await {
            Ok(node) => wire::action_from(seq, &node.data).map(Some).map_err(|error| corrupt(&path, error)),
            Err(error) if error.kind == ErrorKind::NoNode => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True if the proxy has acknowledged the action already.
    pub async fn has_acknowledged(&self, seq: u64, id: &ProxyId) -> Result<bool> {
        let node = self.store.get_many(&[self.layout.ack(seq, id)]).await?;
        Ok(node.iter().flatten().next().is_some())
    }

    /// A proxy's acknowledgement. Doing it twice is fine.
    ///
    /// # Errors
    /// `NoNode` when the action is not waited for any more.
    pub async fn acknowledge(&self, seq: u64, proxy: &Proxy) -> Result<()> {
        let path = self.layout.ack(seq, &proxy.id);
        let ack = create(&path, &wire::proxy_json(proxy), CreateMode::Persistent, Acl::File);
        match self.store.commit_settled(vec![ack]).await {
            Err(error) if error.kind == ErrorKind::NodeExists => Ok(()),
            done => done.map(drop),
        }
    }

    /// Removes all but the newest `keep` actions with their responses; says how many. Each goes in one
    /// transaction with its acknowledgements, so it can be interrupted and run by several at once.
    pub async fn gc_actions(&self, keep: usize) -> Result<usize> {
        let layout = &self.layout;
        let lists = self.store.children_many(&[layout.actions(), layout.responses()]).await?;
        let numbers = |names: Option<Vec<String>>| -> Vec<u64> {
            let mut numbers: Vec<u64> =
                names.unwrap_or_default().iter().filter_map(|name| name.parse().ok()).collect();
            numbers.sort_unstable();
            numbers
        };
        let [actions, responses] =
            lists.try_into().map_or_else(|_| [Vec::new(), Vec::new()], |lists: [_; 2]| lists.map(numbers));
        let Some(cut) = actions.len().checked_sub(keep).filter(|cut| *cut > 0) else { return Ok(0) };
        // Everything older than the oldest that stays, responses without an action too.
        let oldest_kept = actions.get(cut).copied().unwrap_or(u64::MAX);
        let newest_gone = actions.get(cut - 1).copied().unwrap_or_default();
        let old: Vec<u64> =
            responses.into_iter().filter(|seq| *seq < oldest_kept && *seq <= newest_gone).collect();
        for batch in old.chunks(BATCH) {
            let paths: Vec<String> = batch.iter().map(|seq| layout.response(*seq)).collect();
            let acks = self.store.children_many(&paths).await?;
            for (seq, acks) in batch.iter().zip(acks) {
                let gone = |path| Op::Delete { path, version: None };
                let response = layout.response(*seq);
                let mut ops: Vec<Op> =
                    acks.unwrap_or_default().iter().map(|id| gone(format!("{response}/{id}"))).collect();
                ops.push(gone(response));
                if actions.binary_search(seq).is_ok() {
                    ops.push(gone(layout.action(*seq)));
                }
                match self.store.commit(ops).await {
                    // Somebody else collects as well, or a late proxy has just answered: the next run gets it.
                    Err(error) if matches!(error.kind, ErrorKind::NoNode | ErrorKind::NotEmpty) => {}
                    done => drop(done?),
                }
            }
        }
        Ok(cut)
    }
}

fn sort_acks(receivers: &[ProxyId], registered: &[String], answered: &[String]) -> Acks {
    let among = |names: &[String], id: &ProxyId| {
        names.binary_search_by(|name| name.as_str().cmp(id.as_str())).is_ok()
    };
    let mut acks = Acks::default();
    for id in receivers {
        let list = if among(answered, id) {
            &mut acks.acked
        } else if among(registered, id) {
            &mut acks.waiting
        } else {
            &mut acks.gone
        };
        list.push(id.clone());
    }
    acks
}
