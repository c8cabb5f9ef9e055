//! The master of either group dies while a wave is on its way, its slave takes over, and the move goes on.
//!
//! At rest or moved, what the slaves had is there in the end, and what was deleted stays deleted. What clients had written and the slave had
//! not received is lost with its master, as without a move; the story says how much that was. Two moments for each side are ordinary;
//! `CODIS_TEST_FAILOVERS=30` makes it thirty.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use codis_core::{Addr, GroupId, SlotSet, SlotStatus};
use codis_testkit::{RedisServer, Reply, RespClient, eventually, need};
use codis_tests::{Product, Servers, Store};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::cancel::await_slave;
use crate::support::{assert_filled, count, fill, prefixes, proxies, snapshot};

const SLOTS: &str = "0-3";
const KEYS: u64 = 300;
/// Keys of each slot that are deleted just before a master dies.
const GONE: u64 = 5;
/// Counters of each slot.
const COUNTERS: u64 = 3;
const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// A counter as its client knows it.
#[derive(Debug, Clone)]
struct Counter {
    key: String,
    acknowledged: i64,
    /// What the slaves had when the last master was killed.
    floor: i64,
}

/// Clients that count through the proxies.
struct Counters {
    all: Arc<Mutex<Vec<Counter>>>,
    lost: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Counters {
    fn start(product: &Product, slots: &SlotSet) -> Self {
        let names =
            prefixes(slots).into_iter().flat_map(|p| (0..COUNTERS).map(move |n| format!("{p}:count:{n}")));
        let new = |key| Counter { key, acknowledged: 0, floor: 0 };
        let all = Arc::new(Mutex::new(names.map(new).collect::<Vec<_>>()));
        let (lost, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let count = all.lock().unwrap_or_else(PoisonError::into_inner).len();
        // Each counter has one client, so that what it was told last is what counts.
        let clients = proxies(product).into_iter().enumerate().map(|(client, proxy)| {
            let (all, lost, stop) = (all.clone(), lost.clone(), stop.clone());
            let mine: Vec<usize> = (0..count).filter(|n| n % 2 == client).collect();
            std::thread::spawn(move || count_up(&proxy, &mine, &all, &lost, &stop))
        });
        let clients = clients.collect();
        Self { all, lost, stop, clients }
    }

    /// What has been acknowledged so far must not be lost, if the slaves get it before their master dies.
    fn raise_floors(&self) {
        for counter in self.all.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            counter.floor = counter.acknowledged;
        }
    }

    /// Ends the clients; returns how many acknowledged writes were lost with a master.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            let wrong = client.join().unwrap();
            assert!(wrong.is_empty(), "{wrong:#?}");
        }
        self.lost.load(Ordering::Relaxed)
    }
}

/// Counts its counters up in turn until it is stopped; returns what must not be.
fn count_up(
    proxy: &Addr,
    mine: &[usize],
    all: &Mutex<Vec<Counter>>,
    lost: &AtomicU64,
    stop: &AtomicBool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut client = None;
    let mut turn = mine.iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        let Some(at) = turn.next() else { return wrong };
        let key = all.lock().unwrap_or_else(PoisonError::into_inner)[*at].key.clone();
        let mut connected = match client.take() {
            Some(connected) => connected,
            None => match RespClient::connect(proxy.port(), Duration::from_secs(5)) {
                Ok(connected) => connected,
                Err(_) => continue,
            },
        };
        let Ok(reply) = connected.call(&["INCR", &key]) else { continue };
        client = Some(connected);
        if let Reply::Int(value) = reply {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            let counter = &mut all[*at];
            if value <= counter.acknowledged {
                lost.fetch_add(counter.acknowledged.abs_diff(value) + 1, Ordering::Relaxed);
            }
            if value <= counter.floor {
                wrong.push(format!("{key}: {value} after {}, which the slave had", counter.floor));
            }
            counter.acknowledged = value;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    wrong
}

fn timings() -> usize {
    std::env::var("CODIS_TEST_FAILOVERS").map_or(2, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_in_a_wave_is_replaced_and_nothing_moved_is_lost() {
    need!("redis");
    masters_die(Side::Source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_dies_in_a_wave_is_replaced_and_nothing_moved_is_lost() {
    need!("redis");
    masters_die(Side::Destination).await;
}

#[expect(
    clippy::print_stdout,
    reason = "the seed is shown when the story fails, and the losses are a result"
)]
async fn masters_die(side: Side) {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect();
    // Who waits for the one file of a local store may starve on a machine as busy as the long form makes it.
    let store = if timings() > 2 { Store::zk() } else { Store::local() };
    let mut product = Product::start(store, groups, 2);
    let slots: SlotSet = SLOTS.parse().unwrap();
    fill(&product, &slots, KEYS).await;
    let counters = Counters::start(&product, &slots);
    let (mut to, mut alone, timings) = (2, 0, timings());
    for timing in 0..timings {
        let share = random.random_range(0.02..0.9);
        let when = format!("{side:?}, timing {timing} at {:.0} %", share * 100.0);
        alone += usize::from(one_death(&mut product, &slots, side, to, share, &counters, &when).await);
        to = 3 - to;
    }
    let lost = counters.finish();
    println!(
        "{timings} masters killed ({side:?}): the mover went on by itself {alone} times; \
         {lost} writes of clients that no slave had were lost with them"
    );
}

/// The slots move to `to`, and one of the masters dies when this share of their keys has. True if the mover has gone on by itself.
async fn one_death(
    product: &mut Product,
    slots: &SlotSet,
    side: Side,
    to: u32,
    share: f64,
    counters: &Counters,
    when: &str,
) -> bool {
    let gone: Vec<String> = prefixes(slots)
        .iter()
        .flat_map(|prefix| (0..GONE).map(move |n| format!("{prefix}:gone:{n}")))
        .collect();
    let mut client = product.proxies[0].client();
    for key in &gone {
        assert_eq!(client.call(&["SET", key, "x"]).unwrap().text(), "OK", "{when}: {key}");
    }
    let (source, destination) = (2 - to as usize, to as usize - 1);
    product.ctl_ok(&["migrate", "start", "--slots", SLOTS, "--to", &to.to_string()]);
    let mover = product.ctl_start(&["migrate", "run", "--rate", "1500"]);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share"
    )]
    let enough = (share * (KEYS * 4) as f64) as u64;
    let moved = || product.groups[destination].master.client().call(&["DBSIZE"]).unwrap().text();
    eventually(SOON, || !mover.is_running() || moved().parse::<u64>().unwrap() >= enough.max(1));
    // Deleted where they are by now, and known to the slaves, as everything that was acknowledged before.
    for key in &gone {
        eventually(SOON, || client.call(&["DEL", key]).is_ok_and(|reply| !reply.is_error()));
    }
    counters.raise_floors();
    for servers in &product.groups {
        await_slave(&servers.master, &servers.slaves[0]);
    }
    let dying = if side == Side::Source { source } else { destination };
    product.groups[dying].master.kill();
    let (group, heir) = ((dying + 1).to_string(), product.groups[dying].slaves[0].addr());
    let begun = Instant::now();
    product.ctl_ok(&["group", "promote", &group, &heir, "--force"]);
    let ended = mover.wait(SOON);
    assert!(ended.is_some(), "{when}: the mover hangs since {:?}: {}", begun.elapsed(), mover.log());
    let alone = ended.is_some_and(|status| status.success());
    product.ctl_ok(&["migrate", "run"]);
    let servers = &mut product.groups[dying];
    let heir = servers.slaves.remove(0);
    servers.slaves.push(std::mem::replace(&mut servers.master, heir));

    let cluster = snapshot(product).await;
    assert!(cluster.moves.is_empty(), "{when}: {:?}", cluster.moves);
    for slot in slots.iter() {
        let slot = cluster.slot(slot).unwrap();
        let there = (SlotStatus::Online, Some(GroupId(to)), None);
        assert_eq!((slot.status, slot.group, slot.moving()), there, "{when}, slot {}", slot.id);
    }
    assert_eq!(count(&product.groups[source].master, slots).await, 0, "{when}");
    assert_filled(product, slots, KEYS).await;
    let back = |key: &&String| {
        let mut client = product.proxies[1].client();
        client.call(&["EXISTS", key.as_str()]).unwrap().text() != "0"
    };
    let revived: Vec<&String> = gone.iter().filter(back).collect();
    assert!(revived.is_empty(), "{when}: {revived:?}");

    // The dead master comes back as a slave of its heir, for the next one.
    product.groups[dying].slaves[0].restart();
    let addr = product.groups[dying].slaves[0].addr();
    product.ctl_ok(&["server", "add", &group, &addr]);
    for servers in &product.groups {
        await_slave(&servers.master, &servers.slaves[0]);
    }
    alone
}
