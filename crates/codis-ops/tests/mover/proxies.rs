//! Proxies that do not do what they should, played by a session of the test.

use std::time::Duration;

use codis_core::{ActionKind, Extra, MoveState, Proxy, ProxyState, SlotStatus};
use codis_ops::{
    Context, Events, FailureKind,
    mover::{RunOptions, run},
};
use codis_testkit::{eventually_async, need};

use crate::scene::{Scene, quick, slots};

/// Registered and online; acknowledges as often as it is told to.
struct Puppet {
    cx: Context,
    proxy: Proxy,
}

impl Puppet {
    /// One of ours.
    async fn register(scene: &Scene) -> Self {
        Self::register_as(scene, &Proxy::start_mark("now", "0.1.0")).await
    }

    async fn register_as(scene: &Scene, start_at: &str) -> Self {
        let proxy = Proxy {
            id: "puppet".parse().unwrap(),
            addr: "127.0.0.1:19000".parse().unwrap(),
            state: ProxyState::Online,
            debug_var_addr: String::new(),
            pid: 1,
            start_at: start_at.to_owned(),
            extra: Extra::default(),
        };
        let cx = scene.open().await;
        cx.product().register_proxy(&proxy).await.unwrap();
        Self { cx, proxy }
    }

    /// Acknowledges what comes next, `count` times.
    async fn acknowledge(&self, count: usize) {
        let product = self.cx.product();
        let mut done = 0;
        let mut last = product.watch_actions().await.unwrap().0.last().copied();
        while done < count {
            let (seqs, mut watch) = product.watch_actions().await.unwrap();
            let Some(seq) = seqs.into_iter().find(|seq| Some(*seq) > last) else {
                watch.fired().await;
                continue;
            };
            product.acknowledge(seq, &self.proxy).await.unwrap();
            last = Some(seq);
            done += 1;
        }
    }

    /// Ends like a killed process: its registration goes, its fence stays.
    async fn vanish(self) {
        self.cx.close().await;
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_acknowledge_stops_the_wave_before_any_key_moves() {
    need!("redis");
    let scene = Scene::set(500).await;
    let moved = slots("0-99");
    scene.queue(&moved).await;
    let puppet = Puppet::register(&scene).await;

    let failure = scene.run(&quick()).await.unwrap_err();

    assert_eq!(failure.kind, FailureKind::Failed);
    assert!(failure.what.contains("proxy puppet did not acknowledge"), "{failure}");
    assert!(failure.why.contains("online at group 1 again"), "{failure}");
    scene.assert_untouched(&moved).await;
    let cluster = scene.load().await;
    for task in &cluster.moves {
        assert_eq!(task.state, MoveState::Error);
        assert!(task.note.contains("puppet"), "{}", task.note);
    }

    // It dies; its fence says that it may still serve the old routes.
    puppet.vanish().await;
    let failure = scene.run(&quick()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unsafe);
    assert!(failure.place.contains("fence/127.0.0.1:19000"), "{failure}");
    scene.assert_untouched(&moved).await;

    let cx = scene.open().await;
    cx.product().remove_fence("127.0.0.1:19000").await.unwrap();
    cx.close().await;
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn a_proxy_that_acknowledges_everything_holds_nothing_up() {
    need!("redis");
    let scene = Scene::set(500).await;
    let moved = slots("0-99");
    scene.queue(&moved).await;
    let puppet = Puppet::register(&scene).await;
    // pre_migrate, migrate, online.
    let options = quick();
    let (report, ()) = tokio::join!(scene.run(&options), puppet.acknowledge(3));
    assert_eq!(report.unwrap().slots_moved, 100);
    puppet.vanish().await;
    scene.assert_moved(&moved).await;
}

/// It would end at the sight of `slots_changed`; so that is never sent to it, whenever it comes.
#[tokio::test]
async fn a_go_proxy_that_comes_after_the_pre_flight_is_never_sent_a_wave() {
    need!("redis");
    let scene = Scene::set(500).await;
    let moved = slots("0-9");
    scene.queue(&moved).await;
    let cx = scene.open().await;
    // The mover gets as far as the lock, and waits there.
    let lock = cx.product().lock("hold it up", Duration::from_secs(5)).await.unwrap().unwrap();
    let coming = async {
        eventually_async(Duration::from_secs(20), async || scene.load().await.locks.len() == 2).await;
        let go = Puppet::register_as(&scene, "2026-11-22 08:00:59.158684094 +0000 UTC m=+0.047548512").await;
        lock.release().await.unwrap();
        // It hears that the slots are online, which they were when it came.
        go.acknowledge(10).await;
        go
    };
    let options = quick();
    let (outcome, go) = tokio::join!(scene.run(&options), coming);

    // Looked at anew, the move is refused: the source is a stock server.
    let failure = outcome.unwrap_err();
    assert_eq!((failure.kind, failure.place.as_str()), (FailureKind::Unsafe, "proxy/puppet"), "{failure}");
    assert!(failure.why.contains("stock server"), "{failure}");
    scene.assert_untouched(&moved).await;
    let (actions, _) = cx.product().watch_actions().await.unwrap();
    for seq in actions {
        let action = cx.product().action(seq).await.unwrap().unwrap();
        assert!(!matches!(action.kind, ActionKind::Wave { .. }), "{action:?}");
    }
    go.vanish().await;
    cx.close().await;
}

/// It cannot reach the keys that have not moved; so the move is finished, not stopped.
#[tokio::test]
async fn a_go_proxy_that_comes_while_keys_move_is_told_slot_by_slot() {
    need!("redis");
    let scene = Scene::set(2000).await;
    let moved = slots("0-99");
    scene.queue(&moved).await;
    let coming = async {
        eventually_async(Duration::from_secs(20), async || {
            scene.load().await.count(SlotStatus::Migrate) == 100
        })
        .await;
        let go = Puppet::register_as(&scene, "2026-11-22 08:00:59.158684094 +0000 UTC m=+0.047548512").await;
        go.acknowledge(100).await;
        go
    };
    let options = RunOptions { rate: Some(100), ..quick() };
    let (report, go) = tokio::join!(scene.run(&options), coming);
    assert_eq!(report.unwrap().slots_moved, 100);
    let (actions, _) = go.cx.product().watch_actions().await.unwrap();
    let newest = actions[actions.len() - 100..].iter();
    for seq in newest {
        let action = go.cx.product().action(*seq).await.unwrap().unwrap();
        assert!(matches!(action.kind, ActionKind::SlotChanged(_)), "{action:?}");
    }
    go.vanish().await;
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn a_proxy_that_dies_after_pre_migrate_does_not_hold_migrate_up() {
    need!("redis");
    let scene = Scene::set(500).await;
    let moved = slots("0-99");
    scene.queue(&moved).await;
    let puppet = Puppet::register(&scene).await;
    let dying = async {
        puppet.acknowledge(1).await;
        puppet.vanish().await;
    };
    let options = RunOptions { rate: Some(2000), ..quick() };
    let (outcome, ()) = tokio::join!(scene.run(&options), dying);

    // Its keys have moved, but while its fence stands the slots do not go online.
    let failure = outcome.unwrap_err();
    assert!(failure.place.contains("fence/127.0.0.1:19000"), "{failure}");
    let cluster = scene.load().await;
    let state = |id| cluster.slot(id).unwrap().status;
    assert!(moved.iter().all(|id| state(id) == SlotStatus::Migrate));
    let cx = scene.open().await;
    cx.product().remove_fence("127.0.0.1:19000").await.unwrap();
    cx.close().await;
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}

#[tokio::test]
async fn slots_left_in_pre_migrate_are_freed_before_the_servers_are_even_looked_at() {
    need!("redis");
    let mut scene = Scene::set(500).await;
    let moved = slots("0-99");
    scene.queue(&moved).await;
    let puppet = Puppet::register(&scene).await;
    let cx = scene.open().await;
    let (options, events) = (RunOptions { ack_patience: Duration::from_secs(60), ..quick() }, Events::none());
    let held = async || {
        let cluster = scene.load().await;
        moved.iter().all(|id| cluster.slot(id).unwrap().status == SlotStatus::PreMigrate)
    };
    tokio::select! {
        outcome = Box::pin(run(&cx, &options, &events)) => panic!("it ended: {outcome:?}"),
        () = eventually_async(Duration::from_secs(20), &held) => {}
    }
    cx.close().await;
    scene.d.kill();
    let failure = scene.run(&quick()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    scene.assert_untouched(&moved).await;

    scene.d.restart();
    puppet.vanish().await;
    let cx = scene.open().await;
    cx.product().remove_fence("127.0.0.1:19000").await.unwrap();
    cx.close().await;
    scene.run(&quick()).await.unwrap();
    scene.assert_moved(&moved).await;
}
