//! A master is killed while clients write, again and again: how long nobody can write, and what is lost with it.
//!
//! Clients append tokens, each only once, through both proxies and note which were acknowledged. Afterwards there is one master, in
//! the store and in role; no token is there twice; those that are acknowledged and missing are no more than the receipt says, and
//! what it says is lost for certain is not more than what is missing. In some rounds clients pause for 200 ms before
//! the master dies, and then nothing is missing; in some a fence stands whose proxy nobody knows; and in some the slaves are late, so that
//! something is lost for certain.
//!
//! `CODIS_TEST_DEATHS=50` for figures: with the settings that people have, but for `recovery_block`, which is for people, not for a
//! group that loses its master every ten seconds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codis_core::Role;
use codis_core::ha::{Saga, SagaKind, Stage};
use codis_ops::{Context, Secret, Target};
use codis_store::{Acl, CreateMode};
use codis_testkit::{RedisServer, Reply, RespClient, eventually, eventually_async, need};
use codis_tests::{PRODUCT, Product, Store};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::cancel::await_slave;
use crate::failover::{GROUP, QUICK, group_of, saga, until_settled};
use crate::support::snapshot;
use crate::trio::{master, server_at, servers, until_agents};

const SOON: Duration = Duration::from_secs(60);
/// The settings that people have, but for the pause between two failovers of a group.
const USUAL: &str = "[ha]\nrecovery_block = \"1s\"\n";
/// Clients of each proxy.
const CLIENTS: usize = 2;
/// For how long clients pause where nothing may be lost.
const PAUSE: Duration = Duration::from_millis(200);
/// A fence that nobody's proxy has.
const STALE: &str = "127.0.0.1:1";
/// What a token is in the replication stream: `RPUSH`, a key of eight letters, eight digits.
const TOKEN: u64 = "*3\r\n$5\r\nRPUSH\r\n$8\r\ntokens-0\r\n$8\r\n00000000\r\n".len() as u64;
/// Values of a MiB that keep the way to the slaves busy: more than lies in the kernel's buffers.
const BIG: u64 = 32;
/// Writes that are acknowledged behind them.
const BEHIND: u64 = 50;
/// What else may be in the stream behind the last token: a question of the master to its slaves, and which database it is about.
const CHATTER: u64 = 200;

/// What one client has sent, and what it was told.
#[derive(Debug, Default)]
struct Account {
    sent: u64,
    acknowledged: Vec<u64>,
    /// The longest time between two acknowledgements.
    longest: Duration,
    last: Option<Instant>,
}

/// Clients that append tokens.
struct Clients {
    stop: Arc<AtomicBool>,
    quiet: Arc<AtomicBool>,
    accounts: Vec<Arc<Mutex<Account>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Clients {
    fn start(product: &Product) -> Self {
        let [stop, quiet] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let mut clients = Self { stop, quiet, accounts: Vec::new(), threads: Vec::new() };
        let ports = product.proxies.iter().flat_map(|proxy| [proxy.port(); CLIENTS]);
        for (n, port) in ports.enumerate() {
            let account = Arc::new(Mutex::new(Account::default()));
            clients.accounts.push(account.clone());
            let (stop, quiet) = (clients.stop.clone(), clients.quiet.clone());
            clients.threads.push(std::thread::spawn(move || append(port, &key(n), &account, &stop, &quiet)));
        }
        clients
    }

    fn acknowledged(&self) -> u64 {
        self.accounts.iter().map(|account| account.lock().unwrap().acknowledged.len() as u64).sum()
    }

    /// Waits until each has been told of another write.
    fn until_all_write(&self) {
        let before: Vec<usize> = self.accounts.iter().map(|a| a.lock().unwrap().acknowledged.len()).collect();
        for (account, before) in self.accounts.iter().zip(before) {
            eventually(SOON, || account.lock().unwrap().acknowledged.len() > before + 1);
        }
    }

    fn finish(mut self) -> Vec<Account> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        self.accounts.iter().map(|account| std::mem::take(&mut *account.lock().unwrap())).collect()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn key(client: usize) -> String {
    format!("tokens-{client}")
}

fn append(port: u16, key: &str, account: &Mutex<Account>, stop: &AtomicBool, quiet: &AtomicBool) {
    let mut client: Option<RespClient> = None;
    while !stop.load(Ordering::Relaxed) {
        if quiet.load(Ordering::Relaxed) {
            std::thread::yield_now();
            continue;
        }
        let Some(connected) = &mut client else {
            client = RespClient::connect(port, Duration::from_secs(10)).ok();
            continue;
        };
        let token = {
            let mut account = account.lock().unwrap();
            account.sent += 1;
            account.sent
        };
        match connected.call(&["RPUSH", key, &format!("{token:08}")]) {
            Ok(Reply::Int(_)) => {
                let mut account = account.lock().unwrap();
                account.acknowledged.push(token);
                let now = Instant::now();
                let gap = account.last.map_or(Duration::ZERO, |last| now - last);
                account.longest = account.longest.max(gap);
                account.last = Some(now);
            }
            Ok(_) => {}
            Err(_) => client = None,
        }
        // Some thousand requests a second tell no more than some hundred.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What came of all rounds.
#[derive(Debug, Default)]
struct Sum {
    services: Vec<Duration>,
    missing: u64,
    allowed: u64,
    /// Receipts that could not say how many at most.
    unknown: u64,
}

fn rounds(usual: usize) -> usize {
    std::env::var("CODIS_TEST_DEATHS").map_or(usual, |text| text.parse().unwrap())
}

fn is_long() -> bool {
    std::env::var("CODIS_TEST_DEATHS").is_ok()
}

async fn deaths(store: Store, agents: usize, kinds: &[Kind]) {
    let (settings, down_after) =
        if is_long() { (USUAL, Duration::from_secs(6)) } else { (QUICK, Duration::from_secs(2)) };
    let mut product = Product::start(store, group_of(2), 2);
    let _agents: Vec<_> = (0..agents).map(|_| product.agent(settings, &[])).collect();
    until_agents(&product, agents).await;
    let seed: u64 = rand::rng().random();
    let mut random = StdRng::seed_from_u64(seed);
    let mut sum = Sum::default();
    for round in 0..rounds(kinds.len()) {
        let kind = kinds[round % kinds.len()];
        let when = format!("round {round} of seed {seed}, {kind:?}, {agents} agents");
        one(&mut product, kind, random.random_range(0..1500), &when, &mut sum).await;
    }
    report(agents, down_after, sum);
}

/// What is special about a round.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Clients pause before the master dies.
    pause: bool,
    /// A fence stands without a proxy.
    fence: bool,
    /// The slaves have not got the last writes.
    late: bool,
}

const ALL: [Kind; 6] = [
    Kind { pause: false, fence: false, late: false },
    Kind { pause: true, fence: false, late: false },
    Kind { pause: false, fence: false, late: true },
    Kind { pause: false, fence: true, late: false },
    Kind { pause: true, fence: true, late: false },
    Kind { pause: false, fence: true, late: true },
];

async fn one(product: &mut Product, kind: Kind, load_ms: u64, when: &str, sum: &mut Sum) {
    let old = master(product).await;
    let before = saga(product).await.map_or(0, |saga| saga.epoch);
    if kind.fence {
        leave_fence(product).await;
    }
    let clients = Clients::start(product);
    clients.until_all_write();
    tokio::time::sleep(Duration::from_millis(load_ms)).await;
    // Slaves that have just been attached get nothing at first.
    for slave in servers(product).iter().filter(|server| server.addr() != old.as_str()) {
        await_slave(server_of(product, old.as_str()), slave);
    }
    if kind.pause {
        clients.quiet.store(true, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    if kind.late {
        fall_behind(product, old.as_str(), &clients);
    }
    server_of(product, old.as_str()).kill();
    let held = clients.acknowledged();
    servers(product).iter().filter(|server| server.addr() != old.as_str()).for_each(|slave| slave.cont());
    clients.quiet.store(false, Ordering::Relaxed);
    let over =
        async || saga(product).await.is_some_and(|saga| saga.epoch > before && saga.stage == Stage::Ended);
    eventually_async(SOON, over).await;
    clients.until_all_write();
    let accounts = clients.finish();
    let ended = saga(product).await.unwrap();
    assert_eq!((ended.kind, &ended.old), (SagaKind::Failover, &old), "{when}: {ended:?}");
    assert_eq!(ended.receipt.unconfirmed, if kind.fence { vec![STALE] } else { Vec::new() }, "{when}");
    let masters = masters(product, old.as_str());
    assert_eq!((master(product).await, masters), (ended.new.clone(), vec![ended.new.to_string()]), "{when}");

    let missing = settle_accounts(product, &accounts, kind, &ended, when);
    assert!(held > 0, "{when}: nobody had written");
    let service = accounts.iter().map(|account| account.longest).max().unwrap();
    sum.services.push(service);
    sum.missing += missing;
    match ended.receipt.lost.and_then(|lost| lost.writes) {
        Some(most) => sum.allowed += most,
        None => sum.unknown += 1,
    }
    progress(when, service, missing, &ended);

    server_at(product, &old).restart();
    if kind.fence {
        product.ctl_ok(&["proxy", "fence", "clear"]);
    }
    let back = async || {
        let group = snapshot(product).await.groups[&GROUP].clone();
        group.server(&old).is_some_and(|listed| listed.role == Role::Slave)
    };
    eventually_async(SOON, back).await;
    until_settled(product, &servers(product)).await;
    let mut client = product.proxies[0].client();
    let names = (0..accounts.len()).map(key).chain((0..BIG).map(big));
    for name in names {
        client.call(&["DEL", &name]).unwrap();
    }
}

fn big(n: u64) -> String {
    format!("big-{n}")
}

/// The slaves stand still, and the way to them is full, when clients are told of further writes.
fn fall_behind(product: &Product, master: &str, clients: &Clients) {
    servers(product).iter().filter(|server| server.addr() != master).for_each(|slave| slave.stop());
    let mut client = server_of(product, master).client();
    let value = "x".repeat(1 << 20);
    for n in 0..BIG {
        client.call(&["SET", &big(n), &value]).unwrap();
    }
    let now = clients.acknowledged();
    eventually(SOON, || clients.acknowledged() > now + BEHIND);
}

/// Compares what is there with the accounts; returns how many acknowledged tokens are missing.
fn settle_accounts(product: &Product, accounts: &[Account], kind: Kind, ended: &Saga, when: &str) -> u64 {
    let (mut missing, mut open) = (0, 0);
    for (n, account) in accounts.iter().enumerate() {
        // Not through the proxy that took most of them.
        let proxy = &product.proxies[1 - n / CLIENTS];
        let Reply::Array(Some(found)) = proxy.client().call(&["LRANGE", &key(n), "0", "-1"]).unwrap() else {
            panic!("{when}: {} is no list", key(n));
        };
        let mut found: Vec<u64> = found.iter().map(|token| token.text().parse().unwrap()).collect();
        found.sort_unstable();
        assert!(found.windows(2).all(|two| two[0] < two[1]), "{when}: a token of {} is there twice", key(n));
        assert!(found.last().is_none_or(|last| *last <= account.sent), "{when}: {}", key(n));
        missing +=
            account.acknowledged.iter().filter(|token| found.binary_search(token).is_err()).count() as u64;
        open += account.sent - account.acknowledged.len() as u64;
    }
    if kind.pause {
        assert_eq!(missing, 0, "{when}: nobody had written for a while; {ended:?}");
    }
    assert!(!kind.late || missing >= BEHIND, "{when}: only {missing} are missing");
    if let Some(lost) = ended.receipt.lost {
        assert!(lost.writes.is_none_or(|most| missing <= most), "{when}: {missing} are missing, {lost:?}");
        let others = if kind.late { (BIG + 1) << 20 } else { 0 };
        let most = (missing + open) * TOKEN + CHATTER + others;
        assert!(lost.bytes <= most, "{when}: only {missing} are missing and {open} open, {lost:?}");
    }
    missing
}

fn server_of<'a>(product: &'a Product, addr: &str) -> &'a RedisServer {
    servers(product).into_iter().find(|server| server.addr() == addr).unwrap()
}

/// Those of the living that say that they are masters.
fn masters(product: &Product, dead: &str) -> Vec<String> {
    let living = servers(product).into_iter().filter(|server| server.addr() != dead);
    let is_master = |server: &&RedisServer| {
        let info = server.client().call(&["INFO", "replication"]).unwrap().text();
        info.contains("role:master")
    };
    living.filter(is_master).map(RedisServer::addr).collect()
}

/// As of a proxy that was killed long ago.
async fn leave_fence(product: &Product) {
    let target = Target {
        store: product.store.url().parse().unwrap(),
        product: PRODUCT.parse().unwrap(),
        timeout: Duration::from_secs(10),
        password: Secret::none(),
    };
    let cx = Context::connect(&target).await.unwrap();
    let path = format!("{}/fence/{STALE}", cx.product().root());
    cx.product().store().create(&path, b"", CreateMode::Persistent, Acl::File).await.unwrap();
    assert_eq!(cx.load().await.unwrap().stale_fences().len(), 1);
    cx.close().await;
}

#[expect(clippy::print_stdout, reason = "the figures are a result")]
fn progress(when: &str, service: Duration, missing: u64, ended: &Saga) {
    let receipt = &ended.receipt;
    let since = |ms: u64| ms.saturating_sub(receipt.last_good_ms);
    println!(
        "{when}: back after {:.3} s, {missing} missing, {:?}; from the agents' last good reply: decided after {} ms, \
         stored {}, followed {}",
        service.as_secs_f64(),
        receipt.lost,
        since(receipt.decided_ms),
        since(receipt.stored_ms),
        since(receipt.followed_ms)
    );
}

#[expect(clippy::print_stdout, reason = "the figures are a result")]
fn report(agents: usize, down_after: Duration, sum: Sum) {
    let Sum { mut services, missing, allowed, unknown } = sum;
    services.sort_unstable();
    let at = |share: f64| services[((services.len() - 1) as f64 * share).ceil() as usize].as_secs_f64();
    let bound = down_after + Duration::from_secs(1);
    let over = services.iter().filter(|service| **service > bound).count();
    println!(
        "{} masters killed, {agents} agents, from the last good reply to the next one: min {:.3}, p50 {:.3}, p99 {:.3}, max {:.3} s; \
         over the bound of {:.1} s: {over} of {0}; {missing} acknowledged writes lost, {allowed} allowed, {unknown} receipts cannot say",
        services.len(),
        at(0.0),
        at(0.5),
        at(0.99),
        at(1.0),
        bound.as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_that_are_killed_under_load_are_replaced_by_one_of_three_agents() {
    need!("redis", "zookeeper");
    let some = [ALL[2], ALL[4]];
    deaths(Store::zk(), 3, if is_long() { &ALL } else { &some }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_that_are_killed_under_load_are_replaced_by_a_single_agent_and_the_proxies_witness() {
    need!("redis", "zookeeper");
    let some = [ALL[3]];
    deaths(Store::zk(), 1, if is_long() { &ALL } else { &some }).await;
}
