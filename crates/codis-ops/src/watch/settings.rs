//! `[duty]` of the settings: what is watched, and from where on people are told.

use std::time::Duration;

use codis_core::duty::{ConnectivityPolicy, MemoryPolicy, ProxiesPolicy, ReplicationPolicy};

use crate::agent::MovesOptions;
use crate::config::File;

/// What is watched; `None` is not.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    /// Memory of servers and hosts.
    pub memory: Option<MemoryPolicy>,
    /// Slaves.
    pub replication: Option<ReplicationPolicy>,
    /// Answers of servers.
    pub connectivity: Option<ConnectivityPolicy>,
    /// Proxies.
    pub proxies: Option<ProxiesPolicy>,
    /// How an agent works on the queue of moves.
    pub moves: Option<MovesOptions>,
    /// How often routes of proxies are compared with the store.
    pub tables: Duration,
}

impl WatchSettings {
    /// Reads what the settings file says.
    pub fn read(file: &File) -> Self {
        let ms = |key: &str, default: u64| {
            let span = file.span(key, Duration::from_millis(default));
            u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
        };
        let memory = MemoryPolicy::default();
        let replication = ReplicationPolicy::default();
        let connectivity = ConnectivityPolicy::default();
        let proxies = ProxiesPolicy::default();
        let memory = MemoryPolicy {
            line: file.number("duty.memory.line", memory.line),
            host_line: file.number("duty.memory.host_line", memory.host_line),
        };
        let replication = ReplicationPolicy {
            lag_ms: ms("duty.replication.lag", replication.lag_ms),
            lag_bytes: file.number("duty.replication.lag_bytes", replication.lag_bytes),
            grace_ms: ms("duty.replication.grace", replication.grace_ms),
            resyncs: file.number("duty.replication.resyncs", replication.resyncs),
        };
        let connectivity = ConnectivityPolicy {
            down_after_ms: ms("duty.connectivity.down_after", connectivity.down_after_ms),
            slow_us: ms("duty.connectivity.slow", connectivity.slow_us / 1000) * 1000,
        };
        let proxies = ProxiesPolicy {
            window_ms: ms("duty.proxies.window", proxies.window_ms),
            failed_ops: file.number("duty.proxies.failed_ops", proxies.failed_ops),
            failed_connections: file.number("duty.proxies.failed_connections", proxies.failed_connections),
            grace_ms: ms("duty.proxies.grace", proxies.grace_ms),
            ack_ms: ms("duty.proxies.ack", proxies.ack_ms),
        };
        let moves = MovesOptions {
            after: file.span("duty.tasks.after", MovesOptions::default().after),
            rate: file.get("duty.tasks.rate").and_then(|text| text.parse().ok()),
        };
        let on = |key: &str| file.flag(key, true);
        Self {
            memory: on("duty.memory.on").then_some(memory),
            replication: on("duty.replication.on").then_some(replication),
            connectivity: on("duty.connectivity.on").then_some(connectivity),
            proxies: on("duty.proxies.on").then_some(proxies),
            moves: on("duty.tasks.on").then_some(moves),
            tables: file.span("duty.proxies.interval", Duration::from_secs(10)),
        }
    }
}
