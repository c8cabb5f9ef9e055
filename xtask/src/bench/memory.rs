//! What connections cost in memory: every one has sent a request, none is closed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use codis_testkit::{RedisServer, RespClient};

use super::target::{self, Target};
use super::usage;

/// Connections of the measurement.
const CONNECTIONS: usize = 1000;

/// Resident memory of one proxy.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) target: &'static str,
    /// After the first connection has been served, in MiB.
    pub(crate) base_mb: f64,
    /// With 1000 more that have sent a request, in MiB.
    pub(crate) used_mb: f64,
}

/// Fresh proxies, so that nothing of an earlier load is still held.
pub(crate) fn measure(ours: &Path, backends: &[RedisServer]) -> anyhow::Result<Vec<Memory>> {
    let targets = [
        target::our_proxy("ours-1", 1, ours, backends)?,
        target::haproxy(backends)?,
        target::twemproxy(backends)?,
    ];
    targets.iter().map(one).collect()
}

fn one(target: &Target) -> anyhow::Result<Memory> {
    let pid = target.pid().context("the server alone has no proxy")?;
    let mut held = Vec::with_capacity(CONNECTIONS + 1);
    held.push(connect(target)?);
    let base_mb = usage::rss_mb(pid)?;
    for _ in 0..CONNECTIONS {
        held.push(connect(target)?);
    }
    Ok(Memory { target: target.name(), base_mb, used_mb: usage::rss_mb(pid)? })
}

fn connect(target: &Target) -> anyhow::Result<RespClient> {
    let mut client = RespClient::connect(target.port(), Duration::from_secs(5))
        .with_context(|| format!("cannot connect to {}", target.name()))?;
    let reply =
        client.call(&["GET", "key:000000000000"]).with_context(|| format!("GET at {}", target.name()))?;
    if reply.is_error() {
        bail!("GET at {}: {}", target.name(), reply.text());
    }
    Ok(client)
}
