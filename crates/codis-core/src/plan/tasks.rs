//! What can be done with queued tasks: left alone for a while, gone on with, taken back, deleted.
//!
//! Whatever happens to a task, a slot that is on its way must keep one: without it nobody would finish the move.

use super::{Plan, Refusal, Step, migrate::no_dashboard, plural, refusal::slot};
use crate::{Cluster, GoTask, Move, MoveState, SlotStatus, Versioned};

/// Tasks of our queue by number.
fn tasks_of<'a>(
    cluster: &'a Cluster,
    numbers: &'a [u64],
    verb: &'a str,
) -> impl Iterator<Item = Result<&'a Versioned<Move>, Refusal>> {
    numbers.iter().map(move |number| {
        cluster.moves.iter().find(|task| task.task == *number).ok_or_else(|| {
            let (what, place) = (format!("cannot {verb} task {number}"), format!("moves/{number:010}"));
            Refusal::missing(what, place, "no such task").next("codisctl task list")
        })
    })
}

/// Leaves tasks alone until they are resumed. A mover that works on one stops with it at the next safe point: a slot that is
/// in `migrate` stays there, every key reachable.
pub fn pause_tasks(cluster: &Cluster, numbers: &[u64]) -> Result<Plan, Refusal> {
    let mut paused = Vec::new();
    let mut plan = Plan::new(format!("pause {}", plural(numbers.len(), "task", "tasks")));
    for task in tasks_of(cluster, numbers, "pause") {
        let task = task?;
        if task.state == MoveState::Paused && !task.held {
            continue;
        }
        if cluster.slot(task.slot).is_some_and(|slot| slot.status == SlotStatus::Migrate) {
            let both = "in migrate, and requests fetch its keys from the source meanwhile";
            plan.note(format!("task {}: slot {} stays {both}", task.task, task.slot));
        }
        paused.push(in_state(task, MoveState::Paused));
    }
    put(plan, paused)
}

/// Puts paused and failed tasks back in the queue.
pub fn resume_tasks(cluster: &Cluster, numbers: &[u64]) -> Result<Plan, Refusal> {
    let mut resumed = Vec::new();
    for task in tasks_of(cluster, numbers, "resume") {
        let task = task?;
        if matches!(task.state, MoveState::Paused | MoveState::Error) {
            resumed.push(in_state(task, MoveState::Pending));
        }
    }
    put(Plan::new(format!("resume {}", plural(numbers.len(), "task", "tasks"))), resumed)
}

/// Takes moves back. A task whose slot has not begun to move is deleted; where keys have moved it is turned round, and the mover
/// takes them back to the group that they came from.
///
/// Refused for a slot in `pre_migrate`, which a mover is about to change, and for one whose state does not fit its task.
pub fn cancel_tasks(cluster: &Cluster, numbers: &[u64]) -> Result<Plan, Refusal> {
    let mut plan = Plan::new(format!("cancel {}", plural(numbers.len(), "task", "tasks")));
    let (mut doomed, mut turned) = (Vec::new(), Vec::new());
    for task in tasks_of(cluster, numbers, "cancel") {
        let task = task?;
        let (number, from, to) = (task.task, task.from, task.to);
        let what = format!("cannot cancel task {number}");
        let slot = slot(cluster, task.slot, &what)?;
        match (slot.status, slot.moving()) {
            _ if task.turns_back(&slot) => {
                plan.note(format!(
                    "task {number}: slot {} is on its way back to group {to} already",
                    slot.id
                ));
            }
            (SlotStatus::Online | SlotStatus::Offline, _) if slot.group != Some(to) => {
                plan.note(format!("task {number}: slot {} stays at group {from}; no key has moved", slot.id));
                doomed.push(task.clone());
            }
            (SlotStatus::Migrate, Some(way)) if way == (from, to) => {
                plan.note(format!(
                    "task {number}: slot {} goes back to group {from} with {} keys that have moved, and those written since",
                    slot.id, task.keys_moved
                ));
                let back = Move {
                    from: to,
                    to: from,
                    state: MoveState::Pending,
                    held: false,
                    keys_total: None,
                    keys_moved: 0,
                    note: "cancelled: goes back".to_owned(),
                    ..task.value.clone()
                };
                turned.push(Versioned::new(back, task.version));
            }
            (status, _) => {
                let why = match status {
                    SlotStatus::Online => format!("slot {} is at group {to} already", slot.id),
                    _ => format!("slot {} is in {status}", slot.id),
                };
                let next = match status {
                    SlotStatus::Online => format!("codisctl migrate start --slots {} --to {from}", slot.id),
                    _ => "codisctl migrate run    finishes what was begun; then cancel it".to_owned(),
                };
                return Err(Refusal::unsafe_(what, format!("slots/slot_{}", slot.id), why).next(next));
            }
        }
    }
    if !doomed.is_empty() {
        plan.steps.push(Step::DeleteMoves(doomed));
    }
    put(plan, turned)
}

fn in_state(task: &Versioned<Move>, state: MoveState) -> Versioned<Move> {
    Versioned::new(Move { state, held: false, ..task.value.clone() }, task.version)
}

fn put(mut plan: Plan, tasks: Vec<Versioned<Move>>) -> Result<Plan, Refusal> {
    if !tasks.is_empty() {
        plan.steps.push(Step::PutMoves(tasks));
    }
    Ok(plan)
}

/// Deletes tasks from our queue. Refused for one whose slot is on its way: the slot would be left
/// there with nobody to finish it.
pub fn delete_tasks(cluster: &Cluster, tasks: &[u64]) -> Result<Plan, Refusal> {
    let mut doomed: Vec<Versioned<Move>> = Vec::new();
    for task in tasks_of(cluster, tasks, "delete") {
        let task = task?;
        let number = task.task;
        let what = format!("cannot delete task {number}");
        let place = format!("moves/{number:010}");
        let slot = slot(cluster, task.slot, &what)?;
        if matches!(slot.status, SlotStatus::PreMigrate | SlotStatus::Migrate) {
            let why =
                format!("slot {} is in {}: without its task nobody would finish it", slot.id, slot.status);
            return Err(Refusal::unsafe_(what, place, why).next(format!(
                "codisctl task cancel {number}    takes it back; codisctl migrate run    finishes the move"
            )));
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

/// Deletes tasks from the original's queue, by the numbers of their nodes. Refused as [`delete_tasks`].
pub fn delete_go_tasks(cluster: &Cluster, tasks: &[u64]) -> Result<Plan, Refusal> {
    let mut doomed: Vec<Versioned<GoTask>> = Vec::new();
    for number in tasks {
        let what = format!("cannot delete task {number} of the Go tools' queue");
        let place = format!("migrate_tasks/{number:010}");
        let task = cluster.go_tasks.iter().find(|task| task.name.parse() == Ok(*number));
        let Some(task) = task else {
            return Err(Refusal::missing(what, place, "no such task").next("codisctl task list"));
        };
        no_dashboard(cluster, &what)?;
        let slot = slot(cluster, task.slot, &what)?;
        if matches!(slot.status, SlotStatus::PreMigrate | SlotStatus::Migrate) {
            let why =
                format!("slot {} is in {}: without its task nobody would finish it", slot.id, slot.status);
            return Err(Refusal::unsafe_(what, place, why)
                .next("codisctl migrate run --as codis2    finishes the move"));
        }
        doomed.push(task.clone());
    }
    let count = plural(doomed.len(), "task", "tasks");
    let mut plan = Plan::new(format!("delete {count} of the Go tools' queue"));
    for task in &doomed {
        plan.note(format!("task {}: slot {} → {}; no key has moved", task.name, task.slot, task.to));
    }
    if !doomed.is_empty() {
        plan.steps.push(Step::DeleteGoTasks(doomed));
    }
    Ok(plan)
}
