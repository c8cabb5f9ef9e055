//! Servers that do not answer, or slowly.

use std::collections::BTreeMap;

use super::{Seen, ServerSeen};
use crate::notice::{Alert, Facts, Kind, Round};
use crate::{Addr, Role};

/// Lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectivityPolicy {
    /// A server that has not answered for so long is not reachable, milliseconds.
    pub down_after_ms: u64,
    /// An answer that takes so long is slow, microseconds.
    pub slow_us: u64,
}

impl Default for ConnectivityPolicy {
    fn default() -> Self {
        Self { down_after_ms: 6000, slow_us: 10_000 }
    }
}

/// So many slow answers one after another count.
const IN_A_ROW: u32 = 3;

/// The duty.
#[derive(Debug, Clone, Default)]
pub struct Connectivity {
    slow: BTreeMap<Addr, u32>,
}

impl Connectivity {
    /// Looks at all servers; those that are listed as offline may be silent.
    pub fn check(&mut self, seen: &Seen, policy: &ConnectivityPolicy, round: &mut Round) {
        let mut alerts = Vec::new();
        let listed = seen.addrs();
        self.slow.retain(|addr, _| listed.contains(addr));
        for server in &seen.servers {
            alerts.extend(silent(server, policy, seen.now_ms));
            if let Some(why) = &server.odd {
                let (duty, place) = ("connectivity".to_owned(), server.addr.to_string());
                alerts.push(Alert::new(
                    &server.addr,
                    seen.now_ms,
                    Facts::Check { duty, place, why: why.clone() },
                ));
            }
            alerts.extend(self.slow(server, policy, seen.now_ms));
        }
        round.looked_for([Kind::Unreachable, Kind::Slow, Kind::Check], alerts);
    }

    fn slow(&mut self, server: &ServerSeen, policy: &ConnectivityPolicy, now_ms: u64) -> Option<Alert> {
        let took_us = server.ping_us.filter(|us| *us >= policy.slow_us && server.silent.is_none());
        let count = self.slow.entry(server.addr.clone()).or_default();
        let Some(took_us) = took_us else {
            *count = 0;
            return None;
        };
        *count = count.saturating_add(1);
        let facts = Facts::Slow {
            what: "server".to_owned(),
            group: Some(server.group),
            addr: server.addr.clone(),
            took_us,
            line_us: policy.slow_us,
        };
        (*count >= IN_A_ROW).then(|| Alert::new(&server.addr, now_ms, facts))
    }
}

fn silent(server: &ServerSeen, policy: &ConnectivityPolicy, now_ms: u64) -> Option<Alert> {
    let (ms, why) = server.silent.as_ref()?;
    if *ms < policy.down_after_ms || server.role == Role::Offline {
        return None;
    }
    let facts = Facts::Unreachable {
        what: "server".to_owned(),
        group: Some(server.group),
        addr: server.addr.clone(),
        why: why.clone(),
    };
    Some(Alert::new(&server.addr, now_ms.saturating_sub(*ms), facts))
}
