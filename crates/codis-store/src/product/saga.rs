//! Agents, their pause, and the journals of changes of masters.
//!
//! The journals are those of [`super::switch`], with everything that whoever changes a master has to know. Only a
//! compare-and-set changes them, so one who has been asleep while another went on writes nothing any more.

use std::collections::BTreeMap;

use codis_core::ha::{AgentView, Pause, Saga};
use codis_core::{GroupId, Server, Versioned};

use super::load::{Found, Gaps};
use super::writes::{create, remove, set};
use super::{Product, Result, corrupt};
use crate::node::{Acl, CreateMode};
use crate::watch::Watch;
use crate::wire;

impl Product {
    /// The journals of all groups, ended ones included.
    pub async fn sagas(&self) -> Result<Found<BTreeMap<GroupId, Versioned<Saga>>>> {
        let dir = self.layout.switches();
        let names = self.store.children_many(std::slice::from_ref(&dir)).await?;
        let names = names.into_iter().flatten().flatten();
        let ids: Vec<GroupId> =
            names.filter_map(|name| name.strip_prefix("group_").and_then(|id| id.parse().ok())).collect();
        let paths: Vec<String> = ids.iter().map(|id| self.layout.switch(*id)).collect();
        let nodes = self.store.get_many(&paths).await?;
        let mut gaps = Gaps::default();
        let mut found = BTreeMap::new();
        for (id, (path, node)) in ids.into_iter().zip(paths.iter().zip(nodes)) {
            if let Some(saga) = gaps.versioned(path, node, |data| wire::saga_from(id, data)) {
                found.insert(id, saga);
            }
        }
        Ok(Found { found, gaps: gaps.0 })
    }

    /// A group's journal now (`None`: there is none) and a notice for when it changes.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be understood.
    pub async fn watch_saga(&self, id: GroupId) -> Result<(Option<Versioned<Saga>>, Watch)> {
        let path = self.layout.switch(id);
        let (node, watch) = self.store.watch_node(&path).await?;
        let Some(node) = node else { return Ok((None, watch)) };
        let saga = wire::saga_from(id, &node.data).map_err(|error| corrupt(&path, error))?;
        Ok((Some(Versioned::new(saga, node.version)), watch))
    }

    /// Writes a journal that there was not, or in the place of the one that was read.
    ///
    /// # Errors
    /// `NodeExists` or `BadVersion` when somebody else has been faster.
    pub async fn begin_saga(&self, saga: &Saga, before: Option<&Versioned<Saga>>) -> Result<Versioned<Saga>> {
        if let Some(before) = before {
            return self.put_saga(&Versioned::new(saga.clone(), before.version)).await;
        }
        let (dir, path) = (self.layout.switches(), self.layout.switch(saga.group));
        self.create_below(&dir, &path, &wire::saga_json(saga), CreateMode::Persistent, Acl::File).await?;
        Ok(Versioned::new(saga.clone(), 0))
    }

    /// Rewrites a journal that is still at the version it carries.
    ///
    /// # Errors
    /// `BadVersion` when somebody else goes on with it, or a proxy has given it up.
    pub async fn put_saga(&self, saga: &Versioned<Saga>) -> Result<Versioned<Saga>> {
        self.put_saga_and_servers(saga, &[]).await
    }

    /// The same together with servers of the group, all or nothing.
    ///
    /// # Errors
    /// `BadVersion` with the path of the node that was changed meanwhile.
    pub async fn put_saga_and_servers(
        &self,
        saga: &Versioned<Saga>,
        servers: &[Versioned<Server>],
    ) -> Result<Versioned<Saga>> {
        let mut ops = vec![set(self.layout.switch(saga.group), wire::saga_json(saga), saga.version)];
        ops.extend(servers.iter().map(|server| {
            let path = self.layout.server(server.group, server.addr.as_str());
            set(path, wire::server_json(server), server.version)
        }));
        self.store.commit_settled(ops).await?;
        Ok(Versioned::new(saga.value.clone(), saga.version + 1))
    }

    /// Says what an agent sees, for as long as this session lives.
    pub async fn publish_agent(&self, agent: &AgentView) -> Result<()> {
        let (dir, path) = (self.layout.agents(), self.layout.agent(&agent.id));
        self.publish_own(&dir, &path, &wire::agent_json(agent)).await
    }

    /// Takes an agent's node away.
    pub async fn unpublish_agent(&self, id: &str) -> Result<()> {
        remove(&self.store, self.layout.agent(id), None).await
    }

    /// The agents that live, and what they see.
    pub async fn agents(&self) -> Result<Found<Vec<AgentView>>> {
        let mut gaps = Gaps::default();
        let mut found = Vec::new();
        for (path, node) in self.nodes_below(self.layout.agents()).await? {
            found.extend(gaps.keep(&path, wire::agent_from(&node.data)));
        }
        Ok(Found { found, gaps: gaps.0 })
    }

    /// Whether failovers are suspended. One whose time is over is returned all the same.
    pub async fn ha_pause(&self) -> Result<Option<Pause>> {
        let path = self.layout.ha();
        let node = self.node_at(&path).await?;
        let Some(node) = node else { return Ok(None) };
        wire::ha_from(&node.data).map(|(pause, _)| pause).map_err(|error| corrupt(&path, error))
    }

    /// Suspends failovers, or lets them be made again (`None`).
    pub async fn set_ha_pause(&self, pause: Option<&Pause>) -> Result<()> {
        let path = self.layout.ha();
        let node = self.node_at(&path).await?;
        let op = match node {
            Some(node) => {
                let (_, extra) = wire::ha_from(&node.data).map_err(|error| corrupt(&path, error))?;
                set(path, wire::ha_json(pause, &extra), node.version)
            }
            None => {
                let text = wire::ha_json(pause, &codis_core::Extra::default());
                create(&path, &text, CreateMode::Persistent, Acl::File)
            }
        };
        self.store.commit_settled(vec![op]).await.map(drop)
    }

    /// Asks a proxy that may not have heard of a change to read everything anew: it does so when it sees this. The
    /// original's sign for "stop, you missed something", which a Go proxy ends at. One that stands is fine.
    pub async fn suspend_proxy(&self, id: &codis_core::ProxyId) -> Result<()> {
        let (dir, path) = (self.layout.suspensions(), self.layout.suspension(id));
        match self.create_below(&dir, &path, "", CreateMode::Persistent, Acl::File).await {
            Err(error) if error.kind == crate::error::ErrorKind::NodeExists => Ok(()),
            done => done.map(drop),
        }
    }
}
