//! `LOCK`: one change of the topology at a time.
//!
//! The recipe is the original's: the smallest of the sequential nodes holds the lock, so we exclude its programs and they
//! us. Ours are ephemeral and wait for the one before them; the original's stay when their program dies.

use std::time::Duration;

use codis_core::LockEntry;
use tokio::time::{Instant, timeout_at};

use super::writes::remove;
use super::{Product, Result};
use crate::error::{ErrorKind, StoreError};
use crate::node::{Acl, CreateMode, Node};
use crate::store::Store;
use crate::wire::{self, WireError};

/// The topology is ours to change while this lives. Release it; dropping it releases in the background.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct TopologyLock {
    store: Store,
    path: String,
    released: bool,
}

impl Product {
    /// Takes the lock, waiting for at most `patience`; else says who holds it.
    ///
    /// `desc` is what other programs show as the reason.
    pub async fn lock(
        &self,
        desc: &str,
        patience: Duration,
    ) -> Result<std::result::Result<TopologyLock, LockEntry>> {
        let deadline = Instant::now() + patience;
        let lock = self.queue_up(desc).await?;
        let dir = self.layout.locks();
        loop {
            let names = self.store.children(&dir).await?;
            let Some(place) = names.iter().position(|name| name == lock.name()) else {
                // Somebody has cleared our node away.
                return Err(StoreError::new("wait for", lock.path.clone(), ErrorKind::NoNode));
            };
            let Some(ahead) = place.checked_sub(1).and_then(|before| names.get(before)) else {
                return Ok(Ok(lock));
            };
            let (node, mut watch) = self.store.watch_node(&self.layout.lock(ahead)).await?;
            if node.is_none() {
                continue;
            }
            if timeout_at(deadline, watch.fired()).await.is_err() {
                let holder = self.holder(&names).await?;
                lock.release().await?;
                match holder {
                    Some(holder) => return Ok(Err(holder)),
                    None => return Err(StoreError::new("wait for", dir, ErrorKind::Timeout)),
                }
            }
        }
    }

    /// Creates our node at the end of the queue.
    async fn queue_up(&self, desc: &str) -> Result<TopologyLock> {
        let dir = self.layout.locks();
        let record = wire::lock_json(desc, &hostname(), std::process::id());
        let path = self.layout.lock("lock-");
        let path =
            self.create_below(&dir, &path, &record, CreateMode::EphemeralSequential, Acl::File).await?;
        Ok(TopologyLock { store: self.store.clone(), path, released: false })
    }

    async fn holder(&self, names: &[String]) -> Result<Option<LockEntry>> {
        let Some(name) = names.first() else { return Ok(None) };
        let path = self.layout.lock(name);
        match self.store.get(&path).await {
            Ok(node) => Ok(Some(entry(name, &node).0)),
            Err(error) if error.kind == ErrorKind::NoNode => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes somebody's lock node as it was seen: a person has made sure that its owner is gone. A missing
    /// one is fine.
    ///
    /// # Errors
    /// `BadVersion` when the node is another one by now.
    pub async fn clear_lock(&self, seen: &LockEntry) -> Result<()> {
        let path = self.layout.lock(&seen.name);
        let node = match self.store.get(&path).await {
            Err(error) if error.kind == ErrorKind::NoNode => return Ok(()),
            node => node?,
        };
        if entry(&seen.name, &node).0 != *seen {
            return Err(StoreError::new("delete", path, ErrorKind::BadVersion));
        }
        remove(&self.store, path, Some(node.version)).await
    }
}

/// What a node under `LOCK` says. One that cannot be understood locks all the same, and must be seen to be cleared.
pub(super) fn entry(name: &str, node: &Node) -> (LockEntry, Option<WireError>) {
    let entry = |desc, hostname, pid| LockEntry {
        name: name.to_owned(),
        desc,
        hostname,
        pid,
        created_ms: u64::try_from(node.created_ms).unwrap_or_default(),
        ephemeral: node.ephemeral,
    };
    match wire::lock_from(&node.data) {
        Ok((desc, hostname, pid)) => (entry(desc, hostname, pid), None),
        Err(error) => (entry(format!("unreadable: {error}"), String::new(), 0), Some(error)),
    }
}

impl TopologyLock {
    /// Name of its node under `LOCK`.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Lets others in.
    pub async fn release(mut self) -> Result<()> {
        self.released = true;
        remove(&self.store, self.path.clone(), None).await
    }
}

impl Drop for TopologyLock {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        // Without a runtime the program is ending, and its session with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (store, path) = (self.store.clone(), std::mem::take(&mut self.path));
            runtime.spawn(async move {
                if let Err(error) = remove(&store, path.clone(), None).await {
                    tracing::warn!(%path, %error, "the lock goes only with the session");
                }
            });
        }
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
