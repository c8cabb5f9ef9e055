//! Plans carried out on real stores and servers: they end as the model says, an interrupted one is
//! completed by asking again, and what must not happen is refused before anything is written.

#[cfg(test)]
mod admit;
#[cfg(test)]
mod promote;
#[cfg(test)]
mod removal;
#[cfg(test)]
mod world;

use codis_core::plan::{self, Plan};
use codis_core::{GroupId, Role, SlotStatus};
use codis_ops::{Consent, FailureKind, Permit, audit};
use codis_testkit::need;

use world::{World, on_both_stores};

#[test]
fn a_product_is_built_as_its_plans_say() {
    need!("redis");
    on_both_stores(|mut world: World| async move {
        let servers = world.servers(4);
        let (one, two) = (GroupId(1), GroupId(2));
        world.run(plan::init).await;
        let slaves = [servers[1].clone()];
        world.run(|cluster| plan::add_group(cluster, one, Some(&servers[0]), &slaves)).await;
        world.run(|cluster| plan::add_group(cluster, two, Some(&servers[2]), &[])).await;
        world.run(|cluster| plan::add_server(cluster, two, &servers[3], Role::Slave)).await;
        world.run(|cluster| plan::assign(cluster, &"0-511".parse().unwrap(), one)).await;
        world.run(|cluster| plan::assign(cluster, &"512-1023".parse().unwrap(), two)).await;
        let cluster = world.load().await;
        assert_eq!(cluster.count(SlotStatus::Online), 1024);
        assert_eq!(cluster.gaps, []);
        let master = world.info(&servers[3]).await.master;
        assert_eq!(master.as_ref(), Some(&servers[2]), "a slave follows its master");
        let records = audit::list(&world.cx, 100).await.unwrap();
        assert_eq!(records.len(), 6);
        assert!(records.iter().all(|record| record.outcome == "done"), "{records:?}");
    });
}

#[test]
fn a_plan_stopped_after_any_step_is_completed_by_asking_again() {
    need!("redis");
    on_both_stores(|mut world: World| async move {
        let servers = world.servers(2);
        let id = GroupId(1);
        world.run(plan::init).await;
        let slaves = [servers[1].clone()];
        let whole = plan::add_group(&world.load().await, id, Some(&servers[0]), &slaves).unwrap();
        for stop in 0..whole.steps.len() {
            let cluster = world.load().await;
            let mut prefix = plan::add_group(&cluster, id, Some(&servers[0]), &slaves).unwrap();
            prefix.steps.truncate(stop);
            world.apply(&prefix).await.unwrap();
            world.run(|cluster| plan::add_group(cluster, id, Some(&servers[0]), &slaves)).await;
            let group = &world.load().await.groups[&id];
            let listed: Vec<_> = group.servers.iter().map(|s| (s.addr.clone(), s.role)).collect();
            let mut expected = vec![(servers[0].clone(), Role::Master), (servers[1].clone(), Role::Slave)];
            expected.sort_by(|a, b| a.0.cmp(&b.0));
            assert_eq!(listed, expected, "stopped after {stop} steps");
            world.run(|cluster| plan::remove_group(cluster, id)).await;
        }
    });
}

#[test]
fn a_plan_made_on_an_old_picture_is_refused_by_the_store() {
    on_both_stores(|mut world: World| async move {
        world.run(plan::init).await;
        let addr = "127.0.0.1:1".parse().unwrap();
        world.run(|cluster| plan::add_group(cluster, GroupId(1), Some(&addr), &[])).await;
        let old = world.load().await;
        world.run(|cluster| plan::assign(cluster, &"5".parse().unwrap(), GroupId(1))).await;
        let stale = plan::assign(&old, &"0-9".parse().unwrap(), GroupId(1)).unwrap();
        let failure = world.apply(&stale).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Failed);
        assert!(failure.next.contains("again"), "{failure:?}");
        let online: Vec<u16> = world.online().await;
        assert_eq!(online, [5], "all slots of a plan are written, or none");
        let record = &audit::list(&world.cx, 1).await.unwrap()[0];
        assert!(record.outcome.starts_with("failed (1)"), "{record:?}");
    });
}

#[test]
fn a_change_waits_for_the_lock_and_names_its_holder() {
    on_both_stores(|mut world: World| async move {
        world.run(plan::init).await;
        let other = world.another_context().await;
        let lock = other.product().lock("hold it for a test", std::time::Duration::from_secs(1)).await;
        let lock = lock.unwrap().expect("nobody else has it");
        let plan = plan::add_group(&world.load().await, GroupId(1), None, &[]).unwrap();
        let waiting = world.apply(&plan);
        let released = async {
            // The change is queued behind the lock before it is released.
            loop {
                let locks = other.load().await.unwrap().locks;
                if locks.len() == 2 {
                    assert_eq!(locks[0].desc, "hold it for a test");
                    break;
                }
                tokio::task::yield_now().await;
            }
            lock.release().await.unwrap();
        };
        let (applied, ()) = tokio::join!(waiting, released);
        applied.unwrap();
        assert!(world.load().await.locks.is_empty());
    });
}

#[test]
fn a_permit_is_for_one_plan() {
    on_both_stores(|world: World| async move {
        let agreed = plan::init(&world.load().await).unwrap();
        let other = Plan { title: "something else".to_owned(), ..agreed.clone() };
        let failure = world.apply_with(&other, Permit::new(&agreed, Consent::Prompt)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unsafe);
        assert!(world.load().await.slots.iter().all(Option::is_none));
    });
}
