//! Waves that wait for people: for room at the destination, or because a key has grown.

use std::time::Duration;

use codis_core::{Cluster, MoveState, SlotSet, SlotStatus, slot_of_key};
use codis_ops::{FailureKind, mover::RunOptions};
use codis_testkit::{eventually_async, need};

use crate::scene::{D, S, Scene, dbsize, quick, slots};

/// Tasks that the mover has paused, and what they say.
fn held(cluster: &Cluster) -> Vec<(SlotSet, &str)> {
    let held = cluster.moves.iter().filter(|task| task.state == MoveState::Paused && task.held);
    held.map(|task| ([task.slot].into_iter().collect(), task.note.as_str())).collect()
}

#[tokio::test]
async fn a_destination_that_runs_out_of_memory_pauses_the_wave_until_there_is_room() {
    need!("redis");
    let scene = Scene::set(20_000).await;
    let moved = slots("0-511");
    scene.queue(&moved).await;
    let limit = |bytes: &str| scene.d.client().call(&["CONFIG", "SET", "maxmemory", bytes]).unwrap();
    let options = RunOptions { rate: Some(5000), ..quick() };
    let filling_up = async {
        let mut d = scene.d.client();
        eventually_async(Duration::from_secs(20), || {
            let some = dbsize(&mut d) > 1000;
            async move { some }
        })
        .await;
        // Its policy is noeviction.
        limit("1mb");
    };
    let (outcome, ()) = tokio::join!(scene.run(&options), filling_up);
    let failure = outcome.unwrap_err();
    assert_eq!(
        (failure.kind, failure.what.as_str()),
        (FailureKind::Failed, "group 2 has no room for these slots")
    );
    assert!(failure.why.contains("OOM") && failure.next.contains("maxmemory"), "{failure} {}", failure.next);
    let there = dbsize(&mut scene.d.client());

    // Asked again while nothing has changed, it comes to the same.
    for _ in 0..2 {
        let cluster = scene.load().await;
        assert_eq!(held(&cluster).len(), moved.len(), "{:?}", cluster.moves[0]);
        assert!(held(&cluster).iter().all(|(_, note)| note.contains("group 2 has no room")));
        assert!(moved.iter().all(|slot| cluster.slot(slot).unwrap().moving() == Some((S, D))));
        scene.assert_no_key_is_lost();
        assert_eq!(scene.run(&quick()).await.unwrap_err().what, failure.what);
        assert_eq!(dbsize(&mut scene.d.client()), there);
    }

    limit("0");
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

/// Nobody writes to a slot in `migrate` on the source: what is big there grew between pre-flight and `pre_migrate`.
#[tokio::test]
async fn a_key_that_grew_after_pre_flight_stays_and_its_slot_waits() {
    need!("redis");
    let scene = Scene::set(20_000).await;
    let (moved, home) = (slots("0-1023"), slot_of_key(b"big"));
    scene.queue(&moved).await;
    let options = RunOptions { rate: Some(5000), wave_slots: 1024, ..quick() };
    let mut s = scene.s.client();
    let growing = async {
        let mut d = scene.d.client();
        eventually_async(Duration::from_secs(20), || {
            let some = dbsize(&mut d) > 1000;
            async move { some }
        })
        .await;
        options.stop.cancel();
    };
    let (outcome, ()) = tokio::join!(scene.run(&options), growing);
    assert_eq!(outcome.unwrap_err().kind, FailureKind::Interrupted);
    let fill = "for i=1,60000 do redis.call('HSET',KEYS[1],'field:'..i,'value') end";
    s.call(&["EVAL", fill, "1", "big"]).unwrap();

    let options = RunOptions { wave_slots: 1024, ..quick() };
    let failure = scene.run(&options).await.unwrap_err();
    assert!(failure.why.contains("big, a hash of 60000 fields"), "{failure}");
    assert!(failure.next.contains("--allow-stall"), "{}", failure.next);
    let cluster = scene.load().await;
    let [(slot, note)] = &held(&cluster)[..] else { panic!("{:?}", cluster.moves) };
    assert_eq!((slot, cluster.moves.len()), (&[home].into_iter().collect(), 1), "the others have arrived");
    assert!(note.contains("big, a hash"), "{note}");
    assert_eq!(cluster.slot(home).unwrap().moving(), Some((S, D)));
    let online = |slot| cluster.slot(slot).unwrap().status == SlotStatus::Online;
    assert!(moved.iter().filter(|slot| *slot != home).all(online));
    assert_eq!(dbsize(&mut s), 1, "only that key is left");

    // It shrinks, or somebody says that it may hold the servers up.
    scene.run(&RunOptions { allow_stall: true, ..options }).await.unwrap();
    assert_eq!(scene.d.client().call(&["HLEN", "big"]).unwrap().text(), "60000");
    scene.d.client().call(&["DEL", "big"]).unwrap();
    scene.assert_moved(&moved).await;
}
