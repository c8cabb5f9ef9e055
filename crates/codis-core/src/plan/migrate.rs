//! Queueing slots to move, and taking them off the queue again.

use super::{
    Plan, Refusal, Step, plural,
    refusal::{fences_clean, group, master, slot},
};
use crate::{Cluster, Extra, GroupId, Move, MoveState, ProxyKind, SlotSet, SlotStatus, Versioned};

/// Queues a task for each slot that `to` does not own yet. `now_ms`: Unix milliseconds; also the
/// number that holds these tasks together as one wave.
///
/// A slot that is already migrating to `to` without a task is taken over. Refused while a Go
/// dashboard is there (it would move slots too) or a Go proxy is online (it cannot fetch a key
/// from a stock server).
pub fn migrate(cluster: &Cluster, slots: &SlotSet, to: GroupId, now_ms: u64) -> Result<Plan, Refusal> {
    let what = format!("cannot move slots {slots} to group {to}");
    master(&group(cluster, to, &what)?, &what)?;
    no_go_tools(cluster, &what)?;
    fences_clean(cluster, &what)?;
    let mut moves = Vec::new();
    let mut there = Vec::new();
    for id in slots.iter() {
        let slot = slot(cluster, id, &what)?;
        let place = format!("slots/slot_{id}");
        if let Some(task) = cluster.move_of(id) {
            if task.to == to {
                there.push(id);
                continue;
            }
            let why = format!("task {} moves it to group {}", task.task, task.to);
            return Err(Refusal::unsafe_(what, place, why).next("codisctl task list"));
        }
        if let Some(task) = cluster.go_tasks.iter().find(|task| task.slot == id) {
            let why = format!("a task of the Go tools moves it to group {}", task.to);
            return Err(Refusal::unsafe_(what, format!("migrate_tasks/{}", task.name), why)
                .next("codisctl task list"));
        }
        let from = match (slot.status, slot.group, slot.moving()) {
            (SlotStatus::Online, Some(owner), _) if owner == to => {
                there.push(id);
                continue;
            }
            (SlotStatus::Online, Some(owner), _) => owner,
            (SlotStatus::Migrate, _, Some((from, dest))) if dest == to => from,
            (SlotStatus::PreMigrate, Some(owner), _) if owner != to => owner,
            (SlotStatus::Offline, ..) | (_, None, _) => {
                return Err(Refusal::unsafe_(what, place, "the slot is not served by a group")
                    .next(format!("codisctl slot assign {id} {to}")));
            }
            (status, ..) => {
                return Err(Refusal::unsafe_(
                    what,
                    place,
                    format!("the slot is in {status} to another group"),
                )
                .next("codisctl migrate run    finishes that move"));
            }
        };
        master(&group(cluster, from, &what)?, &what)?;
        moves.push(Move {
            task: 0,
            slot: id,
            from,
            to,
            state: MoveState::Pending,
            wave: now_ms,
            created: now_ms / 1000,
            keys_total: None,
            keys_moved: 0,
            note: String::new(),
            extra: Extra::default(),
        });
    }
    let mut plan = Plan::new(format!("move {} to group {to}", plural(moves.len(), "slot", "slots")));
    if !there.is_empty() {
        let set: SlotSet = there.into_iter().collect();
        plan.note(format!("slots {set} are at group {to} or on their way there already"));
    }
    for from in sources(&moves) {
        let set: SlotSet = moves.iter().filter(|task| task.from == from).map(|task| task.slot).collect();
        plan.note(format!("{from} → {to}: {}, slots {set}", plural(set.len(), "slot", "slots")));
    }
    if !moves.is_empty() {
        plan.steps.push(Step::QueueMoves(moves));
    }
    Ok(plan)
}

fn sources(moves: &[Move]) -> Vec<GroupId> {
    let mut sources: Vec<GroupId> = moves.iter().map(|task| task.from).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

fn no_go_tools(cluster: &Cluster, what: &str) -> Result<(), Refusal> {
    if let Some(dashboard) = cluster.dashboard.as_ref().filter(|dashboard| !dashboard.ephemeral) {
        let why =
            format!("a Go dashboard is at {} (pid {}); two movers lose keys", dashboard.addr, dashboard.pid);
        return Err(Refusal::unsafe_(what, "dashboard", why).next("stop it, then run this again"));
    }
    match cluster.online_proxies().find(|proxy| proxy.kind() == ProxyKind::Go) {
        None => Ok(()),
        Some(proxy) => Err(Refusal::unsafe_(
            what,
            format!("proxy/{}", proxy.id),
            "a Go proxy is online; it cannot fetch keys from a stock server",
        )
        .next(format!("codisctl proxy offline {}", proxy.id))),
    }
}

/// Deletes tasks from our queue. Refused for one whose slot is on its way: the slot would be left
/// there with nobody to finish it.
pub fn delete_tasks(cluster: &Cluster, tasks: &[u64]) -> Result<Plan, Refusal> {
    let mut doomed: Vec<Versioned<Move>> = Vec::new();
    for number in tasks {
        let what = format!("cannot delete task {number}");
        let place = format!("moves/{number:010}");
        let Some(task) = cluster.moves.iter().find(|task| task.task == *number) else {
            return Err(Refusal::missing(what, place, "no such task").next("codisctl task list"));
        };
        let slot = slot(cluster, task.slot, &what)?;
        if matches!(slot.status, SlotStatus::PreMigrate | SlotStatus::Migrate) {
            let why =
                format!("slot {} is in {}: without its task nobody would finish it", slot.id, slot.status);
            return Err(Refusal::unsafe_(what, place, why).next("codisctl migrate run    finishes the move"));
        }
        doomed.push(task.clone());
    }
    let mut plan = Plan::new(format!("delete {}", plural(doomed.len(), "task", "tasks")));
    for task in &doomed {
        plan.note(format!(
            "task {}: slot {}, {} → {}; no key has moved",
            task.task, task.slot, task.from, task.to
        ));
    }
    if !doomed.is_empty() {
        plan.steps.push(Step::DeleteMoves(doomed));
    }
    Ok(plan)
}
