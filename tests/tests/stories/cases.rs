//! The ways to lose a key that models of the moving protocol have found, those with a mover in them.
//!
//! The table of all cases is at the head of `codis-proxy/tests/follow/cases.rs`; here are
//!
//! | case | what happens | staged |
//! |---|---|---|
//! | A2, A3 | a late RESTORE, here that of a dead mover | here, against writes and DELs |
//! | A6 | a stray lies on the destination before | here |
//! | B1, B2 | a silent proxy in pre_migrate | `go.rs`: silent proxies, Go's and ours |
//! | D4 | the scan goes on at the cursor of a source that has failed over | here |
//! | E1, E2, E3 | a mover that died or slept acts after its successor | here: the slots go back by a move of their own |
//! | E4, E6, E8, G11, G12 | what fails during a cancel | `cancel.rs` |

use std::time::Duration;

use codis_core::{GroupId, SlotSet, SlotStatus};
use codis_testkit::{RedisServer, Relay, eventually, need};
use codis_tests::{Product, Servers, Store};

use crate::support::{assert_filled, count, fill, prefixes, snapshot};

const SOON: Duration = Duration::from_secs(40);

fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}

fn ask(server: &RedisServer, line: &str) -> String {
    server.client().call(&line.split(' ').collect::<Vec<_>>()).unwrap().text()
}

fn through(product: &Product, line: &str) -> String {
    let reply = product.proxies[0].client().call(&line.split(' ').collect::<Vec<_>>()).unwrap();
    assert!(!reply.is_error(), "{line}: {reply:?}");
    reply.text()
}

/// Queues the slots and moves them to their end.
fn send(product: &Product, slots: &str, group: &str) {
    product.ctl_ok(&["migrate", "start", "--slots", slots, "--to", group]);
    product.ctl_ok(&["migrate", "run"]);
}

async fn assert_owner(product: &Product, slots: &SlotSet, group: u32) {
    let cluster = snapshot(product).await;
    for slot in slots.iter() {
        let slot = cluster.slot(slot).unwrap();
        assert_eq!((slot.status, slot.group), (SlotStatus::Online, Some(GroupId(group))), "{}", slot.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_a6_a_stray_on_the_destination_is_found_before_a_key_moves() {
    need!("redis");
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 0)).collect();
    let product = Product::start(Store::local(), groups, 1);
    let slots = slots("7");
    fill(&product, &slots, 50).await;
    // A key that clients have deleted, and one that they have written since: both would be wrong.
    let prefix = prefixes(&slots).remove(0);
    ask(&product.groups[1].master, &format!("SET {prefix}:deleted long-ago"));
    ask(&product.groups[1].master, &format!("SET {prefix}:0 older"));

    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    let refused = product.ctl(&["migrate", "run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains(&product.groups[1].master.addr()) && said.contains("slot 7"), "{said}");
    assert_owner(&product, &slots, 1).await;
    assert_filled(&product, &slots, 50).await;
    assert_eq!(through(&product, &format!("EXISTS {prefix}:deleted")), "0");

    for stray in ["deleted", "0"] {
        ask(&product.groups[1].master, &format!("DEL {prefix}:{stray}"));
    }
    product.ctl_ok(&["migrate", "run"]);
    assert_owner(&product, &slots, 2).await;
    assert_filled(&product, &slots, 50).await;
    assert_eq!(through(&product, &format!("EXISTS {prefix}:deleted")), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_d4_a_source_that_fails_over_is_searched_from_the_beginning() {
    need!("redis");
    const KEYS: u64 = 10_000;
    let groups = vec![Servers::start(RedisServer::builder(), 1), Servers::start(RedisServer::builder(), 0)];
    let product = Product::start(Store::local(), groups, 2);
    let slots = slots("7");
    fill(&product, &slots, KEYS).await;
    let (master, slave) = (&product.groups[0].master, &product.groups[0].slaves[0]);
    let mut replicated = master.client();
    // WAIT is about the writes of its own connection.
    replicated.call(&["PUBLISH", "nobody", "listens"]).unwrap();
    assert_eq!(replicated.call(&["WAIT", "1", "5000"]).unwrap().text(), "1");

    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    let mover = product.ctl_start(&["migrate", "run", "--rate", "4000"]);
    let moved = || ask(&product.groups[1].master, "DBSIZE").parse::<u64>().unwrap();
    eventually(SOON, || moved() > KEYS / 4);
    master.kill();
    let status = mover.wait(SOON).expect("it gives up on a dead source");
    assert!(!status.success(), "{}", mover.log());
    assert!(moved() < KEYS, "it was killed too late");
    // The new source still has what was moved, or not: its slave follows on its own.
    ask(slave, "REPLICAOF NO ONE");
    product.ctl_ok(&["group", "promote", "1", &slave.addr(), "--force"]);
    product.ctl_ok(&["migrate", "run"]);
    assert_owner(&product, &slots, 2).await;
    assert_eq!(count(slave, &slots).await, 0, "nothing is left behind the cursor");
    assert_filled(&product, &slots, KEYS).await;
}

/// A mover dies with a RESTORE on its way. Its successor completes the move, clients change and delete keys,
/// and then the RESTORE arrives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_a2_a3_a_late_restore_of_a_dead_mover_changes_nothing() {
    need!("redis");
    const KEYS: u64 = 200;
    let product = Product::start(Store::local(), vec![Servers::start(RedisServer::builder(), 0)], 1);
    let slots = slots("7");
    let destination = RedisServer::start();
    let relay = Relay::to(destination.port());
    product.ctl_ok(&["group", "add", "2", "--master", &relay.addr()]);
    fill(&product, &slots, KEYS).await;
    let prefix = prefixes(&slots).remove(0);

    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    // The probe key of the pre-flight passes: it has another name.
    relay.delay_next(format!("{prefix}:").as_bytes());
    let mover = product.ctl_start(&["migrate", "run"]);
    relay.wait_held();
    mover.kill();
    product.ctl_ok(&["migrate", "run"]);
    assert_owner(&product, &slots, 2).await;
    for key in 0..KEYS {
        match key % 2 {
            0 => assert_eq!(through(&product, &format!("DEL {prefix}:{key}")), "1"),
            _ => assert_eq!(through(&product, &format!("SET {prefix}:{key} new")), "OK"),
        }
    }
    relay.release();
    relay.wait_late_ended();
    for key in 0..KEYS {
        let expected = if key % 2 == 0 { "" } else { "new" };
        assert_eq!(through(&product, &format!("GET {prefix}:{key}")), expected, "{key}");
    }
    assert_eq!(count(&destination, &slots).await, KEYS / 2);
}

/// A dead mover's UNLINK is late. Its successor completes the move, and the slots go back: the group that
/// the UNLINK is for has the only copy when it arrives. (Its connection has been killed; and even if it had
/// not been, the keys were touched since it watched them.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_e1_an_unlink_of_a_dead_mover_does_not_run_after_its_successor() {
    need!("redis");
    const KEYS: u64 = 200;
    let product = Product::start(Store::local(), vec![Servers::start(RedisServer::builder(), 0)], 1);
    let slots = slots("7");
    let (source, destination) = (RedisServer::start(), &product.groups[0].master);
    let relay = Relay::to(source.port());
    product.ctl_ok(&["group", "add", "2", "--master", &relay.addr()]);
    fill(&product, &slots, KEYS).await;
    send(&product, "7", "2");
    assert_eq!(count(&source, &slots).await, KEYS);

    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "1"]);
    relay.delay_next(b"UNLINK");
    let mover = product.ctl_start(&["migrate", "run"]);
    relay.wait_held();
    mover.kill();
    product.ctl_ok(&["migrate", "run"]);
    assert_owner(&product, &slots, 1).await;
    assert_eq!((count(&source, &slots).await, count(destination, &slots).await), (0, KEYS));
    send(&product, "7", "2");

    relay.release();
    relay.wait_late_ended();
    assert_eq!((count(&source, &slots).await, count(destination, &slots).await), (KEYS, 0));
    assert_owner(&product, &slots, 2).await;
    assert_filled(&product, &slots, KEYS).await;
}

/// A mover sleeps in the middle of its work, longer than its session lives. Its successor completes the move,
/// the slots go back, and then it wakes up with open connections and most of its scan before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_e2_e3_a_mover_that_slept_moves_nothing_more() {
    need!("redis", "zookeeper");
    const KEYS: u64 = 5000;
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 0)).collect();
    let product = Product::start(Store::zk(), groups, 1);
    let slots = slots("7");
    let (source, destination) = (&product.groups[0].master, &product.groups[1].master);
    fill(&product, &slots, KEYS).await;

    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    let mover = product.ctl_start(&["migrate", "run", "--rate", "1000"]);
    eventually(SOON, || ask(destination, "DBSIZE").parse::<u64>().unwrap() > KEYS / 10);
    mover.stop();
    assert!(count(source, &slots).await > KEYS / 2, "it sleeps with work left to do");
    product.ctl_ok(&["migrate", "run"]);
    assert_owner(&product, &slots, 2).await;
    send(&product, "7", "1");
    assert_eq!((count(source, &slots).await, count(destination, &slots).await), (KEYS, 0));

    mover.cont();
    let status = mover.wait(SOON).expect("it notices that it is no longer the mover");
    assert!(!status.success(), "{}", mover.log());
    assert_eq!((count(source, &slots).await, count(destination, &slots).await), (KEYS, 0));
    assert_owner(&product, &slots, 1).await;
    assert_filled(&product, &slots, KEYS).await;
}
