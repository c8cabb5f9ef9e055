//! Deciding: `(&Cluster, what is asked) -> Result<Plan, Refusal>`.
//!
//! A planner looks at a snapshot and returns the steps to take, in order, or why nothing may be
//! done. It never does anything itself: `codis-ops` shows the plan, asks, and carries it out.
//! Every step that rewrites a node names the version it was decided on, so a plan made on a
//! picture that is no longer true is refused by the store.
//!
//! Plans are made so that stopping after any step leaves the product usable, and asking for the
//! same thing again completes it: a planner leaves out what is done already and repeats
//! announcements, which are harmless.

mod assign;
mod group;
mod init;
mod migrate;
mod model;
mod product;
mod promote;
mod proxy;
mod rebalance;
mod refusal;
mod settle;
mod tasks;
mod upkeep;

pub use assign::assign;
pub use group::{add_group, add_server, offline_server, remove_group, remove_server};
pub use init::init;
pub use migrate::{migrate, migrate_codis2};
pub use product::remove_product;
pub use promote::promote;
pub use proxy::{clear_fences, offline, online};
pub use rebalance::{Burden, drain, rebalance};
pub use refusal::{Refusal, RefusalKind};
pub use settle::{set_online, to_prove};
pub use tasks::{cancel_tasks, delete_go_tasks, delete_tasks, pause_tasks, resume_tasks};
pub use upkeep::{Holder, clear_dashboard, clear_locks, collect_actions};

use std::fmt;

use crate::{
    ActionKind, Addr, Dashboard, GoTask, GroupId, LockEntry, Move, ProductName, Proxy, ProxyId, ProxyState,
    Server, Slot, SlotSet, SlotStatus, Versioned, ha::SagaKind,
};

/// What shall be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// One line: what the plan achieves.
    pub title: String,
    /// The steps. Empty if everything is as asked already.
    pub steps: Vec<Step>,
    /// What a person should know before saying yes.
    pub notes: Vec<String>,
}

impl Plan {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), steps: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// True if a step waits for the proxies' acknowledgements.
    pub fn needs_confirmation(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, Step::Announce { confirm: true, .. } | Step::ChangeMaster(_)))
    }
}

/// One write, to the store or to a server. Its `Display` is the line of the shown plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Create the slot nodes that are missing, offline and without a group, each with the
    /// `slot_changed` that Codis publishes for it.
    CreateSlots(SlotSet),
    /// Create a group.
    CreateGroup(GroupId),
    /// Delete a group that lists no server any more.
    RemoveGroup(GroupId),
    /// List a server that is not listed yet.
    AddServer(Server),
    /// Rewrite servers, all together or not at all. Each with the version it was read at.
    PutServers(Vec<Versioned<Server>>),
    /// Delete a server's node.
    RemoveServer(Versioned<Server>),
    /// Rewrite slots, all together or not at all. Each with the version it was read at.
    PutSlots(Vec<Versioned<Slot>>),
    /// Set a proxy's state.
    SetProxyState {
        /// The proxy as read.
        proxy: Versioned<Proxy>,
        /// Its new state.
        state: ProxyState,
    },
    /// Wait until a proxy that was asked to leave is gone.
    AwaitProxyGone(ProxyId),
    /// Delete the fence of a proxy that is not online.
    ClearFence(String),
    /// Delete a lock whose owner is gone.
    ClearLock(LockEntry),
    /// Delete the node of a dashboard that is gone.
    ClearDashboard(Dashboard),
    /// Delete all but the newest actions.
    CollectActions {
        /// How many there are.
        there: usize,
        /// How many stay.
        keep: usize,
    },
    /// Delete everything that the store has of a product.
    RemoveProduct(ProductName),
    /// Add tasks to our queue.
    QueueMoves(Vec<Move>),
    /// Rewrite tasks of our queue, all together or not at all. Each with the version it was read at.
    PutMoves(Vec<Versioned<Move>>),
    /// Delete tasks from our queue.
    DeleteMoves(Vec<Versioned<Move>>),
    /// Add tasks to the original's queue.
    QueueGoTasks(Vec<GoTask>),
    /// Delete tasks from the original's queue.
    DeleteGoTasks(Vec<Versioned<GoTask>>),
    /// Make a server replicate from another, or from nobody.
    Replicate {
        /// The server that is told.
        server: Addr,
        /// Its new master; `None` makes it a master.
        master: Option<Addr>,
    },
    /// Make another server the master of a group, or go on with such a change: see [`crate::ha::Saga`].
    ChangeMaster(ChangeMaster),
    /// Publish an action.
    Announce {
        /// What changed.
        kind: ActionKind,
        /// Wait until every online proxy has acknowledged it.
        confirm: bool,
    },
}

/// Another server becomes the master of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeMaster {
    /// The group.
    pub group: GroupId,
    /// The master before.
    pub old: Addr,
    /// The master afterwards.
    pub new: Addr,
    /// As planned, or because the old one is lost.
    pub kind: SagaKind,
    /// Proxies are online that cannot hold requests back.
    pub go: bool,
}

impl fmt::Display for ChangeMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, old, new, kind, go } = self;
        write!(f, "failover/group_{group}: ")?;
        match (kind, go) {
            (SagaKind::Failover, _) => write!(f, "{new} is the master, {old} offline"),
            (SagaKind::Planned, false) => {
                write!(f, "requests wait, {new} catches up and is the master, {old} its slave")
            }
            (SagaKind::Planned, true) => {
                write!(f, "writes are refused, {new} catches up and is the master, {old} its slave")
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateSlots(slots) => write!(f, "slots/slot_{slots}: created, offline, no group"),
            Self::CreateGroup(group) => write!(f, "servers/group_{group}: created"),
            Self::RemoveGroup(group) => write!(f, "servers/group_{group}: deleted"),
            Self::AddServer(server) => {
                write!(f, "servers/group_{}/{}: created, {}", server.group, server.addr, server.role)
            }
            Self::PutServers(servers) => {
                let each = |s: &Versioned<Server>| {
                    format!("servers/group_{}/{}: {} (version {})", s.group, s.addr, s.role, s.version)
                };
                f.write_str(&servers.iter().map(each).collect::<Vec<_>>().join("; "))
            }
            Self::RemoveServer(server) => write!(
                f,
                "servers/group_{}/{}: deleted (version {})",
                server.group, server.addr, server.version
            ),
            Self::PutSlots(slots) => describe_slots(f, slots),
            Self::SetProxyState { proxy, state } => {
                write!(f, "proxy/{}: {} → {state} (version {})", proxy.id, proxy.state, proxy.version)
            }
            Self::AwaitProxyGone(id) => write!(f, "wait until proxy/{id} is gone"),
            Self::ClearFence(addr) => write!(f, "fence/{addr}: deleted"),
            Self::ClearLock(lock) => {
                write!(f, "LOCK/{}: deleted (of {}: {})", lock.name, lock.owner(), lock.desc)
            }
            Self::ClearDashboard(dashboard) => {
                write!(f, "dashboard: deleted (of {}, pid {})", dashboard.addr, dashboard.pid)
            }
            Self::CollectActions { there, keep } => {
                write!(f, "actions, ActionResponse: the oldest {} deleted", there.saturating_sub(*keep))
            }
            Self::RemoveProduct(name) => {
                write!(f, "/zk/codis/db_{name}: deleted with everything below it")
            }
            Self::QueueMoves(moves) => {
                write!(f, "moves: {} queued", plural(moves.len(), "task", "tasks"))
            }
            Self::PutMoves(moves) => {
                let each = |m: &Versioned<Move>| {
                    format!(
                        "moves/{:010}: {}, {} → {} (version {})",
                        m.task, m.state, m.from, m.to, m.version
                    )
                };
                f.write_str(&moves.iter().map(each).collect::<Vec<_>>().join("; "))
            }
            Self::DeleteMoves(moves) => {
                let tasks: Vec<String> = moves.iter().map(|m| format!("{:010}", m.task)).collect();
                write!(f, "moves/{}: deleted", tasks.join(","))
            }
            Self::QueueGoTasks(tasks) => {
                write!(f, "migrate_tasks: {} queued", plural(tasks.len(), "task", "tasks"))
            }
            Self::DeleteGoTasks(tasks) => {
                let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
                write!(f, "migrate_tasks/{}: deleted", names.join(","))
            }
            Self::Replicate { server, master: Some(master) } => {
                write!(f, "server {server}: replicates from {master}")
            }
            Self::Replicate { server, master: None } => write!(f, "server {server}: becomes a master"),
            Self::ChangeMaster(change) => change.fmt(f),
            Self::Announce { kind, confirm } => {
                let wait = if *confirm { ", acknowledged by every online proxy" } else { "" };
                write!(f, "actions: {}{wait}", kind.type_name())
            }
        }
    }
}

fn describe_slots(f: &mut fmt::Formatter<'_>, slots: &[Versioned<Slot>]) -> fmt::Result {
    let set: SlotSet = slots.iter().map(|slot| slot.id).collect();
    write!(f, "slots/slot_{set}: ")?;
    match slots.first() {
        Some(slot) if slot.status == SlotStatus::Migrate => match slot.moving() {
            Some((from, to)) => write!(f, "migrate, {from} → {to}"),
            None => write!(f, "migrate"),
        },
        Some(slot) => match slot.group {
            Some(group) => write!(f, "{} at group {group}", slot.status),
            None => write!(f, "{}", slot.status),
        },
        None => write!(f, "nothing"),
    }
}

/// A count with the right form of its noun: `1 slot`, `2 slots`.
pub fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
