//! `group promote --force` and `group sync`, without any agent, die before each of their writes; the same command completes them.
//!
//! The master is killed; the command makes another server the master; the old one comes back with its data, which is kept in a file,
//! and the command makes it a slave. The ordinary tests take some of the writes, `CODIS_LONG_STORIES` all.

use std::time::Duration;

use codis_core::ha::{SagaKind, Stage};
use codis_core::{Addr, SlotSet};
use codis_testkit::{RedisServer, eventually, need};
use codis_tests::{Product, Servers, Store};

use crate::crashes::report;
use crate::failover::{addr, saga};
use crate::support::{assert_filled, fill, until_copied};
use crate::trio::{master, server_at, servers, until_healthy};

const SOON: Duration = Duration::from_secs(40);
const KEYS: u64 = 5;
/// More writes than either command makes.
const TOO_MANY: u64 = 100;
const SOME: [u64; 3] = [3, 8, 13];

/// Dies at the write, and is repeated. False if it has come to its end before.
fn dies_and_is_repeated(product: &Product, nth: u64, args: &[&str]) -> bool {
    let died = product.ctl_dies_at(nth, args);
    if died {
        product.ctl_ok(args);
    }
    died
}

/// One round: both commands die at this write. Says of each whether it has.
async fn round(product: &mut Product, nth: u64) -> [bool; 2] {
    let old = master(product).await;
    let new: Addr = servers(product).into_iter().map(addr).find(|server| *server != old).unwrap();
    server_at(product, &old).kill();
    let promote = ["group", "promote", "1", new.as_str(), "--force"];
    let in_promote = dies_and_is_repeated(product, nth, &promote);
    assert_eq!(master(product).await, new, "write {nth}");
    let journal = saga(product).await.unwrap();
    assert_eq!(
        (journal.kind, journal.stage, &journal.old),
        (SagaKind::Failover, Stage::Ended, &old),
        "write {nth}"
    );
    let serves = || product.proxies[0].client().call(&["INCR", "probe"]).is_ok_and(|reply| !reply.is_error());
    eventually(SOON, serves);

    server_at(product, &old).restart_alone();
    let in_sync = dies_and_is_repeated(product, nth, &["group", "sync", "1"]);
    until_healthy(product).await;
    assert_eq!(master(product).await, new, "write {nth}");
    let journal = saga(product).await.unwrap();
    assert!(journal.demoted.is_empty(), "write {nth}: {journal:?}");
    assert!(product.ctl_ok(&["group", "sync", "1"]).contains("group 1 is right"), "write {nth}");
    [in_promote, in_sync]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_promotion_and_a_sync_by_hand_are_completed_after_every_write() {
    need!("redis");
    let first = RedisServer::builder().durable().start();
    let second = RedisServer::builder().durable().slave_of(&first).start();
    let mut product =
        Product::start(Store::local(), vec![Servers { master: first, slaves: vec![second] }], 1);
    let slots: SlotSet = "0-7".parse().unwrap();
    fill(&product, &slots, KEYS).await;
    until_copied(&product);
    let is_long = std::env::var("CODIS_LONG_STORIES").is_ok();
    let mut points = [0; 2];
    for nth in 1..TOO_MANY {
        if !is_long && !SOME.contains(&nth) {
            continue;
        }
        let died = round(&mut product, nth).await;
        for (points, died) in points.iter_mut().zip(died) {
            *points += u64::from(died);
        }
        if died == [false; 2] {
            break;
        }
    }
    assert_filled(&product, &slots, KEYS).await;
    report(&["group", "promote", "1", "ADDR", "--force"], points[0]);
    report(&["group", "sync", "1"], points[1]);
    let enough = if is_long { [10, 6] } else { [2, 2] };
    assert!(
        points[0] >= enough[0] && points[1] >= enough[1],
        "{points:?}: lead, journal, roles, store, action, journal"
    );
}
