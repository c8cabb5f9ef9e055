//! Pages of our proxy: `/stats`, `/slots`, `/healthz`, `/readyz`.

use serde::{Deserialize, Serialize};

use crate::CauseCount;

/// `/stats`: what the proxy is and what it has done since it started.
///
/// Fields that an older proxy does not send read as their default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProxyStats {
    /// Version of the program.
    pub version: String,
    /// Id in the product; nothing with a fixed slot map.
    pub id: Option<String>,
    /// The product; nothing with a fixed slot map.
    pub product: Option<String>,
    /// Where clients connect.
    pub addr: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// `offline` until the proxy serves clients, then `online`; `mark_offline` while it leaves.
    pub state: String,
    /// True once all 1024 slots are resolved and clients are served.
    pub ready: bool,
    /// Counts the routing tables that were installed.
    pub epoch: u64,
    /// Sequence number of the last action that was acknowledged.
    pub last_action: Option<u64>,
    /// False while the store does not answer: the routes are the last that were known.
    pub store_connected: bool,
    /// Same for two proxies exactly when they route all slots alike.
    pub slots_digest: String,
    /// Slots by state.
    pub slots: SlotCounts,
    /// Clients connected now.
    pub clients: u64,
    /// Clients accepted.
    pub clients_accepted: u64,
    /// Clients refused because there were too many.
    pub clients_refused: u64,
    /// Clients disconnected by the proxy: protocol error, idle, too slow.
    pub clients_dropped: u64,
    /// Requests read.
    pub requests: u64,
    /// Requests answered with an error, by the proxy or by a server.
    pub errors: u64,
    /// Replies that clients wait for.
    pub in_flight: u64,
    /// Requests that wait because their slot is switching or a key is on its way.
    pub parked: u64,
    /// Connections to servers that one client has to itself, for a transaction or a blocking command.
    #[serde(default)]
    pub pinned: u64,
    /// Clients that listen to channels or patterns.
    #[serde(default)]
    pub listeners: u64,
    /// Published messages that were handed to clients, once for each.
    #[serde(default)]
    pub messages: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// The last seconds.
    pub recent: Rates,
    /// Time from request to reply since the start.
    pub latency: Latency,
    /// Operations that failed, by cause; the newest are at `/errors`.
    pub failures: Vec<CauseCount>,
    /// Requests that the slow log has noted.
    pub slow: u64,
    /// Keys handed over because a request needed them.
    pub moves: MoveStats,
    /// Servers, by address.
    pub backends: Vec<BackendStats>,
    /// Commands, by name.
    pub commands: Vec<CallStats>,
}

/// Slots by state, 1024 in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotCounts {
    /// Without a master.
    pub offline: u32,
    /// Served by one master.
    pub online: u32,
    /// Held back before a move.
    pub pre_migrate: u32,
    /// Moving.
    pub migrate: u32,
}

/// Rates over the last seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Length of the time looked at, seconds; 0 right after the start.
    pub seconds: f64,
    /// Requests per second.
    pub requests_per_s: f64,
    /// Errors per second.
    pub errors_per_s: f64,
    /// Time from request to reply.
    pub latency: Latency,
}

/// Percentiles of a time, milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// None took longer.
    pub max_ms: f64,
}

/// Keys of migrating slots that were handed over on demand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveStats {
    /// Requests that made sure first that their keys had moved.
    pub requests: u64,
    /// Of these, how many failed.
    pub failures: u64,
    /// Keys that were moved.
    pub moved: u64,
    /// Keys that had left before, or never existed.
    pub absent: u64,
    /// Keys known to have left, of slots that migrate now.
    pub settled: u64,
    /// Pairs of servers that do not answer and are tried with growing pauses.
    pub broken_pairs: u64,
    /// Connections that are still to be killed on a server that did not answer.
    pub to_kill: u64,
}

/// One server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendStats {
    /// Its address.
    pub addr: String,
    /// Connections that are up.
    pub connections: u64,
    /// Times a connection was opened.
    pub connects: u64,
    /// Times a connection broke, timed out or could not be opened.
    pub failures: u64,
    /// Requests that wait for a reply.
    pub in_flight: u64,
    /// Bytes waiting to be sent.
    pub queued_bytes: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Requests answered, errors included.
    pub calls: u64,
    /// Of these, how many with an error.
    pub errors: u64,
    /// Time from request to reply since the start.
    pub latency: Latency,
    /// The same by command. A request that was split counts at each server it went to.
    pub commands: Vec<CallStats>,
}

/// `/commands`: times of every command in full, so that those of several proxies can be put together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandsPage {
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Commands, by name.
    pub commands: Vec<CommandTimes>,
}

/// All calls of one command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandTimes {
    /// Its name in upper case.
    pub command: String,
    /// Requests answered, errors included.
    pub calls: u64,
    /// Of these, how many with an error.
    pub errors: u64,
    /// Sum of the times to the answer, microseconds.
    pub usecs: u64,
    /// Times to the answer, microseconds, to 2 significant figures, each with how often it was met; ascending.
    pub times: Vec<(u64, u64)>,
}

impl CommandTimes {
    /// Adds the calls of another proxy.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.usecs += other.usecs;
        for (time, count) in &other.times {
            match self.times.binary_search_by_key(time, |(time, _)| *time) {
                Ok(place) => self.times[place].1 += count,
                Err(place) => self.times.insert(place, (*time, *count)),
            }
        }
    }

    /// Percentiles of the times.
    pub fn latency(&self) -> Latency {
        let total: u64 = self.times.iter().map(|(_, count)| count).sum();
        let at = |share: f64| {
            let rank = ((total as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            let found = self.times.iter().find(|(_, count)| {
                seen += count;
                seen >= rank
            });
            found.map_or(0.0, |(time, _)| *time as f64 / 1000.0)
        };
        Latency { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

/// One command.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallStats {
    /// Its name in upper case.
    pub command: String,
    /// Requests answered, errors included.
    pub calls: u64,
    /// Of these, how many with an error.
    pub errors: u64,
    /// Sum of the times to the answer, microseconds.
    pub usecs: u64,
    /// Sum of the times of those answered with an error, microseconds.
    pub error_usecs: u64,
    /// Time from request to reply since the start.
    pub latency: Latency,
}

/// `/slots`: where each slot goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsPage {
    /// Counts the routing tables that were installed.
    pub epoch: u64,
    /// Same for two proxies exactly when they route all slots alike.
    pub digest: String,
    /// 1024 entries in order.
    pub slots: Vec<SlotRoute>,
}

/// The part of [`ProxyStats`] that tells whether a proxy is well: for whoever reads the pages of very many, very often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ProxyPulse {
    /// Process id.
    pub pid: u32,
    /// Requests read.
    pub requests: u64,
    /// Clients accepted.
    pub clients_accepted: u64,
    /// Clients refused because there were too many.
    pub clients_refused: u64,
    /// Same for two proxies exactly when they route all slots alike.
    pub slots_digest: String,
    /// Operations that failed, by cause.
    pub failures: Vec<CauseCount>,
    /// The servers it has connections to.
    pub backends: Vec<BackendPulse>,
}

/// The same of [`BackendStats`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BackendPulse {
    /// Its address.
    pub addr: String,
    /// Requests answered, errors included.
    pub calls: u64,
    /// Of these, how many with an error.
    pub errors: u64,
}

impl SlotsPage {
    /// The page for these routes.
    pub fn new(epoch: u64, slots: Vec<SlotRoute>) -> Self {
        Self { epoch, digest: digest(&slots), slots }
    }
}

/// Where one slot goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRoute {
    /// Number of the slot.
    pub slot: u16,
    /// `offline`, `online`, `pre_migrate` or `migrate`, as the store says.
    pub state: String,
    /// Master that serves it; the destination in `migrate`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub master: Option<String>,
    /// Master that keys are fetched from, in `migrate`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
}

/// `/healthz` and `/readyz`. The HTTP status is 200 when `ok`, else 503.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it is.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

/// FNV-1a, 64 bits, over the text of the routes: to tell routes apart, not to protect them.
fn digest(slots: &[SlotRoute]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for route in slots {
        let (master, from) = (route.master.as_deref().unwrap_or(""), route.from.as_deref().unwrap_or(""));
        for byte in format!("{} {} {master} {from}\n", route.slot, route.state).bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(slot: u16, state: &str, master: Option<&str>, from: Option<&str>) -> SlotRoute {
        let text = |addr: Option<&str>| addr.map(str::to_owned);
        SlotRoute { slot, state: state.to_owned(), master: text(master), from: text(from) }
    }

    #[test]
    fn the_digest_sees_every_part_of_a_route() {
        let base = route(7, "migrate", Some("b:1"), Some("a:1"));
        let others = [
            route(8, "migrate", Some("b:1"), Some("a:1")),
            route(7, "online", Some("b:1"), Some("a:1")),
            route(7, "migrate", Some("b:2"), Some("a:1")),
            route(7, "migrate", Some("b:1"), None),
        ];
        let first = SlotsPage::new(1, vec![base.clone()]);
        assert_eq!(first.digest, SlotsPage::new(9, vec![base]).digest, "the epoch is each proxy's own");
        for other in others {
            assert_ne!(first.digest, SlotsPage::new(1, vec![other.clone()]).digest, "{other:?}");
        }
    }

    #[test]
    fn times_of_two_proxies_are_put_together() {
        let times = |times: &[(u64, u64)]| CommandTimes {
            calls: times.iter().map(|(_, count)| count).sum(),
            times: times.to_vec(),
            ..CommandTimes::default()
        };
        let mut sum = times(&[(100, 50), (9000, 1)]);
        sum.add(&times(&[(50, 1), (100, 40), (2000, 8)]));
        assert_eq!(sum.times, [(50, 1), (100, 90), (2000, 8), (9000, 1)]);
        assert_eq!(sum.latency(), Latency { p50_ms: 0.1, p99_ms: 2.0, max_ms: 9.0 });
        assert_eq!(CommandTimes::default().latency(), Latency::default());
    }

    #[test]
    fn stats_of_another_version_can_be_read() {
        let stats: ProxyStats = serde_json::from_str(
            r#"{"version":"9.9.9","clients":3,"a_new_field":[1],"latency":{"p50_ms":0.5}}"#,
        )
        .unwrap();
        assert_eq!((stats.clients, stats.latency.p50_ms, stats.requests), (3, 0.5, 0));
    }
}
