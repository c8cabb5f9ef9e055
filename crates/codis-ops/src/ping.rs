//! How fast servers accept connections and answer, asked by hand.

use std::time::{Duration, Instant};

use codis_core::duty::ConnectivityPolicy;
use codis_core::{Addr, Cluster, GroupId, Role};
use codis_redis::{Redis, RedisError};
use futures::{StreamExt as _, stream};

use crate::Context;

/// Pings of one server.
const PINGS: usize = 20;
/// How many servers are asked at the same time: few, so that they do not wait for each other here.
const AT_ONCE: usize = 8;

/// What one server's answers took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinged {
    /// The server.
    pub addr: Addr,
    /// Its group; `None` if it is not listed.
    pub group: Option<GroupId>,
    /// What the store says it is.
    pub role: Option<Role>,
    /// The times, or why there are none.
    pub times: Result<Times, String>,
}

/// What answers took, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The connection, the password included.
    pub connect_us: u64,
    /// Half of the pings took no longer.
    pub ping_p50_us: u64,
    /// No ping took longer.
    pub ping_max_us: u64,
    /// All of INFO.
    pub info_us: u64,
    /// The line that the slowest ping has crossed, if it has.
    pub slow_us: Option<u64>,
}

/// Pings listed servers, or one that need not be listed. Each is given `patience` in all.
pub async fn ping(
    cx: &Context,
    cluster: &Cluster,
    only: Option<&Addr>,
    policy: &ConnectivityPolicy,
    patience: Duration,
) -> Vec<Pinged> {
    let all = cluster.groups.values().flat_map(|group| &group.servers);
    let mut asked: Vec<(Addr, Option<(GroupId, Role)>)> = all
        .filter(|server| only.is_none_or(|only| only == &server.addr))
        .map(|server| (server.addr.clone(), Some((server.group, server.role))))
        .collect();
    if let Some(only) = only.filter(|_| asked.is_empty()) {
        asked.push((only.clone(), None));
    }
    let asks = asked.into_iter().map(|(addr, listed)| async move {
        let late = || Err(format!("not done within {} ms", patience.as_millis()));
        let times = tokio::time::timeout(patience, times(cx, &addr, policy)).await;
        let times = times.map_or_else(|_| late(), |done| done.map_err(|error| error.cause.to_string()));
        let (group, role) = listed.unzip();
        Pinged { addr, group, role, times }
    });
    stream::iter(asks).buffered(AT_ONCE).collect().await
}

async fn times(cx: &Context, addr: &Addr, policy: &ConnectivityPolicy) -> Result<Times, RedisError> {
    let begun = Instant::now();
    let mut server = Redis::connect(addr, &cx.redis.named("codis-ping")).await?;
    let connect_us = micros(begun.elapsed());
    let mut pings = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        pings.push(micros(server.ping().await?));
    }
    pings.sort_unstable();
    let begun = Instant::now();
    server.info().await?;
    let info_us = micros(begun.elapsed());
    let max = pings.last().copied().unwrap_or_default();
    let slow_us = (max >= policy.slow_us).then_some(policy.slow_us);
    let ping_p50_us = pings.get(PINGS / 2).copied().unwrap_or_default();
    Ok(Times { connect_us, ping_p50_us, ping_max_us: max, info_us, slow_us })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
