//! Reading a product.
//!
//! Three rounds of reads, each with all its requests in flight at once: what has a known name and the lists; what
//! the lists named; the servers. What is missing is absent from the snapshot; what cannot be understood is a gap in it.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use codis_core::{Cluster, Gap, Group, GroupId, Move, Slot, SlotId, SlotSet, Versioned};

use super::{Product, Result, lock};
use crate::layout::sequence;
use crate::node::Node;
use crate::wire::{self, WireError};

/// Some records of one kind, and what could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The records.
    pub found: T,
    /// Nodes that could not be understood.
    pub gaps: Vec<Gap>,
}

impl Product {
    /// The whole product as it is now. Anything that cannot be understood is a gap, not an error.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn load(&self) -> Result<Cluster> {
        let begun = Instant::now();
        let layout = &self.layout;
        let mut cluster = Cluster::empty(self.name.clone());
        let lists = [
            layout.groups(),
            layout.proxies(),
            layout.fences(),
            layout.suspensions(),
            layout.moves(),
            layout.go_tasks(),
            layout.locks(),
            layout.switches(),
        ];
        let mut known: Vec<String> = SlotId::all().map(|id| layout.slot(id)).collect();
        known.extend([layout.dashboard(), layout.mover()]);
        let (lists, nodes) = tokio::try_join!(self.store.children_many(&lists), self.store.get_many(&known))?;
        let mut lists = lists.into_iter().map(Option::unwrap_or_default);
        let mut list = || lists.next().unwrap_or_default();
        let (groups, proxies) = (list(), list());
        (cluster.fences, cluster.suspended) = (list().into_iter().collect(), list().into_iter().collect());
        let (moves, tasks, locks, sagas) = (list(), list(), list(), list());

        let mut gaps = Gaps::default();
        let mut nodes = known.iter().zip(nodes);
        for (id, (path, node)) in SlotId::all().zip(nodes.by_ref()) {
            cluster.slots[id.index()] = gaps.versioned(path, node, |data| wire::slot_from(id, data));
        }
        let mut next = || nodes.next().and_then(|(path, node)| Some((path, node?)));
        cluster.dashboard =
            next().and_then(|(path, node)| gaps.keep(path, wire::dashboard_from(node.ephemeral, &node.data)));
        cluster.mover = next().and_then(|(path, node)| gaps.keep(path, wire::mover_from(&node.data)));

        let places = |dir: String, names: &[String]| -> Vec<String> {
            names.iter().map(|name| format!("{dir}/{name}")).collect()
        };
        let mut second = places(layout.proxies(), &proxies);
        second.extend(places(layout.moves(), &moves));
        second.extend(places(layout.go_tasks(), &tasks));
        second.extend(places(layout.locks(), &locks));
        second.extend(places(layout.switches(), &sagas));
        let (nodes, groups) = tokio::try_join!(self.store.get_many(&second), self.read_groups(groups))?;
        cluster.groups = groups.found;
        gaps.0.extend(groups.gaps);

        let mut nodes = second.iter().zip(nodes);
        for (name, (path, node)) in proxies.iter().zip(nodes.by_ref()) {
            match gaps.versioned(path, node, wire::proxy_from) {
                Some(proxy) if proxy.id.as_str() != name => {
                    gaps.add(path.clone(), "the record has another id")
                }
                Some(proxy) => drop(cluster.proxies.insert(proxy.id.clone(), proxy)),
                None => {}
            }
        }
        for (_, (path, node)) in moves.iter().zip(nodes.by_ref()) {
            cluster.moves.extend(gaps.task(path, node));
        }
        for (name, (path, node)) in tasks.iter().zip(nodes.by_ref()) {
            cluster.go_tasks.extend(gaps.versioned(path, node, |data| wire::go_task_from(name, data)));
        }
        for (name, (path, node)) in locks.iter().zip(nodes.by_ref()) {
            let Some(node) = node else { continue };
            let (lock, unreadable) = lock::entry(name, &node);
            cluster.locks.push(lock);
            if let Some(error) = unreadable {
                gaps.add(path.clone(), error.to_string());
            }
        }
        for (name, (path, node)) in sagas.iter().zip(nodes) {
            let Some(id) = name.strip_prefix("group_").and_then(|id| id.parse::<GroupId>().ok()) else {
                gaps.add(path.clone(), "its name is not that of a group");
                continue;
            };
            if let Some(saga) = gaps.versioned(path, node, |data| wire::saga_from(id, data)) {
                cluster.sagas.insert(id, saga);
            }
        }
        cluster.gaps = gaps.0;
        cluster.taken_ms = now_ms();
        cluster.read_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(cluster)
    }

    /// Some slots as they are now. Missing ones are left out.
    pub async fn slots(&self, ids: &SlotSet) -> Result<Found<Vec<Versioned<Slot>>>> {
        let paths: Vec<String> = ids.iter().map(|id| self.layout.slot(id)).collect();
        let nodes = self.store.get_many(&paths).await?;
        let mut gaps = Gaps::default();
        let mut found = Vec::with_capacity(nodes.len());
        for (id, (path, node)) in ids.iter().zip(paths.iter().zip(nodes)) {
            found.extend(gaps.versioned(path, node, |data| wire::slot_from(id, data)));
        }
        Ok(Found { found, gaps: gaps.0 })
    }

    /// All groups with their servers as they are now.
    pub async fn groups(&self) -> Result<Found<BTreeMap<GroupId, Group>>> {
        let lists = self.store.children_many(&[self.layout.groups()]).await?;
        self.read_groups(lists.into_iter().flatten().flatten().collect()).await
    }

    /// Some groups with their servers as they are now. Missing ones are left out.
    pub async fn some_groups(&self, ids: &[GroupId]) -> Result<Found<BTreeMap<GroupId, Group>>> {
        self.read_groups(ids.iter().map(|id| format!("group_{id}")).collect()).await
    }

    async fn read_groups(&self, names: Vec<String>) -> Result<Found<BTreeMap<GroupId, Group>>> {
        let dir = self.layout.groups();
        let mut gaps = Gaps::default();
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let id = name.strip_prefix("group_").and_then(|number| number.parse::<GroupId>().ok());
            match id.filter(|id| name == format!("group_{id}")) {
                Some(id) => ids.push(id),
                None => gaps.add(format!("{dir}/{name}"), "its name is not that of a group"),
            }
        }
        let dirs: Vec<String> = ids.iter().map(|id| self.layout.group(*id)).collect();
        let lists = self.store.children_many(&dirs).await?;
        let mut found = BTreeMap::new();
        let mut servers = Vec::new();
        for (id, list) in ids.into_iter().zip(lists) {
            if let Some(addrs) = list {
                found.insert(id, Group { id, servers: Vec::new() });
                servers.extend(addrs.into_iter().map(|addr| (id, addr)));
            }
        }
        let paths: Vec<String> = servers.iter().map(|(id, addr)| self.layout.server(*id, addr)).collect();
        let nodes = self.store.get_many(&paths).await?;
        for ((id, addr), (path, node)) in servers.iter().zip(paths.iter().zip(nodes)) {
            let server = gaps.versioned(path, node, |data| wire::server_from(*id, addr, data));
            if let Some(group) = found.get_mut(id) {
                group.servers.extend(server);
            }
        }
        Ok(Found { found, gaps: gaps.0 })
    }
}

/// What could not be understood so far.
#[derive(Debug, Default)]
pub(super) struct Gaps(pub(super) Vec<Gap>);

impl Gaps {
    pub(super) fn add(&mut self, path: String, why: impl Into<String>) {
        self.0.push(Gap { path, why: why.into() });
    }

    /// The record, or a gap in its place.
    pub(super) fn keep<T>(&mut self, path: &str, read: std::result::Result<T, WireError>) -> Option<T> {
        read.map_err(|error| self.add(path.to_owned(), error.to_string())).ok()
    }

    /// A task of our queue.
    pub(super) fn task(&mut self, path: &str, node: Option<Node>) -> Option<Versioned<Move>> {
        self.versioned(path, node, |data| {
            let task = sequence(path).ok_or_else(|| WireError::new(0, "the node's name is not a number"))?;
            wire::move_from(task, data)
        })
    }

    /// The record of a node with the node's version; `None` when the node is missing, or a gap.
    pub(super) fn versioned<T>(
        &mut self,
        path: &str,
        node: Option<Node>,
        read: impl FnOnce(&[u8]) -> std::result::Result<T, WireError>,
    ) -> Option<Versioned<T>> {
        let node = node?;
        Some(Versioned::new(self.keep(path, read(&node.data))?, node.version))
    }
}

/// Unix milliseconds.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
