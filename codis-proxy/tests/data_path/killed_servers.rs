//! Servers that are killed again and again under a pipelined load. What is shown: exactly the requests that
//! the server held fail, each is written down with its cause, no reply answers another request, and no key
//! that exists is missing.
//!
//! `CODIS_TEST_KILLS=100` makes it long.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use codis_testkit::{RedisServer, Reply, RespClient, eventually, need};

use crate::{Cluster, DEADLINE, fixed, http_get, request};

const CLIENTS: usize = 6;
/// Keys of each client on each server; every batch asks for each of them three times.
const KEYS: usize = 4;

/// A failed request as the client and the log both know it: client, command, key, backend, why.
type Failure = (String, String, String, String, String);

/// A client with keys of its own, and what may stand in them.
struct Writer {
    client: RespClient,
    addr: String,
    /// Its keys with the server that has them.
    keys: Vec<(String, usize)>,
    /// Values that a key may have: the one acknowledged last, and those of later writes that failed.
    may_be: HashMap<String, Vec<String>>,
    number: u64,
}

impl Writer {
    fn new(cluster: &Cluster, name: usize) -> Self {
        let mut client = cluster.client();
        let info = client.call(&["CLIENT", "INFO"]).unwrap().text();
        let addr = info.split(' ').find_map(|word| word.strip_prefix("addr=")).unwrap().to_owned();
        let key = |at, number| (cluster.key_on(at, name * 100 + number), at);
        let keys: Vec<_> = (0..2).flat_map(|at| (0..KEYS).map(move |number| key(at, number))).collect();
        let mut may_be = HashMap::new();
        for (key, _) in &keys {
            assert_eq!(client.call(&["SET", key, "first"]).unwrap().text(), "OK");
            may_be.insert(key.clone(), vec!["first".to_owned()]);
        }
        Self { client, addr, keys, may_be, number: 0 }
    }

    /// Sends a batch and checks every reply of it. Returns those requests that failed with their server.
    fn batch(&mut self) -> Vec<(Failure, usize)> {
        let mut sent: Vec<(&'static str, String, usize, String)> = Vec::new();
        let mut bytes = Vec::new();
        for (key, at) in &self.keys {
            self.number += 1;
            let value = format!("{key}={}", self.number);
            bytes.extend(request(&["SET", key, &value]));
            bytes.extend(request(&["GET", key]));
            bytes.extend(request(&["EVAL", "return ARGV[1]", "1", key, &value]));
            sent.extend(["SET", "GET", "EVAL"].map(|command| (command, key.clone(), *at, value.clone())));
        }
        self.client.send(&bytes).unwrap();
        let mut failures = Vec::new();
        for (command, key, at, value) in sent {
            let may_be = self.may_be.get_mut(&key).unwrap();
            match (command, self.client.read().unwrap()) {
                (_, Reply::Error(text)) => {
                    if command == "SET" {
                        may_be.push(value);
                    }
                    failures.push((self.failure(command, &key, &text), at));
                }
                ("SET", reply) => {
                    assert_eq!(reply, Reply::Status("OK".into()));
                    *may_be = vec![value];
                }
                ("GET", Reply::Bulk(Some(read))) => {
                    let read = String::from_utf8(read).unwrap();
                    assert!(may_be.contains(&read), "{key} holds {read}, and may hold {may_be:?}");
                    *may_be = vec![read];
                }
                ("EVAL", reply) => assert_eq!(reply, Reply::Bulk(Some(value.into_bytes()))),
                (_, reply) => panic!("{command} {key} was answered with {reply:?}"),
            }
        }
        failures
    }

    /// Asks until the server answers through the proxy. Returns what failed meanwhile.
    fn until_served(&mut self, at: usize) -> Vec<(Failure, usize)> {
        let key = self.keys.iter().find(|(_, on)| *on == at).unwrap().0.clone();
        let mut failures = Vec::new();
        eventually(DEADLINE, || match self.client.call(&["EXISTS", &key]).unwrap() {
            Reply::Error(text) => {
                failures.push((self.failure("EXISTS", &key, &text), at));
                false
            }
            reply => reply == Reply::Int(1),
        });
        failures
    }

    fn failure(&self, command: &str, key: &str, reply: &str) -> Failure {
        let blamed = reply.strip_prefix("ERR backend ").and_then(|rest| rest.split_once(": "));
        let (backend, why) = blamed.unwrap_or_else(|| panic!("{command} {key}: {reply}"));
        (self.addr.clone(), command.to_owned(), key.to_owned(), backend.to_owned(), why.to_owned())
    }
}

/// The newest failures of the log, and their causes; `seen` is how many there were before.
fn newest(cluster: &Cluster, seen: &mut u64) -> Vec<(Failure, String)> {
    let page = http_get(&cluster.proxy.admin_addr(), "/errors");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["left_out"], 0);
    let counts = page["counts"].as_array().unwrap();
    let total: u64 = counts.iter().map(|one| one["count"].as_u64().unwrap()).sum();
    let new = usize::try_from(total - std::mem::replace(seen, total)).unwrap();
    let errors = &page["errors"].as_array().unwrap()[..new];
    let text = |error: &serde_json::Value, name: &str| {
        error[name].as_str().unwrap_or_else(|| panic!("no {name} in {error}")).to_owned()
    };
    let one = |error| {
        let cause = text(error, "cause");
        assert_eq!(error["sent"], cause == "backend_lost", "{error}");
        let key = text(error, "key");
        assert_eq!(error["slot"], codis_core::slot_of_key(key.as_bytes()).get(), "{error}");
        let (backend, why) = (text(error, "backend"), text(error, "why"));
        ((text(error, "client"), text(error, "command"), key, backend, why), cause)
    };
    errors.iter().map(one).collect()
}

#[test]
fn killed_servers_fail_what_they_held_and_each_failure_is_written_down() {
    need!("redis");
    let kills: usize = std::env::var("CODIS_TEST_KILLS").map_or(10, |text| text.parse().unwrap());
    let servers: Vec<RedisServer> = (0..2).map(|_| RedisServer::builder().durable().start()).collect();
    let proxy = fixed(&servers).start();
    let mut cluster = Cluster { proxy, servers };
    let mut writers: Vec<Writer> = (0..CLIENTS).map(|name| Writer::new(&cluster, name)).collect();
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    let mut seen = 0;
    for kill in 0..kills {
        let victim = kill % 2;
        let addr = cluster.servers[victim].addr();
        let over = AtomicBool::new(false);
        let answered = AtomicU64::new(0);
        let mut failures: Vec<(Failure, usize)> = std::thread::scope(|scope| {
            let (over, answered) = (&over, &answered);
            let load = |writer: &mut Writer| {
                let mut failures = Vec::new();
                while failures.is_empty() && !over.load(Ordering::Relaxed) {
                    failures = writer.batch();
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                failures
            };
            let loads: Vec<_> = writers.iter_mut().map(|writer| scope.spawn(move || load(writer))).collect();
            // At another moment each time.
            let batches = 10 + kill as u64 * 7 % 40;
            let deadline = Instant::now() + DEADLINE;
            while answered.load(Ordering::Relaxed) < batches && Instant::now() < deadline {
                std::thread::yield_now();
            }
            cluster.servers[victim].kill();
            cluster.servers[victim].restart();
            over.store(true, Ordering::Relaxed);
            loads.into_iter().flat_map(|load| load.join().unwrap()).collect()
        });
        assert!(!failures.is_empty(), "kill {kill} met no request");
        assert!(failures.len() <= CLIENTS * KEYS * 3, "more failed than were under way: {failures:?}");
        for (failure, at) in &failures {
            assert_eq!(
                (*at, &failure.3),
                (victim, &addr),
                "a request of the other server failed: {failure:?}"
            );
        }
        // The proxy may wait a moment before it tries again, each worker for itself.
        failures.extend(writers.iter_mut().flat_map(|writer| writer.until_served(victim)));
        let mut told: Vec<Failure> = failures.into_iter().map(|(failure, _)| failure).collect();
        let mut logged = Vec::new();
        for (failure, cause) in newest(&cluster, &mut seen) {
            *causes.entry(cause).or_default() += 1;
            logged.push(failure);
        }
        told.sort();
        logged.sort();
        assert_eq!(logged, told, "kill {kill}: the log and what clients were told differ");
    }
    assert!(causes["backend_lost"] >= kills, "{causes:?}");
    assert!(
        causes.keys().all(|cause| cause == "backend_lost" || cause == "backend_unreachable"),
        "{causes:?}"
    );
    println!("{kills} kills: {causes:?}");
}
