//! Actions: published by whoever changed something, followed and acknowledged by proxies.

use std::time::Duration;

use codis_core::{Action, Proxy, ProxyId, ProxyState};
use tokio::time::{Instant, timeout_at};

use super::gc::numbers;
use super::writes::create;
use super::{Product, Result, corrupt};
use crate::error::ErrorKind;
use crate::node::{Acl, CreateMode};
use crate::watch::Watch;
use crate::wire;

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
    /// Old actions are collected before it, when there are many: see [`Product::gc_actions`]. Nobody waits then, while
    /// a proxy that has seen the new one may hold a slot until all have.
    ///
    /// # Errors
    /// `Corrupt` when a proxy's node cannot be understood: it might be online.
    pub async fn publish(&self, action: &Action) -> Result<Published> {
        self.gc_when_crowded().await;
        let (seq, online) = self.draw(action).await?;
        self.put_action(seq, action, online).await
    }

    /// The same, unless one of its receivers is unfit for it: that one is returned, and no proxy sees anything.
    ///
    /// What is looked at is the very list of receivers. A proxy that goes online after it was read is not in it,
    /// and takes no notice of the action.
    pub async fn publish_unless(
        &self,
        action: &Action,
        unfit: impl Fn(&Proxy) -> bool,
    ) -> Result<std::result::Result<Published, Proxy>> {
        self.gc_when_crowded().await;
        let (seq, online) = self.draw(action).await?;
        let Some(position) = online.iter().position(|(proxy, _)| unfit(proxy)) else {
            return self.put_action(seq, action, online).await.map(Ok);
        };
        // A number that stays is collected with the old actions.
        let _ = self.store.delete(&self.layout.response(seq), Some(0)).await;
        let mut online = online;
        Ok(Err(online.swap_remove(position).0))
    }

    /// A number for an action, and who would receive it, with the text of its node.
    async fn draw(&self, action: &Action) -> Result<(u64, Vec<(Proxy, String)>)> {
        // The node that draws the number goes again at once, so it need not know the receivers.
        let drawing =
            wire::action_json(self.name.as_str(), &Action { receivers: Vec::new(), ..action.clone() });
        let dir = self.layout.actions();
        let (online, seq, ()) =
            tokio::try_join!(self.online_records(), self.next_seq(&drawing), self.store.ensure_dir(&dir))?;
        Ok((seq, online))
    }

    async fn put_action(&self, seq: u64, action: &Action, online: Vec<(Proxy, String)>) -> Result<Published> {
        let (proxies, receivers): (Vec<Proxy>, Vec<String>) = online.into_iter().unzip();
        let record = wire::action_json(self.name.as_str(), &Action { receivers, ..action.clone() });
        self.store.commit_settled(self.publication(seq, &record).into()).await?;
        Ok(Published { seq, receivers: proxies.into_iter().map(|proxy| proxy.id).collect() })
    }

    /// The online proxies, each with the text of its node.
    async fn online_records(&self) -> Result<Vec<(Proxy, String)>> {
        let mut online = Vec::new();
        for (path, node) in self.proxy_nodes().await? {
            let proxy = wire::proxy_from(&node.data).map_err(|error| corrupt(&path, error))?;
            if proxy.state == ProxyState::Online {
                // It is UTF-8: it has just been read as JSON.
                online.push((proxy, String::from_utf8_lossy(&node.data).into_owned()));
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
            // Registrations first: a proxy that answers and then leaves has answered. Both are asked for in this order at
            // once, and looked at in it; should a broken connection have turned them, the proxy counts as gone, as if it
            // had not answered.
            let ((registered, mut leaving), (answered, mut answering)) = futures::try_join!(
                self.store.watch_children(&proxies),
                self.store.watch_children(&response)
            )?;
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
        Ok((numbers(&names), watch))
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
