//! What connections cost in memory: every one has sent a request, none is closed.

use std::time::Duration;

use anyhow::{Context as _, bail};
use codis_testkit::RespClient;
use serde::Serialize;

use super::target::Target;
use super::usage;

/// Connections of the measurement.
pub(crate) const CONNECTIONS: usize = 1000;

/// Resident memory of one proxy; `--json` writes these.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) target: String,
    pub(crate) work: &'static str,
    pub(crate) workers: Option<u32>,
    pub(crate) clients: usize,
    /// After the first connection has been served, in MiB.
    pub(crate) base_rss_mb: f64,
    /// With 1000 more that have sent a request, in MiB.
    pub(crate) rss_mb: f64,
}

impl Memory {
    /// What the connections have cost, in MiB.
    pub(crate) fn grown(&self) -> f64 {
        self.rss_mb - self.base_rss_mb
    }
}

/// Measures targets that have carried no load yet, so that nothing of it is still held.
pub(crate) fn measure(fresh: &[Target]) -> anyhow::Result<Vec<Memory>> {
    fresh.iter().filter_map(|target| Some(one(target, target.pid()?))).collect()
}

fn one(target: &Target, pid: u32) -> anyhow::Result<Memory> {
    let mut held = Vec::with_capacity(CONNECTIONS + 1);
    held.push(connect(target)?);
    let base_rss_mb = usage::rss_mb(pid)?;
    for _ in 0..CONNECTIONS {
        held.push(connect(target)?);
    }
    Ok(Memory {
        target: target.name().to_owned(),
        work: "connections that have sent a request",
        workers: target.workers(),
        clients: CONNECTIONS,
        base_rss_mb,
        rss_mb: usage::rss_mb(pid)?,
    })
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
