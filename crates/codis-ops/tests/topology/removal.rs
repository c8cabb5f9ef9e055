//! A product leaves the store: whole, or completed by asking again, and never under somebody's feet.

use codis_core::plan;
use codis_core::{GroupId, SlotId};
use codis_ops::{Failure, FailureKind, plan_removal};
use codis_store::{Acl, CreateMode};

use crate::world::{World, on_both_stores};

const ROOT: &str = "/zk/codis/db_test";

async fn small_product(world: &mut World) {
    world.run(plan::init).await;
    let addr = "127.0.0.1:1".parse().unwrap();
    world.run(|cluster| plan::add_group(cluster, GroupId(1), Some(&addr), &[])).await;
    world.run(|cluster| plan::assign(cluster, &"0-1023".parse().unwrap(), GroupId(1))).await;
}

async fn remove(world: &World) -> Result<(), Failure> {
    let plan = plan_removal(&world.cx).await?;
    world.apply(&plan).await.map(drop)
}

#[test]
fn nothing_stays_of_a_product_and_others_are_untouched() {
    on_both_stores(|mut world: World| async move {
        small_product(&mut world).await;
        let store = world.cx.product().store();
        store.ensure_dir("/zk/codis/db_test2/slots").await.unwrap();
        remove(&world).await.unwrap();
        assert!(!world.cx.product().exists().await.unwrap());
        assert_eq!(store.children("/zk/codis").await.unwrap(), ["db_test2"]);
        // And it can be made anew.
        small_product(&mut world).await;
        assert_eq!(world.online().await.len(), 1024);
    });
}

#[test]
fn a_removal_broken_off_anywhere_is_completed_by_asking_again() {
    on_both_stores(|mut world: World| async move {
        small_product(&mut world).await;
        let store = world.cx.product().store().clone();
        // The parts in the order in which they go.
        for part in ["slots/slot_0", "slots/slot_1023", "servers/group_1/127.0.0.1:1", "servers/group_1"] {
            store.delete(&format!("{ROOT}/{part}"), None).await.unwrap();
            assert!(plan_removal(&world.cx).await.is_ok(), "after {part}");
        }
        for slot in SlotId::all().skip(1).take(1022) {
            store.delete(&format!("{ROOT}/slots/slot_{slot}"), None).await.unwrap();
        }
        store.delete(&format!("{ROOT}/slots"), None).await.unwrap();
        remove(&world).await.unwrap();
        assert!(!world.cx.product().exists().await.unwrap());
    });
}

#[test]
fn who_comes_while_a_product_goes_is_not_trodden_on() {
    on_both_stores(|mut world: World| async move {
        small_product(&mut world).await;
        let plan = plan_removal(&world.cx).await.unwrap();
        // Between the look and the removal: found when it is looked at again under the lock.
        let other = world.another_context().await;
        let store = other.product().store();
        store.ensure_dir(&format!("{ROOT}/proxy")).await.unwrap();
        let record = r#"{"id":"px-1","addr":"h:19000","last_event":"","last_event_ts":0,"state":"online","description":"","debug_var_addr":"h:11000","pid":1,"start_at":""}"#;
        let path = format!("{ROOT}/proxy/px-1");
        store.create(&path, record.as_bytes(), CreateMode::Ephemeral, Acl::File).await.unwrap();
        let failure = world.apply(&plan).await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.place.as_str()),
            (FailureKind::Unsafe, "proxy/px-1"),
            "{failure:?}"
        );
        assert_eq!(world.online().await.len(), 1024, "nothing was deleted");
        // A program of which nobody knows, but whose session lives.
        store.delete(&path, None).await.unwrap();
        let path = format!("{ROOT}/witness");
        store.create(&path, b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
        let failure = remove(&world).await.unwrap_err();
        assert_eq!((failure.kind, failure.place), (FailureKind::Unsafe, path.clone()));
        store.delete(&path, None).await.unwrap();
        remove(&world).await.unwrap();
        assert!(!world.cx.product().exists().await.unwrap());
    });
}

#[test]
fn a_dashboard_stands_in_the_way_while_it_lives() {
    on_both_stores(|mut world: World| async move {
        small_product(&mut world).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let store = world.cx.product().store();
        let record = format!(r#"{{"addr":"{addr}","pid":4242}}"#);
        let path = format!("{ROOT}/dashboard");
        store.create(&path, record.as_bytes(), CreateMode::Persistent, Acl::File).await.unwrap();
        let failure = remove(&world).await.unwrap_err();
        assert_eq!((failure.kind, failure.place.as_str()), (FailureKind::Unsafe, "dashboard"));
        drop(listener);
        let plan = plan_removal(&world.cx).await.unwrap();
        assert!(plan.notes.iter().any(|note| note.ends_with("is gone and left its node")), "{plan:?}");
        remove(&world).await.unwrap();
    });
}
