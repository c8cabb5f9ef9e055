//! Which slots to move next: decided on a snapshot, from the states of tasks and slots alone.

use std::collections::BTreeSet;

use codis_core::{Addr, Cluster, GroupId, Slot, SlotSet, SlotStatus, Versioned};

use super::task::Task;
use crate::announce::Telling;

/// A queued slot and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) task: Task,
    pub(crate) slot: Versioned<Slot>,
}

/// Slots that go the same way together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wave {
    pub(crate) from: GroupId,
    pub(crate) to: GroupId,
    /// Number of the request they came with.
    pub(crate) number: u64,
    /// Online at `from`: nothing has happened to them. Of a wave that turns back: in `migrate` the other way.
    pub(crate) fresh: Vec<Item>,
    /// In `migrate` since an earlier run.
    pub(crate) moving: Vec<Item>,
    /// Its slots were on their way from `to` to `from` when that was cancelled: keys are on both sides.
    pub(crate) turns_back: bool,
    /// How the proxies are told.
    pub(crate) telling: Telling,
    /// What is left of it waits for something that only people can change.
    pub(crate) held: bool,
}

impl Item {
    /// The number of its task.
    pub(crate) fn number(&self) -> u64 {
        self.task.number()
    }

    fn turns_back(&self) -> bool {
        self.task.turns_back(&self.slot)
    }
}

impl Wave {
    /// All its slots.
    pub(crate) fn slots(&self) -> SlotSet {
        self.items().map(|item| item.slot.id).collect()
    }

    /// The slots that are still to go through `pre_migrate`.
    pub(crate) fn fresh_slots(&self) -> SlotSet {
        self.fresh.iter().map(|item| item.slot.id).collect()
    }

    /// The slots of which the destination must not have a key yet.
    pub(crate) fn clean_slots(&self) -> SlotSet {
        if self.turns_back { SlotSet::default() } else { self.fresh_slots() }
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.fresh.iter().chain(&self.moving)
    }

    pub(crate) fn items_mut(&mut self) -> impl Iterator<Item = &mut Item> {
        self.fresh.iter_mut().chain(&mut self.moving)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Slots left in `pre_migrate` by a mover that is gone: back to where they were, at once.
    Unblock(Vec<Versioned<Slot>>),
    /// Slots that are online where they should be: announce it and delete their tasks.
    Finish(Vec<Item>),
    /// A task that cannot be done, and why.
    Hopeless(Item, String),
    /// Slots to move.
    Move(Wave),
    /// Nothing, or only tasks that failed in this run.
    Nothing,
}

/// What is being done while the next thing is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AtWork {
    /// Its slots.
    pub(crate) slots: SlotSet,
    /// The groups between which it moves keys, if it does.
    pub(crate) ends: Option<(GroupId, GroupId)>,
}

/// What a choice has to respect besides the snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Work on the original's queue, in its way.
    pub(crate) codis2: bool,
    /// Slots that may move together.
    pub(crate) wave_slots: usize,
    /// Waves that may be at work together.
    pub(crate) max_parallel: usize,
    /// Tasks that failed in this run: they are left for the next one.
    pub(crate) failed: &'a BTreeSet<u64>,
    /// Leave alone what has failed before, too.
    pub(crate) leave_failed: bool,
    /// What has been begun before the snapshot was taken and has not ended.
    pub(crate) at_work: &'a [AtWork],
}

/// Looks at a queue in its order.
///
/// A group whose master takes part in a wave gives and takes nothing else meanwhile, so a wave may overtake older ones that wait
/// for a server; those have their turn because the waves that can overtake them leave the queue. Beside a Go proxy, and in the
/// original's way, there is one wave at a time.
pub(crate) fn next(cluster: &Cluster, rules: &Rules<'_>) -> Next {
    let Rules { codis2, wave_slots, failed, leave_failed, at_work, .. } = *rules;
    let telling = telling(cluster, codis2);
    let item = |task: Task| Some(Item { slot: cluster.slot(task.slot())?.clone(), task });
    let mut items: Vec<Item> = Task::queue(cluster, codis2).into_iter().filter_map(item).collect();
    // The original lets a slot be queued twice; the second task has its turn when the first is done.
    let mut seen = BTreeSet::new();
    items.retain(|item| seen.insert(item.slot.id));
    items.retain(|item| !at_work.iter().any(|work| work.slots.contains(item.slot.id)));
    // Their requests wait, whatever becomes of their tasks.
    let blocked: Vec<Versioned<Slot>> =
        items.iter().filter(|item| is_blocked(item)).map(|item| &item.slot).cloned().collect();
    if !blocked.is_empty() {
        return Next::Unblock(blocked);
    }
    items.retain(|item| !failed.contains(&item.number()) && !item.task.is_paused());
    items.retain(|item| !(leave_failed && item.task.waits_for_a_person()));
    let done: Vec<Item> = items.iter().filter(|item| is_there(item)).cloned().collect();
    if !done.is_empty() {
        return Next::Finish(done);
    }
    if let Some((item, why)) = items.iter().find_map(|item| Some((item, hopeless(item)?))) {
        return Next::Hopeless(item.clone(), why);
    }
    let alone = telling == Telling::OneByOne;
    let waves = at_work.iter().filter(|work| work.ends.is_some()).count();
    if waves >= if alone { 1 } else { rules.max_parallel.max(1) } {
        return Next::Nothing;
    }
    let busy = busy(cluster, at_work);
    let free = |item: &&Item| {
        let (from, to) = ends(item);
        !busy.has(cluster, from) && !busy.has(cluster, to)
    };
    // Slots in `migrate` cost every request a look at the source, so they come first.
    let first = items.iter().filter(|item| is_moving(item)).find(free).or_else(|| items.iter().find(free));
    let Some(first) = first else { return Next::Nothing };
    let (from, to) = ends(first);
    let turns_back = first.turns_back();
    let number = first.task.wave();
    let mut wave =
        Wave { from, to, number, fresh: Vec::new(), moving: Vec::new(), turns_back, telling, held: false };
    // Told one by one, slots begin to move one by one; those that are on their way already arrive together.
    let many = !alone || is_moving(first) && !codis2;
    let with_first = |item: &&Item| {
        let alike = item.turns_back() == turns_back && (!alone || is_moving(item) == is_moving(first));
        ends(item) == (from, to) && alike
    };
    for item in items.iter().filter(with_first).take(if many { wave_slots.max(1) } else { 1 }) {
        if is_moving(item) { wave.moving.push(item.clone()) } else { wave.fresh.push(item.clone()) }
    }
    Next::Move(wave)
}

/// Groups and masters that take part in a wave.
struct Busy<'a> {
    groups: BTreeSet<GroupId>,
    masters: BTreeSet<&'a Addr>,
}

fn busy<'a>(cluster: &'a Cluster, at_work: &[AtWork]) -> Busy<'a> {
    let ends = at_work.iter().filter_map(|work| work.ends);
    let groups: BTreeSet<GroupId> = ends.flat_map(|(from, to)| [from, to]).collect();
    let masters = groups.iter().filter_map(|group| master(cluster, *group)).collect();
    Busy { groups, masters }
}

impl Busy<'_> {
    fn has(&self, cluster: &Cluster, group: GroupId) -> bool {
        let busy = |addr| self.masters.contains(addr);
        self.groups.contains(&group) || master(cluster, group).is_some_and(busy)
    }
}

fn master(cluster: &Cluster, group: GroupId) -> Option<&Addr> {
    Some(&cluster.groups.get(&group)?.master()?.addr)
}

/// How the proxies that are online now have to be told.
pub(crate) fn telling(cluster: &Cluster, codis2: bool) -> Telling {
    if codis2 || !cluster.all_ours() { Telling::OneByOne } else { Telling::Together }
}

/// In `pre_migrate`, with all keys still at the owner, or of a way back that its task knows of.
fn is_blocked(item: &Item) -> bool {
    let Item { slot, .. } = item;
    slot.status == SlotStatus::PreMigrate && (slot.moving().is_none() || item.turns_back())
}

fn is_there(item: &Item) -> bool {
    item.slot.status == SlotStatus::Online && item.slot.group == Some(item.task.to())
}

fn is_moving(item: &Item) -> bool {
    item.slot.status == SlotStatus::Migrate && !item.turns_back()
}

/// From where to where, as the slot says: its task was written when it may have had another owner.
fn ends(item: &Item) -> (GroupId, GroupId) {
    match item.slot.moving() {
        Some((from, to)) if item.turns_back() => (to, from),
        Some(ends) => ends,
        // One without an owner is hopeless and has not come here.
        None => (item.slot.group.unwrap_or(item.task.to()), item.task.to()),
    }
}

fn hopeless(item: &Item) -> Option<String> {
    let (slot, wanted) = (&item.slot, item.task.to());
    match slot.status {
        SlotStatus::Online if slot.group.is_some() => None,
        _ if item.turns_back() => None,
        SlotStatus::Migrate => match slot.moving() {
            Some((_, to)) if to == wanted && slot.group == Some(to) => None,
            Some((from, to)) => Some(format!("the slot migrates from group {from} to {to}, not to {wanted}")),
            None => Some("the slot is in migrate but does not say from where".to_owned()),
        },
        _ => Some(format!("the slot is {}", slot.status)),
    }
}

#[cfg(test)]
mod tests {
    use codis_core::{
        Extra, GoTask, Group, Move, MoveState, ProductName, Proxy, ProxyState, Role, Server, SlotId,
    };
    use proptest::prelude::*;

    use super::*;

    const S: GroupId = GroupId(1);
    const D: GroupId = GroupId(2);

    fn slot(number: u16) -> Slot {
        Slot::unassigned(SlotId::new(number).unwrap()).online_at(S)
    }

    fn cluster(slots: impl IntoIterator<Item = Slot>) -> Cluster {
        let mut cluster = Cluster::empty("test".parse::<ProductName>().unwrap());
        for (n, slot) in slots.into_iter().enumerate() {
            let task = Move {
                task: n as u64,
                slot: slot.id,
                from: S,
                to: D,
                state: MoveState::Pending,
                wave: 7,
                created: 0,
                keys_total: None,
                keys_moved: 0,
                held: false,
                note: String::new(),
                extra: Extra::default(),
            };
            let index = slot.id.index();
            cluster.slots[index] = Some(Versioned::new(slot, 3));
            cluster.moves.push(Versioned::new(task, 0));
        }
        cluster
    }

    fn look(cluster: &Cluster) -> Next {
        look_past(cluster, &[])
    }

    /// As `look`, after these tasks have failed.
    fn look_past(cluster: &Cluster, failed: &[u64]) -> Next {
        next(cluster, &Rules { failed: &failed.iter().copied().collect(), ..RULES })
    }

    const RULES: Rules<'static> = Rules {
        codis2: false,
        wave_slots: 512,
        max_parallel: 4,
        failed: &BTreeSet::new(),
        leave_failed: false,
        at_work: &[],
    };

    #[test]
    fn an_empty_queue_is_nothing_to_do() {
        assert_eq!(look(&cluster([])), Next::Nothing);
    }

    #[test]
    fn a_wave_takes_fresh_and_half_moved_slots_of_one_pair() {
        let elsewhere = slot(3).online_at(GroupId(5));
        let cluster = cluster([slot(1), slot(2).migrate(S, D), elsewhere, slot(4)]);
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!((wave.from, wave.to, wave.number), (S, D, 7));
        assert_eq!(wave.slots().to_string(), "1-2,4");
        assert_eq!(wave.fresh_slots().to_string(), "1,4");
    }

    #[test]
    fn slots_in_migrate_come_before_fresh_ones_of_other_pairs() {
        let cluster = cluster([slot(1).online_at(GroupId(5)), slot(2).migrate(S, D)]);
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!(wave.slots().to_string(), "2");
    }

    #[test]
    fn a_wave_is_bounded() {
        let cluster = cluster((0..600).map(slot));
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!(wave.fresh.len(), 512);
        let Next::Move(wave) = next(&cluster, &Rules { wave_slots: 0, ..RULES }) else { panic!("no wave") };
        assert_eq!(wave.fresh.len(), 1);
    }

    #[test]
    fn blocked_slots_are_freed_before_anything_else() {
        let cluster = cluster([slot(1).migrate(S, D), slot(2).pre_migrate(), slot(3).online_at(D)]);
        let Next::Unblock(slots) = look(&cluster) else { panic!("not unblocked") };
        assert_eq!(slots.len(), 1);
        assert_eq!((slots[0].id.get(), slots[0].version), (2, 3));
        // Also when its task has failed.
        assert!(matches!(look_past(&cluster, &[1]), Next::Unblock(_)));
    }

    #[test]
    fn the_pre_migrate_of_a_way_back_is_not_taken_for_a_fresh_one() {
        // Its keys are on both sides; online at either would hide some.
        let back = slot(1).migrate(S, D).pre_migrate();
        let Next::Hopeless(item, why) = look(&cluster([back])) else { panic!("acted") };
        assert_eq!((item.slot.id.get(), why.as_str()), (1, "the slot is pre_migrate"));
    }

    /// The same queue with the move of slot 1 cancelled.
    fn cancelled(mut cluster: Cluster) -> Cluster {
        let task = &mut cluster.moves[0].value;
        (task.from, task.to) = (task.to, task.from);
        cluster
    }

    #[test]
    fn a_cancelled_move_turns_back_in_a_wave_of_its_own() {
        let cluster = cancelled(cluster([slot(1).migrate(S, D), slot(2).migrate(S, D), slot(3)]));
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!((wave.from, wave.to, wave.slots().to_string().as_str()), (S, D, "2-3"));
        let Next::Move(wave) = look_past(&cluster, &[1, 2]) else { panic!("no wave") };
        assert_eq!((wave.from, wave.to, wave.turns_back), (D, S, true));
        assert_eq!((wave.fresh.len(), wave.moving.len()), (1, 0));
        assert!(wave.clean_slots().is_empty(), "keys are on both sides");
    }

    #[test]
    fn a_way_back_that_was_left_in_pre_migrate_is_freed_first() {
        let cluster = cancelled(cluster([slot(1).migrate(S, D).pre_migrate(), slot(2)]));
        let Next::Unblock(slots) = look(&cluster) else { panic!("not unblocked") };
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn a_way_back_goes_on_and_ends_where_it_came_from() {
        let going = cancelled(cluster([slot(1).migrate(D, S)]));
        let Next::Move(wave) = look(&going) else { panic!("no wave") };
        assert_eq!((wave.from, wave.to, wave.turns_back, wave.moving.len()), (D, S, false, 1));
        let there = cancelled(cluster([slot(1)]));
        assert!(matches!(look(&there), Next::Finish(items) if items.len() == 1));
    }

    #[test]
    fn paused_tasks_are_left_alone_but_their_requests_do_not_wait() {
        let mut cluster = cluster([slot(1).migrate(S, D), slot(2)]);
        cluster.moves[0].value.state = MoveState::Paused;
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!(wave.slots().to_string(), "2");
        cluster.slots[1] = Some(Versioned::new(slot(1).pre_migrate(), 0));
        assert!(matches!(look(&cluster), Next::Unblock(_)));
    }

    #[test]
    fn slots_that_have_arrived_are_finished() {
        let Next::Finish(items) = look(&cluster([slot(1), slot(2).online_at(D)])) else {
            panic!("not finished")
        };
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].number(), 1);
    }

    #[test]
    fn what_cannot_be_done_says_why() {
        let cases = [
            (Slot::unassigned(SlotId::new(1).unwrap()), "the slot is offline"),
            (slot(1).migrate(S, GroupId(9)), "the slot migrates from group 1 to 9, not to 2"),
            (
                Slot { from: None, to: None, ..slot(1).migrate(S, D) },
                "the slot is in migrate but does not say from where",
            ),
        ];
        for (slot, expected) in cases {
            let Next::Hopeless(_, why) = look(&cluster([slot])) else { panic!("{expected}") };
            assert_eq!(why, expected);
        }
    }

    /// A proxy without our mark.
    fn go_proxy() -> Proxy {
        Proxy {
            id: "go".parse().unwrap(),
            addr: "127.0.0.1:19000".parse().unwrap(),
            state: ProxyState::Online,
            debug_var_addr: String::new(),
            pid: 1,
            start_at: "2026-11-22 08:00:59 +0000 UTC".into(),
            extra: Extra::default(),
        }
    }

    #[test]
    fn beside_a_go_proxy_slots_begin_one_by_one_and_arrive_together() {
        let mut cluster = cluster([slot(1), slot(2).migrate(S, D), slot(3), slot(4).migrate(S, D)]);
        let proxy = go_proxy();
        cluster.proxies.insert(proxy.id.clone(), Versioned::new(proxy, 0));
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!((wave.slots().to_string().as_str(), wave.telling), ("2,4", Telling::OneByOne));
        let Next::Move(wave) = look_past(&cluster, &[1, 3]) else { panic!("no wave") };
        assert_eq!(wave.slots().to_string(), "1");
    }

    #[test]
    fn a_slot_that_is_queued_twice_is_moved_by_the_first_task() {
        let mut cluster = cluster([slot(1).pre_migrate(), slot(1).migrate(S, D)]);
        cluster.moves[1].value.to = GroupId(9);
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!((wave.to, wave.items().count()), (D, 1));
    }

    #[test]
    fn the_two_queues_are_never_mixed() {
        let mut cluster = cluster([slot(1)]);
        let task = GoTask {
            name: "0000000004".into(),
            slot: SlotId::new(9).unwrap(),
            to: D,
            delay_ms: 15,
            created: 3,
            status: "pending".into(),
            extra: Extra::default(),
        };
        cluster.slots[9] = Some(Versioned::new(slot(9), 0));
        cluster.go_tasks = vec![Versioned::new(task, 0)];
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!(wave.slots().to_string(), "1");
        let Next::Move(wave) = next(&cluster, &Rules { codis2: true, wave_slots: 1, ..RULES }) else {
            panic!("no wave")
        };
        assert_eq!((wave.slots().to_string().as_str(), wave.number), ("9", 3000));
        assert_eq!(wave.fresh[0].task.argument(), "--as codis2 4");
    }

    #[test]
    fn tasks_that_failed_in_this_run_are_left_alone() {
        let cluster = cluster([slot(1), slot(2)]);
        let Next::Move(wave) = look_past(&cluster, &[0]) else { panic!("no wave") };
        assert_eq!(wave.slots().to_string(), "2");
        assert_eq!(look_past(&cluster, &[0, 1]), Next::Nothing);
    }

    /// A queue of one slot for each of these ways; those that say so are in `migrate`.
    fn queue_of(ways: &[(u32, u32, bool)]) -> Cluster {
        let slots = ways.iter().zip(0..).map(|(&(from, to, moving), n)| {
            let (from, to) = (GroupId(from), GroupId(to));
            let slot = slot(n).online_at(from);
            if moving { slot.migrate(from, to) } else { slot }
        });
        let mut cluster = cluster(slots);
        for (task, &(from, to, _)) in cluster.moves.iter_mut().zip(ways) {
            (task.value.from, task.value.to) = (GroupId(from), GroupId(to));
        }
        cluster
    }

    fn at_work(wave: &Wave) -> AtWork {
        AtWork { slots: wave.slots(), ends: Some((wave.from, wave.to)) }
    }

    #[test]
    fn waves_that_share_no_group_are_at_work_together() {
        let cluster = queue_of(&[(1, 3, false), (1, 4, false), (2, 3, false), (2, 4, false), (5, 6, true)]);
        let mut begun = Vec::new();
        while let Next::Move(wave) = next(&cluster, &Rules { at_work: &begun, ..RULES }) {
            begun.push(at_work(&wave));
        }
        let ends: Vec<(u32, u32)> = begun.iter().filter_map(|w| w.ends).map(|(s, d)| (s.0, d.0)).collect();
        assert_eq!(ends, [(5, 6), (1, 3), (2, 4)], "those in migrate first, then as many as have servers");
        assert_eq!(next(&cluster, &Rules { at_work: &begun[..1], max_parallel: 1, ..RULES }), Next::Nothing);
    }

    #[test]
    fn a_server_of_two_groups_takes_part_in_one_wave() {
        let mut cluster = queue_of(&[(1, 3, false), (2, 4, false)]);
        for group in [3, 4] {
            let server = Server::new("10.0.0.1:6379".parse().unwrap(), GroupId(group), Role::Master);
            let group = Group { id: GroupId(group), servers: vec![Versioned::new(server, 0)] };
            cluster.groups.insert(group.id, group);
        }
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!(next(&cluster, &Rules { at_work: &[at_work(&wave)], ..RULES }), Next::Nothing);
    }

    #[test]
    fn what_is_at_work_is_not_taken_for_the_leftovers_of_a_dead_mover() {
        let cluster = cluster([slot(1).pre_migrate(), slot(2).online_at(D)]);
        let ours = AtWork { slots: "1-2".parse().unwrap(), ends: Some((S, D)) };
        assert_eq!(next(&cluster, &Rules { at_work: &[ours], ..RULES }), Next::Nothing);
    }

    #[test]
    fn beside_a_go_proxy_there_is_one_wave_at_a_time() {
        let mut cluster = queue_of(&[(1, 3, false), (2, 4, false)]);
        let proxy = go_proxy();
        cluster.proxies.insert(proxy.id.clone(), Versioned::new(proxy, 0));
        let Next::Move(wave) = look(&cluster) else { panic!("no wave") };
        assert_eq!(next(&cluster, &Rules { at_work: &[at_work(&wave)], ..RULES }), Next::Nothing);
    }

    proptest! {
        /// Waves begin as long as there are any, and then one of them ends, until the queue is empty.
        #[test]
        fn every_slot_has_its_turn_and_no_server_two(
            ways in prop::collection::vec((1u32..7, 1u32..6, any::<bool>()), 1..60),
            max_parallel in 1usize..5,
            wave_slots in 1usize..8,
            ends in prop::collection::vec(any::<prop::sample::Index>(), 60),
        ) {
            // From each group to one of the others.
            let ways: Vec<_> = ways.iter().map(|&(s, step, moving)| (s, (s + step - 1) % 6 + 1, moving)).collect();
            let mut cluster = queue_of(&ways);
            let mut working: Vec<Wave> = Vec::new();
            for end in ends {
                loop {
                    let at_work: Vec<AtWork> = working.iter().map(at_work).collect();
                    let rules = Rules { wave_slots, max_parallel, at_work: &at_work, ..RULES };
                    let Next::Move(wave) = next(&cluster, &rules) else { break };
                    prop_assert!(working.len() < max_parallel && wave.items().count() <= wave_slots);
                    let taken: Vec<GroupId> = working.iter().flat_map(|w| [w.from, w.to]).collect();
                    prop_assert!(!taken.contains(&wave.from) && !taken.contains(&wave.to));
                    // Nothing of this pair was queued before what it takes.
                    let mine: Vec<u64> = cluster.moves.iter()
                        .filter(|task| (task.from, task.to) == (wave.from, wave.to))
                        .map(|task| task.task)
                        .take(wave.items().count())
                        .collect();
                    let mut numbers: Vec<u64> = wave.items().map(Item::number).collect();
                    numbers.sort_unstable();
                    prop_assert_eq!(numbers, mine);
                    working.push(wave);
                }
                if working.is_empty() {
                    break;
                }
                let done = working.remove(end.index(working.len()));
                cluster.moves.retain(|task| !done.slots().contains(task.slot));
            }
            prop_assert!(cluster.moves.is_empty(), "left: {:?}", cluster.moves);
        }
    }
}
