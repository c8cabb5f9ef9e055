//! Putting slots online by hand, when it is proved that no key is left anywhere else.

use std::collections::BTreeMap;

use super::{
    Plan, Refusal, Step, plural,
    refusal::{fences_clean, group, master, slot},
};
use crate::{ActionKind, Addr, Cluster, GroupId, SlotId, SlotSet, SlotStatus, Versioned};

/// The slots of a set that are in `migrate`, by the group that they come from: what must be looked through before they may go
/// online.
///
/// Refused for a slot that is on its way otherwise, or is served by nobody.
pub fn to_prove(cluster: &Cluster, slots: &SlotSet) -> Result<BTreeMap<GroupId, SlotSet>, Refusal> {
    let what = format!("cannot put slots {slots} online");
    let mut by_source: BTreeMap<GroupId, Vec<SlotId>> = BTreeMap::new();
    for id in slots.iter() {
        let slot = slot(cluster, id, &what)?;
        match (slot.status, slot.moving(), slot.group) {
            (SlotStatus::Online, ..) => {}
            (SlotStatus::Migrate, Some((from, to)), Some(owner)) if owner == to => {
                by_source.entry(from).or_default().push(id);
            }
            (SlotStatus::Offline, ..) | (_, _, None) => {
                return Err(Refusal::unsafe_(what, format!("slots/slot_{id}"), "no group serves it")
                    .next(format!("codisctl slot assign {id} GROUP")));
            }
            (status, ..) => {
                let why = format!("it is in {status}, and whoever put it there may go on with it");
                return Err(Refusal::unsafe_(what, format!("slots/slot_{id}"), why)
                    .next("codisctl migrate run    puts it back, or goes on"));
            }
        }
    }
    Ok(by_source.into_iter().map(|(from, slots)| (from, slots.into_iter().collect())).collect())
}

/// Puts slots in `migrate` online at the group that serves them. `proved` names the masters that were looked through, all of them,
/// and held no key of the slots of [`to_prove`]; while a slot is in `migrate` no new one can appear there.
///
/// Refused as [`to_prove`], while a mover is at work, and for slots of a source that was not looked through.
pub fn set_online(
    cluster: &Cluster,
    slots: &SlotSet,
    proved: &BTreeMap<GroupId, Addr>,
) -> Result<Plan, Refusal> {
    let what = format!("cannot put slots {slots} online");
    let by_source = to_prove(cluster, slots)?;
    if let Some(mover) = &cluster.mover {
        let why = format!("{} moves slots (pid {})", mover.owner, mover.pid);
        return Err(Refusal::unsafe_(what, "mover", why).next("codisctl migrate watch"));
    }
    let mut writes = Vec::new();
    let mut empty = Vec::new();
    for (from, slots) in &by_source {
        let master = master(&group(cluster, *from, &what)?, &what)?;
        if proved.get(from) != Some(&master.addr) {
            return Err(Refusal::unsafe_(what, &master.addr, "it has not been looked through")
                .next("run the same command again: another server has become master"));
        }
        empty.push(master.addr.to_string());
        for id in slots.iter() {
            let slot = slot(cluster, id, &what)?;
            let Some(owner) = slot.group else { continue };
            writes.push(Versioned::new(slot.online_at(owner), slot.version));
        }
    }
    let moved: SlotSet = writes.iter().map(|slot| slot.id).collect();
    if moved.is_empty() {
        let mut plan = Plan::new(format!("put {} online", plural(slots.len(), "slot", "slots")));
        plan.note("all of them are online already");
        return Ok(plan);
    }
    fences_clean(cluster, &what)?;
    let mut plan = Plan::new(format!("put slots {moved} online, of which {} holds no key", empty.join(", ")));
    let mut by_owner: BTreeMap<Option<GroupId>, Vec<SlotId>> = BTreeMap::new();
    for slot in &writes {
        by_owner.entry(slot.group).or_default().push(slot.id);
    }
    plan.steps.push(Step::PutSlots(writes));
    for (group, slots) in by_owner {
        for (from, to) in slots.into_iter().collect::<SlotSet>().ranges() {
            let kind = ActionKind::MultiSlotChanged { from, to, status: SlotStatus::Online, group };
            plan.steps.push(Step::Announce { kind, confirm: true });
        }
    }
    Ok(plan)
}
