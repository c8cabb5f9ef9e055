//! Servers that fill their memory, and hosts whose servers do.

use std::collections::{BTreeMap, VecDeque};

use super::{Seen, ServerFacts, ServerSeen};
use crate::notice::{Alert, Facts, Kind, Round};
use crate::{Addr, Severity};

/// Lines, percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// Of a server's `maxmemory`.
    pub line: u64,
    /// Of what a host has.
    pub host_line: u64,
}

impl Default for MemoryPolicy {
    fn default() -> Self {
        Self { line: 80, host_line: 90 }
    }
}

/// From here on it is urgent, percent.
const CRITICAL: u64 = 95;
/// One measurement of growth each so often, milliseconds.
const SAMPLE_MS: u64 = 600_000;
/// Growth is told from measurements this far apart at least, milliseconds.
const SPAN_MS: u64 = 3_600_000;
/// Measurements that are kept: a week.
const SAMPLES: usize = 1008;
const DAY_MS: u64 = 86_400_000;
/// What is full only after so many days is not foreseen.
const FORESEEN_DAYS: u64 = 365;

/// The duty.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    history: BTreeMap<Addr, VecDeque<(u64, u64)>>,
}

impl Memory {
    /// Looks at all servers and hosts.
    pub fn check(&mut self, seen: &Seen, policy: &MemoryPolicy, round: &mut Round) {
        let mut alerts = Vec::new();
        let listed = seen.addrs();
        self.history.retain(|addr, _| listed.contains(addr));
        for server in &seen.servers {
            match &server.facts {
                Some(facts) => alerts.extend(self.of_server(server, facts, policy, seen.now_ms)),
                None => round.blind(Kind::Memory, &server.addr),
            }
        }
        let mut hosts: BTreeMap<&str, Vec<&ServerSeen>> = BTreeMap::new();
        for server in &seen.servers {
            hosts.entry(server.addr.host()).or_default().push(server);
        }
        for (host, servers) in hosts {
            if servers.iter().any(|server| server.facts.is_none()) {
                round.blind(Kind::HostMemory, host);
            }
            alerts.extend(of_host(host, &servers, policy, seen.now_ms));
        }
        round.looked_for([Kind::Memory, Kind::HostMemory], alerts);
    }

    fn of_server(
        &mut self,
        server: &ServerSeen,
        facts: &ServerFacts,
        policy: &MemoryPolicy,
        now_ms: u64,
    ) -> Option<Alert> {
        let growth = self.growth(&server.addr, facts.used, now_ms);
        if facts.max == 0 || percent(facts.used, facts.max) < policy.line {
            return None;
        }
        let left = facts.max.saturating_sub(facts.used);
        let days = |growth: u64| (left / growth <= FORESEEN_DAYS).then(|| times(left, DAY_MS) / growth);
        let full_ms = growth.and_then(days).map(|ms| now_ms.saturating_add(ms));
        let alert = Alert::new(
            &server.addr,
            now_ms,
            Facts::Memory {
                group: server.group,
                server: server.addr.clone(),
                role: server.role,
                used: facts.used,
                max: facts.max,
                line: policy.line,
                growth,
                full_ms,
            },
        );
        let urgent = percent(facts.used, facts.max) >= CRITICAL.max(policy.line);
        Some(if urgent { Alert { severity: Severity::Critical, ..alert } } else { alert })
    }

    /// Bytes that come a day, if they do and it is known for long enough.
    fn growth(&mut self, addr: &Addr, used: u64, now_ms: u64) -> Option<u64> {
        let samples = self.history.entry(addr.clone()).or_default();
        if samples.back().is_none_or(|(at, _)| now_ms.abs_diff(*at) >= SAMPLE_MS) {
            if samples.len() >= SAMPLES {
                samples.pop_front();
            }
            samples.push_back((now_ms, used));
        }
        let (at, before) = *samples.front()?;
        let span = now_ms.checked_sub(at).filter(|span| *span >= SPAN_MS)?;
        let grown = used.checked_sub(before)?;
        Some(times(grown, DAY_MS) / span).filter(|a_day| *a_day > 0)
    }
}

fn of_host(host: &str, servers: &[&ServerSeen], policy: &MemoryPolicy, now_ms: u64) -> Option<Alert> {
    let known = || servers.iter().filter_map(|server| server.facts.as_ref());
    let total = known().map(|facts| facts.host).max().filter(|total| *total > 0)?;
    let used = known().map(|facts| facts.used).sum();
    if percent(used, total) < policy.host_line {
        return None;
    }
    let facts = Facts::HostMemory {
        host: host.to_owned(),
        servers: servers.len() as u64,
        used,
        total,
        line: policy.host_line,
    };
    Some(Alert::new(host, now_ms, facts))
}

fn percent(part: u64, all: u64) -> u64 {
    times(part, 100) / all.max(1)
}

fn times(a: u64, b: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b)).unwrap_or(u64::MAX)
}
