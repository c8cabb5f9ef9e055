//! A whole product on this machine: store, servers, proxies, all real, gone again when it ends.
//!
//! It is made of the same operations that people use on their products (init, add group, assign,
//! proxy online), so that what it shows is what they get. Programs are started and stopped here;
//! whatever way the caller ends, they end too, and the directory goes with them.

mod directory;
mod parts;
mod ports;
mod process;
mod tour;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use codis_core::ha::Policy;
use codis_core::plan::{self, Plan};
use codis_core::{Addr, Cluster, GroupId, ProductName, ProxyId, SLOT_COUNT, SlotId, SlotSet, slot_of_key};
use codis_redis::{Password, Redis, Reply};
use codis_store::StoreAddr;
use futures::future::try_join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use tour::{Latency, Scene, Step, TourOptions, TourReport, tour};

use crate::agent::{self, AgentOptions, MovesOptions};
use crate::{Consent, Context, Events, Failure, FailureKind, Permit, Target, apply};
use directory::Directory;
use parts::ProxyRecipe;
use ports::Ports;
use process::{Launcher, Running};

/// Name of the product that every playground has.
const PRODUCT: &str = "demo";
/// Time for one answer of the store or of a server.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for a proxy to register, and to serve all slots.
const PROXY_PATIENCE: Duration = Duration::from_secs(30);
/// Time for a program to end by itself.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a playground consists of.
#[derive(Debug, Clone)]
pub struct Options {
    /// Groups, each with a master.
    pub groups: u32,
    /// Slaves of each group.
    pub slaves: u32,
    /// Proxies.
    pub proxies: u32,
    /// Worker threads of each proxy.
    pub workers: u32,
    /// Keep the product in a ZooKeeper of its own instead of a local store.
    pub zk: bool,
    /// Where everything is written; removed at the end.
    pub dir: PathBuf,
    /// First port; the first free block from 21001 if not given.
    pub port_base: Option<u16>,
}

impl Default for Options {
    /// Three groups with one slave each, two proxies, local store, `./playground`.
    fn default() -> Self {
        let dir = PathBuf::from("playground");
        Self { groups: 3, slaves: 1, proxies: 2, workers: 1, zk: false, dir, port_base: None }
    }
}

impl Options {
    fn check(&self) -> Result<(), Failure> {
        let bounds = [
            ("--groups", self.groups, 1, u32::from(SLOT_COUNT)),
            ("--slaves", self.slaves, 0, 20),
            ("--proxies", self.proxies, 1, 50),
            ("--workers", self.workers, 1, 64),
        ];
        for (flag, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                let why = format!("{value} is not from {least} to {most}");
                return Err(Failure::new(FailureKind::Usage, "cannot start the playground", flag, why)
                    .next("codisctl playground --help"));
            }
        }
        Ok(())
    }
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The store, as `--store` takes it.
    pub store: StoreAddr,
    /// The product's name.
    pub product: ProductName,
    /// The directory with logs and the local store.
    pub dir: PathBuf,
    /// The groups.
    pub groups: Vec<GroupSummary>,
    /// The proxies.
    pub proxies: Vec<ProxySummary>,
    /// How long it took until all was ready.
    pub took: Duration,
}

/// One group.
#[derive(Debug, Clone)]
pub struct GroupSummary {
    /// Its number.
    pub id: GroupId,
    /// Its master.
    pub master: Addr,
    /// Its slaves.
    pub slaves: Vec<Addr>,
}

/// One proxy.
#[derive(Debug, Clone)]
pub struct ProxySummary {
    /// Its id.
    pub id: ProxyId,
    /// Where clients connect.
    pub addr: Addr,
    /// Where its admin pages are.
    pub admin: Addr,
}

/// A running product. Dropping it kills all programs and removes the directory; [`Playground::stop`]
/// lets them end in order first.
// The order of the fields is the order in which they go: programs, launcher, directory.
#[derive(Debug)]
pub struct Playground {
    agent: Option<Agent>,
    cx: Context,
    summary: Summary,
    proxies: Vec<Running>,
    servers: Vec<Running>,
    launcher: Launcher,
    ports: Ports,
    slaves: u32,
    directory: Directory,
}

impl Playground {
    /// Starts everything and returns when every slot answers through every proxy.
    ///
    /// # Errors
    /// `Usage` for impossible numbers, `Unsafe` if the directory holds something else, `Failed` if a
    /// program is missing or does not start. Nothing is left behind.
    pub async fn start(options: &Options, events: &Events) -> Result<Self, Failure> {
        options.check()?;
        let begun = Instant::now();
        let mut ports = Ports::take(options.port_base)?;
        let directory = Directory::take(&options.dir)?;
        let launcher = Launcher::start(directory.path().join("logs"))?;
        let mut servers = Vec::new();
        let store = if options.zk {
            events.note("starting ZooKeeper");
            let addr = ports.admin()?;
            servers.push(parts::zookeeper(&launcher, directory.path(), &addr).await?);
            format!("zk://{addr}")
        } else {
            format!("local:{}", directory.path().join("playground.db").display())
        };
        let store: StoreAddr = store.parse().map_err(|error| internal("the store's address", error))?;
        let product: ProductName = PRODUCT.parse().map_err(|error| internal("the product's name", error))?;
        let target = Target {
            store: store.clone(),
            product: product.clone(),
            timeout: PATIENCE,
            password: Password::none(),
        };
        let mut cx = Context::connect_any(&target).await?;
        cx.set_argv("codisctl playground");
        let dir = directory.path().to_owned();
        let summary = Summary { store, product, dir, groups: vec![], proxies: vec![], took: Duration::ZERO };
        let slaves = options.slaves;
        let proxies = Vec::new();
        let mut this =
            Self { agent: None, cx, summary, proxies, servers, launcher, ports, slaves, directory };
        this.change(plan::init).await?;
        events.note(format!("starting {} groups", options.groups));
        this.add_groups(options.groups).await?;
        this.assign_all().await?;
        events.note(format!("starting {} proxies", options.proxies));
        this.add_proxies(options.proxies, options.workers).await?;
        this.agent = Some(Agent::start(&this.cx, this.directory.path().join("rejoin")));
        this.summary.took = begun.elapsed();
        Ok(this)
    }

    /// Where everything is.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The product, for operations on it.
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// Tells of every program that ends by itself. Never returns: it runs beside what the caller waits for.
    pub async fn watch(&mut self, events: &Events) {
        let all = self.proxies.iter_mut().chain(&mut self.servers);
        let mut ends: FuturesUnordered<_> =
            all.map(|running| async { (running.name.clone(), running.ended().await) }).collect();
        while let Some((name, status)) = ends.next().await {
            let how = status.map_or_else(String::new, |status| format!(" with {status}"));
            events.note(format!("{name} has ended{how}"));
        }
        std::future::pending().await
    }

    /// Stops everything in order, proxies first, and removes the directory.
    pub async fn stop(self) {
        let Self { agent, cx, proxies, servers, launcher, directory, .. } = self;
        if let Some(agent) = agent {
            agent.stop().await;
        }
        futures::future::join_all(proxies.into_iter().map(|proxy| proxy.stop(STOP_PATIENCE))).await;
        cx.close().await;
        // They hold nothing that is kept.
        futures::future::join_all(servers.into_iter().map(|mut server| async move { server.kill().await }))
            .await;
        drop(launcher);
        drop(directory);
    }

    /// Starts the servers of `count` further groups, numbered on, and adds them to the product.
    async fn add_groups(&mut self, count: u32) -> Result<(), Failure> {
        let first = self.summary.groups.len() as u32 + 1;
        let mut groups = Vec::new();
        for id in first..first + count {
            let master = self.ports.server()?;
            let slaves = (0..self.slaves).map(|_| self.ports.server()).collect::<Result<_, _>>()?;
            groups.push(GroupSummary { id: GroupId(id), master, slaves });
        }
        let started = try_join_all(groups.iter().map(|group| self.start_group(group))).await?;
        self.servers.extend(started.into_iter().flatten());
        for group in groups {
            let add =
                |cluster: &Cluster| plan::add_group(cluster, group.id, Some(&group.master), &group.slaves);
            self.change(add).await?;
            self.summary.groups.push(group);
        }
        Ok(())
    }

    async fn start_group(&self, group: &GroupSummary) -> Result<Vec<Running>, Failure> {
        let dir = self.directory.path();
        let master = parts::redis(&self.launcher, dir, &group.master, None).await?;
        let slaves = group.slaves.iter();
        let slaves = slaves.map(|slave| parts::redis(&self.launcher, dir, slave, Some(&group.master)));
        let mut running = try_join_all(slaves).await?;
        running.push(master);
        Ok(running)
    }

    /// Gives each group its even share of the slots, in contiguous ranges.
    async fn assign_all(&self) -> Result<(), Failure> {
        let groups = &self.summary.groups;
        for (n, group) in groups.iter().enumerate() {
            let owner = |slot: &SlotId| slot.index() * groups.len() / usize::from(SLOT_COUNT) == n;
            let slots: SlotSet = SlotId::all().filter(owner).collect();
            self.change(|cluster| plan::assign(cluster, &slots, group.id)).await?;
        }
        Ok(())
    }

    async fn add_proxies(&mut self, count: u32, workers: u32) -> Result<(), Failure> {
        let mut proxies = Vec::new();
        for n in 1..=count {
            let id = format!("px-{n}").parse().map_err(|error| internal("a proxy's id", error))?;
            proxies.push(ProxySummary { id, addr: self.ports.proxy()?, admin: self.ports.admin()? });
        }
        let started = proxies.iter().map(|proxy| self.start_proxy(proxy, workers));
        self.proxies.extend(try_join_all(started).await?);
        for proxy in &proxies {
            self.change(|cluster| plan::online(cluster, &proxy.id)).await?;
        }
        for (proxy, running) in proxies.iter().zip(&mut self.proxies) {
            running.ready(PROXY_PATIENCE, || async { answers_every_slot(&proxy.addr).await.is_ok() }).await?;
        }
        self.summary.proxies.extend(proxies);
        Ok(())
    }

    /// Starts a proxy and waits until it has registered.
    async fn start_proxy(&self, proxy: &ProxySummary, workers: u32) -> Result<Running, Failure> {
        let store = self.summary.store.to_string();
        let ProxySummary { id, addr, admin } = proxy;
        let recipe = ProxyRecipe { id, addr, admin, workers, store: &store, product: &self.summary.product };
        let mut running = parts::proxy(&self.launcher, recipe).await?;
        let registered =
            || async { self.cx.load().await.is_ok_and(|cluster| cluster.proxies.contains_key(id)) };
        running.ready(PROXY_PATIENCE, registered).await?;
        Ok(running)
    }

    /// Plans on the product as it is now, and carries the plan out.
    async fn change(
        &self,
        planner: impl FnOnce(&Cluster) -> Result<Plan, plan::Refusal>,
    ) -> Result<(), Failure> {
        let plan = planner(&self.cx.load().await?)?;
        // Steps are told to people who have asked for this very plan.
        let quiet = Events::none();
        Box::pin(apply(&self.cx, &plan, Permit::new(&plan, Consent::Policy), &quiet)).await?;
        Ok(())
    }
}

/// The agent of a playground, in this process.
#[derive(Debug)]
struct Agent {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Agent {
    fn start(cx: &Context, backups: PathBuf) -> Self {
        let stop = CancellationToken::new();
        let options = AgentOptions {
            policy: Policy::default(),
            observe_only: false,
            moves: Some(MovesOptions::default()),
            backups,
            stop: stop.clone(),
        };
        let cx = cx.clone();
        let task = tokio::spawn(async move {
            if let Err(failure) = agent::run(&cx, &options, &Events::none(), drop).await {
                tracing::warn!(%failure, "the playground's agent has ended");
            }
        });
        Self { stop, task }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        // What does not end in time ends with the program.
        let _ = timeout(STOP_PATIENCE, &mut self.task).await;
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn internal(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Failed, "cannot start the playground", what, error)
}

/// One key of each slot.
fn key_of_each_slot() -> Vec<String> {
    let mut keys = BTreeMap::new();
    let mut n = 0u32;
    while keys.len() < usize::from(SLOT_COUNT) {
        let key = format!("probe:{n}");
        keys.entry(slot_of_key(key.as_bytes())).or_insert(key);
        n += 1;
    }
    keys.into_values().collect()
}

/// Asks a proxy for a key of every slot.
///
/// # Errors
/// The first slot that is not answered, and how.
async fn answers_every_slot(proxy: &Addr) -> Result<(), String> {
    let mut client = Redis::connect(proxy, &parts::options()).await.map_err(|error| error.to_string())?;
    for key in key_of_each_slot() {
        let reply = client.query(&["EXISTS", &key]).await.map_err(|error| error.to_string())?;
        if !matches!(reply, Reply::Int(_)) {
            return Err(format!("slot {}: {reply:?}", slot_of_key(key.as_bytes())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_numbers_are_usage_errors() {
        for options in [
            Options { groups: 0, ..Options::default() },
            Options { proxies: 0, ..Options::default() },
            Options { workers: 1000, ..Options::default() },
        ] {
            assert_eq!(options.check().unwrap_err().kind, FailureKind::Usage);
        }
        Options::default().check().unwrap();
    }

    #[tokio::test]
    async fn a_product_comes_up_and_leaves_nothing_behind() {
        codis_testkit::need!("redis");
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("playground");
        let options = Options { groups: 2, proxies: 2, dir: dir.clone(), ..Options::default() };
        let playground = Playground::start(&options, &Events::none()).await.unwrap();
        let summary = playground.summary().clone();
        assert_eq!((summary.groups.len(), summary.groups[1].slaves.len(), summary.proxies.len()), (2, 1, 2));
        let cluster = playground.context().load().await.unwrap();
        assert!(cluster.gaps.is_empty(), "{:?}", cluster.gaps);
        assert_eq!(cluster.online_proxies().count(), 2);
        for proxy in &summary.proxies {
            answers_every_slot(&proxy.addr).await.unwrap();
        }
        playground.stop().await;
        assert!(!dir.exists());
        for addr in [&summary.groups[0].master, &summary.groups[1].slaves[0], &summary.proxies[0].addr] {
            assert!(Redis::connect(addr, &parts::options()).await.is_err(), "{addr} still answers");
        }
    }

    #[tokio::test]
    async fn a_start_that_fails_leaves_nothing_behind() {
        codis_testkit::need!("redis");
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("playground");
        // More servers than the block of ports has room for.
        let options = Options { groups: 60, slaves: 1, dir: dir.clone(), ..Options::default() };
        let failure = Playground::start(&options, &Events::none()).await.unwrap_err();
        assert!(failure.why.contains("at most 100 servers"), "{failure}");
        assert!(!dir.exists());
    }

    #[test]
    fn there_is_a_key_for_every_slot() {
        let slots: Vec<_> = key_of_each_slot().iter().map(|key| slot_of_key(key.as_bytes())).collect();
        assert_eq!(slots, SlotId::all().collect::<Vec<_>>());
    }
}
