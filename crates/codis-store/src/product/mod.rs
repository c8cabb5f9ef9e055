//! The product level: a Codis product in the store, as records instead of nodes.
//!
//! Every write is a compare-and-set on the version that was read, or the creation of a node that must not exist. Where
//! several nodes belong together they change in one transaction. Operations of more than one transaction say
//! what an interruption leaves behind; all can be run again.

mod actions;
mod alerts;
mod audit;
mod gc;
mod lease;
mod load;
mod lock;
mod proxies;
mod recent;
mod removal;
mod saga;
mod snapshot;
mod switch;
mod tasks;
mod witness;
mod writes;

use codis_core::ProductName;

pub use self::actions::{Acks, Published};
pub use self::alerts::{AlertBook, AlertChange};
pub use self::lease::{DashboardGuard, Lease};
pub use self::load::Found;
pub use self::lock::TopologyLock;
pub use self::recent::{Followed, RecentActions};
use crate::error::{ErrorKind, StoreError};
use crate::layout::{Layout, PRODUCT_PREFIX, PRODUCTS};
use crate::node::{Acl, CreateMode, Node, OpDone};
use crate::store::Store;
use crate::wire::WireError;

type Result<T> = std::result::Result<T, StoreError>;

/// One product in a store. Clones share the session.
#[derive(Clone, Debug)]
pub struct Product {
    store: Store,
    name: ProductName,
    layout: Layout,
}

impl Product {
    /// The product of this name, whether it exists or not.
    pub fn new(store: Store, name: ProductName) -> Self {
        let layout = Layout::new(&name);
        Self { store, name, layout }
    }

    /// Names of all products of a store, sorted.
    pub async fn list(store: &Store) -> Result<Vec<ProductName>> {
        let nodes = match store.children(PRODUCTS).await {
            Err(error) if error.kind == ErrorKind::NoNode => return Ok(Vec::new()),
            nodes => nodes?,
        };
        let name = |node: &String| node.strip_prefix(PRODUCT_PREFIX)?.parse().ok();
        Ok(nodes.iter().filter_map(name).collect())
    }

    /// The product's name.
    pub fn name(&self) -> &ProductName {
        &self.name
    }

    /// The store it is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Path of the node that everything of the product lies under.
    pub fn root(&self) -> &str {
        self.layout.root()
    }

    /// True if the product's root node exists.
    pub async fn exists(&self) -> Result<bool> {
        match self.store.get(self.root()).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::NoNode => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A node; `None` when it is missing.
    async fn node_at(&self, path: &str) -> Result<Option<Node>> {
        Ok(self.store.get_many(&[path.to_owned()]).await?.pop().flatten())
    }

    /// Paths and nodes of all children of a node, which may be missing itself.
    async fn nodes_below(&self, dir: String) -> Result<Vec<(String, Node)>> {
        let names = self.store.children_many(std::slice::from_ref(&dir)).await?;
        let paths: Vec<String> =
            names.into_iter().flatten().flatten().map(|name| format!("{dir}/{name}")).collect();
        let nodes = self.store.get_many(&paths).await?;
        Ok(paths.into_iter().zip(nodes).filter_map(|(path, node)| Some((path, node?))).collect())
    }

    /// Writes a node that lives as long as this session. One that another session has left is replaced.
    async fn publish_own(&self, dir: &str, path: &str, text: &str) -> Result<()> {
        match self.node_at(path).await? {
            Some(old) if old.owner == self.store.session_id() => {
                return self
                    .store
                    .commit_settled(vec![writes::set(path.to_owned(), text.to_owned(), old.version)])
                    .await
                    .map(drop);
            }
            Some(old) => proxies::missing_is_fine(self.store.delete(path, Some(old.version)).await)?,
            None => {}
        }
        self.create_below(dir, path, text, CreateMode::Ephemeral, Acl::File).await.map(drop)
    }

    /// Creates a node and, when it is missing, its parent; says its path.
    async fn create_below(
        &self,
        dir: &str,
        path: &str,
        data: &str,
        mode: CreateMode,
        acl: Acl,
    ) -> Result<String> {
        let create = vec![writes::create(path, data, mode, acl)];
        let done = match self.store.commit_settled(create.clone()).await {
            Err(error) if error.kind == ErrorKind::NoNode => {
                self.store.ensure_dir(dir).await?;
                self.store.commit_settled(create).await
            }
            done => done,
        };
        Ok(match done?.pop() {
            Some(OpDone::Created(path)) => path,
            _ => path.to_owned(),
        })
    }
}

/// A record that cannot be understood, as an error of the call that needed it.
fn corrupt(path: &str, error: WireError) -> StoreError {
    StoreError::new("read", path, error.into())
}
