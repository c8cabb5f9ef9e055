//! Giving slots without an owner to a group.

use super::{
    Plan, Refusal, Step, plural,
    refusal::{fences_clean, group, master, slot},
};
use crate::{ActionKind, Cluster, GroupId, SlotSet, SlotStatus, Versioned};

/// Puts slots online at a group. Slots that are online there already are left as they are, and
/// announced again, so that a run that was interrupted before its announcement completes.
///
/// Refused for a slot that another group serves or that is moving: its keys would be lost sight of.
pub fn assign(cluster: &Cluster, slots: &SlotSet, to: GroupId) -> Result<Plan, Refusal> {
    let what = format!("cannot assign slots {slots} to group {to}");
    master(&group(cluster, to, &what)?, &what)?;
    fences_clean(cluster, &what)?;
    let mut writes = Vec::new();
    for id in slots.iter() {
        let slot = slot(cluster, id, &what)?;
        let place = format!("slots/slot_{id}");
        match slot.status {
            SlotStatus::Offline => writes.push(Versioned::new(slot.online_at(to), slot.version)),
            SlotStatus::Online if slot.group == Some(to) => {}
            SlotStatus::Online => {
                let owner = slot.group.map_or_else(|| "no group".to_owned(), |g| format!("group {g}"));
                return Err(Refusal::unsafe_(what, place, format!("it is online at {owner}, with its keys"))
                    .next(format!("codisctl migrate start --slots {id} --to {to}")));
            }
            SlotStatus::PreMigrate | SlotStatus::Migrate => {
                return Err(Refusal::unsafe_(what, place, format!("it is in {}", slot.status))
                    .next("codisctl migrate run    finishes the move"));
            }
        }
    }
    let mut plan = Plan::new(format!("put {} online at group {to}", plural(slots.len(), "slot", "slots")));
    if writes.is_empty() {
        plan.note(format!("all of them are online at group {to} already; the proxies are told again"));
    } else {
        plan.steps.push(Step::PutSlots(writes));
    }
    for (from, last) in slots.ranges() {
        let status = SlotStatus::Online;
        let kind = ActionKind::MultiSlotChanged { from, to: last, status, group: Some(to) };
        plan.steps.push(Step::Announce { kind, confirm: true });
    }
    Ok(plan)
}
