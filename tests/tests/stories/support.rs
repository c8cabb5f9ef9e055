//! What the stories ask the product about.

use std::time::Duration;

use codis_core::{Addr, Cluster, SlotId, SlotSet, slot_of_key};
use codis_ops::{Context, Secret, Target};
use codis_redis::ledger::{self, Ledger, LedgerConfig};
use codis_redis::{ConnectOptions, Password, count_by_slot};
use codis_testkit::{RedisServer, Reply, eventually};
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

/// A command that a server has executed.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// The address it came from, without the port.
    pub(crate) from: String,
    /// The name of the connection.
    pub(crate) name: String,
    /// The command with its arguments, in capital letters.
    pub(crate) order: String,
}

/// Everything that a server has executed since this was last forgotten, if it was started with [`LISTENS`]: it writes down commands
/// that take longer than nothing.
pub(crate) fn told(server: &RedisServer) -> Vec<Told> {
    let Reply::Array(Some(entries)) = server.client().call(&["SLOWLOG", "GET", "-1"]).unwrap() else {
        panic!("a list of commands")
    };
    let one = |entry: Reply| {
        let Reply::Array(Some(fields)) = entry else { return None };
        let [_, _, _, Reply::Array(Some(words)), client, name, ..] = &fields[..] else { return None };
        let words: Vec<String> = words.iter().map(|word| word.text().to_uppercase()).collect();
        let from = client.text().rsplit_once(':').map(|(ip, _)| ip.to_owned()).unwrap_or_default();
        Some(Told { from, name: name.text(), order: words.join(" ") })
    };
    let told: Vec<Told> = entries.into_iter().filter_map(one).collect();
    assert!(!told.is_empty(), "it writes nothing down");
    told
}

/// Settings of a server that writes down what it executes.
pub(crate) const LISTENS: [(&str, &str); 2] =
    [("slowlog-log-slower-than", "0"), ("slowlog-max-len", "100000")];

pub(crate) fn forget_told(server: &RedisServer) {
    server.client().call(&["SLOWLOG", "RESET"]).unwrap();
}
