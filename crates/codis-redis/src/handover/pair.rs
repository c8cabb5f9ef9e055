//! The two connections that a hand-over uses, and how they are ended for good.

use std::time::Duration;

use codis_core::{Addr, Heat};

use crate::{Conn, ConnectOptions, LiveRole, Redis, RedisCause, RedisError, ServerInfo, kill_by_name};

/// One end of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The group's master.
    pub addr: Addr,
    /// Slaves that were linked to it when the move was planned: each of them must confirm.
    pub slaves: u32,
}

/// From where to where, and how.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where the keys are.
    pub from: Endpoint,
    /// Where they go.
    pub to: Endpoint,
    /// Password and time-outs for both ends. The name is the beginning of the name of every connection
    /// that moves keys, e.g. `codis-mover-17`.
    pub connect: ConnectOptions,
    /// How long a WAIT may take.
    pub wait_timeout: Duration,
}

/// A connection to each end, used by one hand-over at a time.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) source: Conn,
    pub(crate) destination: Conn,
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    pub(crate) wait_timeout: Duration,
    pub(crate) heat: Heat,
    pub(crate) unlink_word: &'static str,
}

impl Pair {
    /// Connects to both ends under `name`, and makes sure that both are masters with the slaves that
    /// the route counts on.
    pub(crate) async fn open(route: &Route, name: &str) -> Result<Self, RedisError> {
        let options = route.connect.named(name);
        let from = checked(&route.from, &options).await?;
        let to = checked(&route.to, &options).await?;
        Ok(Self {
            source: Conn::open(&route.from.addr, &options).await?,
            destination: Conn::open(&route.to.addr, &options).await?,
            from: route.from.clone(),
            to: route.to.clone(),
            wait_timeout: route.wait_timeout,
            heat: Heat::between(from.traits(), to.traits()),
            unlink_word: from.traits().unlink(),
        })
    }

    /// Ends whatever runs under `name` on both servers. Only when this is `Ok` may the keys of a failed
    /// hand-over be tried again: a RESTORE that runs late would revive a key that was deleted meanwhile.
    pub(crate) async fn kill(route: &Route, name: &str) -> Result<(), RedisError> {
        kill_by_name(&route.from.addr, &route.connect, name).await?;
        kill_by_name(&route.to.addr, &route.connect, name).await?;
        Ok(())
    }
}

async fn checked(end: &Endpoint, options: &ConnectOptions) -> Result<ServerInfo, RedisError> {
    let info = Redis::connect(&end.addr, options).await?.info().await?;
    let refuse = |why: String| Err(RedisError::new(&end.addr, "INFO", RedisCause::Unsafe(why)));
    if info.role != LiveRole::Master {
        return refuse("it is not a master".into());
    }
    if info.loading {
        return refuse("it is still loading its data".into());
    }
    Ok(info)
}
