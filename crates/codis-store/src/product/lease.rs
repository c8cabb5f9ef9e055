//! Who moves slots, who changes masters, and who says when servers fork: their leases, and the dashboard node that keeps a Go dashboard from starting
//! while slots move.

use codis_core::{Dashboard, MoverLease};

use super::proxies::missing_is_fine;
use super::writes::{ATTEMPTS, create, remove, set};
use super::{Product, Result, corrupt};
use crate::error::{ErrorKind, StoreError};
use crate::node::{Acl, CreateMode, Op};
use crate::settle::pause;
use crate::store::Store;
use crate::watch::Watch;
use crate::wire;

/// We are the mover, the leader of the agents, or a host's governor, as long as the session holds and nobody takes it away.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    path: String,
    lease: MoverLease,
    version: i32,
}

/// No Go dashboard starts while this stands.
#[derive(Debug)]
pub struct DashboardGuard {
    store: Store,
    path: String,
}

impl Product {
    /// Becomes the mover; else says who is. The epoch is one more than that of any mover before.
    pub async fn take_mover(&self, owner: &str) -> Result<std::result::Result<Lease, MoverLease>> {
        self.take_lease(self.layout.mover(), self.layout.mover_epoch(), owner, false).await
    }

    /// Becomes the one who changes masters; else says who is. The epoch is one more than that of any before.
    pub async fn take_lead(&self, owner: &str) -> Result<std::result::Result<Lease, MoverLease>> {
        self.take_lease(self.layout.agent_leader(), self.layout.agent_epoch(), owner, true).await
    }

    /// Becomes the one who says when the servers of a host fork; else says who is.
    pub async fn take_governor(
        &self,
        host: &str,
        owner: &str,
    ) -> Result<std::result::Result<Lease, MoverLease>> {
        self.store.ensure_dir(&self.layout.governors()).await?;
        self.take_lease(self.layout.governor(host), self.layout.governor_epoch(), owner, true).await
    }

    /// Who says when the servers of a host fork.
    pub async fn governor(&self, host: &str) -> Result<Option<MoverLease>> {
        self.lease_at(self.layout.governor(host)).await
    }

    /// Who changes masters now.
    pub async fn leader(&self) -> Result<Option<MoverLease>> {
        self.lease_at(self.layout.agent_leader()).await
    }

    async fn lease_at(&self, path: String) -> Result<Option<MoverLease>> {
        let node = self.node_at(&path).await?;
        node.map(|node| wire::mover_from(&node.data).map_err(|error| corrupt(&path, error))).transpose()
    }

    /// Epoch and lease change in one transaction: two owners never have the same one. `again`: one that this very session
    /// and owner has is replaced.
    async fn take_lease(
        &self,
        path: String,
        counter: String,
        owner: &str,
        again: bool,
    ) -> Result<std::result::Result<Lease, MoverLease>> {
        let mut attempt = 0;
        loop {
            let known = self.store.get_many(&[path.clone(), counter.clone()]).await?;
            let [mover, count] = known.try_into().unwrap_or([None, None]);
            if let Some(node) = mover {
                let other = wire::mover_from(&node.data).map_err(|error| corrupt(&path, error))?;
                let own = node.owner == self.store.session_id() && other.owner == owner;
                if !(again && own) {
                    return Ok(Err(other));
                }
                // Ours from before a proof that failed: with a new number nothing of that time counts any more.
                missing_is_fine(self.store.delete(&path, Some(node.version)).await)?;
            }
            let last = match &count {
                Some(node) => read_epoch(&node.data).ok_or_else(|| {
                    let reason = "it is not a number".to_owned();
                    StoreError::new("read", &counter, ErrorKind::Corrupt { offset: 0, reason })
                })?,
                None => 0,
            };
            let lease =
                MoverLease { owner: owner.to_owned(), pid: std::process::id().into(), epoch: last + 1 };
            let epoch = lease.epoch.to_string();
            let count = match count {
                Some(node) => set(counter.clone(), epoch, node.version),
                None => create(&counter, &epoch, CreateMode::Persistent, Acl::File),
            };
            let take = create(&path, &wire::mover_json(&lease), CreateMode::Ephemeral, Acl::File);
            match self.store.commit_settled(vec![count, take]).await {
                Ok(_) => return Ok(Ok(Lease { store: self.store.clone(), path, lease, version: 0 })),
                // Another one was faster; look who.
                Err(error) if overtaken(&error) && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause(attempt)).await;
            attempt += 1;
        }
    }

    /// Puts up the dashboard node for `addr`; else says whose it is.
    pub async fn hold_dashboard(&self, addr: &str) -> Result<std::result::Result<DashboardGuard, Dashboard>> {
        let path = self.layout.dashboard();
        let mut attempt = 0;
        loop {
            let record = wire::dashboard_json(addr, std::process::id());
            let hold = create(&path, &record, CreateMode::Ephemeral, Acl::File);
            match self.store.commit_settled(vec![hold]).await {
                Ok(_) => return Ok(Ok(DashboardGuard { store: self.store.clone(), path })),
                Err(error) if overtaken(&error) && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
            match self.store.get(&path).await {
                Ok(node) => {
                    let other = wire::dashboard_from(node.ephemeral, &node.data);
                    return other.map(Err).map_err(|error| corrupt(&path, error));
                }
                // It has just gone.
                Err(error) if error.kind == ErrorKind::NoNode => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause(attempt)).await;
            attempt += 1;
        }
    }
}

impl Product {
    /// Removes a dashboard's node as it was seen: a person has made sure that its program is gone. A missing
    /// one is fine.
    ///
    /// # Errors
    /// `BadVersion` when the node is another one by now.
    pub async fn clear_dashboard(&self, seen: &Dashboard) -> Result<()> {
        let path = self.layout.dashboard();
        let node = match self.store.get(&path).await {
            Err(error) if error.kind == ErrorKind::NoNode => return Ok(()),
            node => node?,
        };
        let now = wire::dashboard_from(node.ephemeral, &node.data);
        if now.map_err(|error| corrupt(&path, error))? != *seen {
            return Err(StoreError::new("delete", path, ErrorKind::BadVersion));
        }
        remove(&self.store, path, Some(node.version)).await
    }
}

impl Lease {
    /// What the node says.
    pub fn lease(&self) -> &MoverLease {
        &self.lease
    }

    /// Number of this mover; part of its connections' names.
    pub fn epoch(&self) -> u64 {
        self.lease.epoch
    }

    /// Proves by a write that the lease is still ours, before connections are used.
    ///
    /// # Errors
    /// `NoNode`, `BadVersion` or `Expired`: it is not; stop moving.
    pub async fn prove(&mut self) -> Result<()> {
        let proof = set(self.path.clone(), wire::mover_json(&self.lease), self.version);
        self.store.commit_settled(vec![proof]).await?;
        self.version += 1;
        Ok(())
    }

    /// True if the lease is ours now, and a notice for when that may change (our own proofs included).
    pub async fn watch(&self) -> Result<(bool, Watch)> {
        let (node, watch) = self.store.watch_node(&self.path).await?;
        Ok((node.is_some_and(|node| node.owner == self.store.session_id()), watch))
    }

    /// Lets another one move.
    pub async fn release(self) -> Result<()> {
        let delete = Op::Delete { path: self.path, version: Some(self.version) };
        missing_is_fine(self.store.commit_settled(vec![delete]).await.map(drop))
    }
}

impl DashboardGuard {
    /// True if the node is ours now, and a notice for when that may change.
    pub async fn watch(&self) -> Result<(bool, Watch)> {
        let (node, watch) = self.store.watch_node(&self.path).await?;
        Ok((node.is_some_and(|node| node.owner == self.store.session_id()), watch))
    }

    /// Takes the node away, if it is still ours.
    pub async fn release(self) -> Result<()> {
        let (ours, _) = self.watch().await?;
        if ours { remove(&self.store, self.path.clone(), Some(0)).await } else { Ok(()) }
    }
}

/// Somebody else has done the same in this moment.
fn overtaken(error: &StoreError) -> bool {
    matches!(error.kind, ErrorKind::NodeExists | ErrorKind::BadVersion)
}

fn read_epoch(data: &[u8]) -> Option<u64> {
    std::str::from_utf8(data).ok()?.parse().ok()
}
