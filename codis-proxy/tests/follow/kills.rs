//! Programs that are killed or stopped under load: errors come in time, and nothing has to be done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use codis_testkit::{ProxyProcess, Reply, eventually, eventually_async, need};

use crate::fixture::{Fixture, SOON, ask, local_store, run, stats};

/// The longest that a client may wait for the error about a server that is gone.
const ERROR_WITHIN: Duration = Duration::from_secs(1);

/// A client that writes all the time until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Seen>>,
}

/// What a client has seen.
#[derive(Default)]
struct Seen {
    answers: u64,
    errors: u64,
    /// The longest wait for an answer of either kind.
    longest: Duration,
    /// What the counter must be at least, and at most: an error may or may not have counted.
    counted: (i64, i64),
    key: String,
}

impl Load {
    fn start(proxy: &ProxyProcess, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number: usize| {
            let (mut client, stop) = (proxy.client(), stop.clone());
            std::thread::spawn(move || {
                let mut seen = Seen { key: format!("counter{number}"), ..Seen::default() };
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let Ok(reply) = client.call(&["INCR", &seen.key]) else { break };
                    seen.longest = seen.longest.max(begun.elapsed());
                    match reply {
                        Reply::Int(n) => {
                            seen.answers += 1;
                            seen.counted = (n, n);
                        }
                        _ => {
                            seen.errors += 1;
                            seen.counted.1 += 1;
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                }
                seen
            })
        };
        Self { clients: (0..clients).map(start).collect(), stop }
    }

    fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

async fn under_load(proxy: &ProxyProcess) {
    let before = stats(proxy).await.requests;
    eventually_async(SOON, || async { stats(proxy).await.requests > before + 1000 }).await;
}

#[test]
fn a_killed_server_is_an_error_within_a_second_and_served_again_when_it_is_back() {
    need!("redis");
    run(async {
        let (_store, url) = local_store();
        let mut fixture = Fixture::new(&url).await;
        let proxy = fixture.start("p1");
        let load = Load::start(&proxy, 8);
        under_load(&proxy).await;
        fixture.groups[0].master.kill();
        let mut client = proxy.client();
        let begun = Instant::now();
        assert!(client.call(&["GET", "k"]).unwrap().is_error());
        assert!(begun.elapsed() < ERROR_WITHIN, "{:?}", begun.elapsed());
        under_load(&proxy).await;
        fixture.groups[0].master.restart();
        eventually(SOON, || client.call(&["SET", "k", "v"]).unwrap().text() == "OK");
        under_load(&proxy).await;
        for seen in load.finish() {
            assert!(seen.answers > 0 && seen.errors > 0, "{}: {} answers", seen.key, seen.answers);
            assert!(seen.longest < ERROR_WITHIN, "{}: {:?} without an answer", seen.key, seen.longest);
        }
        assert_eq!(ask(&mut client, "GET k").text(), "v");
    });
}

#[test]
fn a_stopped_server_is_an_error_after_the_time_out_and_counts_go_on_afterwards() {
    need!("redis");
    run(async {
        let (sandbox, url) = local_store();
        let config = sandbox.write("codis.toml", "[proxy]\nbackend_timeout = 0.5\n").unwrap();
        let fixture = Fixture::new(&url).await;
        let proxy = fixture.place.proxy("p1").arg("--config").arg(config.display().to_string()).start();
        let load = Load::start(&proxy, 8);
        under_load(&proxy).await;
        fixture.groups[0].master.stop();
        let mut client = proxy.client();
        let begun = Instant::now();
        assert!(client.call(&["GET", "k"]).unwrap().is_error());
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        fixture.groups[0].master.cont();
        eventually(SOON, || client.call(&["SET", "k", "v"]).unwrap().text() == "OK");
        under_load(&proxy).await;
        for seen in load.finish() {
            assert!(
                seen.longest < Duration::from_secs(4),
                "{}: {:?} without an answer",
                seen.key,
                seen.longest
            );
            let Ok(count) = ask(&mut client, &format!("GET {}", seen.key)).text().parse::<i64>() else {
                panic!("{} is gone", seen.key)
            };
            assert!((seen.counted.0..=seen.counted.1).contains(&count), "{}: {count}", seen.key);
        }
    });
}

#[test]
fn a_killed_proxy_closes_its_connections_and_leaves_its_fence() {
    need!("redis");
    run(async {
        let (_store, url) = local_store();
        let fixture = Fixture::new(&url).await;
        let mut proxy = fixture.start("p1");
        let load = Load::start(&proxy, 4);
        under_load(&proxy).await;
        let mut idle = proxy.client();
        ask(&mut idle, "SET k v");
        let begun = Instant::now();
        proxy.kill();
        assert!(idle.read().is_err());
        assert!(begun.elapsed() < ERROR_WITHIN);
        load.finish().iter().for_each(|seen| assert!(seen.longest < ERROR_WITHIN, "{:?}", seen.longest));
        fixture.until_state("p1", None).await;
        let fence = format!("fence/{}", proxy.addr());
        assert!(fixture.node(&fence).await.is_some(), "nobody knows what it has left in flight");
        proxy.restart();
        assert_eq!(ask(&mut proxy.client(), "GET k").text(), "v");
    });
}
