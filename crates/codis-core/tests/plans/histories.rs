//! Whatever is asked in whatever order, these things stay true.

use codis_core::plan::{self, Plan, Refusal, Step};
use codis_core::{ActionKind, Addr, Cluster, GroupId, Role, SlotId, SlotSet, SlotStatus, Versioned};
use proptest::prelude::*;

use crate::world::{addr, product, run, stock};

/// What an operator may try.
#[derive(Debug, Clone)]
enum Try {
    AddGroup(u32, u16),
    AddServer(u32, u16, Role),
    RemoveServer(u32, u16),
    RemoveGroup(u32),
    Promote(u32, u16, bool),
    Assign(u16, u16, u32),
    Migrate(u16, u16, u32),
    /// Moves a queued slot one state on, as a mover does.
    Advance(u16),
}

fn tries() -> impl Strategy<Value = Try> {
    let group = 1u32..5;
    let port = 7000u16..7010;
    let role = prop_oneof![Just(Role::Master), Just(Role::Slave), Just(Role::Offline)];
    let slot = 0u16..1024;
    prop_oneof![
        (group.clone(), port.clone()).prop_map(|(g, p)| Try::AddGroup(g, p)),
        (group.clone(), port.clone(), role).prop_map(|(g, p, r)| Try::AddServer(g, p, r)),
        (group.clone(), port.clone()).prop_map(|(g, p)| Try::RemoveServer(g, p)),
        group.clone().prop_map(Try::RemoveGroup),
        (group.clone(), port, any::<bool>()).prop_map(|(g, p, f)| Try::Promote(g, p, f)),
        (slot.clone(), 1u16..64, group.clone()).prop_map(|(s, n, g)| Try::Assign(s, n, g)),
        (slot.clone(), 1u16..64, group).prop_map(|(s, n, g)| Try::Migrate(s, n, g)),
        slot.prop_map(Try::Advance),
    ]
}

fn range(first: u16, count: u16) -> SlotSet {
    (first..first.saturating_add(count)).filter_map(SlotId::new).collect()
}

fn attempt(cluster: &Cluster, what: &Try) -> Result<Plan, Refusal> {
    match what {
        Try::AddGroup(g, p) => plan::add_group(cluster, GroupId(*g), Some(&addr(*p)), &[]),
        Try::AddServer(g, p, r) => plan::add_server(cluster, GroupId(*g), &addr(*p), *r),
        Try::RemoveServer(g, p) => plan::remove_server(cluster, GroupId(*g), &addr(*p)),
        Try::RemoveGroup(g) => plan::remove_group(cluster, GroupId(*g)),
        Try::Promote(g, p, f) => plan::promote(cluster, GroupId(*g), &addr(*p), *f),
        Try::Assign(s, n, g) => plan::assign(cluster, &range(*s, *n), GroupId(*g)),
        Try::Migrate(s, n, g) => plan::migrate(cluster, &range(*s, *n), GroupId(*g), &stock(), 0),
        Try::Advance(_) => unreachable!("not planned"),
    }
}

fn advance(cluster: &mut Cluster, number: u16) {
    let id = SlotId::new(number).unwrap();
    let Some(task) = cluster.move_of(id).cloned() else { return };
    let slot = cluster.slot(id).unwrap().clone();
    let next = match slot.status {
        SlotStatus::Online => slot.pre_migrate(),
        SlotStatus::PreMigrate => slot.migrate(task.from, task.to),
        SlotStatus::Migrate => slot.online_at(task.to),
        SlotStatus::Offline => return,
    };
    let done = next.status == SlotStatus::Online;
    cluster.apply(&Step::PutSlots(vec![Versioned::new(next, slot.version)]));
    if done {
        cluster.apply(&Step::DeleteMoves(vec![task]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is tried in whatever order: the snapshot stays consistent, a slot that was served
    /// goes on being served by a group with a master, and every server is in one group.
    #[test]
    fn no_history_of_plans_breaks_a_product(history in proptest::collection::vec(tries(), 1..60)) {
        let mut cluster = product();
        for what in &history {
            if let Try::Advance(slot) = what {
                advance(&mut cluster, *slot);
                continue;
            }
            let Ok(plan) = attempt(&cluster, what) else { continue };
            for step in &plan.steps {
                cluster.apply(step);
                prop_assert_eq!(cluster.check(), Ok(()), "after {} of {:?}", step, what);
            }
            for slot in cluster.known_slots().filter(|slot| slot.status != SlotStatus::Offline) {
                let owner = slot.group.and_then(|group| cluster.groups.get(&group));
                prop_assert!(owner.is_some_and(|group| group.master().is_some()), "{what:?} orphaned {slot:?}");
            }
            let mut all: Vec<&Addr> = cluster.groups.values().flat_map(|g| &g.servers).map(|s| &s.addr).collect();
            let listed = all.len();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), listed, "{:?} listed a server twice", what);
        }
    }

    /// Asking for the same thing again changes nothing more in the store.
    #[test]
    fn a_plan_carried_out_is_not_carried_out_twice(history in proptest::collection::vec(tries(), 1..30)) {
        let mut cluster = product();
        for what in &history {
            if matches!(what, Try::Advance(_) | Try::RemoveServer(..) | Try::RemoveGroup(_)) { continue }
            let Ok(plan) = attempt(&cluster, what) else { continue };
            plan.steps.iter().for_each(|step| cluster.apply(step));
            let Ok(again) = attempt(&cluster, what) else {
                prop_assert!(matches!(what, Try::Promote(_, _, false)), "{what:?} is refused the second time");
                continue;
            };
            let mut twice = cluster.clone();
            again.steps.iter().for_each(|step| twice.apply(step));
            prop_assert_eq!(&twice, &cluster, "{:?}", what);
        }
    }

    /// Every announcement of a slot range names slots that the plan or the store has at that group.
    #[test]
    fn announced_ranges_are_what_is_written(first in 0u16..1000, count in 1u16..24) {
        let mut cluster = Cluster::empty("test".parse().unwrap());
        let init = plan::init(&cluster);
        run(&mut cluster, init);
        let group = plan::add_group(&cluster, GroupId(1), Some(&addr(7001)), &[]);
        run(&mut cluster, group);
        let plan = plan::assign(&cluster, &range(first, count), GroupId(1)).unwrap();
        plan.steps.iter().for_each(|step| cluster.apply(step));
        for step in &plan.steps {
            if let Step::Announce { kind: ActionKind::MultiSlotChanged { from, to, group, .. }, .. } = step {
                for number in from.get()..=to.get() {
                    prop_assert_eq!(cluster.slot(SlotId::new(number).unwrap()).unwrap().group, *group);
                }
            }
        }
    }
}
