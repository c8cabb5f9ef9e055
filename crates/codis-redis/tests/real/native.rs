//! Moving by a codis-server's own command.

use std::time::Duration;

use codis_core::{Addr, SlotSet};
use codis_redis::{
    BulkError, BulkReport, ConnectOptions, Endpoint, NativeOptions, Route, native_counts, native_move, probe,
};
use codis_testkit::{NativeServer, RedisServer, eventually_async, need};
use tokio_util::sync::CancellationToken;

use crate::common::{Held, all, is_in};

fn addr(server: &NativeServer) -> Addr {
    server.addr().parse().unwrap()
}

fn route(s: &NativeServer, d: &NativeServer) -> Route {
    Route {
        from: Endpoint { addr: addr(s), slaves: 0 },
        to: Endpoint { addr: addr(d), slaves: 0 },
        connect: ConnectOptions::default().named("codis-mover-1"),
        wait_timeout: Duration::from_millis(300),
    }
}

fn options() -> NativeOptions {
    NativeOptions { timeout: Duration::from_millis(200), delay: Duration::ZERO, rate: None, attempts: 20 }
}

async fn run(route: &Route, slots: &SlotSet, options: &NativeOptions) -> Result<BulkReport, BulkError> {
    native_move(route, slots, options, &Held, &CancellationToken::new(), &|_| ()).await
}

fn fill(server: &NativeServer, count: usize) {
    let mut client = server.client();
    for n in 0..count {
        client.call(&["SET", &format!("k:{n}"), &format!("value-{n}")]).unwrap();
    }
}

#[tokio::test]
async fn all_keys_of_the_slots_move_and_no_other() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    fill(&s, 600);
    let slots: SlotSet = "0-511".parse().unwrap();
    let report = run(&route(&s, &d), &slots, &options()).await.unwrap();
    let moved = (0..600).filter(|n| is_in(&slots, &format!("k:{n}"))).count() as u64;
    assert_eq!((report.progress.moved, report.stopped), (moved, false));
    assert_eq!(report.progress.by_slot.iter().sum::<u64>(), moved);
    let connect = ConnectOptions::default();
    let (left, there) = (
        native_counts(&addr(&s), &connect).await.unwrap(),
        native_counts(&addr(&d), &connect).await.unwrap(),
    );
    assert_eq!(left[..512].iter().sum::<u64>(), 0);
    assert_eq!((left[512..].iter().sum::<u64>(), there.iter().sum::<u64>()), (600 - moved, moved));
}

#[tokio::test]
async fn a_destination_that_hangs_is_waited_for_with_pauses_and_loses_nothing() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    fill(&s, 300);
    let (slots, route, options) = (all(), route(&s, &d), options());
    d.stop();
    let moving = run(&route, &slots, &options);
    let waking = async {
        // Long enough for the source to give up more than once.
        tokio::time::sleep(Duration::from_millis(900)).await;
        d.cont();
    };
    let (report, ()) = tokio::join!(moving, waking);
    let report = report.unwrap();
    assert!(report.progress.retries > 0, "{report:?}");
    let mut client = d.client();
    for n in 0..300 {
        assert_eq!(client.call(&["GET", &format!("k:{n}")]).unwrap().text(), format!("value-{n}"));
    }
    let names = || s.client().call(&["CLIENT", "LIST"]).unwrap().text();
    eventually_async(Duration::from_secs(10), async || !names().contains("name=codis-mover-1")).await;
}

#[tokio::test]
async fn a_destination_that_is_gone_ends_it_with_the_servers_words() {
    need!("redis");
    let (s, mut d) = (NativeServer::start(), NativeServer::start());
    fill(&s, 5);
    let route = route(&s, &d);
    d.kill();
    let options = NativeOptions { attempts: 3, ..options() };
    let error = run(&route, &all(), &options).await.unwrap_err();
    let BulkError::Server { attempts: 3, source } = error else { panic!("{error:?}") };
    assert_eq!((source.command.as_str(), source.addr), ("SLOTSMGRTTAGSLOT", addr(&s)));
    assert_eq!(s.client().call(&["DBSIZE"]).unwrap().text(), "5");
}

#[tokio::test]
async fn the_pause_between_keys_is_kept() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    fill(&s, 1);
    s.client().call(&["MSET", "a{x}", "1", "b{y}", "1", "{x}2", "1"]).unwrap();
    let slots: SlotSet =
        ["{x}", "{y}"].map(|tag| codis_core::slot_of_key(tag.as_bytes())).into_iter().collect();
    let options = NativeOptions { delay: Duration::from_millis(150), ..options() };
    let report = run(&route(&s, &d), &slots, &options).await.unwrap();
    assert_eq!(report.progress.moved, 3, "keys of one tag go together");
}

#[tokio::test]
async fn a_native_server_is_told_from_a_stock_one() {
    need!("redis");
    let (native, stock) = (NativeServer::start(), RedisServer::start());
    let options = ConnectOptions::default();
    assert!(probe(&addr(&native), &options).await.unwrap().traits().is_native());
    assert!(!probe(&stock.addr().parse().unwrap(), &options).await.unwrap().traits().is_native());
}
