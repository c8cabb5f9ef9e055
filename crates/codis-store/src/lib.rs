//! The only crate that names a ZooKeeper client or SQLite as a store.
//!
//! Two levels. The *node level* ([`Store`]) is a tree of versioned nodes with sequential and ephemeral ones,
//! transactions and watches, kept by ZooKeeper or by one local SQLite file. The *product level* ([`Product`]) knows
//! which nodes a Codis product has and what is written in them.

mod address;
mod error;
mod layout;
mod local;
mod node;
mod product;
mod settle;
mod store;
mod walk;
mod watch;
mod wire;
mod zk;

pub use address::{BadStoreAddr, StoreAddr};
pub use error::{ErrorKind, StoreError};
pub use local::LocalStore;
pub use node::{Acl, ConnectOptions, CreateMode, Node, NodeStat, Op, OpDone, SessionState};
pub use product::{
    Acks, AlertBook, AlertChange, DashboardGuard, Followed, Found, Lease, Product, Published, RecentActions,
    TopologyLock,
};
pub use store::Store;
pub use walk::{Listed, Walk};
pub use watch::{Fired, Watch};
pub use wire::AuditRecord;
pub use zk::ZkStore;
