//! Waves from beginning to end, and runs that are cut short.

use std::time::Duration;

use codis_core::{MoveState, SlotSet, SlotStatus, Versioned, slot_of_key};
use codis_ops::{
    Consent, Event, Events, FailureKind, Permit, WavePhase, apply, audit,
    mover::{RunOptions, Verify, run},
    settle,
};
use codis_testkit::{RedisServer, eventually_async, need};

use crate::scene::{D, S, Scene, addr, await_keys, dbsize, quick, slots};

#[tokio::test]
async fn a_wave_moves_keys_slots_and_tasks() {
    need!("redis");
    let scene = Scene::set(5000).await;
    let moved = slots("0-255,512-600");
    scene.queue(&moved).await;
    let cx = scene.open().await;
    let (events, mut stream) = Events::channel();

    let report = Box::pin(run(&cx, &quick(), &events)).await.unwrap();

    assert_eq!((report.waves, report.slots_moved), (1, moved.len()));
    assert_eq!(report.keys_moved as usize, dbsize(&mut scene.d.client()));
    assert!(report.keys_per_s > 0.0 && report.stall_max_ms >= report.stall_p99_ms, "{report:?}");
    let mut phases = Vec::new();
    let mut last = None;
    while let Some(event) = stream.try_next() {
        if let Event::Wave(wave) = event {
            assert_eq!((wave.from, wave.to, wave.slots.len()), (S, D, moved.len()));
            phases.push(wave.phase);
            last = Some(wave);
        }
    }
    phases.dedup();
    use WavePhase::{Done, Migrate, Online, PreFlight, PreMigrate, Verify as Verifying};
    assert_eq!(phases, [PreFlight, PreMigrate, Migrate, Verifying, Online, Done]);
    let last = last.unwrap();
    assert_eq!(last.keys_total, Some(report.keys_moved));
    assert_eq!(last.keys_moved, report.keys_moved);
    let record = audit::list(&cx, 1).await.unwrap().remove(0);
    assert!(record.plan.contains("move 345 slots from group 1 to 2"), "{record:?}");
    assert_eq!(record.outcome, "done");
    cx.close().await;
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn an_empty_queue_is_done_at_once() {
    need!("redis");
    let scene = Scene::set(10).await;
    assert_eq!(scene.run(&quick()).await.unwrap().waves, 0);
    scene.assert_moved(&SlotSet::default()).await;
}

#[tokio::test]
async fn slots_beyond_a_wave_follow_in_the_next() {
    need!("redis");
    let scene = Scene::set(2000).await;
    let moved = slots("100-199");
    scene.queue(&moved).await;
    let options = RunOptions { wave_slots: 40, verify: Verify::Full, ..quick() };
    let report = scene.run(&options).await.unwrap();
    assert_eq!((report.waves, report.slots_moved), (3, 100));
    scene.assert_moved(&moved).await;
}

async fn keys_arrive(scene: &Scene) {
    let mut d = scene.d.client();
    eventually_async(Duration::from_secs(20), || {
        let some = dbsize(&mut d) > 0;
        async move { some }
    })
    .await;
}

/// Every run is cut off a little later than the one before, wherever it is, like by SIGKILL: its
/// connections and its session end and nothing else is done. One goes on until keys move, because on a
/// busy machine one run may end before that and the next not at all.
#[tokio::test]
async fn runs_cut_off_anywhere_add_up_to_a_whole_one() {
    need!("redis");
    let scene = Scene::set(1000).await;
    let moved = slots("0-511");
    scene.queue(&moved).await;
    let options = RunOptions { rate: Some(2000), wave_slots: 200, ..quick() };
    let mut seen = Vec::new();
    const ONCE_MOVING: i32 = 5;
    for n in 0.. {
        assert!(n < 50, "50 runs did not finish it");
        let cx = scene.open().await;
        let (events, patience) = (Events::none(), Duration::from_millis(15).mul_f64(1.2f64.powi(n)));
        let running = Box::pin(run(&cx, &options, &events));
        let ended = if n == ONCE_MOVING {
            tokio::select! {
                outcome = running => Some(outcome),
                () = keys_arrive(&scene) => None,
            }
        } else {
            tokio::time::timeout(patience, running).await.ok()
        };
        cx.close().await;
        scene.assert_no_key_is_lost();
        if let Some(outcome) = ended {
            outcome.unwrap();
            break;
        }
        let cluster = scene.load().await;
        let states: Vec<SlotStatus> = moved.iter().map(|id| cluster.slot(id).unwrap().status).collect();
        for status in [SlotStatus::PreMigrate, SlotStatus::Migrate] {
            if states.contains(&status) && !seen.contains(&status) {
                seen.push(status);
            }
        }
    }
    assert!(seen.contains(&SlotStatus::Migrate), "no run was cut off in migrate");
    scene.assert_moved(&moved).await;
}

/// The original put such a slot online at the destination, and the keys that were left behind vanished.
#[tokio::test]
async fn a_destination_killed_half_way_leaves_the_slot_in_migrate() {
    need!("redis");
    let mut scene = Scene::set(20_000).await;
    let moved = slots("0-511");
    scene.queue(&moved).await;
    let options = RunOptions { rate: Some(10_000), ..quick() };
    let running = scene.run(&options);
    let killing = async {
        let mut d = scene.d.client();
        eventually_async(Duration::from_secs(20), || {
            let some = dbsize(&mut d) > 1000;
            async move { some }
        })
        .await;
        scene.d.kill();
    };
    let (outcome, ()) = tokio::join!(running, killing);
    let failure = outcome.unwrap_err();

    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.place.contains(&scene.d.addr()), "{failure}");
    assert!(failure.why.contains("the slots stay in migrate"), "{failure}");
    assert!(failure.next.contains("codisctl migrate run"), "{failure:?}");
    let cluster = scene.load().await;
    for id in moved.iter() {
        let slot = &cluster.slot(id).unwrap().value;
        assert_eq!(
            (slot.status, slot.group, slot.from, slot.to),
            (SlotStatus::Migrate, Some(D), Some(S), Some(D))
        );
        let task = cluster.move_of(id).unwrap();
        assert_eq!(task.state, MoveState::Error);
        assert!(task.note.contains(&scene.d.addr()), "{}", task.note);
    }
    // While it is away nothing gets worse.
    let again = scene.run(&options).await.unwrap_err();
    assert_eq!(again.kind, FailureKind::Unreachable, "{again}");

    scene.d.restart();
    scene.assert_no_key_is_lost();
    assert!(dbsize(&mut scene.s.client()) > 10_000, "nothing was left to move");
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn a_source_restarted_half_way_is_searched_again() {
    need!("redis");
    let mut scene = Scene::set(20_000).await;
    let moved = slots("0-511");
    scene.queue(&moved).await;
    let options = RunOptions { rate: Some(10_000), ..quick() };
    let running = scene.run(&options);
    let killing = async {
        let mut d = scene.d.client();
        eventually_async(Duration::from_secs(20), || {
            let some = dbsize(&mut d) > 1000;
            async move { some }
        })
        .await;
        scene.s.kill();
    };
    let (outcome, ()) = tokio::join!(running, killing);
    let failure = outcome.unwrap_err();
    assert!(failure.place.contains(&scene.s.addr()), "{failure}");
    scene.s.restart();
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn a_stop_ends_the_run_at_a_safe_point() {
    need!("redis");
    let scene = Scene::set(20_000).await;
    let moved = slots("0-511");
    scene.queue(&moved).await;
    let options = RunOptions { rate: Some(10_000), ..quick() };
    let stopping = async {
        let mut d = scene.d.client();
        eventually_async(Duration::from_secs(20), || {
            let some = dbsize(&mut d) > 1000;
            async move { some }
        })
        .await;
        options.stop.cancel();
    };
    let (outcome, ()) = tokio::join!(scene.run(&options), stopping);
    let failure = outcome.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Interrupted);
    assert!(failure.next.contains("codisctl migrate run"), "{failure:?}");
    let cluster = scene.load().await;
    let task = cluster.move_of(slots("7").iter().next().unwrap()).unwrap();
    assert_eq!(task.state, MoveState::Migrating);
    assert!(task.keys_total.is_some_and(|total| total > 0), "{task:?}");
    let progress: u64 = cluster.moves.iter().map(|task| task.keys_moved).sum();
    assert_eq!(progress as usize, dbsize(&mut scene.d.client()), "tasks know what has moved");
    assert_eq!((cluster.mover, cluster.dashboard), (None, None));
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn a_dashboard_that_takes_our_node_away_ends_the_run() {
    need!("redis");
    let scene = Scene::set(20_000).await;
    let moved = slots("0-511");
    scene.queue(&moved).await;
    let options = RunOptions { rate: Some(10_000), ..quick() };
    let cx = scene.open().await;
    let path = format!("{}/dashboard", cx.product().root());
    let starting = async {
        let mut d = scene.d.client();
        eventually_async(Duration::from_secs(20), || {
            let some = dbsize(&mut d) > 1000;
            async move { some }
        })
        .await;
        cx.product().store().delete(&path, None).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(scene.run(&options), starting);
    cx.close().await;
    let failure = outcome.unwrap_err();
    assert_eq!((failure.kind, failure.place.as_str()), (FailureKind::Unsafe, "dashboard"), "{failure}");
    assert!(dbsize(&mut scene.s.client()) > 10_000, "it went on");
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn a_stray_on_the_destination_is_found_before_anything_is_written() {
    need!("redis");
    let scene = Scene::set(100).await;
    scene.d.client().call(&["SET", "k:7", "stray"]).unwrap();
    let moved = slots("0-1023");
    scene.queue(&moved).await;
    let options = RunOptions { wave_slots: 1024, ..quick() };
    let failure = scene.run(&options).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsafe);
    assert!(failure.why.contains("1 keys") && failure.why.contains("k:7"), "{failure}");
    scene.assert_untouched(&moved).await;
    scene.d.client().call(&["DEL", "k:7"]).unwrap();
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn a_master_that_is_a_slave_is_refused() {
    need!("redis");
    let scene = Scene::set(100).await;
    let other = RedisServer::start();
    let moved = slots("0-9");
    scene.queue(&moved).await;
    scene.d.client().call(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).unwrap();
    let failure = scene.run(&quick()).await.unwrap_err();
    assert_eq!((failure.kind, failure.place), (FailureKind::Unsafe, scene.d.addr()));
    assert!(failure.why.contains("it is a slave"), "{}", failure.why);
    scene.assert_untouched(&moved).await;
}

#[tokio::test]
async fn a_destination_without_room_is_refused() {
    need!("redis");
    let scene = Scene::set(10_000).await;
    let moved = slots("0-511");
    scene.queue(&moved).await;
    scene.d.client().call(&["CONFIG", "SET", "maxmemory", "1100kb"]).unwrap();
    let failure = scene.run(&quick()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsafe, "{failure}");
    assert!(failure.why.contains("MB would come from"), "{}", failure.why);
    scene.assert_untouched(&moved).await;
}

#[tokio::test]
async fn a_slot_with_a_big_key_stays_and_the_others_move() {
    need!("redis");
    let scene = Scene::set(2000).await;
    let mut client = scene.s.client();
    let fill = "for i=1,60000 do redis.call('HSET',KEYS[1],'field:'..i,'a value of some length') end";
    client.call(&["EVAL", fill, "1", "big"]).unwrap();
    let home: SlotSet = [slot_of_key(b"big")].into_iter().collect();
    let asked: SlotSet = slots("0-99").iter().chain(home.iter()).collect();
    scene.queue(&asked).await;

    let failure = scene.run(&quick()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsafe, "{failure}");
    assert!(failure.why.contains("big, a hash of 60000 fields"), "{failure}");
    let cluster = scene.load().await;
    let left: Vec<_> = cluster.moves.iter().map(|task| (task.slot, task.state)).collect();
    assert_eq!(left, [(slot_of_key(b"big"), MoveState::Error)]);
    assert_eq!(cluster.slot(slot_of_key(b"big")).unwrap().group, Some(S));
    assert!(
        asked.iter().filter(|id| !home.contains(*id)).all(|id| cluster.slot(id).unwrap().group == Some(D))
    );

    let report = scene.run(&RunOptions { allow_stall: true, ..quick() }).await.unwrap();
    assert_eq!(report.slots_moved, 1);
    assert_eq!(scene.d.client().call(&["HLEN", "big"]).unwrap().text(), "60000");
    scene.assert_moved(&asked).await;
}

#[tokio::test]
async fn a_slot_goes_online_by_hand_only_when_nothing_is_left_behind() {
    need!("redis");
    let scene = Scene::set(2000).await;
    let home = slots("100-101");
    let cx = scene.open().await;
    let cluster = cx.load().await.unwrap();
    let moving: Vec<_> = home
        .iter()
        .map(|id| cluster.slot(id).unwrap())
        .map(|slot| Versioned::new(slot.migrate(S, D), slot.version))
        .collect();
    cx.product().put_slots(&moving).await.unwrap();

    let refused = settle::plan_online(&cx, &home).await.unwrap_err();
    assert_eq!((refused.kind, refused.place.as_str()), (FailureKind::Unsafe, scene.s.addr().as_str()));
    let mut there: Vec<String> = (0..2000).map(|n| format!("k:{n}")).collect();
    there.retain(|key| home.contains(slot_of_key(key.as_bytes())));
    assert!(
        refused.why.starts_with(&format!("it still holds {} keys of slots 100-101", there.len())),
        "{refused}"
    );
    assert!(there.iter().any(|key| refused.why.contains(key)), "{refused}");

    for key in &there {
        scene.s.client().call(&["DEL", key]).unwrap();
    }
    let plan = settle::plan_online(&cx, &home).await.unwrap();
    apply(&cx, &plan, Permit::new(&plan, Consent::YesFlag), &Events::none()).await.unwrap();
    let cluster = scene.load().await;
    let owners: Vec<_> = home.iter().map(|id| cluster.slot(id).unwrap().value.clone()).collect();
    assert!(
        owners.iter().all(|slot| slot.status == SlotStatus::Online && slot.group == Some(D)),
        "{owners:?}"
    );
    let record = audit::list(&cx, 1).await.unwrap().remove(0);
    assert!(record.plan.contains(&format!("of which {} holds no key", scene.s.addr())), "{record:?}");
    // Again: nothing to do.
    assert!(settle::plan_online(&cx, &home).await.unwrap().steps.is_empty());
    cx.close().await;
}

#[tokio::test]
async fn there_is_one_mover() {
    need!("redis");
    let scene = Scene::set(20_000).await;
    let moved = slots("0-1023");
    scene.queue(&moved).await;
    // The second waits for the first and then finds nothing left to do.
    let slow = RunOptions { rate: Some(20_000), ..quick() };
    let (first, second) = tokio::join!(scene.run(&slow), scene.run(&slow));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.slots_moved + second.slots_moved, 1024);
    assert_eq!(first.waves + second.waves, 2);
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn beside_another_mover_nothing_is_written() {
    need!("redis");
    let scene = Scene::set(50).await;
    let moved = slots("0-3");
    scene.queue(&moved).await;
    let other = scene.open().await;
    let held = other.product().take_mover("ops@bastion-2").await.unwrap().unwrap();
    let as_it_was = |mut cluster: codis_core::Cluster| {
        (cluster.taken_ms, cluster.read_ms) = (0, 0);
        cluster
    };
    let before = (as_it_was(scene.load().await), audit::list(&other, 100).await.unwrap());
    // It waits for as long as one that has died may take to be forgotten.
    let refused = scene.run(&quick()).await.unwrap_err();
    assert_eq!(refused.kind, FailureKind::Unsafe, "{refused}");
    assert!(
        refused.why.contains("ops@bastion-2") && refused.why.contains("moves slots already"),
        "{refused}"
    );
    assert!(refused.next.starts_with("codisctl migrate watch"), "{}", refused.next);
    assert_eq!((as_it_was(scene.load().await), audit::list(&other, 100).await.unwrap()), before);
    scene.assert_untouched(&moved).await;
    held.release().await.unwrap();
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn slaves_hear_of_everything_before_a_slot_goes_online() {
    need!("redis");
    let scene = Scene::set(3000).await;
    let d_slave = RedisServer::builder().slave_of(&scene.d).start();
    let s_slave = RedisServer::builder().slave_of(&scene.s).start();
    let moved = slots("0-1023");
    scene.queue(&moved).await;
    let options = RunOptions { wait_timeout: Duration::from_secs(1), ..quick() };
    scene.run(&options).await.unwrap();
    assert_eq!((dbsize(&mut s_slave.client()), dbsize(&mut d_slave.client())), (0, 3000));
    await_keys(&scene.d, 3000);
    assert_ne!(addr(&scene.d), addr(&d_slave));
}
