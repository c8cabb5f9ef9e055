//! Moving as Codis 2 does, and beside its programs.

use std::collections::BTreeSet;

use codis_core::plan::{self, RefusalKind, Step};
use codis_core::{Dashboard, GroupId, ProxyState, SlotId};

use crate::world::{product, proxy, refused, run, slots, stock};

fn native() -> BTreeSet<GroupId> {
    [GroupId(1), GroupId(2)].into()
}

#[test]
fn a_go_proxy_allows_moves_from_native_servers_only() {
    let mut cluster = product();
    proxy(&mut cluster, "go", ProxyState::Online, "2026-11-22 08:00:59 +0000 UTC m=+0.04");
    let ask = |native: &BTreeSet<GroupId>| plan::migrate(&cluster, &slots("5"), GroupId(2), native, 0);
    refused(ask(&stock()), RefusalKind::Unsafe, "cannot fetch keys from a stock server");
    let plan = ask(&native()).unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("waits for no slave")), "{:?}", plan.notes);
}

#[test]
fn the_go_queue_is_for_native_servers_and_holds_a_slot_once() {
    let mut cluster = product();
    let ask = |cluster: &codis_core::Cluster, native: &BTreeSet<GroupId>| {
        plan::migrate_codis2(cluster, &slots("5-6"), GroupId(2), 10, native, 77)
    };
    refused(ask(&cluster, &stock()), RefusalKind::Unsafe, "SLOTS* commands");
    let plan = ask(&cluster, &native());
    let Step::QueueGoTasks(tasks) = &plan.as_ref().unwrap().steps[0] else { panic!("{plan:?}") };
    assert_eq!((tasks[0].delay_ms, tasks[0].created, tasks[0].status.as_str()), (10, 77, "pending"));
    run(&mut cluster, plan);
    assert_eq!(
        cluster.go_tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>(),
        ["0000000000", "0000000001"]
    );
    assert_eq!(ask(&cluster, &native()).unwrap().steps, [], "asked again");
    refused(
        plan::migrate_codis2(&cluster, &slots("5"), GroupId(1), 0, &native(), 77),
        RefusalKind::Unsafe,
        "queue of the Go tools",
    );
    refused(
        plan::migrate(&cluster, &slots("5"), GroupId(2), &native(), 0),
        RefusalKind::Unsafe,
        "queue of the Go tools",
    );
    refused(plan::remove_group(&with_group_3(&cluster), GroupId(3)), RefusalKind::Unsafe, "names the group");
}

fn with_group_3(cluster: &codis_core::Cluster) -> codis_core::Cluster {
    let mut cluster = cluster.clone();
    cluster.apply(&Step::CreateGroup(GroupId(3)));
    cluster.go_tasks[0].value.to = GroupId(3);
    cluster
}

#[test]
fn a_task_of_the_go_queue_is_deleted_by_its_number_unless_its_slot_moves() {
    let mut cluster = product();
    let plan = plan::migrate_codis2(&cluster, &slots("5-6"), GroupId(2), 0, &native(), 77);
    run(&mut cluster, plan);
    refused(plan::delete_go_tasks(&cluster, &[9]), RefusalKind::Missing, "no such task");
    let id = SlotId::new(6).unwrap();
    let slot = cluster.slot(id).unwrap().clone();
    let mut moving = cluster.clone();
    moving.apply(&Step::PutSlots(vec![codis_core::Versioned::new(slot.pre_migrate(), slot.version)]));
    refused(plan::delete_go_tasks(&moving, &[1]), RefusalKind::Unsafe, "pre_migrate");
    let mut watched = cluster.clone();
    watched.dashboard = Some(Dashboard { addr: "10.0.0.1:18087".into(), pid: 7, ephemeral: false });
    refused(plan::delete_go_tasks(&watched, &[1]), RefusalKind::Unsafe, "Go dashboard");
    let plan = plan::delete_go_tasks(&cluster, &[1]);
    run(&mut cluster, plan);
    assert_eq!(cluster.go_tasks.len(), 1);
}
