//! The node level: one tree, two keepers.
//!
//! [`Store`] is an enum, not a trait: there are exactly two keepers and every call goes to one of them. All paths
//! are absolute (`/zk/codis/db_test/slots/slot_0`) and mean the same in both. Every call has a deadline. Clones
//! share one session.

use tokio::sync::watch as state;

use crate::address::StoreAddr;
use crate::error::StoreError;
use crate::local::LocalStore;
use crate::node::{
    Acl, ConnectOptions, CreateMode, Node, NodeStat, Op, OpDone, SessionState, check_path, check_size,
};
use crate::watch::Watch;
use crate::zk::ZkStore;

type Result<T> = std::result::Result<T, StoreError>;

/// A connection to a store, with its session.
#[derive(Clone, Debug)]
pub enum Store {
    /// A ZooKeeper ensemble.
    Zk(ZkStore),
    /// One SQLite file on this machine.
    Local(LocalStore),
}

macro_rules! on_keeper {
    ($self:expr, $keeper:ident => $call:expr) => {
        match $self {
            Store::Zk($keeper) => $call,
            Store::Local($keeper) => $call,
        }
    };
}

impl Store {
    /// Connects and opens a session.
    ///
    /// # Errors
    /// `Unreachable`, naming the address, when nothing answers within `connect_timeout`, or when a local store lies on
    /// a network file system; `NoNode` when the file of a local store is missing and `create_local` is off.
    pub async fn connect(addr: &StoreAddr, options: &ConnectOptions) -> Result<Self> {
        match addr {
            StoreAddr::Zk { hosts, chroot } => {
                Ok(Self::Zk(ZkStore::connect(addr, hosts, chroot, options).await?))
            }
            StoreAddr::Local { path } => Ok(Self::Local(LocalStore::connect(path, options).await?)),
        }
    }

    /// Reads one node. `NoNode` when it is missing.
    pub async fn get(&self, path: &str) -> Result<Node> {
        check_path("read", path, false)?;
        on_keeper!(self, keeper => keeper.get(path).await)
    }

    /// Reads many nodes, all requests in flight at once (at most 1024); `None` for those that are missing. The
    /// order is that of `paths`.
    pub async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>> {
        on_keeper!(self, keeper => keeper.get_many(paths).await)
    }

    /// What is known of nodes without their content, all requests in flight at once (at most 1024); `None` for those that
    /// are missing.
    pub async fn stat_many(&self, paths: &[String]) -> Result<Vec<Option<NodeStat>>> {
        on_keeper!(self, keeper => keeper.stat_many(paths).await)
    }

    /// Names of the children, sorted as text. `NoNode` when the parent is missing.
    pub async fn children(&self, path: &str) -> Result<Vec<String>> {
        check_path("list", path, false)?;
        on_keeper!(self, keeper => keeper.children(path).await)
    }

    /// Children of several parents, all requests in flight at once; `None` for parents that are missing.
    pub async fn children_many(&self, paths: &[String]) -> Result<Vec<Option<Vec<String>>>> {
        on_keeper!(self, keeper => keeper.children_many(paths).await)
    }

    /// Makes a node and says its full path. The parent must exist.
    pub async fn create(&self, path: &str, data: &[u8], mode: CreateMode, acl: Acl) -> Result<String> {
        check_path("create", path, mode.is_sequential())?;
        check_size("create", path, data.len())?;
        codis_crash::point(|| format!("store create {path}"));
        on_keeper!(self, keeper => keeper.create(path, data, mode, acl).await).map_err(StoreError::explained)
    }

    /// Makes the node and its missing parents, empty and with access list [`Acl::Dir`]. Existing ones are left as they are.
    pub async fn ensure_dir(&self, path: &str) -> Result<()> {
        check_path("create", path, false)?;
        on_keeper!(self, keeper => keeper.ensure_dir(path).await).map_err(StoreError::explained)
    }

    /// Rewrites a node that is still at version `expected`; says the new version.
    pub async fn set(&self, path: &str, data: &[u8], expected: i32) -> Result<i32> {
        check_path("write", path, false)?;
        check_size("write", path, data.len())?;
        codis_crash::point(|| format!("store set {path}"));
        on_keeper!(self, keeper => keeper.set(path, data, expected).await).map_err(StoreError::explained)
    }

    /// Removes a node that is still at version `expected`; `None` removes whatever is there, for nodes that only we write.
    pub async fn delete(&self, path: &str, expected: Option<i32>) -> Result<()> {
        check_path("delete", path, false)?;
        codis_crash::point(|| format!("store delete {path}"));
        on_keeper!(self, keeper => keeper.delete(path, expected).await).map_err(StoreError::explained)
    }

    /// Does all the steps or none. On refusal `failed_op` and `path` of the error say which step.
    pub async fn commit(&self, ops: Vec<Op>) -> Result<Vec<OpDone>> {
        for op in &ops {
            op.check_path("commit")?;
        }
        Op::check_size(&ops, "commit")?;
        codis_crash::point(|| {
            let paths: Vec<&str> = ops.iter().map(Op::path).collect();
            format!("store commit {}", paths.join(" "))
        });
        on_keeper!(self, keeper => keeper.commit(ops).await).map_err(StoreError::explained)
    }

    /// Children now (sorted), and a notice for when one comes or goes or the parent is deleted.
    pub async fn watch_children(&self, path: &str) -> Result<(Vec<String>, Watch)> {
        check_path("watch children of", path, false)?;
        on_keeper!(self, keeper => keeper.watch_children(path).await)
    }

    /// The node now (`None`: missing), and a notice for when it is created, rewritten or deleted.
    pub async fn watch_node(&self, path: &str) -> Result<(Option<Node>, Watch)> {
        check_path("watch", path, false)?;
        on_keeper!(self, keeper => keeper.watch_node(path).await)
    }

    /// Waits until what is read shows every write that came before on this session.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        match self {
            Self::Zk(store) => store.sync().await,
            Self::Local(_) => Ok(()),
        }
    }

    /// State of the session, now and whenever it changes; it lives on over [`Store::reopen`].
    pub fn session(&self) -> state::Receiver<SessionState> {
        on_keeper!(self, keeper => keeper.session())
    }

    /// Number of the session, as [`Node::owner`] shows it.
    pub fn session_id(&self) -> i64 {
        on_keeper!(self, keeper => keeper.session_id())
    }

    /// Opens a new session when the old one has expired; does nothing while it holds. Ephemeral nodes and watches
    /// of the old session are gone: the caller makes them anew.
    pub async fn reopen(&self) -> Result<()> {
        on_keeper!(self, keeper => keeper.reopen().await)
    }

    /// Ends the session at once, for all clones; its ephemeral nodes go now instead of after the time-out.
    pub async fn close(&self) -> Result<()> {
        on_keeper!(self, keeper => keeper.close().await)
    }
}
