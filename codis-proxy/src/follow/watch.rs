//! What happens while the proxy is online: actions, its own node, a request to stop, the session.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::{Duration, Instant};

use codis_core::{Action, ActionKind, Addr, GroupId, Proxy, ProxyState, SlotId};
use codis_store::{ErrorKind, Fired, Product, SessionState, StoreError, Watch};
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::Deserialize;
use tokio::time::sleep;

use super::{Follower, PAUSE, causes, hold, is_expired, jittered};
use crate::status::Status;

/// How often it is looked whether a group has been held back for too long.
const HOLD_LOOK: Duration = Duration::from_millis(200);

/// Why following ended.
pub(super) enum Ended {
    /// The store asks this proxy to leave.
    MarkedOffline,
    /// The registration is void; the proxy goes on serving and registers again.
    Rejoin(&'static str),
}

/// Notices for everything that concerns this proxy.
struct Watches {
    actions: Watch,
    own: Watch,
    suspension: Watch,
    /// The journals of groups that are held back.
    switches: Vec<Watch>,
}

/// A table that is being installed, and the acknowledgements that depend on it.
type Installing = Pin<Box<dyn Future<Output = ()>>>;

impl Follower {
    /// Follows until the registration is void or the proxy is asked to leave.
    pub(super) async fn watch(&mut self) -> Ended {
        let mut session = self.product.store().session();
        let mut installing: FuturesUnordered<Installing> = FuturesUnordered::new();
        let mut pause = PAUSE.0;
        loop {
            // All three are read anew each time: a notice says that, not what, and reading is cheap
            // against the certainty that nothing was missed.
            let mut watches = match self.look(&mut installing).await {
                Ok(Look::Watching(watches)) => watches,
                Ok(Look::Ended(ended)) => return ended,
                Err(error) if is_expired(&error) => return Ended::Rejoin("the session has expired"),
                Err(error) => {
                    tracing::warn!(error = %causes(&error), "the store does not answer; the last known routes are served");
                    self.status.update(|facts| facts.store_connected = false);
                    self.store_lost();
                    self.fence_if_due().await;
                    tokio::select! {
                        () = sleep(jittered(pause)) => {}
                        () = drive(&mut installing) => {}
                    }
                    pause = (pause * 2).min(PAUSE.1);
                    continue;
                }
            };
            pause = PAUSE.0;
            let workers = self.workers.clone();
            let fired = loop {
                tokio::select! {
                    servers = workers.nudge().refused() => {
                        if let Err(error) = self.look_at_groups(&servers, &mut installing).await {
                            tracing::warn!(error = %causes(&error), "a server is no master; its group cannot be read");
                        }
                        continue;
                    }
                    fired = watches.actions.fired() => break fired,
                    fired = watches.own.fired() => break fired,
                    fired = hold::any(&mut watches.switches) => break fired,
                    () = until(self.next_look()) => break Fired::Changed,
                    fired = watches.suspension.fired() => break fired,
                    () = drive(&mut installing) => {}
                    changed = session.changed() => {
                        let state = *session.borrow_and_update();
                        self.status.update(|facts| facts.store_connected = state == SessionState::Connected);
                        match state {
                            SessionState::Connected => {
                                tracing::info!("connected to the store");
                                // Looks at everything, as it was while nothing could be heard.
                                break Fired::Changed;
                            }
                            SessionState::Disconnected => {
                                tracing::warn!("the store is away; the last known routes are served");
                                self.store_lost();
                            }
                            SessionState::Expired | SessionState::Closed => break Fired::SessionOver,
                        }
                        if changed.is_err() {
                            break Fired::SessionOver;
                        }
                    }
                }
            };
            self.fence_if_due().await;
            if fired == Fired::SessionOver {
                return Ended::Rejoin("the session has expired");
            }
        }
    }

    /// Looks at everything once and sets the watches.
    async fn look(&mut self, installing: &mut FuturesUnordered<Installing>) -> Result<Look, StoreError> {
        // Clients wait for these. They are watched below, when actions may have added some.
        self.look_at_holds(installing).await?;
        let ((suspended, suspension), (own, own_watch), (seqs, actions)) = tokio::try_join!(
            self.product.watch_suspension(&self.own.id),
            self.product.watch_proxy(&self.own.id),
            self.product.watch_actions()
        )?;
        if suspended {
            // Someone has given up on us; what we know may be old. The node makes way first.
            self.product.clear_suspension(&self.own.id).await?;
            self.remove_own_node().await?;
            return Ok(Look::Ended(Ended::Rejoin("it was suspended for not acknowledging in time")));
        }
        match own {
            None => return Ok(Look::Ended(Ended::Rejoin("its node was removed"))),
            Some(own) if !self.is_ours(&own) => {
                return Ok(Look::Ended(Ended::Rejoin("another proxy has registered under its id")));
            }
            Some(own) => {
                if own.state == ProxyState::Offline && self.own.state == ProxyState::Online {
                    tracing::warn!(
                        "the store says offline; clients are still served, and no action will reach this proxy"
                    );
                }
                self.status.update(|facts| facts.state = own.state.as_str());
                self.own = own;
            }
        }
        if self.own.state == ProxyState::MarkOffline {
            return Ok(Look::Ended(Ended::MarkedOffline));
        }
        if self.store_found() {
            self.load_all().await?;
            self.begin_install(Vec::new(), installing).await;
        }
        self.follow_actions(&seqs, installing).await?;
        let switches = self.look_at_holds(installing).await?;
        self.status.update(|facts| facts.store_connected = true);
        Ok(Look::Watching(Watches { actions, own: own_watch, suspension, switches }))
    }

    /// Watches the journals of groups that are held back, and lets go of those whose hold is over.
    async fn look_at_holds(
        &mut self,
        installing: &mut FuturesUnordered<Installing>,
    ) -> Result<Vec<Watch>, StoreError> {
        let (switches, over) = self.watch_switches().await?;
        if !over.is_empty() {
            tracing::info!(groups = ?over, "requests of groups are held back no longer");
            self.load_released(&over).await?;
            self.begin_install(Vec::new(), installing).await;
        }
        Ok(switches)
    }

    /// Reads the groups of servers that have said that they are no masters. An action that tells of the new
    /// master may have been lost, or be on its way: what the store says can be used at once.
    async fn look_at_groups(
        &mut self,
        servers: &BTreeSet<Addr>,
        installing: &mut FuturesUnordered<Installing>,
    ) -> Result<(), StoreError> {
        let groups = self.view.groups_led_by(servers);
        let ids: Vec<GroupId> = groups.iter().copied().collect();
        let read = self.product.some_groups(&ids).await?;
        let is_new = |id: &GroupId| {
            let master = read.found.get(id).and_then(|group| group.master());
            master.is_some_and(|master| !servers.contains(&master.addr))
        };
        let changed: BTreeSet<GroupId> = groups.into_iter().filter(is_new).collect();
        if changed.is_empty() {
            return Ok(());
        }
        tracing::info!(groups = ?ids, "a server is no master, and the store names another");
        self.load_some(BTreeSet::new(), &changed).await?;
        self.begin_install(Vec::new(), installing).await;
        Ok(())
    }

    /// When everything is looked at again although nothing has been heard.
    fn next_look(&self) -> Option<Instant> {
        let looks = (!self.holding.is_empty()).then(|| Instant::now() + HOLD_LOOK);
        looks.into_iter().chain(self.fence_due()).min()
    }

    /// Begins to use a new table; the actions are acknowledged when it is in use.
    async fn begin_install(&mut self, acks: Vec<u64>, installing: &mut FuturesUnordered<Installing>) {
        let table = self.next_table();
        let (workers, product, own) = (self.workers.clone(), self.product.clone(), self.own.value.clone());
        let status = self.status.clone();
        let mut install: Installing = Box::pin(async move {
            workers.install(table).await;
            for seq in acks {
                acknowledge(&product, seq, &own, &status).await;
            }
        });
        // Tables are taken over in the order in which this is called first.
        if futures::future::poll_immediate(&mut install).await.is_none() {
            installing.push(install);
        }
    }

    /// Applies all actions that have come since the last look, in one go: what counts is what the
    /// store says now. Those that list us are acknowledged when the table is in use. A number is drawn before its action
    /// appears, so one may come after a higher one of somebody else.
    async fn follow_actions(
        &mut self,
        seqs: &[u64],
        installing: &mut FuturesUnordered<Installing>,
    ) -> Result<(), StoreError> {
        if let (Some(newest), Some(seen)) = (seqs.last(), self.seen.last())
            && newest < seen
        {
            tracing::warn!(newest, seen, "the numbers of actions have begun anew");
            self.seen.clear();
        }
        let new: Vec<u64> = seqs.iter().copied().filter(|seq| !self.seen.contains(seq)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut actions = Vec::new();
        for seq in new {
            match self.product.action(seq).await {
                Ok(Some(action)) => actions.push((seq, action)),
                Ok(None) => {}
                Err(error) if matches!(error.kind, ErrorKind::Corrupt { .. }) => {
                    tracing::error!(seq, error = %causes(&error), "an action cannot be understood and is not acknowledged");
                }
                Err(error) => return Err(error),
            }
        }
        let mut change = Change::default();
        for (seq, action) in &actions {
            tracing::info!(seq, kind = action.kind.type_name(), "action");
            change.add(&action.kind);
        }
        let unread = if change.everything {
            self.load_all().await?;
            Vec::new()
        } else {
            self.load_some(change.slots, &change.groups).await?
        };
        self.seen = seqs.iter().copied().collect();
        let acks = actions.iter().filter(|(_, action)| is_receiver(action, &self.own));
        let acks = acks.filter(|(seq, action)| {
            let blind = unread.iter().find(|slot| concerns(&action.kind, **slot));
            if let Some(slot) = blind {
                tracing::error!(seq, %slot, "not acknowledged: the slot's node is missing or cannot be understood");
            }
            blind.is_none()
        });
        let acks: Vec<u64> = acks.map(|(seq, _)| *seq).collect();
        self.begin_install(acks, installing).await;
        Ok(())
    }
}

/// Resolves at an instant; never without one.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// What [`Follower::look`] found.
enum Look {
    Watching(Watches),
    Ended(Ended),
}

/// Lets installations go on; resolves when one has ended, never when there is none.
async fn drive(installing: &mut FuturesUnordered<Installing>) {
    if installing.next().await.is_none() {
        std::future::pending().await
    }
}

/// Acknowledges, and tries again while the store is away. When the session is over nobody waits any more.
async fn acknowledge(product: &Product, seq: u64, own: &Proxy, status: &Status) {
    let mut pause = PAUSE.0;
    loop {
        match product.acknowledge(seq, own).await {
            Ok(()) => {
                tracing::info!(seq, "acknowledged");
                status.update(|facts| facts.last_action = facts.last_action.max(Some(seq)));
                return;
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(seq, error = %causes(&error), "cannot acknowledge yet; trying again");
                sleep(jittered(pause)).await;
                pause = (pause * 2).min(PAUSE.1);
            }
            Err(error) => {
                tracing::warn!(seq, error = %causes(&error), "not acknowledged");
                return;
            }
        }
    }
}

/// What has to be read anew because of some actions.
#[derive(Default)]
struct Change {
    slots: BTreeSet<SlotId>,
    groups: BTreeSet<GroupId>,
    everything: bool,
}

impl Change {
    fn add(&mut self, kind: &ActionKind) {
        match kind {
            ActionKind::SlotChanged(slot)
            | ActionKind::SlotPreMigrate(slot)
            | ActionKind::SlotMigrate(slot) => {
                self.slots.insert(slot.id);
            }
            ActionKind::MultiSlotChanged { from, to, .. } => {
                self.slots.extend(SlotId::all().filter(|slot| (*from..=*to).contains(slot)));
            }
            ActionKind::Wave { slots, .. } => self.slots.extend(slots.iter()),
            // Its slots have actions of their own, and requests may wait for this one.
            ActionKind::GroupChanged { group, .. } => {
                self.groups.insert(*group);
            }
            ActionKind::GroupRemove(_) => {}
            // Whatever it means: what the store says now is right.
            ActionKind::Unknown(name) => {
                tracing::warn!(kind = name, "an action of an unknown type; reading everything anew");
                self.everything = true;
            }
        }
    }
}

/// Whether the action is about this slot.
fn concerns(kind: &ActionKind, slot: SlotId) -> bool {
    let mut change = Change::default();
    change.add(kind);
    change.slots.contains(&slot)
}

/// Whether we are asked to acknowledge. Receivers are the text of proxy nodes; a bare id is an
/// older form.
fn is_receiver(action: &Action, own: &Proxy) -> bool {
    #[derive(Deserialize)]
    struct Receiver {
        id: String,
        #[serde(default)]
        pid: i64,
        #[serde(default)]
        start_at: String,
    }
    action.receivers.iter().any(|text| match serde_json::from_str::<Receiver>(text) {
        Ok(other) => other.id == own.id.as_str() && other.pid == own.pid && other.start_at == own.start_at,
        Err(_) => text == own.id.as_str(),
    })
}

#[cfg(test)]
mod tests {
    use codis_core::{Slot, SlotSet, SlotStatus};

    use super::*;
    use crate::follow::identity::identity;

    fn slot(n: u16) -> SlotId {
        SlotId::new(n).unwrap()
    }

    fn change(kinds: &[ActionKind]) -> Change {
        let mut change = Change::default();
        kinds.iter().for_each(|kind| change.add(kind));
        change
    }

    #[test]
    fn every_kind_of_action_names_what_to_read() {
        let of = |n| Slot::unassigned(slot(n));
        let kinds = [
            ActionKind::SlotChanged(of(1)),
            ActionKind::SlotPreMigrate(of(2)),
            ActionKind::SlotMigrate(of(3)),
            ActionKind::MultiSlotChanged {
                from: slot(10),
                to: slot(12),
                status: SlotStatus::Online,
                group: None,
            },
            ActionKind::Wave { slots: "20-21,30".parse::<SlotSet>().unwrap(), status: SlotStatus::Migrate },
            ActionKind::GroupChanged { group: GroupId(5), servers: None },
            ActionKind::GroupRemove(GroupId(6)),
        ];
        let all = change(&kinds);
        let slots: Vec<u16> = all.slots.iter().map(|slot| slot.get()).collect();
        assert_eq!(slots, [1, 2, 3, 10, 11, 12, 20, 21, 30]);
        assert_eq!(all.groups.into_iter().collect::<Vec<_>>(), [GroupId(5)]);
        assert!(!all.everything);
        assert!(change(&[ActionKind::Unknown("later".into())]).everything);
    }

    #[test]
    fn a_receiver_is_this_process_not_just_this_id() {
        let own = identity(&"p1".parse().unwrap(), "127.0.0.1:1", "127.0.0.1:2").unwrap();
        let action = |receiver: String| Action {
            seq: Some(2),
            kind: ActionKind::GroupRemove(GroupId(1)),
            ts: 0,
            receivers: vec!["{\"id\":\"p0\"}".into(), receiver],
        };
        let node = |id: &str, pid: i64, start_at: &str| {
            action(serde_json::json!({"id": id, "addr": "x", "pid": pid, "start_at": start_at}).to_string())
        };
        assert!(is_receiver(&node("p1", own.pid, &own.start_at), &own));
        assert!(!is_receiver(&node("p1", own.pid + 1, &own.start_at), &own), "an earlier process");
        assert!(!is_receiver(&node("p1", own.pid, "yesterday"), &own));
        assert!(!is_receiver(&node("p2", own.pid, &own.start_at), &own));
        assert!(is_receiver(&action("p1".into()), &own));
        assert!(!is_receiver(&action("p11".into()), &own));
    }
}
