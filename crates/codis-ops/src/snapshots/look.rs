//! What the servers of a host say, all asked at the same time over connections that stay.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use codis_core::{
    Addr, Cluster, GroupId, Role, Versioned,
    duty::snapshots::{Host, Instance, Kept, Said, Unheard},
};
use codis_redis::{ConnectOptions, Redis, RedisCause, RedisError};
use futures::future::join_all;

use super::SnapshotSettings;
use crate::Context;

/// Name of the connections.
const NAME: &str = "codis-governor";
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) addr: Addr,
    pub(super) group: GroupId,
    pub(super) role: Role,
}

/// All hosts and their servers.
pub(super) fn hosts(cluster: &Cluster) -> BTreeMap<String, Vec<Listed>> {
    let mut hosts: BTreeMap<String, Vec<Listed>> = BTreeMap::new();
    for server in cluster.groups.values().flat_map(|group| &group.servers) {
        let listed = Listed { addr: server.addr.clone(), group: server.group, role: server.role };
        hosts.entry(server.addr.host().to_owned()).or_default().push(listed);
    }
    hosts
}

/// What was taken over, by server.
pub(super) type AllKept = BTreeMap<Addr, Versioned<Kept>>;

/// Connections to the servers of a host.
#[derive(Debug, Default)]
pub(super) struct Eyes {
    open: BTreeMap<Addr, Redis>,
}

impl Eyes {
    /// Asks all of them.
    pub(super) async fn look(
        &mut self,
        cx: &Context,
        name: &str,
        servers: &[Listed],
        kept: &AllKept,
        settings: &SnapshotSettings,
    ) -> Host {
        let mut open = std::mem::take(&mut self.open);
        let asked = servers.iter().map(|listed| {
            let before = open.remove(&listed.addr);
            async move { (listed, ask(cx, &listed.addr, before).await) }
        });
        let asked: Vec<_> = asked.collect();
        let mut instances = Vec::new();
        for (listed, answer) in join_all(asked).await {
            let said = answer.map(|(redis, said)| {
                self.open.insert(listed.addr.clone(), redis);
                said
            });
            instances.push(Instance {
                addr: listed.addr.clone(),
                group: listed.group,
                role: listed.role,
                said: said.map_err(|error| unheard(&error)),
                kept: kept.get(&listed.addr).map(|kept| kept.value.clone()),
            });
        }
        let says = instances.iter().filter_map(Instance::heard).map(|said| said.host).max();
        let memory = settings.host_memory.get(name).copied().or(says).unwrap_or_default();
        Host { name: name.to_owned(), memory, instances }
    }

    /// A connection for an order; one that has answered a moment ago.
    pub(super) async fn redis(&mut self, cx: &Context, addr: &Addr) -> Result<&mut Redis, RedisError> {
        match self.open.entry(addr.clone()) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Redis::connect(addr, &options(cx)).await?)),
        }
    }

    /// What an order has broken is connected anew.
    pub(super) fn close(&mut self, addr: &Addr) {
        self.open.remove(addr);
    }
}

async fn ask(cx: &Context, addr: &Addr, before: Option<Redis>) -> Result<(Redis, Said), RedisError> {
    if let Some(mut redis) = before
        && let Ok(said) = redis.said().await
    {
        return Ok((redis, said));
    }
    // It may have restarted.
    let mut redis = Redis::connect(addr, &options(cx)).await?;
    let said = redis.said().await?;
    Ok((redis, said))
}

pub(super) fn options(cx: &Context) -> ConnectOptions {
    let options = ConnectOptions { connect_timeout: PATIENCE, command_timeout: PATIENCE, ..cx.redis.clone() };
    options.named(NAME)
}

fn unheard(error: &RedisError) -> Unheard {
    let why = error.cause.to_string();
    let refused = matches!(error.cause, RedisCause::Connect(_)) && why.contains("refused");
    Unheard { refused, why }
}
