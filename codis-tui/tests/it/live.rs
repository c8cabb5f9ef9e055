//! A real product for the tests in a real terminal.

use std::future::Future;
use std::time::Duration;

use codis_core::{Cluster, GroupId, plan};
use codis_ops::{Consent, Context, Events, Permit, Secret, Target, apply};
use codis_testkit::{RedisServer, Sandbox};
use tokio::runtime::Runtime;

/// Product `feed`: groups 1 and 2 with a real master each, about half of the slots at each;
/// 512-543 belong to nobody yet.
pub(crate) struct Product {
    pub(crate) store: String,
    pub(crate) masters: [RedisServer; 2],
    runtime: Runtime,
    cx: Context,
    _sandbox: Sandbox,
}

impl Product {
    /// In a local store.
    pub(crate) fn local() -> Self {
        let sandbox = Sandbox::create("tui").unwrap();
        let store = format!("local:{}", sandbox.path().join("store.db").display());
        Self::new(store, sandbox)
    }

    /// In this store.
    pub(crate) fn new(store: String, sandbox: Sandbox) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let target = Target {
            store: store.parse().unwrap(),
            product: "feed".parse().unwrap(),
            timeout: Duration::from_secs(20),
            password: Secret::none(),
        };
        let cx = runtime.block_on(Context::connect_any(&target)).unwrap();
        let masters = [RedisServer::start(), RedisServer::start()];
        let product = Self { store, masters, runtime, cx, _sandbox: sandbox };
        product.change(plan::init);
        for (id, master) in [1, 2].into_iter().zip(&product.masters) {
            let addr = master.addr().parse().unwrap();
            product.change(|cluster| plan::add_group(cluster, GroupId(id), Some(&addr), &[]));
        }
        product.assign("0-511", 1);
        product.assign("544-1023", 2);
        product
    }

    /// Gives slots to a group, as somebody else would while the dashboard runs.
    pub(crate) fn assign(&self, slots: &str, group: u32) {
        self.change(|cluster| plan::assign(cluster, &slots.parse().unwrap(), GroupId(group)));
    }

    fn change<E: std::fmt::Debug>(&self, planner: impl FnOnce(&Cluster) -> Result<plan::Plan, E>) {
        self.block_on(async {
            let plan = planner(&self.cx.load().await.unwrap()).unwrap();
            apply(&self.cx, &plan, Permit::new(&plan, Consent::Policy), &Events::none()).await.unwrap();
        });
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}
