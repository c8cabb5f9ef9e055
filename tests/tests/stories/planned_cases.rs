//! As `ha_cases.rs`, for planned changes.
//!
//! | case | what happens | staged |
//! |---|---|---|
//! | P1, P2, P3, P5 | a leader dies where there is no way back: no time ends the hold, nor the write stop | here; what a proxy does meanwhile in codis-proxy's tests of holds |
//! | P4 | leaders crash and sleep at every step | `trio.rs` |
//! | P4b | a receipt is open | here: refused |
//! | P4c | the new master dies right after the change | here |
//! | P6 | a fence is stale | here: refused |
//! | P7, P8, P9 | beside Go proxies a pause runs out before they have followed | here |
//! | P10, P10b | a request whose connection broke is not sent again | here |

use std::time::{Duration, Instant};

use codis_core::ha::{SagaKind, Stage};
use codis_testkit::{ProxyProcess, RedisServer, Relay, eventually, eventually_async, need};
use codis_tests::{PRODUCT, Product, Store, go::GoProxy};

use crate::failover::{Counting, addr, group_of, saga, until_counting, until_ended};
use crate::ha_cases::{KEYS, STORED, ask, patient, product, slots};
use crate::support::{assert_filled, fill, snapshot};
use crate::trio::{master, until_healthy};

const SOON: Duration = Duration::from_secs(40);
/// For how long a planned change may hold requests back, and a pause lasts at most; and a bit.
const HELD: Duration = Duration::from_millis(5_500);

/// `group promote` of the first slave, which dies at this write.
fn dies_at(product: &Product, from: &str, nth: &str) {
    let env = [("CODIS_CRASH_FROM", from), ("CODIS_CRASH_AT", nth)];
    let new = product.groups[0].slaves[0].addr();
    let command = product.ctl_start_with(&env, &["group", "promote", "1", &new]);
    eventually(SOON, || !command.is_running());
    assert!(command.wait(SOON).is_some_and(|status| !status.success()), "{}", command.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_p1_p2_no_time_ends_a_hold_that_has_no_way_back() {
    need!("redis");
    let product = Product::start_with(Store::local(), group_of(1), 2, &["park_timeout = 60"]);
    fill(&product, &slots(), KEYS).await;
    let (old, new) = (&product.groups[0].master, &product.groups[0].slaves[0]);
    dies_at(&product, &format!("server {} SLAVEOF", new.addr()), "1");
    let waiting: Vec<_> = product
        .proxies
        .iter()
        .map(|proxy| {
            let mut client = proxy.client();
            std::thread::spawn(move || client.call(&["INCR", "once"]).unwrap().text())
        })
        .collect();
    let begun = Instant::now();
    while begun.elapsed() < HELD {
        assert!(!waiting.iter().any(std::thread::JoinHandle::is_finished), "a hold has ended by itself");
        let refused = ask(old, "SET a b");
        assert!(refused.starts_with("NOREPLICAS"), "the write stop has ended by itself: {refused}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(saga(&product).await.unwrap().stage, Stage::Promote);
    product.ctl_ok(&["group", "promote", "1", &new.addr()]);
    let mut counted: Vec<String> = waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect();
    counted.sort();
    assert_eq!(counted, ["1", "2"]);
    until_healthy(&product).await;
    assert_eq!(ask(new, "GET once"), "2");
    assert_filled(&product, &slots(), KEYS).await;
}

/// Which of the two changes would have lost what the old master has taken meanwhile?
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_p4b_no_planned_change_while_a_receipt_is_open() {
    need!("redis");
    let mut product = Product::start(Store::local(), group_of(2), 2);
    let [new, other] = [0, 1].map(|n| product.groups[0].slaves[n].addr());
    product.proxies[1].kill();
    product.groups[0].master.kill();
    eventually_async(SOON, async || !snapshot(&product).await.stale_fences().is_empty()).await;
    product.ctl_ok(&["group", "promote", "1", &new, "--force"]);
    // The proxy is back and knows the new master: no fence is stale any more. What it did before is not known all the same.
    product.proxies[1].restart();
    eventually_async(SOON, async || snapshot(&product).await.stale_fences().is_empty()).await;
    let before = saga(&product).await.unwrap();
    assert!(before.is_open(), "{before:?}");
    let refused = product.ctl(&["group", "promote", "1", &other]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains(&format!("{} was master before", product.groups[0].master.addr())), "{said}");
    assert_eq!(saga(&product).await.unwrap(), before);

    product.groups[0].master.restart_alone();
    product.ctl_ok(&["group", "sync", "1"]);
    product.ctl_ok(&["group", "promote", "1", &other]);
    until_healthy(&product).await;
}

/// It is complete, and the only other one that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_p4c_a_new_master_that_dies_right_after_a_planned_change_is_replaced_by_the_old_one() {
    need!("redis");
    let mut product = product(1).await;
    let (old, new) = (addr(&product.groups[0].master), addr(&product.groups[0].slaves[0]));
    let (from, nth) = STORED;
    let env = [("CODIS_CRASH_FROM", from), ("CODIS_CRASH_AT", nth)];
    let command = product.ctl_start_with(&env, &["group", "promote", "1", new.as_str()]);
    eventually(SOON, || !command.is_running());
    assert_eq!(master(&product).await, new, "{}", command.log());
    product.groups[0].slaves[0].kill();
    let agent = patient(&product);
    // As in `left_at`.
    let _load = Counting::start(&product.proxies[0], "load");
    let ended = until_ended(&product, &old).await;
    assert_eq!((ended.kind, &ended.old), (SagaKind::Failover, &new), "{}", agent.log());
    product.groups[0].slaves[0].restart_alone();
    until_healthy(&product).await;
    assert_filled(&product, &slots(), KEYS).await;
    assert_eq!(master(&product).await, old);
}

/// Its proxy may be alive, cannot be asked to hold, and would write to the old master during the change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_p6_no_planned_change_with_a_stale_fence() {
    need!("redis");
    let mut product = Product::start(Store::local(), group_of(1), 2);
    let new = product.groups[0].slaves[0].addr();
    product.proxies[1].kill();
    let fence = product.proxies[1].addr();
    eventually_async(SOON, async || snapshot(&product).await.stale_fences() == [fence.clone()]).await;
    let refused = product.ctl(&["group", "promote", "1", &new]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains(&format!("fence/{fence}")) && said.contains("proxy fence clear"), "{said}");
    assert!(saga(&product).await.is_none(), "nothing was begun");
    assert_eq!(master(&product).await, addr(&product.groups[0].master));
    assert_eq!(ask(&product.groups[0].master, "SET a b"), "OK");

    product.proxies[1].restart();
    eventually_async(SOON, async || snapshot(&product).await.stale_fences().is_empty()).await;
    product.ctl_ok(&["group", "promote", "1", &new]);
    until_healthy(&product).await;
}

/// They cannot hold: a pause spares them errors for a moment, and runs out before they hear of the new master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_p7_p8_p9_what_a_pause_has_held_back_is_refused_when_it_runs_out() {
    need!("redis");
    let product = Product::start(Store::local(), group_of(1), 1);
    let go = GoProxy::of(&product.store.url(), PRODUCT, "go-1").start();
    product.ctl_ok(&["proxy", "online", "go-1"]);
    go.await_online();
    let counting = Counting::at(go.port(), "counter");
    until_counting(&counting).await;
    let (old, new) = (&product.groups[0].master, &product.groups[0].slaves[0]);
    // The new one is a master in role, and nobody knows.
    dies_at(&product, &format!("server {} SLAVEOF", new.addr()), "2");
    assert_eq!(master(&product).await, addr(old));
    assert!(ask(new, "INFO replication").contains("role:master"));
    let taken = ask(new, "GET counter");
    let begun = Instant::now();
    while begun.elapsed() < HELD {
        assert_eq!(ask(old, "GET counter"), taken, "a write has run on the old master");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let refused = ask(old, "SET a b");
    assert!(refused.starts_with("NOREPLICAS"), "the pause is over, the stop is not: {refused}");
    product.ctl_ok(&["group", "promote", "1", &new.addr()]);
    until_healthy(&product).await;
    until_counting(&counting).await;
    assert!(go.process().is_running(), "{}", go.process().log());
    let (acknowledged, errors) = counting.finish();
    let kept: u64 = ask(new, "GET counter").parse().unwrap();
    // Its reply may have been lost with a connection.
    assert!(
        (acknowledged..=acknowledged + errors).contains(&kept),
        "{acknowledged} acknowledged, {kept} kept"
    );
    assert!(errors > 0, "the pause has held something back");
}

/// It may have been executed, and it has been. The master is reached through a relay that keeps the answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_p10_a_request_whose_connection_broke_is_not_sent_again() {
    need!("redis");
    let old = RedisServer::start();
    let relay = Relay::to(old.port());
    let new = RedisServer::builder().slave_of_port(relay.port(), None).start();
    let mut product = Product::nothing_in(Store::local());
    product.ctl_ok(&["product", "init", PRODUCT]);
    product.ctl_ok(&["group", "add", "1", "--master", &relay.addr(), "--slave", &new.addr()]);
    product.ctl_ok(&["slot", "assign", "0-1023", "1"]);
    product.proxies.push(ProxyProcess::following(&product.store.url(), PRODUCT, "px-1").start());
    product.ctl_ok(&["proxy", "online", "px-1"]);
    let mut client = product.proxies[0].client();
    eventually(SOON, || client.call(&["GET", "once"]).is_ok_and(|reply| !reply.is_error()));

    relay.delay_next(b"INCR");
    let asking = std::thread::spawn(move || client.call(&["INCR", "once"]).unwrap());
    eventually(SOON, || relay.delayed() == 1);
    let command = product.ctl_start(&["group", "promote", "1", &new.addr()]);
    // It waits for the proxy, and the proxy for its answer.
    let holds = async || saga(&product).await.is_some_and(|saga| saga.stage == Stage::Hold);
    eventually_async(SOON, holds).await;
    relay.hold_replies();
    relay.let_late_pass();
    eventually(SOON, || ask(&old, "GET once") == "1");
    relay.cut();
    relay.unhold();
    let reply = asking.join().unwrap();
    assert!(reply.is_error(), "nobody knows whether it was executed: {reply:?}");
    assert!(command.wait(SOON).is_some(), "{}", command.log());

    // Its own connection broke as well, so it was given up.
    product.ctl_ok(&["group", "promote", "1", &new.addr()]);
    assert_eq!(master(&product).await, addr(&new));
    let through = product.proxies[0].client().call(&["GET", "once"]).unwrap().text();
    assert_eq!((through, ask(&new, "GET once")), ("1".to_owned(), "1".to_owned()));
}
