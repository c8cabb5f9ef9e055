//! Clearing away what programs leave behind: locks and dashboard nodes of dead ones, actions that
//! everybody has followed.

use super::{Plan, Refusal, Step, plural};
use crate::{Cluster, Dashboard, LockEntry};

/// Whether the owner of a lock still lives, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Its session with the store lives; the lock goes with it.
    Session,
    /// A process with its number runs on this host; what it is called.
    Runs(String),
    /// No such process runs on this host any more.
    Gone,
    /// It is of another host, which cannot be asked.
    Elsewhere,
}

/// Deletes locks whose owners are gone: the one of this name, or all that do not go by themselves.
/// `holder` says what is known of each owner.
///
/// Refused for a lock of a session that lives and for one whose process runs on this host.
pub fn clear_locks(
    cluster: &Cluster,
    name: Option<&str>,
    holder: impl Fn(&LockEntry) -> Holder,
) -> Result<Plan, Refusal> {
    let what = match name {
        Some(name) => format!("cannot clear the lock {name}"),
        None => "cannot clear the locks".to_owned(),
    };
    let named = |lock: &&LockEntry| name.is_none_or(|name| lock.name == name);
    let asked: Vec<(&LockEntry, Holder)> =
        cluster.locks.iter().filter(named).map(|lock| (lock, holder(lock))).collect();
    if let (Some(name), true) = (name, asked.is_empty()) {
        return Err(Refusal::missing(what, format!("LOCK/{name}"), "there is no such lock")
            .next("codisctl lock show"));
    }
    let (ours, theirs): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|(_, holder)| *holder == Holder::Session);
    if let (Some((lock, _)), true) = (ours.first(), theirs.is_empty()) {
        let why = format!("its owner lives: {}, {}", lock.owner(), lock.desc);
        return Err(Refusal::unsafe_(what, format!("LOCK/{}", lock.name), why).next(format!(
            "wait, or end {}: its lock goes with its session, after 10 s at most",
            lock.owner()
        )));
    }
    let title = match theirs.as_slice() {
        [(lock, _)] => format!("clear the lock {}", lock.name),
        locks => format!("clear {}", plural(locks.len(), "lock", "locks")),
    };
    let mut plan = Plan::new(title);
    if theirs.is_empty() {
        plan.note("nobody holds the lock");
    }
    for (lock, holder) in theirs {
        match holder {
            Holder::Runs(program) => {
                let why = format!("pid {} runs on this host: {program}", lock.pid);
                return Err(Refusal::unsafe_(what, format!("LOCK/{}", lock.name), why)
                    .next(format!("end it first: kill {}", lock.pid)));
            }
            Holder::Gone => plan.note(format!("pid {} does not run on this host any more", lock.pid)),
            Holder::Session | Holder::Elsewhere => plan.note(format!(
                "whether {} still runs cannot be told from here: look there first",
                lock.owner()
            )),
        }
        plan.steps.push(Step::ClearLock(lock.clone()));
    }
    Ok(plan)
}

/// Deletes the node of a Go dashboard that died; while it is there, nothing can be moved. `listens` says
/// whether something listens at its address.
///
/// Refused for one that may live, and for the node by which a mover of ours keeps dashboards from starting.
pub fn clear_dashboard(cluster: &Cluster, listens: bool) -> Result<Plan, Refusal> {
    let what = "cannot clear the dashboard node";
    let Some(dashboard) = &cluster.dashboard else {
        return Err(Refusal::missing(what, "dashboard", "there is no such node").next("codisctl lock show"));
    };
    let Dashboard { addr, pid, ephemeral } = dashboard;
    if *ephemeral {
        let why = format!("it is that of a mover of ours, pid {pid}, and goes with its session");
        return Err(Refusal::unsafe_(what, "dashboard", why).next("codisctl migrate watch"));
    }
    if listens {
        let why = format!("something listens at {addr}: it lives");
        return Err(Refusal::unsafe_(what, "dashboard", why).next(format!("stop it there, pid {pid}")));
    }
    let mut plan = Plan::new("clear the node of a dead dashboard");
    plan.note(format!("nothing listens at {addr} (pid {pid})"));
    plan.steps.push(Step::ClearDashboard(dashboard.clone()));
    Ok(plan)
}

/// Deletes all but the newest `keep` of the actions, of which there are `there`, with what proxies
/// answered to them.
pub fn collect_actions(there: usize, keep: usize) -> Plan {
    let gone = there.saturating_sub(keep);
    let mut plan = Plan::new(format!("delete {}", plural(gone, "old action", "old actions")));
    match gone {
        0 => plan.note(format!("there are {there}, and the newest {keep} are kept")),
        _ => plan.steps.push(Step::CollectActions { there, keep }),
    }
    plan
}
