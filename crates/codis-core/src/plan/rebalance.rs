//! Evening out what the groups carry, and emptying one of them.
//!
//! Which slots go where is decided on the average slot of each group: what a single slot holds is known only after a
//! scan, and slots are given out by hash, so those of one group differ little. Every move must bring the two groups that it
//! concerns closer to their shares, so no slot moves that need not, and a product that is even is left alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Plan, Refusal, Step,
    migrate::migrate,
    plural,
    refusal::{group, master},
};
use crate::{Cluster, GroupId, Move, SlotId, SlotSet, SlotStatus};

/// What one group carries and what it should carry, in whatever unit; only ratios count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burden {
    /// What its slots weigh now, all together: slots, bytes, requests a second.
    pub load: f64,
    /// What it can carry compared with the others: 1 for each, or its memory limit.
    pub capacity: f64,
}

/// Slots that change hands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shift {
    slots: SlotSet,
    from: GroupId,
    to: GroupId,
}

/// Queues the moves after which every group carries its share of `burdens`, as nearly as whole slots allow. `by` is what is
/// evened out, for people. A group without a burden takes no part. `native` and `now_ms` as for [`super::migrate()`].
///
/// Refused while tasks are queued (what they do would be counted twice), while a slot is not online, and as
/// [`super::migrate()`].
pub fn rebalance(
    cluster: &Cluster,
    by: &str,
    burdens: &BTreeMap<GroupId, Burden>,
    native: &BTreeSet<GroupId>,
    now_ms: u64,
) -> Result<Plan, Refusal> {
    let what = "cannot rebalance";
    let owned = owned_slots(cluster, burdens, what)?;
    let shifts = even_out(&owned, burdens, None);
    queued(cluster, format!("even out {by}"), &shifts, native, now_ms)
}

/// Queues the moves after which `empty` has no slots: they go to the groups in `burdens`, to each as much as it can take
/// compared with the others. No other group gives anything.
///
/// Refused as [`rebalance`], and if there is no group to take them.
pub fn drain(
    cluster: &Cluster,
    empty: GroupId,
    burdens: &BTreeMap<GroupId, Burden>,
    native: &BTreeSet<GroupId>,
    now_ms: u64,
) -> Result<Plan, Refusal> {
    let what = format!("cannot drain group {empty}");
    group(cluster, empty, &what)?;
    if burdens.keys().all(|id| *id == empty) {
        let why = "no other group can take its slots";
        return Err(Refusal::unsafe_(what, format!("servers/group_{empty}"), why)
            .next("codisctl group add GROUP --master HOST:PORT"));
    }
    let owned = owned_slots(cluster, burdens, &what)?;
    let shifts = even_out(&owned, burdens, Some(empty));
    queued(cluster, format!("drain group {empty}"), &shifts, native, now_ms)
}

/// The slots of each group, all online and none spoken for.
fn owned_slots(
    cluster: &Cluster,
    burdens: &BTreeMap<GroupId, Burden>,
    what: &str,
) -> Result<BTreeMap<GroupId, Vec<SlotId>>, Refusal> {
    for id in burdens.keys() {
        master(&group(cluster, *id, what)?, what)?;
    }
    if let Some(task) = cluster.moves.first() {
        let why = format!("{} queued", plural(cluster.moves.len(), "task is", "tasks are"));
        return Err(Refusal::unsafe_(what, format!("moves/{:010}", task.task), why)
            .next("codisctl migrate run    or: codisctl task delete TASK"));
    }
    if let Some(task) = cluster.go_tasks.first() {
        let why =
            format!("{} in the Go tools' queue", plural(cluster.go_tasks.len(), "task is", "tasks are"));
        return Err(Refusal::unsafe_(what, format!("migrate_tasks/{}", task.name), why)
            .next("codisctl migrate run --as codis2    or: codisctl task delete --as codis2 TASK"));
    }
    let mut owned: BTreeMap<GroupId, Vec<SlotId>> = BTreeMap::new();
    for id in SlotId::all() {
        let slot = super::refusal::slot(cluster, id, what)?;
        match (slot.status, slot.group) {
            (SlotStatus::Online, Some(owner)) => owned.entry(owner).or_default().push(id),
            (status, _) => {
                let next = match status {
                    SlotStatus::Offline => format!("codisctl slot assign {id} GROUP"),
                    _ => "codisctl migrate run    finishes the move".to_owned(),
                };
                return Err(
                    Refusal::unsafe_(what, format!("slots/slot_{id}"), format!("it is {status}")).next(next)
                );
            }
        }
    }
    Ok(owned)
}

/// Who gives how many slots to whom; `drained` is the only giver, and gives all, if it is named.
fn even_out(
    owned: &BTreeMap<GroupId, Vec<SlotId>>,
    burdens: &BTreeMap<GroupId, Burden>,
    drained: Option<GroupId>,
) -> Vec<Shift> {
    let mut sides: Vec<Side> = burdens
        .iter()
        .map(|(id, burden)| {
            let slots = owned.get(id).map_or(0, Vec::len);
            Side::new(*id, *burden, slots)
        })
        .collect();
    // The load goes to those that may carry it.
    let total: f64 = sides.iter().map(|side| side.load).sum();
    let capacity: f64 = sides.iter().filter(|s| Some(s.id) != drained).map(|s| s.capacity).sum();
    for side in &mut sides {
        let part = if Some(side.id) == drained || capacity <= 0.0 { 0.0 } else { side.capacity / capacity };
        side.share = total * part;
    }
    let mut counts: BTreeMap<(GroupId, GroupId), usize> = BTreeMap::new();
    while let Some((giver, taker)) = next_move(&sides, drained) {
        let weight = sides[giver].slot_weight;
        sides[giver].load -= weight;
        sides[giver].left -= 1;
        sides[giver].gives = true;
        sides[taker].load += weight;
        sides[taker].takes = true;
        *counts.entry((sides[giver].id, sides[taker].id)).or_default() += 1;
    }
    hand_out(owned, &counts)
}

/// A group while moves are being decided.
#[derive(Debug)]
struct Side {
    id: GroupId,
    load: f64,
    capacity: f64,
    share: f64,
    /// What one of its own slots weighs, on average.
    slot_weight: f64,
    /// Its own slots that it has not given away.
    left: usize,
    gives: bool,
    takes: bool,
}

impl Side {
    #[expect(clippy::cast_precision_loss, reason = "at most 1024 slots")]
    fn new(id: GroupId, burden: Burden, slots: usize) -> Self {
        let load = if burden.load.is_finite() { burden.load.max(0.0) } else { 0.0 };
        let capacity = if burden.capacity.is_finite() { burden.capacity.max(0.0) } else { 0.0 };
        let slot_weight = if slots == 0 { 0.0 } else { load / slots as f64 };
        Self { id, load, capacity, share: 0.0, slot_weight, left: slots, gives: false, takes: false }
    }

    fn surplus(&self) -> f64 {
        self.load - self.share
    }
}

/// The next slot to move, as places in `sides` of who gives and who takes it: from the group that is furthest above its share
/// to the one that is furthest below. `None` if that would not bring them closer to their shares.
fn next_move(sides: &[Side], drained: Option<GroupId>) -> Option<(usize, usize)> {
    let by_surplus = |a: &&(usize, &Side), b: &&(usize, &Side)| a.1.surplus().total_cmp(&b.1.surplus());
    let places: Vec<(usize, &Side)> = sides.iter().enumerate().collect();
    let may_give = |side: &Side| match drained {
        Some(drained) => side.id == drained,
        None => !side.takes,
    };
    let taker = places
        .iter()
        .filter(|(_, side)| !side.gives && side.capacity > 0.0 && Some(side.id) != drained)
        .min_by(by_surplus)?;
    let giver = places
        .iter()
        .filter(|(place, side)| *place != taker.0 && side.left > 0 && may_give(side))
        .max_by(by_surplus)?;
    let weight = giver.1.slot_weight;
    let before = giver.1.surplus().abs() + taker.1.surplus().abs();
    let after = (giver.1.surplus() - weight).abs() + (taker.1.surplus() + weight).abs();
    // Rounding must not look like a gain.
    let gains = weight > 0.0 && before - after > weight * 1e-6;
    (gains || drained.is_some()).then_some((giver.0, taker.0))
}

/// Picks the slots: each giver's last ones, so that what it keeps and what each taker gets are runs as long as possible.
fn hand_out(
    owned: &BTreeMap<GroupId, Vec<SlotId>>,
    counts: &BTreeMap<(GroupId, GroupId), usize>,
) -> Vec<Shift> {
    let mut left = owned.clone();
    let mut shifts = Vec::new();
    for (&(from, to), &count) in counts {
        let Some(slots) = left.get_mut(&from) else { continue };
        let given = slots.split_off(slots.len().saturating_sub(count));
        shifts.push(Shift { slots: given.into_iter().collect(), from, to });
    }
    shifts
}

/// One plan for all shifts, which together are one wave for each pair of groups.
fn queued(
    cluster: &Cluster,
    title: String,
    shifts: &[Shift],
    native: &BTreeSet<GroupId>,
    now_ms: u64,
) -> Result<Plan, Refusal> {
    let slots: usize = shifts.iter().map(|shift| shift.slots.len()).sum();
    let mut plan = Plan::new(match slots {
        0 => title,
        slots => format!("{title}: move {}", plural(slots, "slot", "slots")),
    });
    if shifts.is_empty() {
        plan.note("nothing has to move");
    }
    let mut moves: Vec<Move> = Vec::new();
    for shift in shifts {
        let part = migrate(cluster, &shift.slots, shift.to, native, now_ms)?;
        plan.notes.extend(part.notes);
        for step in part.steps {
            match step {
                Step::QueueMoves(queued) => moves.extend(queued),
                other => plan.steps.push(other),
            }
        }
    }
    if !moves.is_empty() {
        plan.steps.push(Step::QueueMoves(moves));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Slots 0, 1, .. given out to groups 1, 2, .. in these numbers.
    fn owned(counts: &[usize]) -> BTreeMap<GroupId, Vec<SlotId>> {
        let mut ids = SlotId::all();
        let take = |(group, count): (u32, &usize)| (GroupId(group), ids.by_ref().take(*count).collect());
        (1..).zip(counts).map(take).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn by_slots(counts: &[usize], capacities: &[f64]) -> BTreeMap<GroupId, Burden> {
        let one = |(count, capacity): (&usize, &f64)| Burden { load: *count as f64, capacity: *capacity };
        (1..).map(GroupId).zip(counts.iter().zip(capacities).map(one)).collect()
    }

    fn sizes(counts: &[usize], shifts: &[Shift]) -> Vec<usize> {
        let mut sizes = counts.to_vec();
        for shift in shifts {
            sizes[shift.from.0 as usize - 1] -= shift.slots.len();
            sizes[shift.to.0 as usize - 1] += shift.slots.len();
        }
        sizes
    }

    fn told(shifts: &[Shift]) -> Vec<String> {
        shifts.iter().map(|s| format!("{} → {}: {}", s.from, s.to, s.slots)).collect()
    }

    #[test]
    fn a_new_group_is_filled_by_all_others_with_their_last_slots() {
        let counts = [342, 341, 341, 0];
        let shifts = even_out(&owned(&counts), &by_slots(&counts, &[1.0; 4]), None);
        assert_eq!(told(&shifts), ["1 → 4: 256-341", "2 → 4: 598-682", "3 → 4: 939-1023"]);
    }

    #[test]
    fn a_group_with_twice_the_memory_gets_twice_the_slots() {
        let counts = [512, 512];
        let shifts = even_out(&owned(&counts), &by_slots(&counts, &[1.0, 2.0]), None);
        assert_eq!(told(&shifts), ["1 → 2: 341-511"]);
    }

    #[test]
    fn busy_slots_are_fewer_to_move() {
        let counts = [512, 512];
        let burdens = [(1, 9000.0), (2, 3000.0)];
        let burdens =
            burdens.map(|(id, load)| (GroupId(id), Burden { load, capacity: 1.0 })).into_iter().collect();
        let shifts = even_out(&owned(&counts), &burdens, None);
        // A slot of group 1 weighs 17.6, so 171 of them are the 3000 that it has too many.
        assert_eq!(shifts.len(), 1);
        assert_eq!(shifts[0].slots.len(), 171);
    }

    #[test]
    fn a_drained_group_gives_everything_and_nobody_else_gives_anything() {
        let counts = [10, 600, 414];
        let shifts = even_out(&owned(&counts), &by_slots(&counts, &[1.0; 3]), Some(GroupId(1)));
        assert_eq!(told(&shifts), ["1 → 3: 0-9"]);
    }

    #[test]
    fn a_drained_group_without_load_is_emptied_all_the_same() {
        let counts = [4, 510, 510];
        let idle = Burden { load: 0.0, capacity: 1.0 };
        let burdens = (1..=3).map(|id| (GroupId(id), idle)).collect();
        let shifts = even_out(&owned(&counts), &burdens, Some(GroupId(1)));
        assert_eq!(shifts.iter().map(|shift| shift.slots.len()).sum::<usize>(), 4);
    }

    fn counts() -> impl Strategy<Value = Vec<usize>> {
        // Cuts of the slots into 1 to 12 runs.
        prop::collection::vec(0usize..=1024, 0..12).prop_map(|mut cuts| {
            cuts.extend([0, 1024]);
            cuts.sort_unstable();
            cuts.windows(2).map(|cut| cut[1] - cut[0]).collect()
        })
    }

    proptest! {
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        fn every_group_ends_within_a_slot_of_its_share_with_the_fewest_moves(counts in counts()) {
            let groups = counts.len();
            let shifts = even_out(&owned(&counts), &by_slots(&counts, &vec![1.0; groups]), None);
            let after = sizes(&counts, &shifts);
            let share = 1024.0 / groups as f64;
            prop_assert!(after.iter().all(|count| (*count as f64 - share).abs() < 1.0), "{after:?}");
            // Fewest: those that have most keep the slots that are left over when 1024 is divided.
            let mut sorted = counts.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            let quota = |rank: usize| 1024 / groups + usize::from(rank < 1024 % groups);
            let fewest: usize = sorted.iter().enumerate().map(|(i, n)| n.saturating_sub(quota(i))).sum();
            prop_assert_eq!(shifts.iter().map(|shift| shift.slots.len()).sum::<usize>(), fewest);
        }

        #[test]
        fn nobody_both_gives_and_takes_and_no_slot_moves_twice(
            counts in counts(),
            loads in prop::collection::vec((0.0..1e12, 0.0..100.0), 13),
        ) {
            let one = |(load, capacity): &(f64, f64)| Burden { load: *load, capacity: *capacity };
            let burdens = (1..).map(GroupId).zip(loads.iter().map(one)).take(counts.len()).collect();
            let shifts = even_out(&owned(&counts), &burdens, None);
            let mut seen = BTreeSet::new();
            for shift in &shifts {
                prop_assert!(shifts.iter().all(|other| other.to != shift.from));
                prop_assert!(shift.slots.iter().all(|slot| seen.insert(slot)));
            }
        }

        #[test]
        fn what_is_even_is_left_alone(counts in counts(), capacities in prop::collection::vec(1.0..10.0, 13)) {
            let capacities = &capacities[..counts.len()];
            let shifts = even_out(&owned(&counts), &by_slots(&counts, capacities), None);
            let now = sizes(&counts, &shifts);
            prop_assert_eq!(even_out(&owned(&now), &by_slots(&now, capacities), None), vec![]);
        }
    }
}
