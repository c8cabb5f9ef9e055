//! The ledger finds what it is there to find. A server alone stands for a proxy: it speaks the same.

use std::time::Duration;

use crate::common::{addr, half, is_in};
use codis_redis::{
    Password,
    ledger::{Ledger, LedgerConfig, LedgerReport, load, verify},
};
use codis_testkit::{RedisServer, RespClient, eventually_async, need};

fn config(server: &RedisServer) -> LedgerConfig {
    LedgerConfig { pause: Duration::ZERO, ..LedgerConfig::new(vec![addr(server), addr(server)]) }
}

async fn after(ledger: &Ledger, writes: u64) {
    let done = ledger.figures().acknowledged + writes;
    eventually_async(Duration::from_secs(20), || async { ledger.figures().acknowledged >= done }).await;
}

fn keys(client: &mut RespClient, kind: &str) -> Vec<String> {
    let codis_testkit::Reply::Array(Some(keys)) = client.call(&["KEYS", &format!("*:{kind}:*")]).unwrap()
    else {
        panic!("KEYS did not answer with keys")
    };
    keys.iter().map(codis_testkit::Reply::text).collect()
}

async fn disturbed(kind: &str, disturb: impl Fn(&mut RespClient, &str)) -> LedgerReport {
    let server = RedisServer::start();
    let ledger = Ledger::start(config(&server));
    after(&ledger, 2000).await;
    let mut client = server.client();
    let key = keys(&mut client, kind).remove(0);
    disturb(&mut client, &key);
    after(&ledger, 200).await;
    let report = ledger.finish().await;
    assert!(report.violations.iter().any(|text| text.contains(&key)), "{key}: {report:?}");
    report
}

#[tokio::test]
async fn an_undisturbed_account_balances() {
    need!("redis");
    let server = RedisServer::builder().password("secret").start();
    let slots: codis_core::SlotSet = "0-63".parse().unwrap();
    let config =
        LedgerConfig { password: Password::new("secret"), slots: Some(slots.clone()), ..config(&server) };
    let ledger = Ledger::start(config);
    after(&ledger, 10_000).await;
    let report = ledger.finish().await;
    assert!(report.holds(), "{report:?}");
    assert_eq!((report.ambiguous, report.error_count()), (0, 0), "{report:?}");
    // Four writers with eight keys of three kinds, and those that were full.
    assert!(report.keys_checked >= 96 && report.reads > 1000, "{report:?}");
    assert!(report.latency.p50 > Duration::ZERO && report.latency.p50 <= report.latency.max);
    assert!(keys(&mut server.client(), "count").iter().all(|key| is_in(&slots, key)));
}

#[tokio::test]
async fn a_lost_counter_is_found() {
    need!("redis");
    disturbed("count", |client, key| drop(client.call(&["DEL", key]))).await;
}

#[tokio::test]
async fn an_increment_done_twice_is_found() {
    need!("redis");
    disturbed("count", |client, key| drop(client.call(&["INCR", key]))).await;
}

#[tokio::test]
async fn lost_tokens_are_found() {
    need!("redis");
    disturbed("tokens", |client, key| drop(client.call(&["DEL", key]))).await;
}

#[tokio::test]
async fn an_old_version_that_comes_back_is_found() {
    need!("redis");
    // The old value returns at the very end, as from a server that was promoted by mistake.
    let server = RedisServer::start();
    let ledger = Ledger::start(LedgerConfig { keys: 1, writers: 1, ..config(&server) });
    after(&ledger, 50).await;
    let mut client = server.client();
    let key = keys(&mut client, "version").remove(0);
    let old = client.call(&["GET", &key]).unwrap().text();
    after(&ledger, 50).await;
    client.call(&["SET", &key, &old]).unwrap();
    let report = ledger.finish().await;
    // A writer that set it once more in between has covered the old value up.
    let covered = client.call(&["GET", &key]).unwrap().text() != old;
    assert!(covered || !report.holds(), "{report:?}");
}

#[tokio::test]
async fn a_restart_makes_writes_ambiguous_but_loses_none() {
    need!("redis");
    let mut server = RedisServer::builder().durable().start();
    let config = LedgerConfig { timeout: Duration::from_secs(5), ..config(&server) };
    let ledger = Ledger::start(config);
    after(&ledger, 2000).await;
    server.restart();
    after(&ledger, 2000).await;
    let report = ledger.finish().await;
    assert!(report.holds(), "{report:?}");
    assert!(report.ambiguous > 0 && report.error_count() >= report.ambiguous, "{report:?}");
}

#[tokio::test]
async fn a_load_is_verified_key_by_key() {
    need!("redis");
    let server = RedisServer::start();
    let (proxies, none) = (vec![addr(&server)], Password::none());
    assert_eq!(load(&proxies, &none, "tour", 10_001).await.unwrap().keys, 10_001);
    let report = verify(&proxies, &none, "tour", 10_001).await.unwrap();
    assert!(report.holds() && report.right == 10_001, "{report:?}");
    let mut client = server.client();
    client.call(&["DEL", "tour:17"]).unwrap();
    client.call(&["SET", "tour:4711", "other"]).unwrap();
    let report = verify(&proxies, &none, "tour", 10_001).await.unwrap();
    assert!(!report.holds());
    assert_eq!((report.missing, report.wrong), (1, 1));
    assert_eq!(report.named, ["tour:17", "tour:4711"]);
    assert!(!verify(&[], &none, "tour", 1).await.unwrap().holds(), "nobody was asked");
    assert!((0..100).any(|n| is_in(&half(), &format!("tour:{n}"))));
}
