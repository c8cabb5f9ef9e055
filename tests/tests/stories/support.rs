//! What the stories ask the product about.

use std::time::Duration;

use codis_core::{Addr, Cluster, SlotId, SlotSet, slot_of_key};
use codis_ops::{Context, Secret, Target};
use codis_redis::ledger::{self, Ledger, LedgerConfig};
use codis_redis::{ConnectOptions, Password, count_by_slot};
use codis_testkit::{RedisServer, eventually};
use codis_tests::{PRODUCT, Product};

/// The product as the store has it.
pub(crate) async fn snapshot(product: &Product) -> Cluster {
    snapshot_of(product, PRODUCT).await
}

/// Another product in the same store.
pub(crate) async fn snapshot_of(product: &Product, name: &str) -> Cluster {
    let target = Target {
        store: product.store.url().parse().unwrap(),
        product: name.parse().unwrap(),
        timeout: Duration::from_secs(10),
        password: Secret::none(),
    };
    let cx = Context::connect(&target).await.unwrap();
    let cluster = cx.load().await.unwrap();
    cx.close().await;
    cluster
}

pub(crate) fn proxies(product: &Product) -> Vec<Addr> {
    product.proxies.iter().map(|proxy| proxy.addr().parse().unwrap()).collect()
}

/// A ledger on these slots through all proxies, until it is finished.
pub(crate) fn ledger_on(product: &Product, slots: &SlotSet) -> Ledger {
    let mut config = LedgerConfig::new(proxies(product));
    config.slots = Some(slots.clone());
    config.pause = Duration::from_millis(1);
    Ledger::start(config)
}

/// Names of keys that fall into these slots, one name per slot.
pub(crate) fn prefixes(slots: &SlotSet) -> Vec<String> {
    let mut names = vec![None; 1024];
    let mut n = 0;
    while slots.iter().any(|slot| names[slot.index()].is_none()) {
        let slot = slot_of_key(format!("s{n}").as_bytes());
        names[slot.index()].get_or_insert(format!("{{s{n}}}"));
        n += 1;
    }
    slots.iter().filter_map(|slot| names[slot.index()].clone()).collect()
}

/// Writes `keys` keys into each slot.
pub(crate) async fn fill(product: &Product, slots: &SlotSet, keys: u64) {
    for prefix in prefixes(slots) {
        ledger::load(&proxies(product), &Password::none(), &prefix, keys).await.unwrap();
    }
}

/// Waits until the slaves have what their masters hold. One that has just been attached gets nothing until its first
/// acknowledgement, up to a second later; a master that is killed before that takes all of it along.
pub(crate) fn until_copied(product: &Product) {
    let keys = |server: &RedisServer| server.client().call(&["DBSIZE"]).unwrap().text();
    for group in &product.groups {
        for slave in &group.slaves {
            eventually(Duration::from_secs(20), || keys(slave) == keys(&group.master));
        }
    }
}

/// Reads all keys of [`fill`] and fails with the names of those that are missing or wrong.
pub(crate) async fn assert_filled(product: &Product, slots: &SlotSet, keys: u64) {
    for prefix in prefixes(slots) {
        let read = ledger::verify(&proxies(product), &Password::none(), &prefix, keys).await.unwrap();
        assert!(read.holds(), "{} missing, {} wrong: {:?}", read.missing, read.wrong, read.named);
    }
}

/// How many keys of these slots a server holds.
pub(crate) async fn count(server: &RedisServer, slots: &SlotSet) -> u64 {
    let counts = count_by_slot(&server.addr().parse().unwrap(), &ConnectOptions::default()).await.unwrap();
    slots.iter().map(|slot: SlotId| counts[slot.index()]).sum()
}
