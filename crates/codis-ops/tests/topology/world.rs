//! A store, servers, and a context on them.

use std::time::{Duration, Instant};

use codis_core::plan::{Plan, Refusal};
use codis_core::{Addr, Cluster, SlotStatus};
use codis_ops::{
    Consent, Context, Events, Failure, Permit, Receipt, Secret, ServerInfo, StoreAddr, Target, apply, observe,
};
use codis_testkit::{RedisServer, Sandbox, ZooKeeper, require};

/// What a test works on.
pub(crate) struct World {
    pub(crate) cx: Context,
    pub(crate) redis: Vec<RedisServer>,
    target: Target,
    /// Held so that it lives as long as the world.
    _store: Keeper,
}

enum Keeper {
    Local(#[expect(dead_code, reason = "held for its life time")] Sandbox),
    Zk(#[expect(dead_code, reason = "held for its life time")] Box<ZooKeeper>),
}

/// Runs the story on a local store, and on ZooKeeper where there is one.
pub(crate) fn on_both_stores<F: Future<Output = ()>>(story: impl Fn(World) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sandbox = Sandbox::create("ops").unwrap();
    let local = StoreAddr::Local { path: sandbox.path().join("store.db") };
    runtime.block_on(async { story(World::new(local, Keeper::Local(sandbox)).await).await });
    if require("zookeeper") {
        let zk = ZooKeeper::start();
        let addr = zk.url().parse().unwrap();
        runtime.block_on(async { story(World::new(addr, Keeper::Zk(Box::new(zk))).await).await });
    }
}

impl World {
    async fn new(store: StoreAddr, keeper: Keeper) -> Self {
        let target = Target {
            store,
            product: "test".parse().unwrap(),
            timeout: Duration::from_secs(10),
            password: Secret::none(),
        };
        let cx = Context::connect_any(&target).await.unwrap();
        Self { cx, redis: Vec::new(), target, _store: keeper }
    }

    /// Starts servers and returns their addresses.
    pub(crate) fn servers(&mut self, count: usize) -> Vec<Addr> {
        let started: Vec<RedisServer> = (0..count).map(|_| RedisServer::start()).collect();
        let addrs = started.iter().map(|server| server.addr().parse().unwrap()).collect();
        self.redis.extend(started);
        addrs
    }

    /// A context with a session of its own on the same store.
    pub(crate) async fn another_context(&self) -> Context {
        Context::connect_any(&self.target).await.unwrap()
    }

    /// The product as the store has it. (A story that only touched `cx` would capture that field
    /// alone, and let go of the store with the rest.)
    pub(crate) async fn load(&self) -> Cluster {
        self.cx.load().await.unwrap()
    }

    pub(crate) async fn apply(&self, plan: &Plan) -> Result<Receipt, Failure> {
        self.apply_with(plan, Permit::new(plan, Consent::Policy)).await
    }

    pub(crate) async fn apply_with(&self, plan: &Plan, permit: Permit) -> Result<Receipt, Failure> {
        apply(&self.cx, plan, permit, &Events::none()).await
    }

    /// Plans on the current picture and carries it out; both must succeed.
    pub(crate) async fn run(&mut self, planner: impl FnOnce(&Cluster) -> Result<Plan, Refusal>) {
        let plan = planner(&self.cx.load().await.unwrap()).unwrap();
        self.apply(&plan).await.unwrap();
    }

    pub(crate) async fn online(&self) -> Vec<u16> {
        let cluster = self.cx.load().await.unwrap();
        let online = cluster.known_slots().filter(|slot| slot.status == SlotStatus::Online);
        online.map(|slot| slot.id.get()).collect()
    }

    /// What the server says of itself.
    pub(crate) async fn info(&self, addr: &Addr) -> ServerInfo {
        let cluster = self.cx.load().await.unwrap();
        let servers = observe::servers(&self.cx, &cluster, Duration::from_secs(5)).await;
        servers[addr].clone().unwrap()
    }

    /// Asks the server until it says what is wanted.
    pub(crate) async fn await_info(&self, addr: &Addr, what: &str, ready: impl Fn(&ServerInfo) -> bool) {
        let begun = Instant::now();
        while !ready(&self.info(addr).await) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{addr}: never {what}");
        }
    }
}
