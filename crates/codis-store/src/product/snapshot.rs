//! Settings of servers whose forks are governed, from before that: what is put back when it ends.

use std::collections::BTreeMap;

use codis_core::duty::snapshots::Kept;
use codis_core::{Addr, Versioned};

use super::load::{Found, Gaps};
use super::writes::{remove, set};
use super::{Product, Result, corrupt};
use crate::node::{Acl, CreateMode};
use crate::wire;

impl Product {
    /// What is kept of all servers, of such that are not listed any more as well.
    pub async fn kept(&self) -> Result<Found<BTreeMap<Addr, Versioned<Kept>>>> {
        let mut gaps = Gaps::default();
        let mut found = BTreeMap::new();
        for (path, node) in self.nodes_below(self.layout.snapshots()).await? {
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            let kept = gaps.versioned(&path, Some(node), |data| wire::kept_from(&name, data));
            found.extend(kept.map(|kept| (kept.addr.clone(), kept)));
        }
        Ok(Found { found, gaps: gaps.0 })
    }

    /// What is kept of one server.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be understood.
    pub async fn kept_of(&self, addr: &Addr) -> Result<Option<Versioned<Kept>>> {
        let path = self.layout.snapshot(addr.as_str());
        let Some(node) = self.node_at(&path).await? else { return Ok(None) };
        let kept = wire::kept_from(addr.as_str(), &node.data).map_err(|error| corrupt(&path, error))?;
        Ok(Some(Versioned::new(kept, node.version)))
    }

    /// Keeps settings of a server of which nothing is kept yet.
    ///
    /// # Errors
    /// `NodeExists` when something is.
    pub async fn keep(&self, kept: &Kept) -> Result<()> {
        let (dir, path) = (self.layout.snapshots(), self.layout.snapshot(kept.addr.as_str()));
        self.create_below(&dir, &path, &wire::kept_json(kept), CreateMode::Persistent, Acl::File)
            .await
            .map(drop)
    }

    /// Rewrites what is kept, if it is still at the version it carries.
    ///
    /// # Errors
    /// `BadVersion` when somebody else has been faster, `NoNode` when nothing is kept any more.
    pub async fn keep_anew(&self, kept: &Versioned<Kept>) -> Result<()> {
        let path = self.layout.snapshot(kept.addr.as_str());
        self.store.commit_settled(vec![set(path, wire::kept_json(kept), kept.version)]).await.map(drop)
    }

    /// Forgets what was kept: it has been put back. A missing one is fine.
    ///
    /// # Errors
    /// `BadVersion` when it is another one by now.
    pub async fn forget_kept(&self, kept: &Versioned<Kept>) -> Result<()> {
        remove(&self.store, self.layout.snapshot(kept.addr.as_str()), Some(kept.version)).await
    }
}
