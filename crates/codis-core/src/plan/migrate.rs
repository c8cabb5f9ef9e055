//! Queueing slots to move.

use std::collections::BTreeSet;

use super::{
    Plan, Refusal, Step, plural,
    refusal::{fences_clean, group, master, slot},
};
use crate::{Cluster, Extra, GoTask, GroupId, Move, MoveState, ProxyKind, SlotId, SlotSet, SlotStatus};

/// Queues a task for each slot that `to` does not own yet. `native`: the groups whose master is known to move keys
/// by its own SLOTS* commands. `now_ms`: Unix milliseconds; also the number that holds these tasks together as
/// one wave.
///
/// A slot that is already migrating to `to` without a task is taken over. Refused while a Go
/// dashboard is there (it would move slots too), or while a Go proxy is online and a source is a stock server (it
/// cannot fetch a key from there).
pub fn migrate(
    cluster: &Cluster,
    slots: &SlotSet,
    to: GroupId,
    native: &BTreeSet<GroupId>,
    now_ms: u64,
) -> Result<Plan, Refusal> {
    let what = format!("cannot move slots {slots} to group {to}");
    let asked = Asked::look(cluster, slots, to, false, &what)?;
    go_proxies_can_follow(cluster, &asked, native, &what)?;
    let task = |(slot, from): &(SlotId, GroupId)| Move {
        task: 0,
        slot: *slot,
        from: *from,
        to,
        state: MoveState::Pending,
        wave: now_ms,
        created: now_ms / 1000,
        keys_total: None,
        keys_moved: 0,
        held: false,
        note: String::new(),
        extra: Extra::default(),
    };
    let mut plan = asked.plan(to, native);
    if !asked.moves.is_empty() {
        plan.steps.push(Step::QueueMoves(asked.moves.iter().map(task).collect()));
    }
    Ok(plan)
}

/// The same in the original's queue, for servers with the original's commands: `delay_ms` is the pause between two
/// keys, `now_s` Unix seconds.
///
/// Refused as [`migrate`], and for a source that is a stock server.
pub fn migrate_codis2(
    cluster: &Cluster,
    slots: &SlotSet,
    to: GroupId,
    delay_ms: u64,
    native: &BTreeSet<GroupId>,
    now_s: u64,
) -> Result<Plan, Refusal> {
    let what = format!("cannot move slots {slots} to group {to} as Codis 2 does");
    let asked = Asked::look(cluster, slots, to, true, &what)?;
    if let Some(from) = asked.sources().into_iter().find(|from| !native.contains(from)) {
        let why = "its master does not have the SLOTS* commands of codis-server 2.8, or did not answer";
        return Err(Refusal::unsafe_(what, format!("servers/group_{from}"), why)
            .next(format!("codisctl migrate start --slots {slots} --to {to}")));
    }
    let task = |(slot, _): &(SlotId, GroupId)| GoTask {
        name: String::new(),
        slot: *slot,
        to,
        delay_ms,
        created: now_s,
        status: MoveState::Pending.as_str().to_owned(),
        extra: Extra::default(),
    };
    let mut plan = asked.plan(to, native);
    plan.note("they are queued where a Go dashboard would find them, and move one slot at a time");
    if !asked.moves.is_empty() {
        plan.steps.push(Step::QueueGoTasks(asked.moves.iter().map(task).collect()));
    }
    Ok(plan)
}

/// What a request to move comes to.
struct Asked {
    /// Slots to move, and who owns them.
    moves: Vec<(SlotId, GroupId)>,
    /// Slots that are where they should be, or queued for it.
    there: SlotSet,
}

impl Asked {
    /// `codis2`: the queue of the original is meant.
    fn look(
        cluster: &Cluster,
        slots: &SlotSet,
        to: GroupId,
        codis2: bool,
        what: &str,
    ) -> Result<Self, Refusal> {
        master(&group(cluster, to, what)?, what)?;
        no_dashboard(cluster, what)?;
        fences_clean(cluster, what)?;
        let mut moves = Vec::new();
        let mut there = Vec::new();
        for id in slots.iter() {
            match source(cluster, id, to, codis2, what)? {
                Some(from) => {
                    master(&group(cluster, from, what)?, what)?;
                    moves.push((id, from));
                }
                None => there.push(id),
            }
        }
        let there: SlotSet = there.into_iter().collect();
        let queued = |slot: SlotId| {
            cluster.move_of(slot).is_some() || cluster.go_tasks.iter().any(|task| task.slot == slot)
        };
        if moves.is_empty() && !there.iter().any(queued) {
            let why = format!("group {to} owns them already: source and destination are the same");
            return Err(Refusal::unsafe_(what, format!("slots/slot_{there}"), why).next("codisctl slot list"));
        }
        Ok(Self { moves, there })
    }

    fn sources(&self) -> BTreeSet<GroupId> {
        self.moves.iter().map(|(_, from)| *from).collect()
    }

    /// The plan without its steps.
    fn plan(&self, to: GroupId, native: &BTreeSet<GroupId>) -> Plan {
        let mut plan = Plan::new(format!("move {} to group {to}", plural(self.moves.len(), "slot", "slots")));
        if !self.there.is_empty() {
            plan.note(format!("slots {} are at group {to} or on their way there already", self.there));
        }
        for from in self.sources() {
            let set: SlotSet =
                self.moves.iter().filter(|(_, owner)| *owner == from).map(|(slot, _)| *slot).collect();
            plan.note(format!("{from} → {to}: {}, slots {set}", plural(set.len(), "slot", "slots")));
            if native.contains(&from) {
                plan.note(format!(
                    "group {from} moves keys by its own SLOTSMGRTTAGSLOT: that overwrites at the destination, waits \
                     for no slave and blocks the server while the destination is slow; a failover of either group \
                     meanwhile can lose or revive keys"
                ));
            }
        }
        plan
    }
}

/// The group that a slot has to come from; none if it is at `to`, or on its way.
fn source(
    cluster: &Cluster,
    id: SlotId,
    to: GroupId,
    codis2: bool,
    what: &str,
) -> Result<Option<GroupId>, Refusal> {
    let slot = slot(cluster, id, what)?;
    let place = format!("slots/slot_{id}");
    if let Some(task) = cluster.move_of(id) {
        if task.to == to && !codis2 {
            return Ok(None);
        }
        let why = format!("task {} moves it to group {}", task.task, task.to);
        return Err(Refusal::unsafe_(what, place, why).next("codisctl task list"));
    }
    if let Some(task) = cluster.go_tasks.iter().find(|task| task.slot == id) {
        if task.to == to && codis2 {
            return Ok(None);
        }
        let why = format!("a task in the queue of the Go tools moves it to group {}", task.to);
        return Err(Refusal::unsafe_(what, format!("migrate_tasks/{}", task.name), why)
            .next("codisctl migrate run --as codis2    or: codisctl task delete --as codis2 TASK"));
    }
    match (slot.status, slot.group, slot.moving()) {
        (SlotStatus::Online, Some(owner), _) if owner == to => Ok(None),
        (SlotStatus::Online, Some(owner), _) => Ok(Some(owner)),
        (SlotStatus::Migrate, _, Some((from, dest))) if dest == to => Ok(Some(from)),
        (SlotStatus::PreMigrate, Some(owner), _) if owner != to => Ok(Some(owner)),
        (SlotStatus::Offline, ..) | (_, None, _) => {
            Err(Refusal::unsafe_(what, place, "the slot is not served by a group")
                .next(format!("codisctl slot assign {id} {to}")))
        }
        (status, ..) => {
            Err(Refusal::unsafe_(what, place, format!("the slot is in {status} to another group"))
                .next("codisctl migrate run    finishes that move"))
        }
    }
}

pub(super) fn no_dashboard(cluster: &Cluster, what: &str) -> Result<(), Refusal> {
    let Some(dashboard) = cluster.dashboard.as_ref().filter(|dashboard| !dashboard.ephemeral) else {
        return Ok(());
    };
    let why =
        format!("a Go dashboard is at {} (pid {}); two movers lose keys", dashboard.addr, dashboard.pid);
    Err(Refusal::unsafe_(what, "dashboard", why)
        .next("stop it, then run this again; if it is dead: codisctl lock clear dashboard"))
}

fn go_proxies_can_follow(
    cluster: &Cluster,
    asked: &Asked,
    native: &BTreeSet<GroupId>,
    what: &str,
) -> Result<(), Refusal> {
    let stock = asked.sources().into_iter().find(|from| !native.contains(from));
    let go = cluster.online_proxies().find(|proxy| proxy.kind() == ProxyKind::Go);
    match (stock, go) {
        (Some(from), Some(proxy)) => {
            let why = format!(
                "a Go proxy is online; it cannot fetch keys from a stock server, and the master of group {from} is \
                 one, or did not answer"
            );
            Err(Refusal::unsafe_(what, format!("proxy/{}", proxy.id), why)
                .next(format!("codisctl proxy offline {}", proxy.id)))
        }
        _ => Ok(()),
    }
}
