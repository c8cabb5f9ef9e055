//! How long a request waits while its slot is switched: slots move one by one, and through each proxy a client asks for a key of
//! the slot whose turn it is. `CODIS_TEST_SWITCHES=100` for figures; programs built with `--release` are what they are about.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use codis_core::{SlotSet, SlotStatus};
use codis_ops::{
    Context, Event, Events, Secret, Target, WavePhase,
    mover::{self, RunOptions},
};
use codis_testkit::{RedisServer, need};
use codis_tests::{PRODUCT, Product, Servers, Store};

use crate::support::{fill, prefixes, snapshot};

/// No slot is switched any more.
const OVER: usize = usize::MAX;

/// The longest wait for each slot, through one proxy.
fn ask(
    product: &Product,
    proxy: usize,
    keys: Vec<String>,
    turn: Arc<AtomicUsize>,
) -> std::thread::JoinHandle<Vec<Duration>> {
    let mut client = product.proxies[proxy].client();
    std::thread::spawn(move || {
        let mut longest = vec![Duration::ZERO; keys.len()];
        loop {
            let n = turn.load(Relaxed);
            let Some(key) = keys.get(n) else { return longest };
            let begun = Instant::now();
            let reply = client.call(&["EXISTS", key]).unwrap();
            assert_eq!(reply.text(), "1", "{key}");
            longest[n] = longest[n].max(begun.elapsed());
            std::thread::sleep(Duration::from_micros(200));
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_wait_while_their_slot_is_switched_and_none_fails() {
    need!("redis", "zookeeper");
    let count: usize = std::env::var("CODIS_TEST_SWITCHES").map_or(5, |text| text.parse().unwrap());
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 0)).collect();
    let product = Product::start(Store::zk(), groups, 3);
    let slots: SlotSet = format!("0-{}", count - 1).parse().unwrap();
    fill(&product, &slots, 1).await;
    product.ctl_ok(&["migrate", "start", "--slots", &slots.to_string(), "--to", "2"]);
    let keys: Vec<String> = prefixes(&slots).into_iter().map(|prefix| format!("{prefix}:0")).collect();
    let turn = Arc::new(AtomicUsize::new(0));
    let asking: Vec<_> = (0..3).map(|proxy| ask(&product, proxy, keys.clone(), turn.clone())).collect();

    let target = Target {
        store: product.store.url().parse().unwrap(),
        product: PRODUCT.parse().unwrap(),
        timeout: Duration::from_secs(10),
        password: Secret::none(),
    };
    let cx = Context::connect(&target).await.unwrap();
    let (events, mut stream) = Events::channel();
    let follow = tokio::spawn({
        let turn = turn.clone();
        async move {
            while let Some(event) = stream.next().await {
                if let Event::Wave(wave) = event
                    && wave.phase == WavePhase::PreFlight
                    && let Some(slot) = wave.slots.iter().next()
                {
                    turn.store(slot.index(), Relaxed);
                }
            }
        }
    });
    let options = RunOptions { wave_slots: 1, ..RunOptions::default() };
    let report = Box::pin(mover::run(&cx, &options, &events)).await.unwrap();
    assert_eq!((report.waves, report.slots_moved), (count, count));
    turn.store(OVER, Relaxed);
    drop(events);
    follow.await.unwrap();
    cx.close().await;

    let mut waits: Vec<Duration> = asking.into_iter().flat_map(|client| client.join().unwrap()).collect();
    waits.sort_unstable();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{count} switches, 3 proxies: p50 {:.1}, p99 {:.1}, max {:.1} ms", at(0.5), at(0.99), at(1.0));
    let cluster = snapshot(&product).await;
    assert!(slots.iter().all(|slot| cluster.slot(slot).unwrap().status == SlotStatus::Online));
    assert!(waits[0] > Duration::ZERO, "a slot was switched that nobody asked for");
}
