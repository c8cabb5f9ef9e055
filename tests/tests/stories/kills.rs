//! codisctl is killed in the middle of a move, again and again; asking it once more completes the move.

use std::time::Duration;

use codis_core::{GroupId, SlotSet, SlotStatus};
use codis_testkit::{RedisServer, need};
use codis_tests::{Product, Servers, Store};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::support::{assert_filled, count, fill, ledger_on, snapshot};

const KILLS: usize = 10;
const KEYS_PER_SLOT: u64 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_codisctl_at_random_moments_of_a_move_loses_nothing() {
    need!("redis");
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect();
    let product = Product::start(Store::local(), groups, 2);
    let slots: SlotSet = "0-63".parse().unwrap();
    fill(&product, &slots, KEYS_PER_SLOT).await;
    let ledger = ledger_on(&product, &slots);

    let mut target = 2;
    queue(&product, target);
    let mut killed = 0;
    while killed < KILLS {
        let mover = product.ctl_start(&["migrate", "run"]);
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

fn queue(product: &Product, target: u32) {
    product.ctl_ok(&["migrate", "start", "--slots", "0-63", "--to", &target.to_string()]);
}
