//! Where things are in the tree of a product. Codis 2's own paths, and ours beside them.

use codis_core::{Addr, GroupId, ProductName, ProxyId, SlotId};

/// The node under which all products live.
pub(crate) const PRODUCTS: &str = "/zk/codis";
/// What the name of a product's node begins with.
pub(crate) const PRODUCT_PREFIX: &str = "db_";

/// Paths of one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    root: String,
}

impl Layout {
    pub(crate) fn new(product: &ProductName) -> Self {
        Self { root: format!("{PRODUCTS}/{PRODUCT_PREFIX}{product}") }
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// A directory directly below the root.
    pub(crate) fn dir(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }

    pub(crate) fn slots(&self) -> String {
        self.dir("slots")
    }

    pub(crate) fn slot(&self, id: SlotId) -> String {
        format!("{}/slots/slot_{id}", self.root)
    }

    pub(crate) fn servers(&self) -> String {
        self.dir("servers")
    }

    pub(crate) fn group(&self, id: GroupId) -> String {
        format!("{}/servers/group_{id}", self.root)
    }

    pub(crate) fn server(&self, group: GroupId, addr: &Addr) -> String {
        format!("{}/servers/group_{group}/{addr}", self.root)
    }

    pub(crate) fn proxies(&self) -> String {
        self.dir("proxy")
    }

    pub(crate) fn proxy(&self, id: &ProxyId) -> String {
        format!("{}/proxy/{id}", self.root)
    }

    pub(crate) fn fences(&self) -> String {
        self.dir("fence")
    }

    pub(crate) fn fence(&self, addr: &str) -> String {
        format!("{}/fence/{addr}", self.root)
    }

    pub(crate) fn suspends(&self) -> String {
        self.dir("proxy_suspend")
    }

    pub(crate) fn suspend(&self, id: &ProxyId) -> String {
        format!("{}/proxy_suspend/{id}", self.root)
    }

    pub(crate) fn actions(&self) -> String {
        self.dir("actions")
    }

    pub(crate) fn action(&self, seq: u64) -> String {
        format!("{}/actions/{seq:010}", self.root)
    }

    pub(crate) fn responses(&self) -> String {
        self.dir("ActionResponse")
    }

    pub(crate) fn response(&self, seq: u64) -> String {
        format!("{}/ActionResponse/{seq:010}", self.root)
    }

    pub(crate) fn ack(&self, seq: u64, id: &ProxyId) -> String {
        format!("{}/ActionResponse/{seq:010}/{id}", self.root)
    }

    pub(crate) fn go_tasks(&self) -> String {
        self.dir("migrate_tasks")
    }

    pub(crate) fn locks(&self) -> String {
        self.dir("LOCK")
    }

    pub(crate) fn dashboard(&self) -> String {
        self.dir("dashboard")
    }

    /// Ours: the queue of slots to move.
    pub(crate) fn moves(&self) -> String {
        self.dir("moves")
    }

    pub(crate) fn task(&self, number: u64) -> String {
        format!("{}/moves/{number:010}", self.root)
    }

    /// Ours: who moves slots.
    pub(crate) fn mover(&self) -> String {
        self.dir("mover")
    }

    /// Ours: counts movers.
    pub(crate) fn mover_epoch(&self) -> String {
        self.dir("mover_epoch")
    }

    /// Ours: who changed what.
    pub(crate) fn audit(&self) -> String {
        self.dir("audit")
    }
}

/// The group in the name of its node, `group_7`.
pub(crate) fn group_of(name: &str) -> Option<GroupId> {
    name.strip_prefix("group_")?.parse().ok()
}

/// The number in the name of a sequential node: its last ten digits, or all of a plain number.
pub(crate) fn seq_of(name: &str) -> Option<u64> {
    let digits = name.len().checked_sub(10).and_then(|at| name.get(at..)).unwrap_or(name);
    digits.parse().ok()
}
