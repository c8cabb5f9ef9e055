//! codisctl is killed in the middle of a move, again and again; asking it once more completes the move.

use std::time::Duration;

use codis_core::{GroupId, SlotSet, SlotStatus};
use codis_testkit::{Process, RedisServer, eventually_async, need};
use codis_tests::{Product, Servers, Store};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::support::{assert_filled, count, fill, ledger_on, snapshot};

const KEYS_PER_SLOT: u64 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_codisctl_at_ten_random_moments_of_a_move_loses_nothing() {
    need!("redis");
    kill_again_and_again(Store::local(), 10).await;
}

/// ZooKeeper forgets a dead session only after its time-out, and each successor has to wait for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_codisctl_in_the_middle_of_a_move_loses_nothing_with_zookeeper() {
    need!("redis", "zookeeper");
    kill_again_and_again(Store::zk(), 2).await;
}

#[expect(clippy::print_stdout, reason = "the seed is shown when the story fails")]
async fn kill_again_and_again(store: Store, kills: usize) {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect();
    let product = Product::start(store, groups, 2);
    let slots: SlotSet = "0-63".parse().unwrap();
    fill(&product, &slots, KEYS_PER_SLOT).await;
    let ledger = ledger_on(&product, &slots);

    let mut target = 2;
    queue(&product, target);
    let mut killed = 0;
    while killed < kills {
        let mover = product.ctl_start(&["migrate", "run"]);
        wait_until_it_moves(&product, &mover).await;
        let moment = Duration::from_millis(random.random_range(1..600));
        match mover.wait(moment) {
            None => {
                mover.kill();
                killed += 1;
            }
            Some(status) => {
                // It was done before its time came: send the slots back and go on.
                assert!(status.success(), "{}", mover.log());
                target = 3 - target;
                queue(&product, target);
            }
        }
    }
    product.ctl_ok(&["migrate", "run"]);

    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_filled(&product, &slots, KEYS_PER_SLOT).await;
    let cluster = snapshot(&product).await;
    for slot in slots.iter() {
        let slot = cluster.slot(slot).unwrap();
        assert_eq!((slot.status, slot.group), (SlotStatus::Online, Some(GroupId(target))), "{}", slot.id);
    }
    assert!(cluster.moves.is_empty(), "{:?}", cluster.moves);
    let source = &product.groups[2 - target as usize].master;
    assert_eq!(count(source, &slots).await, 0);
}

/// Returns when codisctl is the mover, or has ended.
async fn wait_until_it_moves(product: &Product, mover: &Process) {
    eventually_async(Duration::from_secs(40), async || {
        let lease = snapshot(product).await.mover;
        !mover.is_running() || lease.is_some_and(|lease| lease.pid == i64::from(mover.pid()))
    })
    .await;
}

fn queue(product: &Product, target: u32) {
    product.ctl_ok(&["migrate", "start", "--slots", "0-63", "--to", &target.to_string()]);
}
