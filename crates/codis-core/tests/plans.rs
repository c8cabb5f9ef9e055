//! What planners allow, refuse and preserve, as tables and as properties over random histories.

use codis_core::plan::{self, Plan, Refusal, RefusalKind, Step};
use codis_core::{
    ActionKind, Addr, Cluster, Dashboard, Extra, GroupId, Proxy, ProxyState, Role, SlotId, SlotSet,
    SlotStatus, Versioned,
};
use proptest::prelude::*;

fn addr(port: u16) -> Addr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}

fn run(cluster: &mut Cluster, plan: Result<Plan, Refusal>) {
    for step in plan.unwrap().steps {
        cluster.apply(&step);
    }
}

/// Groups 1 and 2 with a slave each; slots 0-511 at 1, 512-1023 at 2.
fn product() -> Cluster {
    let mut cluster = Cluster::empty("test".parse().unwrap());
    let plan = plan::init(&cluster);
    run(&mut cluster, plan);
    for (group, port) in [(1, 7001), (2, 7003)] {
        let plan = plan::add_group(&cluster, GroupId(group), Some(&addr(port)), &[addr(port + 1)]);
        run(&mut cluster, plan);
    }
    for (range, group) in [("0-511", 1), ("512-1023", 2)] {
        let plan = plan::assign(&cluster, &slots(range), GroupId(group));
        run(&mut cluster, plan);
    }
    cluster
}

fn proxy(cluster: &mut Cluster, id: &str, state: ProxyState, start_at: &str) {
    let port = 19000 + cluster.proxies.len();
    let addr: Addr = format!("127.0.0.1:{port}").parse().unwrap();
    cluster.fences.insert(addr.as_str().to_owned());
    let proxy = Proxy {
        id: id.parse().unwrap(),
        addr,
        state,
        debug_var_addr: String::new(),
        pid: 1,
        start_at: start_at.to_owned(),
        extra: Extra::default(),
    };
    cluster.proxies.insert(proxy.id.clone(), Versioned::new(proxy, 0));
}

#[track_caller]
fn refused(result: Result<Plan, Refusal>, kind: RefusalKind, why: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.kind, kind, "{refusal:?}");
    assert!(refusal.why.contains(why), "{refusal:?} should say {why:?}");
    assert!(!refusal.next.is_empty(), "{refusal:?} says what to do next");
}

#[test]
fn init_creates_what_is_missing_and_refuses_a_product_in_use() {
    let mut cluster = Cluster::empty("test".parse().unwrap());
    let whole = plan::init(&cluster).unwrap();
    assert_eq!(whole.steps, [Step::CreateSlots(slots("0-1023"))]);
    cluster.apply(&Step::CreateSlots(slots("0-99")));
    assert_eq!(plan::init(&cluster).unwrap().steps, [Step::CreateSlots(slots("100-1023"))]);
    refused(plan::init(&product()), RefusalKind::Unsafe, "in use");
}

#[test]
fn a_group_gets_its_master_before_its_slaves_and_proxies_hear_of_it() {
    let cluster = Cluster::empty("test".parse().unwrap());
    let plan = plan::add_group(&cluster, GroupId(3), Some(&addr(7005)), &[addr(7006)]).unwrap();
    let lines: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "servers/group_3: created",
            "actions: group_changed",
            "servers/group_3/127.0.0.1:7005: created, master",
            "actions: group_changed, acknowledged by every online proxy",
            "servers/group_3/127.0.0.1:7006: created, slave",
            "server 127.0.0.1:7006: replicates from 127.0.0.1:7005",
        ]
    );
}

#[test]
fn adding_a_group_again_completes_it() {
    let mut cluster = Cluster::empty("test".parse().unwrap());
    let ask = |cluster: &Cluster| plan::add_group(cluster, GroupId(3), Some(&addr(7005)), &[addr(7006)]);
    let whole = ask(&cluster).unwrap().steps;
    for stop in 0..=whole.len() {
        let mut interrupted = cluster.clone();
        whole[..stop].iter().for_each(|step| interrupted.apply(step));
        let rest = ask(&interrupted);
        run(&mut interrupted, rest);
        whole.iter().for_each(|step| cluster.apply(step));
        assert_eq!(interrupted.groups, cluster.groups, "stopped after {stop} steps");
        cluster = Cluster::empty("test".parse().unwrap());
    }
}

#[test]
fn a_group_has_one_master() {
    let mut cluster = product();
    let second = plan::add_server(&cluster, GroupId(1), &addr(7009), Role::Master);
    refused(second, RefusalKind::Unsafe, "its master is 127.0.0.1:7001");
    cluster.apply(&Step::CreateGroup(GroupId(9)));
    refused(
        plan::add_server(&cluster, GroupId(9), &addr(7009), Role::Slave),
        RefusalKind::Unsafe,
        "group 9 has no master",
    );
    refused(plan::assign(&cluster, &slots("5"), GroupId(9)), RefusalKind::Unsafe, "group 9 has no master");
}

#[test]
fn a_server_belongs_to_one_group() {
    let cluster = product();
    refused(
        plan::add_server(&cluster, GroupId(2), &addr(7002), Role::Slave),
        RefusalKind::Unsafe,
        "listed in group 1 as slave",
    );
}

#[test]
fn a_master_is_promoted_away_before_it_is_removed() {
    let mut cluster = product();
    let remove = |cluster: &Cluster| plan::remove_server(cluster, GroupId(1), &addr(7001));
    refused(remove(&cluster), RefusalKind::Unsafe, "master");
    let plan = plan::promote(&cluster, GroupId(1), &addr(7002), false);
    run(&mut cluster, plan);
    let group = &cluster.groups[&GroupId(1)];
    assert_eq!(group.master().unwrap().addr, addr(7002));
    assert_eq!(group.server(&addr(7001)).unwrap().role, Role::Offline);
    let plan = remove(&cluster);
    run(&mut cluster, plan);
    assert!(cluster.server(&addr(7001)).is_none());
}

#[test]
fn the_old_master_is_told_to_follow_only_after_the_proxies_have_switched() {
    let plan = plan::promote(&product(), GroupId(1), &addr(7002), false).unwrap();
    let announced =
        plan.steps.iter().position(|s| matches!(s, Step::Announce { confirm: true, .. })).unwrap();
    let demoted = plan
        .steps
        .iter()
        .position(|s| matches!(s, Step::Replicate { server, master: Some(_) } if *server == addr(7001)))
        .unwrap();
    assert!(announced < demoted);
}

#[test]
fn no_promotion_while_keys_move_unless_forced() {
    let mut cluster = product();
    let slot = cluster.slot(SlotId::new(7).unwrap()).unwrap().clone();
    let moving = slot.migrate(GroupId(1), GroupId(2));
    cluster.apply(&Step::PutSlots(vec![Versioned::new(moving, slot.version)]));
    refused(plan::promote(&cluster, GroupId(1), &addr(7002), false), RefusalKind::Unsafe, "keys move");
    assert!(plan::promote(&cluster, GroupId(1), &addr(7002), true).is_ok());
}

#[test]
fn a_slot_with_an_owner_is_moved_not_assigned() {
    let cluster = product();
    refused(plan::assign(&cluster, &slots("0"), GroupId(2)), RefusalKind::Unsafe, "with its keys");
}

#[test]
fn an_assignment_that_was_not_announced_is_announced_again() {
    let cluster = product();
    let plan = plan::assign(&cluster, &slots("0-3,8"), GroupId(1)).unwrap();
    let announced: Vec<_> = plan.steps.iter().filter(|s| matches!(s, Step::Announce { .. })).collect();
    assert_eq!((plan.steps.len(), announced.len()), (2, 2));
}

#[test]
fn nothing_that_needs_confirmation_is_planned_past_a_stale_fence() {
    let mut cluster = product();
    cluster.fences.insert("10.0.0.9:19000".to_owned());
    refused(plan::assign(&cluster, &slots("0"), GroupId(1)), RefusalKind::Unsafe, "fence");
    refused(plan::promote(&cluster, GroupId(1), &addr(7002), false), RefusalKind::Unsafe, "fence");
    refused(plan::migrate(&cluster, &slots("0"), GroupId(2), 0), RefusalKind::Unsafe, "fence");
    let plan = plan::clear_fences(&cluster);
    run(&mut cluster, plan);
    assert!(plan::assign(&cluster, &slots("0"), GroupId(1)).is_ok());
}

#[test]
fn the_fence_of_a_living_proxy_is_not_cleared() {
    let mut cluster = product();
    proxy(&mut cluster, "px-1", ProxyState::Offline, "x");
    refused(plan::clear_fences(&cluster), RefusalKind::Unsafe, "alive");
}

#[test]
fn a_proxy_goes_online_only_when_every_slot_is_served() {
    let mut cluster = product();
    proxy(&mut cluster, "px-1", ProxyState::Offline, "x");
    let id = "px-1".parse().unwrap();
    let mut broken = cluster.clone();
    let slot = broken.slot(SlotId::new(9).unwrap()).unwrap().clone();
    broken.slots[9] = Some(Versioned::new(slot.pre_migrate(), 2));
    refused(plan::online(&broken, &id), RefusalKind::Unsafe, "pre_migrate");
    broken.slots[9] = None;
    refused(plan::online(&broken, &id), RefusalKind::Unsafe, "does not exist");
    let plan = plan::online(&cluster, &id);
    run(&mut cluster, plan);
    assert_eq!(cluster.proxies[&id].state, ProxyState::Online);
}

#[test]
fn a_move_takes_only_slots_that_are_elsewhere() {
    let mut cluster = product();
    let plan = plan::migrate(&cluster, &slots("510-513"), GroupId(2), 1_000).unwrap();
    let [Step::QueueMoves(moves)] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!(moves.iter().map(|m| m.slot.get()).collect::<Vec<_>>(), [510, 511]);
    cluster.apply(&plan.steps[0]);
    assert!(plan::migrate(&cluster, &slots("510-511"), GroupId(2), 2_000).unwrap().steps.is_empty());
}

#[test]
fn nothing_moves_beside_go_tools() {
    let mut cluster = product();
    proxy(&mut cluster, "go", ProxyState::Online, "2026-11-22 08:00:45.35 +0000 UTC m=+0.01");
    refused(plan::migrate(&cluster, &slots("0"), GroupId(2), 0), RefusalKind::Unsafe, "Go proxy");
    cluster.proxies.clear();
    cluster.fences.clear();
    cluster.dashboard = Some(Dashboard { addr: "10.0.0.1:18087".to_owned(), pid: 7, ephemeral: false });
    refused(plan::migrate(&cluster, &slots("0"), GroupId(2), 0), RefusalKind::Unsafe, "Go dashboard");
}

#[test]
fn the_task_of_a_slot_on_its_way_is_not_deleted() {
    let mut cluster = product();
    let plan = plan::migrate(&cluster, &slots("5-6"), GroupId(2), 0);
    run(&mut cluster, plan);
    let slot = cluster.slot(SlotId::new(5).unwrap()).unwrap().clone();
    let moving = slot.migrate(GroupId(1), GroupId(2));
    cluster.apply(&Step::PutSlots(vec![Versioned::new(moving, slot.version)]));
    let (five, six) = (cluster.moves[0].task, cluster.moves[1].task);
    refused(plan::delete_tasks(&cluster, &[five]), RefusalKind::Unsafe, "nobody would finish");
    let plan = plan::delete_tasks(&cluster, &[six]);
    run(&mut cluster, plan);
    assert_eq!(cluster.moves.len(), 1);
}

#[test]
fn a_group_in_use_is_not_removed() {
    let mut cluster = product();
    refused(plan::remove_group(&cluster, GroupId(1)), RefusalKind::Unsafe, "owns them");
    let plan = plan::add_group(&cluster, GroupId(3), Some(&addr(7005)), &[]);
    run(&mut cluster, plan);
    let plan = plan::migrate(&cluster, &slots("0"), GroupId(3), 0);
    run(&mut cluster, plan);
    refused(plan::remove_group(&cluster, GroupId(3)), RefusalKind::Unsafe, "task");
    let tasks: Vec<u64> = cluster.moves.iter().map(|task| task.task).collect();
    let plan = plan::delete_tasks(&cluster, &tasks);
    run(&mut cluster, plan);
    let plan = plan::remove_group(&cluster, GroupId(3));
    run(&mut cluster, plan);
    assert!(!cluster.groups.contains_key(&GroupId(3)));
}

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
        Try::Migrate(s, n, g) => plan::migrate(cluster, &range(*s, *n), GroupId(*g), 0),
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
