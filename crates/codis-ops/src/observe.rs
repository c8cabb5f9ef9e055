//! Looking: the store's picture, and what servers and proxies say of themselves.
//!
//! They are kept apart on purpose. In a broken product they are three different stories, and a
//! display must say which one it tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::Duration,
};

use codis_admin::{AdminClient, AdminError, ProxyPulse, ProxyStats};
use codis_core::{Addr, Cluster, GroupId, ProxyId, Slot, SlotSet};
use codis_redis::{ServerInfo, probe};
use futures::{StreamExt, future, stream};

use crate::{Context, Failure};

/// How many servers or proxies are asked at the same time.
const AT_ONCE: usize = 64;
/// The same where it is done all the time.
const FEW: usize = 16;

/// What a display shows.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What the store says.
    pub cluster: Cluster,
    /// What each server says, or why it does not.
    pub servers: BTreeMap<Addr, Result<ServerInfo, String>>,
    /// What each proxy says, or why it does not.
    pub proxies: BTreeMap<ProxyId, Result<ProxyStats, String>>,
}

/// The store's picture, then all servers and proxies at once, none waited for longer than `patience`.
///
/// # Errors
/// If the store does not answer. A server or proxy that does not is an entry with the reason.
pub async fn picture(cx: &Context, patience: Duration) -> Result<Picture, Failure> {
    let cluster = cx.load().await?;
    let (servers, proxies) = tokio::join!(servers(cx, &cluster, patience), proxies(&cluster, patience));
    Ok(Picture { cluster, servers, proxies })
}

/// Asks every listed server what it is.
pub async fn servers(
    cx: &Context,
    cluster: &Cluster,
    patience: Duration,
) -> BTreeMap<Addr, Result<ServerInfo, String>> {
    let listed = cluster.groups.values().flat_map(|group| &group.servers);
    let asks = listed.map(|server| {
        let addr = server.addr.clone();
        async move {
            let options = cx.redis.named("codis-observe");
            let answer = async { probe(&addr, &options).await.map_err(|error| error.cause.to_string()) };
            let answer = within(patience, answer).await;
            (addr, answer)
        }
    });
    stream::iter(asks).buffer_unordered(AT_ONCE).collect().await
}

/// Asks every registered proxy for its figures.
pub async fn proxies(cluster: &Cluster, patience: Duration) -> BTreeMap<ProxyId, Result<ProxyStats, String>> {
    let client = AdminClient::new(patience);
    each_proxy(cluster, patience, AT_ONCE, |addr| async move { client.stats(&addr).await }).await
}

/// Asks every registered proxy whether it is well: a few at a time, for whoever does so all the time.
pub(crate) async fn pulses(
    cluster: &Cluster,
    patience: Duration,
) -> BTreeMap<ProxyId, Result<ProxyPulse, String>> {
    let client = AdminClient::new(patience);
    each_proxy(cluster, patience, FEW, |addr| async move { client.pulse(&addr).await }).await
}

async fn each_proxy<T, F: Future<Output = Result<T, AdminError>>>(
    cluster: &Cluster,
    patience: Duration,
    at_once: usize,
    ask: impl Fn(String) -> F,
) -> BTreeMap<ProxyId, Result<T, String>> {
    let listed: Vec<(ProxyId, String)> =
        cluster.proxies.values().map(|proxy| (proxy.id.clone(), proxy.debug_var_addr.clone())).collect();
    let asks = listed.into_iter().map(|(id, addr)| {
        let asked = ask(addr);
        async move {
            let answer = async { asked.await.map_err(|error| error.to_string()) };
            let answer = within(patience, answer).await;
            (id, answer)
        }
    });
    stream::iter(asks).buffer_unordered(at_once).collect().await
}

/// The groups that serve some of these slots and whose master moves keys by its own SLOTS* commands. One whose master
/// does not answer within `patience` is not among them.
pub async fn native_sources(
    cx: &Context,
    cluster: &Cluster,
    slots: &SlotSet,
    patience: Duration,
) -> BTreeSet<GroupId> {
    let source = |slot: &Slot| slot.moving().map(|(from, _)| from).or(slot.group);
    let groups: BTreeSet<GroupId> =
        slots.iter().filter_map(|id| cluster.slot(id)).filter_map(|slot| source(slot)).collect();
    let masters =
        groups.into_iter().filter_map(|id| Some((id, cluster.groups.get(&id)?.master()?.addr.clone())));
    let asks = masters.map(|(id, addr)| async move {
        let options = cx.redis.named("codis-observe");
        let answer = async { probe(&addr, &options).await.map_err(|error| error.cause.to_string()) };
        let native = within(patience, answer).await.is_ok_and(|info| info.traits().is_native());
        native.then_some(id)
    });
    stream::iter(asks).buffer_unordered(AT_ONCE).filter_map(future::ready).collect().await
}

async fn within<T>(patience: Duration, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| Err(format!("no answer in {} ms", patience.as_millis()));
    tokio::time::timeout(patience, answer).await.unwrap_or_else(late)
}
