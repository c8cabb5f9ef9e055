//! `LOCK`: one change of the topology at a time.
//!
//! The recipe is the original's: the smallest of the sequential nodes holds the lock, so we exclude its programs and they
//! us. Ours are ephemeral and wait for the one before them; the original's stay when their program dies.

use std::time::Duration;

use codis_core::LockEntry;
use tokio::time::{Instant, timeout_at};

use super::proxies::missing_is_fine;
use super::{Product, Result, corrupt};
use crate::error::{ErrorKind, StoreError};
use crate::node::{Acl, CreateMode};
use crate::store::Store;
use crate::wire;

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
            Ok(node) => wire::lock_from(name, node.created_ms, node.ephemeral, &node.data)
                .map(Some)
                .map_err(|error| corrupt(&path, error)),
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
        let now = wire::lock_from(&seen.name, node.created_ms, node.ephemeral, &node.data);
        if now.map_err(|error| corrupt(&path, error))? != *seen {
            return Err(StoreError::new("delete", path, ErrorKind::BadVersion));
        }
        missing_is_fine(self.store.delete(&path, Some(node.version)).await)
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
        missing_is_fine(self.store.delete(&self.path, None).await)
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
                if let Err(error) = missing_is_fine(store.delete(&path, None).await) {
                    tracing::warn!(%path, %error, "the lock goes only with the session");
                }
            });
        }
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
