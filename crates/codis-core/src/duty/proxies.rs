//! Proxies that do not answer, route otherwise than the store says, or fail their clients.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{ProxyCounters, ProxySeen, Seen, Since};
use crate::Addr;
use crate::notice::{Alert, Facts, Kind, Round};

/// Lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxiesPolicy {
    /// Failures are counted over so long, milliseconds.
    pub window_ms: u64,
    /// So many failed operations are too many.
    pub failed_ops: u64,
    /// So many failed connections are too many.
    pub failed_connections: u64,
    /// A proxy that is silent, or routes otherwise, for so long is told, milliseconds.
    pub grace_ms: u64,
    /// A proxy that has not acknowledged a change for so long is told, milliseconds.
    pub ack_ms: u64,
}

impl Default for ProxiesPolicy {
    fn default() -> Self {
        Self { window_ms: 300_000, failed_ops: 100, failed_connections: 20, grace_ms: 5000, ack_ms: 5000 }
    }
}

/// Looks that are remembered within a window.
const LOOKS: u64 = 60;

/// The duty.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    silent: Since,
    differing: Since,
    windows: BTreeMap<String, VecDeque<(u64, ProxyCounters)>>,
}

/// What was counted within the window.
struct Counted {
    counters: ProxyCounters,
    window_ms: u64,
}

impl Proxies {
    /// Looks at all proxies.
    pub fn check(&mut self, seen: &Seen, policy: &ProxiesPolicy, round: &mut Round) {
        let mut alerts = Vec::new();
        let online = seen.proxies.iter().filter(|proxy| proxy.online);
        let online: BTreeSet<&str> = online.map(|proxy| proxy.id.as_str()).collect();
        self.silent.keep(|id| online.contains(id));
        self.differing.keep(|id| online.contains(id));
        let listed: BTreeSet<&str> = seen.proxies.iter().map(|proxy| proxy.id.as_str()).collect();
        self.windows.retain(|id, _| listed.contains(id.as_str()));
        for proxy in &seen.proxies {
            match &proxy.counters {
                Ok(counters) => {
                    self.silent.clear(&proxy.id);
                    let counted = self.count(&proxy.id, counters, policy, seen.now_ms);
                    alerts.extend(failing(proxy, &counted, policy, seen.now_ms));
                }
                Err(why) => {
                    round.blind(Kind::ProxyOps, &proxy.id);
                    round.blind(Kind::ProxyConnections, &proxy.id);
                    if proxy.online {
                        let since = self.silent.note(&proxy.id, seen.now_ms);
                        let (id, addr) = (proxy.id.clone(), proxy.addr.clone());
                        let facts = Facts::ProxySilent { proxy: id, addr, why: why.clone() };
                        let lasts = seen.now_ms - since >= policy.grace_ms;
                        alerts.extend(lasts.then(|| Alert::new(&proxy.id, since, facts)));
                    }
                }
            }
            alerts.extend(self.table(proxy, policy, seen.now_ms, round));
        }
        let kinds = [Kind::ProxySilent, Kind::ProxyTable, Kind::ProxyOps, Kind::ProxyConnections];
        round.looked_for(kinds, alerts);
    }

    fn table(
        &mut self,
        proxy: &ProxySeen,
        policy: &ProxiesPolicy,
        now_ms: u64,
        round: &mut Round,
    ) -> Option<Alert> {
        let Some(slots) = proxy.differing.as_ref().filter(|_| proxy.online) else {
            if proxy.online {
                round.blind(Kind::ProxyTable, &proxy.id);
            }
            return None;
        };
        if slots.is_empty() {
            self.differing.clear(&proxy.id);
            return None;
        }
        // One that is about to follow a change is not told.
        let since = self.differing.note(&proxy.id, now_ms);
        let facts = Facts::ProxyTable {
            proxy: proxy.id.clone(),
            addr: proxy.addr.clone(),
            slots: slots.len() as u64,
            which: slots.to_string(),
        };
        (now_ms - since >= policy.grace_ms).then(|| Alert::new(&proxy.id, since, facts))
    }

    /// What has come since the oldest look within the window.
    fn count(&mut self, id: &str, now: &ProxyCounters, policy: &ProxiesPolicy, now_ms: u64) -> Counted {
        let looks = self.windows.entry(id.to_owned()).or_default();
        let restarted = looks.back().is_some_and(|(at, last)| last.ops > now.ops || *at > now_ms);
        if restarted {
            // It counts from nothing again.
            *looks = [(now_ms, ProxyCounters::default())].into();
        }
        let apart = policy.window_ms / LOOKS;
        if looks.back().is_none_or(|(at, _)| now_ms - at >= apart) {
            let mut look = now.clone();
            // Most often no server has failed since: one list is enough, of hundreds for hundreds of proxies.
            if let Some((_, last)) = looks.back().filter(|(_, last)| last.by_server == look.by_server) {
                look.by_server = Arc::clone(&last.by_server);
            }
            looks.push_back((now_ms, look));
        }
        while looks.get(1).is_some_and(|(at, _)| now_ms - at >= policy.window_ms) {
            looks.pop_front();
        }
        let Some((at, before)) = looks.front() else {
            return Counted { counters: ProxyCounters::default(), window_ms: 0 };
        };
        let less = |now: u64, before: u64| now.saturating_sub(before);
        let server = |(addr, failed): (&Addr, &u64)| {
            let before = before.by_server.get(addr).copied().unwrap_or_default();
            (addr.clone(), less(*failed, before))
        };
        let counters = ProxyCounters {
            ops: less(now.ops, before.ops),
            failed_ops: less(now.failed_ops, before.failed_ops),
            connections: less(now.connections, before.connections),
            failed_connections: less(now.failed_connections, before.failed_connections),
            by_server: Arc::new(now.by_server.iter().map(server).collect()),
        };
        Counted { counters, window_ms: now_ms - at }
    }
}

fn failing(proxy: &ProxySeen, counted: &Counted, policy: &ProxiesPolicy, now_ms: u64) -> Vec<Alert> {
    let Counted { counters, window_ms } = counted;
    let mut alerts = Vec::new();
    let (id, addr) = (|| proxy.id.clone(), || proxy.addr.clone());
    if counters.failed_ops >= policy.failed_ops {
        let worst = counters.by_server.iter().max_by_key(|(_, failed)| **failed);
        let worst = worst.filter(|(_, failed)| **failed > 0);
        let facts = Facts::ProxyOps {
            proxy: id(),
            addr: addr(),
            failed: counters.failed_ops,
            total: counters.ops,
            window_ms: *window_ms,
            line: policy.failed_ops,
            worst: worst.map(|(addr, _)| addr.clone()),
            worst_failed: worst.map_or(0, |(_, failed)| *failed),
        };
        alerts.push(Alert::new(&proxy.id, now_ms, facts));
    }
    if counters.failed_connections >= policy.failed_connections {
        let facts = Facts::ProxyConnections {
            proxy: id(),
            addr: addr(),
            failed: counters.failed_connections,
            total: counters.connections,
            window_ms: *window_ms,
            line: policy.failed_connections,
        };
        alerts.push(Alert::new(&proxy.id, now_ms, facts));
    }
    alerts
}
