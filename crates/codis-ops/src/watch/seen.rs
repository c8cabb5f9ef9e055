//! From what an agent has observed to what the duties look at.

use std::sync::Arc;

use codis_admin::ProxyPulse;
use codis_core::duty::{ProxyCounters, ProxySeen, Seen, ServerFacts, ServerSeen};
use codis_core::ha::{self, Observed, ServerView};
use codis_core::{Proxy, ProxyKind, ProxyState, Server};

use super::tables::Pages;
use crate::agent::Pulses;

/// What a server said longer ago does not count, milliseconds.
const OLD_MS: u64 = 10_000;

pub(super) fn of(observed: &Observed, proxies: &Pulses, pages: &Pages) -> Seen {
    let listed = observed.cluster.groups.values().flat_map(|group| &group.servers);
    let servers = listed.map(|listed| server(listed, observed.servers.get(&listed.addr))).collect();
    let proxy = |listed: &Proxy| {
        let page = pages.get(&listed.id);
        let said = match (listed.kind(), page) {
            // Of a Go proxy nothing is known before its pages were read; that is no silence.
            (ProxyKind::Go, page) => {
                page.and_then(|page| page.go.clone()).unwrap_or_else(|| Ok(ProxyCounters::default()))
            }
            (_, _) => match proxies.get(&listed.id) {
                Some(stats) => stats.as_ref().map(counters).map_err(Clone::clone),
                None => Ok(ProxyCounters::default()),
            },
        };
        ProxySeen {
            id: listed.id.to_string(),
            addr: listed.addr.to_string(),
            online: listed.state == ProxyState::Online,
            counters: said,
            differing: page.and_then(|page| page.differing.clone()),
        }
    };
    let proxies = observed.cluster.proxies.values().map(|listed| proxy(listed)).collect();
    Seen { servers, proxies, now_ms: observed.now_ms }
}

fn server(listed: &Server, view: Option<&ServerView>) -> ServerSeen {
    let silent = view.and_then(|view| view.silence.as_ref()).map(|silence| (silence.ms, silence.why.clone()));
    let fresh = view.filter(|view| view.is_reachable() && view.facts_age_ms <= OLD_MS);
    ServerSeen {
        group: listed.group,
        addr: listed.addr.clone(),
        role: listed.role,
        odd: view.and_then(|view| view.refusal.clone()),
        ping_us: view.filter(|_| silent.is_none()).map(|view| view.ping_us),
        silent,
        facts: fresh.and_then(|view| view.facts.as_ref()).filter(|facts| !facts.loading).map(facts),
    }
}

fn facts(said: &ha::Facts) -> ServerFacts {
    ServerFacts {
        used: said.used_memory,
        max: said.maxmemory,
        host: said.host_memory,
        is_master: said.is_master,
        follows: said.master.clone(),
        link_up: said.link_up,
        link_down_ms: said.link_down_s.map(|seconds| seconds * 1000),
        history: said.history.clone(),
        offset: said.offset,
        full_syncs: said.full_syncs,
    }
}

fn counters(stats: &ProxyPulse) -> ProxyCounters {
    let failing = stats.backends.iter().filter(|backend| backend.errors > 0);
    ProxyCounters {
        ops: stats.requests,
        failed_ops: stats.failures.iter().map(|one| one.count).sum(),
        connections: stats.clients_accepted + stats.clients_refused,
        failed_connections: stats.clients_refused,
        by_server: Arc::new(
            failing.filter_map(|backend| Some((backend.addr.parse().ok()?, backend.errors))).collect(),
        ),
    }
}
