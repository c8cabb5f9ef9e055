//! Slots move while clients write, and nothing is lost, whatever happens to the destination.

use std::time::{Duration, Instant};

use codis_core::{GroupId, SlotSet, SlotStatus};
use codis_redis::ledger::{Ledger, LedgerConfig};
use codis_testkit::{RedisServer, eventually, need};
use codis_tests::{Product, Servers, Store};

use crate::support::{assert_filled, count, fill, ledger_on, prefixes, proxies, snapshot};

/// The line: 64 slots with 100 000 keys.
const KEYS_PER_SLOT: u64 = 1563;

async fn sixty_four_slots(store: Store) {
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect();
    let product = Product::start(store, groups, 2);
    let slots: SlotSet = "0-63".parse().unwrap();
    fill(&product, &slots, KEYS_PER_SLOT).await;
    let ledger = ledger_on(&product, &slots);

    product.ctl_ok(&["migrate", "start", "--slots", "0-63", "--to", "2"]);
    product.ctl_ok(&["migrate", "run"]);

    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_eq!(account.error_count(), 0, "{:#?}", account.errors);
    assert!(account.acknowledged > 0);
    assert_filled(&product, &slots, KEYS_PER_SLOT).await;
    let cluster = snapshot(&product).await;
    for slot in slots.iter() {
        let slot = cluster.slot(slot).unwrap();
        assert_eq!((slot.status, slot.group), (SlotStatus::Online, Some(GroupId(2))), "{}", slot.id);
    }
    assert!(cluster.moves.is_empty(), "{:?}", cluster.moves);
    assert_eq!(count(&product.groups[0].master, &slots).await, 0);
    assert!(count(&product.groups[1].master, &slots).await >= 64 * KEYS_PER_SLOT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_slots_move_under_the_ledger_with_a_local_store() {
    need!("redis");
    sixty_four_slots(Store::local()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_slots_move_under_the_ledger_with_zookeeper() {
    need!("redis", "zookeeper");
    sixty_four_slots(Store::zk()).await;
}

/// How many keys move there and back; `CODIS_TEST_KEYS=1000000` is the line: 512 slots, a few minutes.
fn there_and_back() -> (SlotSet, u64) {
    let keys: u64 = std::env::var("CODIS_TEST_KEYS").map_or(12_800, |text| text.parse().unwrap());
    let slots: SlotSet = if keys < 500_000 { "0-63" } else { "0-511" }.parse().unwrap();
    let per_slot = keys.div_ceil(slots.len() as u64);
    (slots, per_slot)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_to_another_group_and_back_under_three_proxies() {
    need!("redis");
    let (slots, per_slot) = there_and_back();
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect();
    let product = Product::start(Store::local(), groups, 3);
    fill(&product, &slots, per_slot).await;
    let mut config = LedgerConfig::new(proxies(&product));
    config.slots = Some(slots.clone());
    config.scripts_and_pipelines = true;
    config.pause = Duration::from_millis(3);
    // Sixteen writers with 3 ms between two requests come to about 5000 requests a second on a machine of their own.
    config.writers = 16;
    let quiet = Ledger::start(config.clone());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let quiet = quiet.finish().await;
    assert!(quiet.holds(), "{:#?}", quiet.violations);
    let ledger = Ledger::start(config);

    for target in [2, 1] {
        let range = slots.to_string();
        product.ctl_ok(&["migrate", "start", "--slots", &range, "--to", &target.to_string()]);
        let begun = Instant::now();
        let mover = product.ctl_start(&["migrate", "run"]);
        let status = mover.wait(Duration::from_secs(1800)).expect("it moves at all");
        assert!(status.success(), "{}", mover.log());
        println!("to group {target}: {:.1} s\n{}", begun.elapsed().as_secs_f64(), mover.log());
        assert_eq!(count(&product.groups[2 - target].master, &slots).await, 0, "left behind");
    }

    let account = ledger.finish().await;
    println!(
        "{} keys; before: {} requests, {:?}; meanwhile: {} acknowledged, {} reads, {:?}, errors {:?}",
        per_slot * slots.len() as u64,
        quiet.acknowledged + quiet.reads,
        quiet.latency,
        account.acknowledged,
        account.reads,
        account.latency,
        account.errors
    );
    assert!(account.holds(), "{:#?}", account.violations);
    assert_eq!(account.error_count(), 0, "{:#?}", account.errors);
    assert_filled(&product, &slots, per_slot).await;
    let cluster = snapshot(&product).await;
    let home = |slot| {
        let slot = cluster.slot(slot).unwrap();
        (slot.status, slot.group) == (SlotStatus::Online, Some(GroupId(1)))
    };
    assert!(slots.iter().all(home) && cluster.moves.is_empty());
}

/// The Go tools put the slot online at its destination when that had failed, and the keys that had not
/// moved, 7 of 12 where it was seen, were gone for every client. Here the slot stays in `migrate`, and
/// each key is readable again as soon as the server that holds it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_dies_half_way_hides_no_key() {
    need!("redis");
    const KEYS: u64 = 20_000;
    let durable = RedisServer::builder().durable();
    let groups = vec![Servers::start(RedisServer::builder(), 0), Servers::start(durable, 0)];
    let mut product = Product::start(Store::local(), groups, 2);
    let slots: SlotSet = "7".parse().unwrap();
    fill(&product, &slots, KEYS).await;

    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    let mover = product.ctl_start(&["migrate", "run"]);
    let mut destination = product.groups[1].master.client();
    let mut size = || destination.call(&["DBSIZE"]).unwrap().text().parse::<u64>().unwrap();
    eventually(Duration::from_secs(30), || size() > KEYS / 20);
    product.groups[1].master.kill();
    let status = mover.wait(Duration::from_secs(60)).expect("codisctl gives up on a dead destination");
    assert!(!status.success(), "{}", mover.log());

    let left = count(&product.groups[0].master, &slots).await;
    assert!(
        left > 0 && left < KEYS,
        "it was not killed half-way: {left} of {KEYS} keys are still at the source"
    );
    let cluster = snapshot(&product).await;
    let slot = cluster.slot("7".parse().unwrap()).unwrap();
    assert_eq!(slot.status, SlotStatus::Migrate);
    assert_eq!(slot.moving(), Some((GroupId(1), GroupId(2))));

    product.groups[1].master.restart();
    // The proxies try again after growing pauses.
    let key = format!("{}:0", prefixes(&slots)[0]);
    for proxy in &product.proxies {
        eventually(Duration::from_secs(20), || {
            proxy.client().call(&["GET", &key]).is_ok_and(|r| !r.is_error())
        });
    }
    assert_filled(&product, &slots, KEYS).await;

    product.ctl_ok(&["migrate", "run"]);
    assert_filled(&product, &slots, KEYS).await;
    let cluster = snapshot(&product).await;
    let slot = cluster.slot("7".parse().unwrap()).unwrap();
    assert_eq!((slot.status, slot.group), (SlotStatus::Online, Some(GroupId(2))));
    assert_eq!(count(&product.groups[0].master, &slots).await, 0);
}
