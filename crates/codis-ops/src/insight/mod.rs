//! What proxies tell about requests, put together: commands by time, slow requests, hot keys, failures;
//! and whether a proxy routes as the store says.

mod routes;
mod server;
mod sums;

use std::{collections::BTreeMap, time::Duration};

use codis_admin::{AdminClient, AdminError, CommandsPage, ErrorsPage, HotPage, ProxyStats, SlowPage};
use codis_core::{Cluster, Proxy, ProxyId, ProxyKind};
use futures::{StreamExt as _, stream};

pub(crate) use self::routes::digest;
pub use self::{
    routes::{Differing, differing},
    server::{ServerSlow, server_slowlog},
    sums::{add_commands, add_hot},
};
use crate::{Failure, FailureKind};

/// How many proxies are asked at the same time.
const AT_ONCE: usize = 64;

/// What proxies answered.
#[derive(Debug, Clone)]
pub struct Answers<T> {
    /// Those that did.
    pub told: BTreeMap<ProxyId, T>,
    /// Those that did not, and why.
    pub silent: BTreeMap<ProxyId, String>,
}

/// `/stats` of one proxy, or of all.
///
/// # Errors
/// `Failed` if there is no such proxy; `Unreachable` if nobody answers.
pub async fn stats(
    cluster: &Cluster,
    id: Option<&ProxyId>,
    patience: Duration,
) -> Result<Answers<ProxyStats>, Failure> {
    ask(cluster, id, patience, async |client, addr| client.stats(addr).await).await
}

/// The same of `/commands`.
///
/// # Errors
/// As for [`stats`].
pub async fn commands(
    cluster: &Cluster,
    id: Option<&ProxyId>,
    patience: Duration,
) -> Result<Answers<CommandsPage>, Failure> {
    ask(cluster, id, patience, async |client, addr| client.commands(addr).await).await
}

/// The same of `/slowlog`.
///
/// # Errors
/// As for [`stats`].
pub async fn slowlogs(
    cluster: &Cluster,
    id: Option<&ProxyId>,
    patience: Duration,
) -> Result<Answers<SlowPage>, Failure> {
    ask(cluster, id, patience, async |client, addr| client.slowlog(addr).await).await
}

/// The same of `/hotkeys`.
///
/// # Errors
/// As for [`stats`].
pub async fn hotkeys(
    cluster: &Cluster,
    id: Option<&ProxyId>,
    patience: Duration,
) -> Result<Answers<HotPage>, Failure> {
    ask(cluster, id, patience, async |client, addr| client.hotkeys(addr).await).await
}

/// The same of `/errors`.
///
/// # Errors
/// As for [`stats`].
pub async fn failures(
    cluster: &Cluster,
    id: Option<&ProxyId>,
    patience: Duration,
) -> Result<Answers<ErrorsPage>, Failure> {
    ask(cluster, id, patience, async |client, addr| client.errors(addr).await).await
}

/// A registered proxy.
///
/// # Errors
/// `Failed` if there is none of that name.
pub fn registered<'a>(cluster: &'a Cluster, id: &ProxyId) -> Result<&'a Proxy, Failure> {
    let missing = || {
        let place = format!("proxy/{id}");
        Failure::new(FailureKind::Failed, "no such proxy", place, "none of that name is registered")
            .next("codisctl proxy list")
    };
    cluster.proxies.get(id).map(|proxy| &proxy.value).ok_or_else(missing)
}

async fn ask<T>(
    cluster: &Cluster,
    id: Option<&ProxyId>,
    patience: Duration,
    page: impl AsyncFn(&AdminClient, &str) -> Result<T, AdminError>,
) -> Result<Answers<T>, Failure> {
    let chosen: Vec<&Proxy> = match id {
        Some(id) => vec![registered(cluster, id)?],
        None => cluster.proxies.values().map(|proxy| &proxy.value).collect(),
    };
    let client = AdminClient::new(patience);
    let (page, client) = (&page, &client);
    let asks = chosen.iter().map(|proxy| async move {
        let answer = match proxy.kind() {
            ProxyKind::Go => Err("it is a Go proxy, which does not tell that".to_owned()),
            ProxyKind::Ours(_) => page(client, &proxy.debug_var_addr).await.map_err(|error| text_of(&error)),
        };
        (proxy.id.clone(), answer)
    });
    let mut answers = Answers { told: BTreeMap::new(), silent: BTreeMap::new() };
    let mut asking = stream::iter(asks).buffer_unordered(AT_ONCE);
    while let Some((id, answer)) = asking.next().await {
        match answer {
            Ok(told) => drop(answers.told.insert(id, told)),
            Err(why) => drop(answers.silent.insert(id, why)),
        }
    }
    match answers.silent.iter().next() {
        Some((id, why)) if answers.told.is_empty() => {
            let what = if chosen.len() == 1 { "the proxy does not answer" } else { "no proxy answers" };
            Err(Failure::new(FailureKind::Unreachable, what, format!("proxy {id}"), why)
                .next("codisctl proxy list"))
        }
        _ => Ok(answers),
    }
}

fn text_of(error: &AdminError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
