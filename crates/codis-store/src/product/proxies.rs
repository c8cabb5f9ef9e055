//! Proxies: their registration, their state, their fences.

use std::collections::BTreeSet;
use std::time::Duration;

use codis_core::{Proxy, ProxyId, ProxyState, Versioned};
use tokio::time::{Instant, timeout_at};

use super::writes::{ATTEMPTS, create, remove, set};
use super::{Product, Result, corrupt};
use crate::error::ErrorKind;
use crate::node::{Acl, CreateMode, Node, Op};
use crate::settle::pause;
use crate::watch::Watch;
use crate::wire;

impl Product {
    /// Registers a proxy: its fence and, ephemeral, its node, together. A fence that stands already is taken over.
    ///
    /// The caller has loaded all slots before, and calls this again after a session has expired.
    ///
    /// # Errors
    /// `NodeExists` when another process is registered under that id, or our own former session still is: it goes
    /// when the store lets that session expire.
    pub async fn register_proxy(&self, proxy: &Proxy) -> Result<()> {
        let layout = &self.layout;
        for dir in [layout.proxies(), layout.fences(), layout.suspensions()] {
            self.store.ensure_dir(&dir).await?;
        }
        let fence = create(&layout.fence(proxy.addr.as_str()), "", CreateMode::Persistent, Acl::File);
        let node =
            create(&layout.proxy(&proxy.id), &wire::proxy_json(proxy), CreateMode::Ephemeral, Acl::File);
        match self.store.commit_settled(vec![node.clone(), fence]).await {
            Err(error) if error.kind == ErrorKind::NodeExists && error.failed_op == Some(1) => {
                self.store.commit_settled(vec![node]).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    /// Takes a proxy out, then its fence: it serves nobody any more. Missing nodes are fine. When another session
    /// is registered under its id, a successor, both nodes are the successor's and stay.
    pub async fn unregister_proxy(&self, proxy: &Proxy) -> Result<()> {
        let path = self.layout.proxy(&proxy.id);
        let mut attempt = 0;
        loop {
            let node = self.store.get_many(std::slice::from_ref(&path)).await?.into_iter().flatten().next();
            let Some(node) = node else { break };
            if node.owner != self.store.session_id() {
                return Ok(());
            }
            match remove(&self.store, path.clone(), Some(node.version)).await {
                // Somebody has set its state in this moment.
                Err(error) if error.kind == ErrorKind::BadVersion && attempt < ATTEMPTS => {
                    tokio::time::sleep(pause(attempt)).await;
                    attempt += 1;
                }
                removed => break removed?,
            }
        }
        missing_is_fine(self.remove_fence(proxy.addr.as_str()).await)
    }

    /// A proxy's node now (`None`: not registered) and a notice for when it changes.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be understood.
    pub async fn watch_proxy(&self, id: &ProxyId) -> Result<(Option<Versioned<Proxy>>, Watch)> {
        let path = self.layout.proxy(id);
        let (node, watch) = self.store.watch_node(&path).await?;
        let read = |node: Node| wire::proxy_from(&node.data).map(|proxy| Versioned::new(proxy, node.version));
        let proxy = node.map(read).transpose().map_err(|error| corrupt(&path, error))?;
        Ok((proxy, watch))
    }

    /// Sets the state of a proxy that is still at the version it carries; says the new version.
    pub async fn set_proxy_state(&self, proxy: &Versioned<Proxy>, state: ProxyState) -> Result<i32> {
        let changed = Proxy { state, ..proxy.value.clone() };
        let set = set(self.layout.proxy(&proxy.id), wire::proxy_json(&changed), proxy.version);
        self.store.commit_settled(vec![set]).await?;
        Ok(proxy.version + 1)
    }

    /// Waits until a proxy is not registered any more, or offline, at most `patience`; says whether it is.
    pub async fn await_proxy_gone(&self, id: &ProxyId, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        loop {
            let (proxy, mut watch) = self.watch_proxy(id).await?;
            if proxy.is_none_or(|proxy| proxy.state == ProxyState::Offline) {
                return Ok(true);
            }
            if timeout_at(deadline, watch.fired()).await.is_err() {
                return Ok(false);
            }
        }
    }

    /// Addresses with a fence that no online proxy stands behind. While there is one, nothing that needs confirmation
    /// may be published.
    pub async fn stale_fences(&self) -> Result<Vec<String>> {
        let fences = self.store.children_many(&[self.layout.fences()]).await?;
        let fences: Vec<String> = fences.into_iter().flatten().flatten().collect();
        if fences.is_empty() {
            return Ok(fences);
        }
        let mut online = BTreeSet::new();
        for (path, node) in self.proxy_nodes().await? {
            let proxy = wire::proxy_from(&node.data).map_err(|error| corrupt(&path, error))?;
            if proxy.state == ProxyState::Online {
                online.insert(proxy.addr.as_str().to_owned());
            }
        }
        Ok(fences.into_iter().filter(|addr| !online.contains(addr)).collect())
    }

    /// Removes a fence. `NoNode` when there is none.
    pub async fn remove_fence(&self, addr: &str) -> Result<()> {
        // A fence is never rewritten.
        let delete = Op::Delete { path: self.layout.fence(addr), version: Some(0) };
        self.store.commit_settled(vec![delete]).await.map(drop)
    }

    /// True if a Go dashboard has asked this proxy to stop, and a notice for when that changes.
    pub async fn watch_suspension(&self, id: &ProxyId) -> Result<(bool, Watch)> {
        let (node, watch) = self.store.watch_node(&self.layout.suspension(id)).await?;
        Ok((node.is_some(), watch))
    }

    /// Removes the request to stop. A missing one is fine.
    pub async fn clear_suspension(&self, id: &ProxyId) -> Result<()> {
        remove(&self.store, self.layout.suspension(id), None).await
    }

    /// Paths and nodes of all registered proxies.
    pub(super) async fn proxy_nodes(&self) -> Result<Vec<(String, Node)>> {
        self.nodes_below(self.layout.proxies()).await
    }
}

pub(super) fn missing_is_fine(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind == ErrorKind::NoNode => Ok(()),
        done => done,
    }
}
