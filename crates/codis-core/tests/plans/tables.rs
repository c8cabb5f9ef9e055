//! What is planned, and what is refused with which reason.

use std::collections::BTreeMap;

use codis_core::ha::{Demoted, Receipt, Saga, SagaKind, Stage};
use codis_core::plan::{self, Holder, RefusalKind, Step};
use codis_core::{
    Cluster, Dashboard, Gap, GroupId, LockEntry, MoveState, MoverLease, ProxyState, Role, SlotId, SlotStatus,
    Versioned,
};

use crate::world::{addr, product, proxy, refused, run, slots, stock};

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
fn a_lost_slot_node_is_put_back_unless_a_go_proxy_would_exit_over_it() {
    let mut cluster = product();
    cluster.slots[7] = None;
    let plan = plan::init(&cluster).unwrap();
    assert_eq!(plan.steps, [Step::CreateSlots(slots("7"))]);
    assert_eq!(plan.title, "put back 1 slot node of product test");
    proxy(&mut cluster, "px-1", ProxyState::Online, "2026-11-22 08:00:59 +0000 UTC rs/0.1.0");
    assert_eq!(plan::init(&cluster).unwrap().steps, [Step::CreateSlots(slots("7"))]);
    proxy(&mut cluster, "go-1", ProxyState::Online, "2026-11-22 08:00:59 +0000 UTC m=+0.047");
    refused(plan::init(&cluster), RefusalKind::Unsafe, "a proxy is online");
}

#[test]
fn a_slave_goes_offline_and_comes_back() {
    let mut cluster = product();
    let offline = plan::offline_server(&cluster, &addr(7002)).unwrap();
    let lines: Vec<String> = offline.steps.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["servers/group_1/127.0.0.1:7002: offline (version 0)"]);
    assert!(offline.notes[0].starts_with("it is the last slave of group 1"), "{:?}", offline.notes);
    run(&mut cluster, Ok(offline));
    assert_eq!(plan::offline_server(&cluster, &addr(7002)).unwrap().steps, []);
    let back = plan::add_server(&cluster, GroupId(1), &addr(7002), Role::Slave);
    run(&mut cluster, back);
    assert_eq!(cluster.server(&addr(7002)).unwrap().role, Role::Slave);
    let master = plan::offline_server(&cluster, &addr(7001)).unwrap_err();
    assert_eq!(master.next, "codisctl group promote 1 127.0.0.1:7002    which takes this one offline");
    refused(plan::offline_server(&cluster, &addr(7009)), RefusalKind::Missing, "no group lists");
}

#[test]
fn a_product_is_removed_only_when_nobody_is_at_work() {
    let steps = [Step::RemoveProduct("test".parse().unwrap())];
    assert_eq!(plan::remove_product(&product()).unwrap().steps, steps);
    let with = |change: &dyn Fn(&mut Cluster)| {
        let mut cluster = product();
        change(&mut cluster);
        plan::remove_product(&cluster)
    };
    let moving = |cluster: &mut Cluster| {
        let slot = cluster.slot(SlotId::new(7).unwrap()).unwrap();
        let slot = Versioned::new(slot.pre_migrate(), slot.version);
        cluster.apply(&Step::PutSlots(vec![slot]));
    };
    refused(
        with(&|c| proxy(c, "px-1", ProxyState::Offline, "")),
        RefusalKind::Unsafe,
        "a proxy is registered",
    );
    let fence = |c: &mut Cluster| c.fences.extend(["h:1".to_owned()]);
    refused(with(&fence), RefusalKind::Unsafe, "fence");
    refused(with(&moving), RefusalKind::Unsafe, "the slot is in pre_migrate");
    let dashboard = Dashboard { addr: "h:18087".to_owned(), pid: 7, ephemeral: false };
    refused(with(&|c| c.dashboard = Some(dashboard.clone())), RefusalKind::Unsafe, "registered at h:18087");
    let mover = MoverLease { owner: "li@ops".to_owned(), pid: 7, epoch: 1 };
    refused(with(&|c| c.mover = Some(mover.clone())), RefusalKind::Unsafe, "li@ops");
    refused(with(&|c| c.locks.push(lock("lock-0000000001", false))), RefusalKind::Unsafe, "holds the lock");
    let gap =
        |path: &str| Gap { path: format!("/zk/codis/db_test/{path}"), why: "byte 3: not JSON".to_owned() };
    for path in ["slots/slot_7", "proxy/px-1", "dashboard"] {
        refused(with(&|c| c.gaps.push(gap(path))), RefusalKind::Missing, "not JSON");
    }
    assert!(
        with(&|c| c.gaps.push(gap("servers/group_1/h:1"))).is_ok(),
        "a damaged server keeps nobody at work"
    );
    let mut half = product();
    half.slots[0] = None;
    assert_eq!(plan::remove_product(&half).unwrap().steps, steps, "an interrupted removal can be completed");
}

fn lock(name: &str, ephemeral: bool) -> LockEntry {
    LockEntry {
        name: name.to_owned(),
        desc: "set slot range".to_owned(),
        hostname: "ops-2".to_owned(),
        pid: 5512,
        created_ms: 1,
        ephemeral,
    }
}

#[test]
fn only_locks_whose_owners_are_gone_are_cleared() {
    let mut cluster = product();
    let clear = |cluster: &Cluster, name, holder: Holder| {
        let session = |lock: &LockEntry| if lock.ephemeral { Holder::Session } else { holder.clone() };
        plan::clear_locks(cluster, name, session)
    };
    assert_eq!(clear(&cluster, None, Holder::Gone).unwrap().steps, []);
    cluster.locks.push(lock("lock-0000000004", true));
    refused(clear(&cluster, None, Holder::Gone), RefusalKind::Unsafe, "its owner lives");
    let go = lock("lock-0000000005", false);
    cluster.locks.push(go.clone());
    let cleared = clear(&cluster, None, Holder::Gone).unwrap();
    assert_eq!(cleared.steps, [Step::ClearLock(go)]);
    run(&mut cluster.clone(), Ok(cleared));
    refused(clear(&cluster, Some("lock-0000000004"), Holder::Gone), RefusalKind::Unsafe, "its owner lives");
    refused(clear(&cluster, Some("lock-0000000009"), Holder::Gone), RefusalKind::Missing, "no such lock");
    let runs = Holder::Runs("codis-config".to_owned());
    refused(clear(&cluster, None, runs), RefusalKind::Unsafe, "pid 5512 runs on this host: codis-config");
    let elsewhere = clear(&cluster, None, Holder::Elsewhere).unwrap();
    assert!(elsewhere.notes[0].contains("pid 5512 on ops-2 still runs"), "{:?}", elsewhere.notes);
}

#[test]
fn only_the_node_of_a_dead_dashboard_is_cleared() {
    let mut cluster = product();
    refused(plan::clear_dashboard(&cluster, false), RefusalKind::Missing, "no such node");
    let mut dashboard = Dashboard { addr: "h:18087".to_owned(), pid: 7, ephemeral: false };
    cluster.dashboard = Some(dashboard.clone());
    refused(plan::clear_dashboard(&cluster, true), RefusalKind::Unsafe, "listens at h:18087");
    let clear = plan::clear_dashboard(&cluster, false);
    run(&mut cluster, clear);
    assert_eq!(cluster.dashboard, None);
    dashboard.ephemeral = true;
    cluster.dashboard = Some(dashboard);
    refused(plan::clear_dashboard(&cluster, false), RefusalKind::Unsafe, "a mover of ours");
}

#[test]
fn the_newest_actions_are_kept() {
    assert_eq!(plan::collect_actions(500, 500).steps, []);
    let plan = plan::collect_actions(2050, 500);
    assert_eq!(plan.steps[0].to_string(), "actions, ActionResponse: the oldest 1550 deleted");
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
    assert_eq!(group.server(&addr(7001)).unwrap().role, Role::Slave);
    let plan = remove(&cluster);
    run(&mut cluster, plan);
    assert!(cluster.server(&addr(7001)).is_none());
}

#[test]
fn a_promotion_that_was_begun_is_completed_before_another_is_thought_of() {
    let mut cluster = product();
    let plan = plan::promote(&cluster, GroupId(1), &addr(7002), false).unwrap();
    let [Step::ChangeMaster(change)] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!((&change.old, &change.new, change.kind), (&addr(7001), &addr(7002), SagaKind::Planned));
    cluster.sagas.insert(GroupId(1), Versioned::new(saga(Stage::Promote), 3));
    // What stands in the way of a new one does not stand in the way of its end.
    cluster.fences.insert("10.0.0.9:19000".to_owned());
    let again = plan::promote(&cluster, GroupId(1), &addr(7002), false).unwrap();
    assert_eq!(again.steps, plan.steps);
}

#[test]
fn no_promotion_while_an_old_master_may_still_take_writes() {
    let mut cluster = product();
    let open = Demoted { open: true, ..Demoted::new(addr(7009), None, 0) };
    let ended = Saga { demoted: vec![open], ..saga(Stage::Ended) };
    cluster.sagas.insert(GroupId(1), Versioned::new(ended.clone(), 3));
    refused(plan::promote(&cluster, GroupId(1), &addr(7002), false), RefusalKind::Unsafe, "not back");
    assert!(plan::promote(&cluster, GroupId(1), &addr(7002), true).is_ok());
    let closed = Saga { demoted: vec![Demoted { open: false, ..ended.demoted[0].clone() }], ..ended };
    cluster.sagas.insert(GroupId(1), Versioned::new(closed, 4));
    assert!(plan::promote(&cluster, GroupId(1), &addr(7002), false).is_ok());
}

#[test]
fn a_group_without_a_master_gets_one_by_force_only() {
    let mut cluster = product();
    let group = cluster.groups.get_mut(&GroupId(1)).unwrap();
    group.servers.retain(|server| server.role == Role::Slave);
    refused(plan::promote(&cluster, GroupId(1), &addr(7002), false), RefusalKind::Unsafe, "0 masters");
    let plan = plan::promote(&cluster, GroupId(1), &addr(7002), true);
    run(&mut cluster, plan);
    assert_eq!(cluster.groups[&GroupId(1)].master().unwrap().addr, addr(7002));
}

fn saga(stage: Stage) -> Saga {
    Saga {
        group: GroupId(1),
        kind: SagaKind::Planned,
        stage,
        old: addr(7001),
        new: addr(7002),
        owner: "somebody".to_owned(),
        epoch: 1,
        begun_ms: 1,
        hold_ms: 5000,
        run_id: String::new(),
        why: String::new(),
        receipt: Receipt::default(),
        demoted: Vec::new(),
        extra: codis_core::Extra::default(),
    }
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
    refused(plan::migrate(&cluster, &slots("0"), GroupId(2), &stock(), 0), RefusalKind::Unsafe, "fence");
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
    let plan = plan::migrate(&cluster, &slots("510-513"), GroupId(2), &stock(), 1_000).unwrap();
    let [Step::QueueMoves(moves)] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!(moves.iter().map(|m| m.slot.get()).collect::<Vec<_>>(), [510, 511]);
    cluster.apply(&plan.steps[0]);
    assert!(
        plan::migrate(&cluster, &slots("510-511"), GroupId(2), &stock(), 2_000).unwrap().steps.is_empty()
    );
    let nowhere = plan::migrate(&cluster, &slots("513-520"), GroupId(2), &stock(), 3_000);
    refused(nowhere, RefusalKind::Unsafe, "source and destination are the same");
}

#[test]
fn nothing_moves_beside_go_tools() {
    let mut cluster = product();
    proxy(&mut cluster, "go", ProxyState::Online, "2026-11-22 08:00:45.35 +0000 UTC m=+0.01");
    refused(plan::migrate(&cluster, &slots("0"), GroupId(2), &stock(), 0), RefusalKind::Unsafe, "Go proxy");
    cluster.proxies.clear();
    cluster.fences.clear();
    cluster.dashboard = Some(Dashboard { addr: "10.0.0.1:18087".to_owned(), pid: 7, ephemeral: false });
    refused(
        plan::migrate(&cluster, &slots("0"), GroupId(2), &stock(), 0),
        RefusalKind::Unsafe,
        "Go dashboard",
    );
}

#[test]
fn the_task_of_a_slot_on_its_way_is_not_deleted() {
    let mut cluster = product();
    let plan = plan::migrate(&cluster, &slots("5-6"), GroupId(2), &stock(), 0);
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
fn a_cancelled_task_goes_if_nothing_has_moved_and_else_turns_round() {
    let mut cluster = product();
    let plan = plan::migrate(&cluster, &slots("5-6"), GroupId(2), &stock(), 0);
    run(&mut cluster, plan);
    let slot = cluster.slot(SlotId::new(5).unwrap()).unwrap().clone();
    let moving = slot.migrate(GroupId(1), GroupId(2));
    cluster.apply(&Step::PutSlots(vec![Versioned::new(moving, slot.version)]));
    cluster.moves[0].value.keys_moved = 7;
    let both: Vec<u64> = cluster.moves.iter().map(|task| task.task).collect();

    let plan = plan::cancel_tasks(&cluster, &both);
    run(&mut cluster, plan);
    let task = &cluster.moves[0];
    assert_eq!((cluster.moves.len(), task.task), (1, both[0]), "slot 6 had not begun to move");
    assert_eq!((task.from, task.to, task.keys_moved), (GroupId(2), GroupId(1), 0));
    assert!(task.turns_back(cluster.slot(task.slot).unwrap()));
    assert!(plan::cancel_tasks(&cluster, &both[..1]).unwrap().steps.is_empty(), "it is on its way back");
    refused(plan::cancel_tasks(&cluster, &both[1..]), RefusalKind::Missing, "no such task");

    // A mover is about to change it.
    let slot = cluster.slot(SlotId::new(7).unwrap()).unwrap().clone();
    let plan = plan::migrate(&cluster, &slots("7"), GroupId(2), &stock(), 0);
    run(&mut cluster, plan);
    cluster.apply(&Step::PutSlots(vec![Versioned::new(slot.pre_migrate(), slot.version)]));
    let last = cluster.moves.last().unwrap().task;
    refused(plan::cancel_tasks(&cluster, &[last]), RefusalKind::Unsafe, "is in pre_migrate");
}

#[test]
fn tasks_are_paused_and_resumed_by_number() {
    let mut cluster = product();
    let plan = plan::migrate(&cluster, &slots("5-6"), GroupId(2), &stock(), 0);
    run(&mut cluster, plan);
    let both: Vec<u64> = cluster.moves.iter().map(|task| task.task).collect();
    let plan = plan::pause_tasks(&cluster, &both[..1]);
    run(&mut cluster, plan);
    let states = |cluster: &Cluster| cluster.moves.iter().map(|task| task.state).collect::<Vec<_>>();
    assert_eq!(states(&cluster), [MoveState::Paused, MoveState::Pending]);
    assert!(plan::pause_tasks(&cluster, &both[..1]).unwrap().steps.is_empty());
    let plan = plan::resume_tasks(&cluster, &both);
    run(&mut cluster, plan);
    assert_eq!(states(&cluster), [MoveState::Pending, MoveState::Pending]);
    refused(plan::resume_tasks(&cluster, &[99]), RefusalKind::Missing, "no such task");
}

#[test]
fn a_slot_goes_online_by_hand_only_if_its_source_was_looked_through() {
    let mut cluster = product();
    let slot = cluster.slot(SlotId::new(5).unwrap()).unwrap().clone();
    let moving = slot.migrate(GroupId(1), GroupId(2));
    cluster.apply(&Step::PutSlots(vec![Versioned::new(moving, slot.version)]));
    let asked = slots("4-5");
    let sources = plan::to_prove(&cluster, &asked).unwrap();
    assert_eq!(sources.into_iter().collect::<Vec<_>>(), [(GroupId(1), slots("5"))]);
    let proved = |port| BTreeMap::from([(GroupId(1), addr(port))]);
    let master = cluster.groups[&GroupId(1)].master().unwrap().addr.port();
    let other = plan::set_online(&cluster, &asked, &proved(1));
    refused(other, RefusalKind::Unsafe, "not been looked through");
    let plan = plan::set_online(&cluster, &asked, &proved(master));
    run(&mut cluster, plan);
    let there = cluster.slot(SlotId::new(5).unwrap()).unwrap();
    assert_eq!((there.status, there.group), (SlotStatus::Online, Some(GroupId(2))));
    assert!(plan::set_online(&cluster, &asked, &BTreeMap::new()).unwrap().steps.is_empty());

    let blocked = cluster.slot(SlotId::new(6).unwrap()).unwrap().clone();
    cluster.apply(&Step::PutSlots(vec![Versioned::new(blocked.pre_migrate(), blocked.version)]));
    refused(plan::set_online(&cluster, &slots("6"), &BTreeMap::new()), RefusalKind::Unsafe, "in pre_migrate");
}

#[test]
fn a_group_in_use_is_not_removed() {
    let mut cluster = product();
    refused(plan::remove_group(&cluster, GroupId(1)), RefusalKind::Unsafe, "owns them");
    let plan = plan::add_group(&cluster, GroupId(3), Some(&addr(7005)), &[]);
    run(&mut cluster, plan);
    let plan = plan::migrate(&cluster, &slots("0"), GroupId(3), &stock(), 0);
    run(&mut cluster, plan);
    refused(plan::remove_group(&cluster, GroupId(3)), RefusalKind::Unsafe, "task");
    let tasks: Vec<u64> = cluster.moves.iter().map(|task| task.task).collect();
    let plan = plan::delete_tasks(&cluster, &tasks);
    run(&mut cluster, plan);
    let plan = plan::remove_group(&cluster, GroupId(3));
    run(&mut cluster, plan);
    assert!(!cluster.groups.contains_key(&GroupId(3)));
}
