//! What it costs to watch a product. `CODIS_TEST_WATCH=256` is the line: 256 groups of three servers and 200 proxies, a minute long,
//! with bounds; it wants programs of the release profile (`cargo test --release`).
//!
//! Every group has an address of its own for each of its servers. Behind them are a few real masters, and one real slave for each
//! group, which follows the group's master by its address. The proxies are a few real ones; the others are nodes that sessions of
//! this test register with the admin page, and the testimony, of a real one.

use std::time::{Duration, Instant};

use codis_core::{Addr, GroupId, Proxy, ProxyState, Role, Server, SlotId, Versioned};
use codis_store::{ConnectOptions, Product as Nodes, Store as Session};
use codis_testkit::{ProxyProcess, RedisServer, eventually_async, need};
use codis_tests::{PRODUCT, Product, Store};

use crate::support::snapshot;

const SOON: Duration = Duration::from_secs(120);
/// Groups behind one real master.
const SHARE: usize = 16;
/// Real proxies at most.
const REAL: usize = 4;
const SESSIONS: usize = 4;

/// An address of this machine for a group's server: nobody else listens there.
fn address(server: usize, group: usize, port: u16) -> Addr {
    format!("127.{}.{}.{}:{port}", 10 + server, group / 200, 1 + group % 200).parse().unwrap()
}

fn everywhere(builder: codis_testkit::RedisBuilder) -> codis_testkit::RedisBuilder {
    builder.config("bind", "0.0.0.0").config("protected-mode", "no").config("repl-diskless-sync", "yes")
}

struct Scene {
    product: Product,
    masters: Vec<RedisServer>,
    slaves: Vec<RedisServer>,
    sessions: Vec<Nodes>,
}

async fn session(url: &str) -> Nodes {
    let store = Session::connect(&url.parse().unwrap(), &ConnectOptions::control()).await.unwrap();
    Nodes::new(store, PRODUCT.parse().unwrap())
}

impl Scene {
    async fn start(groups: usize, proxies: usize) -> Self {
        let mut product = Product::nothing_in(Store::zk());
        product.ctl_ok(&["product", "init", PRODUCT]);
        let url = product.store.url();
        let nodes = session(&url).await;
        let masters: Vec<RedisServer> =
            (0..groups.div_ceil(SHARE)).map(|_| everywhere(RedisServer::builder()).start()).collect();
        let mut slaves = Vec::new();
        for group in 0..groups {
            let master = address(0, group, masters[group % masters.len()].port());
            let follows = format!("{} {}", master.host(), master.port());
            let slave = everywhere(RedisServer::builder()).config("slaveof", &follows).start();
            let id = GroupId(group as u32 + 1);
            nodes.create_group(id).await.unwrap();
            let slave_at = |n| address(n, group, slave.port());
            for (addr, role) in
                [(master, Role::Master), (slave_at(1), Role::Slave), (slave_at(2), Role::Slave)]
            {
                let server = Server { group: id, addr, role, extra: codis_core::Extra::default() };
                nodes.add_server(&server).await.unwrap();
            }
            slaves.push(slave);
        }
        let cluster = snapshot(&product).await;
        for chunk in SlotId::all().collect::<Vec<_>>().chunks(64) {
            let slot = |id: &SlotId| {
                let before = cluster.slot(*id).unwrap();
                let owner = GroupId((id.index() % groups) as u32 + 1);
                Versioned::new(before.value.clone().online_at(owner), before.version)
            };
            nodes.put_slots(&chunk.iter().map(slot).collect::<Vec<_>>()).await.unwrap();
        }
        for n in 1..=REAL.min(proxies) {
            let id = format!("px-{n}");
            product.proxies.push(ProxyProcess::following(&url, PRODUCT, &id).start());
            product.ctl_ok(&["proxy", "online", &id]);
        }
        let mut scene = Self { product, masters, slaves, sessions: Vec::new() };
        scene.register_the_others(proxies).await;
        scene
    }

    async fn register_the_others(&mut self, proxies: usize) {
        let url = self.product.store.url();
        for _ in 0..SESSIONS {
            self.sessions.push(session(&url).await);
        }
        let real = self.product.proxies.len();
        eventually_async(SOON, async || {
            let said = self.sessions[0].witnesses().await.unwrap().found;
            let online = snapshot(&self.product).await.proxies.len();
            online == real && said.len() == real
        })
        .await;
        let listed = snapshot(&self.product).await.proxies;
        let said = self.sessions[0].witnesses().await.unwrap().found;
        for n in real + 1..=proxies {
            let nodes = &self.sessions[n % SESSIONS];
            let like = listed[&format!("px-{}", n % real + 1).parse().unwrap()].value.clone();
            let id: codis_core::ProxyId = format!("px-{n}").parse().unwrap();
            let proxy = Proxy { id: id.clone(), state: ProxyState::Offline, ..like };
            nodes.register_proxy(&proxy).await.unwrap();
            nodes.set_proxy_state(&Versioned::new(proxy, 0), ProxyState::Online).await.unwrap();
            let mut witness = said[n % real].clone();
            witness.proxy = id;
            nodes.publish_witness(&witness).await.unwrap();
        }
    }
}

/// Seconds of a core that a process has used.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// The longest rounds that an agent tells of in its log, milliseconds; and the oldest answer of a server in them.
fn rounds(log: &str) -> Vec<(u64, u64)> {
    let number = |line: &str, name: &str| {
        let text = line.split_once(name)?.1;
        text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())].parse::<u64>().ok()
    };
    let both = |line: &str| Some((number(line, "longest_ms=")?, number(line, "oldest_ms=")?));
    log.lines().filter_map(both).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_very_many_servers_and_proxies_costs_little() {
    need!("redis", "zookeeper");
    let long = std::env::var("CODIS_TEST_WATCH").ok().map(|text| text.parse::<usize>().unwrap());
    let groups = long.unwrap_or(6);
    let proxies = groups * 200 / 256;
    let scene = Scene::start(groups, proxies).await;
    let agent = scene.product.agent("[duty.connectivity]\nslow = \"9s\"\n", &[("NO_COLOR", "1")]);
    let listed = || scene.product.ctl_ok(&["agent", "list", "--output", "json"]);
    eventually_async(SOON, async || {
        let agents: serde_json::Value = serde_json::from_str(&listed()).unwrap();
        let one = &agents["agents"][0];
        one["leads"] == true && one["silent"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    let mut told = rounds(&agent.log()).len();
    if long.is_some() {
        // What it reads at first is over.
        eventually_async(SOON, async || !rounds(&agent.log()).is_empty()).await;
        told = rounds(&agent.log()).len();
    }
    let (begun, before) = (Instant::now(), cpu_seconds(agent.pid()));
    eventually_async(SOON, async || rounds(&agent.log()).len() > told).await;
    let share = (cpu_seconds(agent.pid()) - before) / begun.elapsed().as_secs_f64() * 100.0;
    let (longest, oldest) = *rounds(&agent.log()).last().unwrap();
    let resident = resident_mib(agent.pid());
    println!(
        "{groups} groups ({} masters, {} slaves behind {} addresses), {proxies} proxies, {:.0} s: {share:.1} % of a core, \
         {resident} MiB, the longest round {longest} ms, the oldest answer of a server {oldest} ms old",
        scene.masters.len(),
        scene.slaves.len(),
        groups * 3,
        begun.elapsed().as_secs_f64(),
    );
    assert_eq!(scene.product.ctl_ok(&["alert", "list"]), "no alerts\n", "{}", agent.log());
    assert!(resident <= 100, "{resident} MiB");
    if long.is_some() {
        assert!(share <= 5.0, "{share} %");
        assert!(longest <= 1000 && oldest <= 2000, "{longest} ms, {oldest} ms");
    }
}
