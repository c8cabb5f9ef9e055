//! A master dies, and an agent has a slave take its place: real servers, real proxies, real agents.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use codis_core::ha::{Saga, SagaKind, Stage};
use codis_core::{Addr, Cluster, GroupId, Role, SlotSet};
use codis_testkit::{ProxyProcess, RedisServer, Reply, RespClient, Sandbox, eventually_async, need};
use codis_tests::{Product, Servers, Store};

use crate::support::{assert_filled, fill, snapshot, until_copied};

pub(crate) const GROUP: GroupId = GroupId(1);
/// Quick enough for a test, slow enough for a busy machine.
pub(crate) const QUICK: &str =
    "[agent]\ncheck_interval = \"200ms\"\n[ha]\ndown_after = \"2s\"\nrecovery_block = \"1s\"\n";
/// How long anything may take that is awaited.
const SOON: Duration = Duration::from_secs(30);

pub(crate) fn group_of(slaves: usize) -> Vec<Servers> {
    vec![Servers::start(RedisServer::builder(), slaves)]
}

pub(crate) fn addr(server: &RedisServer) -> Addr {
    server.addr().parse().unwrap()
}

pub(crate) async fn saga(product: &Product) -> Option<Saga> {
    snapshot(product).await.sagas.get(&GROUP).map(|saga| saga.value.clone())
}

/// Waits until the group's change of master is over.
pub(crate) async fn until_ended(product: &Product, new: &Addr) -> Saga {
    eventually_async(SOON, async || {
        saga(product).await.is_some_and(|saga| saga.stage == Stage::Ended && saga.new == *new)
    })
    .await;
    saga(product).await.unwrap()
}

/// Waits until an agent leads.
pub(crate) async fn until_led(product: &Product) {
    let led = async || {
        let said = product.ctl_ok(&["agent", "list", "--output", "json"]);
        serde_json::from_str::<serde_json::Value>(&said).unwrap()["leader"].is_string()
    };
    eventually_async(SOON, led).await;
}

/// Waits until the store and the servers agree: one master, all others its slaves, linked, and no write stop anywhere.
pub(crate) async fn until_settled(product: &Product, servers: &[&RedisServer]) {
    eventually_async(SOON, async || is_settled(&snapshot(product).await, servers)).await;
}

fn is_settled(cluster: &Cluster, servers: &[&RedisServer]) -> bool {
    let group = &cluster.groups[&GROUP];
    let Some(master) = group.master().map(|master| master.addr.clone()) else { return false };
    servers.iter().all(|server| {
        let mut client = server.client();
        let info = client.call(&["INFO", "replication"]).unwrap().text();
        let stop = client.call(&["CONFIG", "GET", "min-slaves-to-write"]).unwrap();
        let free = !format!("{stop:?}").contains("00000");
        let says = |text: &str| info.contains(text);
        let role = match group.server(&addr(server)).map(|listed| listed.role) {
            Some(Role::Master) => says("role:master"),
            Some(Role::Slave) => {
                says("role:slave")
                    && says("link_status:up")
                    && says(&format!("master_port:{}", master.port()))
            }
            _ => false,
        };
        role && free
    })
}

/// A client that counts up, through a proxy, and knows what was acknowledged.
pub(crate) struct Counting {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    /// Requests with an error.
    errors: Arc<AtomicU64>,
    /// Longest time between two acknowledgements, microseconds.
    longest_us: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Counting {
    pub(crate) fn start(proxy: &ProxyProcess, key: &str) -> Self {
        Self::at(proxy.port(), key)
    }

    /// The same through whatever listens at this port.
    pub(crate) fn at(port: u16, key: &str) -> Self {
        let [acknowledged, errors, longest_us] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let key = key.to_owned();
        let mine = (stop.clone(), acknowledged.clone(), errors.clone(), longest_us.clone());
        let thread = std::thread::spawn(move || {
            let (stop, acknowledged, errors, longest_us) = mine;
            let mut client = RespClient::connect(port, Duration::from_secs(10)).ok();
            let mut last = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let reply = match &mut client {
                    Some(client) => client.call(&["INCR", &key]),
                    None => Err(std::io::ErrorKind::NotConnected.into()),
                };
                match reply {
                    Ok(reply) if reply.text().parse::<u64>().is_ok() => {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                        longest_us.fetch_max(last.elapsed().as_micros() as u64, Ordering::Relaxed);
                        last = Instant::now();
                    }
                    Ok(_) => {
                        errors.fetch_add(1, Ordering::Relaxed);
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(_) => {
                        errors.fetch_add(1, Ordering::Relaxed);
                        client = RespClient::connect(port, Duration::from_secs(10)).ok();
                    }
                }
            }
        });
        Self { stop, acknowledged, errors, longest_us, thread: Some(thread) }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Longest time between two acknowledgements.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_us.load(Ordering::Relaxed))
    }

    /// From here on the longest is to be measured.
    pub(crate) fn forget_pauses(&self) {
        self.longest_us.store(0, Ordering::Relaxed);
    }

    /// Stops it: acknowledged, errors.
    pub(crate) fn finish(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        (self.acknowledged(), self.errors.load(Ordering::Relaxed))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

pub(crate) async fn until_counting(counting: &Counting) {
    let now = counting.acknowledged();
    eventually_async(SOON, async || counting.acknowledged() > now + 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_killed_is_replaced_and_clients_go_on() {
    need!("redis");
    let mut product = Product::start(Store::local(), group_of(1), 2);
    let slots: SlotSet = "0-63".parse().unwrap();
    fill(&product, &slots, 20).await;
    until_copied(&product);
    let agent = product.agent(QUICK, &[]);
    until_led(&product).await;
    let counting = Counting::start(&product.proxies[0], "counter");
    until_counting(&counting).await;
    let (old, new) = (addr(&product.groups[0].master), addr(&product.groups[0].slaves[0]));
    product.groups[0].master.kill();
    let receipt = until_ended(&product, &new).await;
    assert_eq!((receipt.kind, &receipt.old), (SagaKind::Failover, &old), "{}", agent.log());
    until_counting(&counting).await;
    let cluster = snapshot(&product).await;
    assert_eq!(cluster.groups[&GROUP].masters().map(|server| &server.addr).collect::<Vec<_>>(), [&new]);
    let (acknowledged, _) = counting.finish();
    let kept: u64 = product.proxies[1].client().call(&["GET", "counter"]).unwrap().text().parse().unwrap();
    let missing = acknowledged.saturating_sub(kept);
    // Nothing is said where nobody can tell.
    let most = receipt.receipt.lost.and_then(|lost| lost.writes);
    assert!(most.is_none_or(|most| missing <= most), "{missing} are missing, at most {most:?}");
    // It is back, without its data: a slave like any other.
    product.groups[0].master.restart();
    let group = &product.groups[0];
    until_settled(&product, &[&group.master, &group.slaves[0]]).await;
    assert!(saga(&product).await.unwrap().demoted.is_empty());
    assert_filled(&product, &slots, 20).await;
    assert!(agent.is_running(), "{}", agent.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_does_what_a_command_asks_for() {
    need!("redis");
    let product = Product::start(Store::local(), group_of(1), 2);
    let _agents = [product.agent(QUICK, &[]), product.agent(QUICK, &[])];
    until_led(&product).await;
    let counting = Counting::start(&product.proxies[0], "counter");
    until_counting(&counting).await;
    let group = &product.groups[0];
    product.ctl_ok(&["group", "promote", "1", &group.slaves[0].addr()]);
    let saga = until_ended(&product, &addr(&group.slaves[0])).await;
    assert_eq!(saga.kind, SagaKind::Planned);
    until_settled(&product, &[&group.master, &group.slaves[0]]).await;
    until_counting(&counting).await;
    let (acknowledged, errors) = counting.finish();
    let kept: u64 = product.proxies[1].client().call(&["GET", "counter"]).unwrap().text().parse().unwrap();
    assert_eq!((kept, errors), (acknowledged, 0));
}

/// The first slave of the list was what the original's helper took, whatever it was like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_slaves_the_dead_and_the_late_one_are_passed_over() {
    need!("redis");
    let product = Product::start(Store::local(), group_of(3), 1);
    let mut group: Vec<&RedisServer> = product.groups[0].slaves.iter().collect();
    group.sort_by_key(|server| addr(server));
    let [dead, late, good] = group[..] else { panic!("three slaves") };
    let agent = product.agent(QUICK, &[]);
    until_led(&product).await;
    // A single agent's word counts if the proxies have trouble, too, and that only those have that are asked for something.
    let _load = Counting::start(&product.proxies[0], "load");
    dead.kill();
    // More than lies in the kernel's buffers on the way to it.
    late.stop();
    let mut client = product.groups[0].master.client();
    let value = "x".repeat(1 << 20);
    for n in 0..32 {
        client.call(&["SET", &format!("big{n}"), &value]).unwrap();
    }
    client.call(&["WAIT", "1", "10000"]).unwrap();
    product.groups[0].master.kill();
    late.cont();
    let receipt = until_ended(&product, &addr(good)).await;
    let said = receipt.receipt.candidates.join("\n");
    assert!(said.contains(&format!("{}: chosen", good.addr())), "{said}\n{}", agent.log());
    assert!(said.contains(&format!("{}: not reachable", dead.addr())), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_an_old_master_has_is_kept_in_a_file_before_it_becomes_a_slave() {
    need!("redis");
    let product = Product::start(Store::local(), group_of(1), 1);
    let group = &product.groups[0];
    let settings = format!("{QUICK}rejoin = \"manual\"\n");
    let agent = product.agent(&settings, &[]);
    until_led(&product).await;
    // A single agent's word counts if the proxies have trouble, too, and that only those have that are asked for something.
    let _load = Counting::start(&product.proxies[0], "load");
    group.master.client().call(&["SET", "shared", "value"]).unwrap();
    group.master.stop();
    until_ended(&product, &addr(&group.slaves[0])).await;
    group.master.cont();
    // As a proxy would that has not heard of the change.
    let write = async || {
        group.master.client().call(&["SET", "divergent", "written-too-late"]).unwrap().text() == "OK"
    };
    eventually_async(SOON, write).await;
    agent.terminate();
    assert!(agent.wait(SOON).is_some_and(|status| status.success()), "{}", agent.log());
    let folder = Sandbox::create("rejoin").unwrap();
    let config = format!("[ha]\nbackup_dir = \"{}\"\n", folder.path().join("kept").display());
    let config = folder.write("codis.toml", &config).unwrap();
    let said = product.ctl_ok(&["group", "sync", "1", "--config", &config.display().to_string()]);
    until_settled(&product, &[&group.master, &group.slaves[0]]).await;
    let files: Vec<_> = std::fs::read_dir(folder.path().join("kept")).unwrap().collect();
    assert_eq!(files.len(), 1, "{said}");
    let kept = std::fs::read(files[0].as_ref().unwrap().path()).unwrap();
    let has = |text: &[u8]| kept.windows(text.len()).any(|part| part == text);
    assert!(kept.starts_with(b"REDIS") && has(b"written-too-late") && has(b"shared"), "{said}");
    assert_eq!(group.master.client().call(&["EXISTS", "divergent"]).unwrap(), Reply::Int(0));
    let lost = saga(&product).await.unwrap().receipt.lost;
    assert!(lost.is_some_and(|lost| lost.bytes > 0), "the old master's own offset says so: {lost:?}");
}

/// Old masters wait for people here, and nobody brings back what a person took offline, until somebody asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_puts_a_group_right_when_it_is_asked_to() {
    need!("redis");
    let mut product = Product::start(Store::local(), group_of(2), 1);
    let agent = product.agent(&format!("{QUICK}rejoin = \"manual\"\n"), &[]);
    until_led(&product).await;
    let load = Counting::start(&product.proxies[0], "load");
    until_counting(&load).await;
    product.groups[0].master.kill();
    eventually_async(SOON, async || saga(&product).await.is_some_and(|saga| saga.stage == Stage::Ended))
        .await;
    drop(load);
    // It is not there, so there is nobody to bring back.
    let absent = product.ctl(&["group", "sync", "1", "--output", "json"]);
    let said: serde_json::Value = serde_json::from_slice(&absent.stdout).unwrap();
    let old = product.groups[0].master.addr();
    assert_eq!((absent.status.code(), said["done"].as_array().unwrap().len()), (Some(3), 0), "{said}");
    assert!(
        said["left"][0].as_str().unwrap().starts_with(&format!("{old} is offline: not reachable")),
        "{said}"
    );
    assert!(said["by"].is_string(), "{said}");

    product.groups[0].master.restart();
    let saga = saga(&product).await.unwrap();
    let slave = product.groups[0].slaves.iter().map(addr).find(|slave| *slave != saga.new).unwrap();
    product.ctl_ok(&["server", "offline", slave.as_str()]);
    let said = product.ctl_ok(&["group", "sync", "1"]);
    for back in [&old, slave.as_str()] {
        assert!(said.contains(&format!("{back} is a slave of the group")), "{said}\n{}", agent.log());
    }
    let group = &product.groups[0];
    until_settled(&product, &[&group.master, &group.slaves[0], &group.slaves[1]]).await;
    assert!(product.ctl_ok(&["group", "sync", "1"]).contains("group 1 is right"));
    assert!(agent.is_running(), "{}", agent.log());
}

/// Each write of the agent that leads, one after the other: of its journal, to the servers, to the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_in_a_failover_is_succeeded_by_another_one() {
    need!("redis");
    let mut product = Product::start(Store::local(), group_of(1), 2);
    let slots: SlotSet = "0-15".parse().unwrap();
    fill(&product, &slots, 5).await;
    until_copied(&product);
    // A single agent's word counts if the proxies have trouble, too, and that only those have that are asked for something.
    let _load = Counting::start(&product.proxies[0], "load");
    let all = std::env::var("CODIS_LONG_STORIES").is_ok();
    let points: Vec<u64> = if all { (4..60).collect() } else { vec![6, 9, 12] };
    let mut old_is_master = true;
    for nth in points {
        let first = product.agent(QUICK, &[("CODIS_CRASH_AT", &nth.to_string())]);
        eventually_async(SOON, async || !first.is_running() || first.log().contains("this agent leads"))
            .await;
        let second = product.agent(QUICK, &[]);
        let group = &product.groups[0];
        let (old, new) = match old_is_master {
            true => (&group.master, &group.slaves[0]),
            false => (&group.slaves[0], &group.master),
        };
        old.kill();
        let ended = until_ended(&product, &addr(new)).await;
        assert_eq!(ended.old, addr(old), "write {nth}: {}\n{}", first.log(), second.log());
        let group = &mut product.groups[0];
        if old_is_master {
            group.master.restart()
        } else {
            group.slaves[0].restart()
        }
        let group = &product.groups[0];
        until_settled(&product, &[&group.master, &group.slaves[0]]).await;
        let cluster = snapshot(&product).await;
        assert_eq!(cluster.groups[&GROUP].masters().count(), 1, "write {nth}");
        assert_filled(&product, &slots, 5).await;
        old_is_master = !old_is_master;
        // The group is left alone for a second after a failover.
        drop((first, second));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_nobody_is_promoted_and_nothing_ends() {
    need!("redis", "zookeeper");
    let product = Product::start(Store::zk(), group_of(1), 1);
    let agent = product.agent(QUICK, &[]);
    until_led(&product).await;
    // A single agent's word counts if the proxies have trouble, too, and that only those have that are asked for something.
    let load = Counting::start(&product.proxies[0], "load");
    let Store::Zk(zookeeper) = &product.store else { panic!("it is a ZooKeeper") };
    zookeeper.stop();
    let group = &product.groups[0];
    group.master.kill();
    let away = Duration::from_secs(if std::env::var("CODIS_LONG_STORIES").is_ok() { 60 } else { 6 });
    let begun = Instant::now();
    while begun.elapsed() < away {
        let info = group.slaves[0].client().call(&["INFO", "replication"]).unwrap().text();
        assert!(info.contains("role:slave"), "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(agent.is_running(), "{}", agent.log());
    zookeeper.cont();
    let ended = until_ended(&product, &addr(&group.slaves[0])).await;
    assert_eq!((ended.kind, ended.old), (SagaKind::Failover, addr(&group.master)), "{}", agent.log());
    until_counting(&load).await;
}
