//! A wave is told to very many proxies on one ZooKeeper. They are nodes that ten sessions register and answer for, through the same code
//! as a proxy; a thousand processes would not fit beside it. `CODIS_TEST_PROXIES=1000` is the line.

use std::time::{Duration, Instant};

use codis_core::{Action, ActionKind, Extra, Proxy, ProxyId, ProxyState, SlotStatus, Versioned};
use codis_store::{ConnectOptions, Product as Nodes, Published, Store as Session};
use codis_testkit::need;
use codis_tests::{PRODUCT, Product, Store};
use tokio::task::JoinSet;

const SESSIONS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

async fn session(url: &str) -> Nodes {
    let store = Session::connect(&url.parse().unwrap(), &ConnectOptions::control()).await.unwrap();
    Nodes::new(store, PRODUCT.parse().unwrap())
}

fn proxy(number: usize) -> Proxy {
    Proxy {
        id: format!("px-{number}").parse().unwrap(),
        addr: format!("10.0.{}.{}:19000", number / 250, number % 250).parse().unwrap(),
        state: ProxyState::Online,
        debug_var_addr: format!("10.0.{}.{}:11000", number / 250, number % 250),
        pid: number as i64,
        start_at: Proxy::start_mark("2026-11-22 08:00:59 +0000 UTC", "0.1.0"),
        extra: Extra::default(),
    }
}

/// Registers proxies, and acknowledges for each of them whatever is announced.
async fn answer(nodes: Nodes, proxies: Vec<Proxy>) {
    let mut done = None;
    loop {
        let (seqs, mut watch) = nodes.watch_actions().await.unwrap();
        let before = done;
        for seq in seqs.into_iter().filter(|seq| Some(*seq) > before) {
            done = Some(seq);
            // What each of them would read for itself.
            let Some(action) = nodes.action(seq).await.unwrap() else { continue };
            if action.receivers.is_empty() {
                continue;
            }
            // On their way together, as those of a thousand processes would be.
            let mut acks = JoinSet::new();
            for proxy in proxies.clone() {
                let nodes = nodes.clone();
                acks.spawn(async move { nodes.acknowledge(seq, &proxy).await.unwrap() });
            }
            acks.join_all().await;
        }
        watch.fired().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_is_acknowledged_by_very_many_proxies() {
    need!("zookeeper");
    let count: usize = std::env::var("CODIS_TEST_PROXIES").map_or(100, |text| text.parse().unwrap());
    let product = Product::nothing_in(Store::zk());
    let url = product.store.url();
    product.ctl_ok(&["product", "init", PRODUCT]);
    let mut sessions = JoinSet::new();
    for first in 0..SESSIONS {
        let nodes = session(&url).await;
        let mine: Vec<Proxy> = (first..count).step_by(SESSIONS).map(proxy).collect();
        for proxy in &mine {
            let offline = Proxy { state: ProxyState::Offline, ..proxy.clone() };
            nodes.register_proxy(&offline).await.unwrap();
            nodes.set_proxy_state(&Versioned::new(offline, 0), ProxyState::Online).await.unwrap();
        }
        sessions.spawn(answer(nodes, mine));
    }
    let control = session(&url).await;
    let mut slowest = Duration::ZERO;
    for status in [SlotStatus::PreMigrate, SlotStatus::Migrate, SlotStatus::Online] {
        let kind = ActionKind::Wave { slots: "0-511".parse().unwrap(), status };
        let begun = Instant::now();
        let action = Action { seq: None, kind, ts: 0, receivers: Vec::new() };
        let Published { seq, receivers } = control.publish(&action).await.unwrap();
        let told = begun.elapsed();
        let acks = control.await_acks(seq, &receivers, PATIENCE).await.unwrap();
        let all = begun.elapsed();
        assert_eq!((receivers.len(), acks.acked.len()), (count, count), "{status}: {acks:?}");
        let read = control.action(seq).await.unwrap().unwrap();
        let bytes: usize = read.receivers.iter().map(String::len).sum();
        println!(
            "{status}: {count} proxies on {SESSIONS} sessions, published after {} ms, acknowledged after {} ms; the list of receivers \
             takes {bytes} bytes, and each proxy reads it",
            told.as_millis(),
            all.as_millis()
        );
        slowest = slowest.max(all);
    }
    println!("the slowest of three: {} ms", slowest.as_millis());
    let gone: Vec<ProxyId> = vec!["px-none".parse().unwrap()];
    assert_eq!(control.acks(0, &gone).await.unwrap().gone, gone, "nobody answers for others");
}
