//! What the agent watches besides masters: memory, replication, connections, proxies, moves.
//!
//! A duty looks at what was [`Seen`] in a round and says what is not well, and of whom it could not tell. It remembers what
//! it needs of earlier rounds itself; time comes in with the round. When people are told is [`notice`](crate::notice)'s.

mod acks;
mod connectivity;
mod memory;
mod proxies;
mod replication;
pub mod snapshots;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use self::acks::{Acks, ActionSeen};
pub use self::connectivity::{Connectivity, ConnectivityPolicy};
pub use self::memory::{Memory, MemoryPolicy};
pub use self::proxies::{Proxies, ProxiesPolicy};
pub use self::replication::{Replication, ReplicationPolicy};
pub use self::tasks::{QueueSeen, Tasks, failed_moves};
use crate::{Addr, GroupId, Role, SlotSet};

/// One look at everything.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// All listed servers.
    pub servers: Vec<ServerSeen>,
    /// All registered proxies.
    pub proxies: Vec<ProxySeen>,
    /// When, Unix milliseconds.
    pub now_ms: u64,
}

impl Seen {
    /// The addresses of all servers.
    pub(crate) fn addrs(&self) -> BTreeSet<&Addr> {
        self.servers.iter().map(|server| &server.addr).collect()
    }
}

/// A server as the store lists it, and what was heard from it.
#[derive(Debug, Clone)]
pub struct ServerSeen {
    /// Its group.
    pub group: GroupId,
    /// Where.
    pub addr: Addr,
    /// What the store says it is.
    pub role: Role,
    /// For how long it has not answered, milliseconds, and what was met instead.
    pub silent: Option<(u64, String)>,
    /// It answers, but not as a redis-server should.
    pub odd: Option<String>,
    /// How long its last answer took, microseconds.
    pub ping_us: Option<u64>,
    /// What it said last; nothing if that is too old to count.
    pub facts: Option<ServerFacts>,
}

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Bytes in use.
    pub used: u64,
    /// Bytes it may use; 0: no limit.
    pub max: u64,
    /// Bytes that its host has; 0 if it does not say.
    pub host: u64,
    /// It says that it is a master.
    pub is_master: bool,
    /// Whom it follows.
    pub follows: Option<Addr>,
    /// Its link to its master is up.
    pub link_up: bool,
    /// For how long it has been down, milliseconds.
    pub link_down_ms: Option<u64>,
    /// Which history its offset belongs to.
    pub history: Option<String>,
    /// How far it is in it, bytes.
    pub offset: u64,
    /// Full copies that it has sent.
    pub full_syncs: u64,
}

/// A proxy as the store lists it, and what was heard from it.
#[derive(Debug, Clone)]
pub struct ProxySeen {
    /// Its id.
    pub id: String,
    /// Where clients connect.
    pub addr: String,
    /// It is online in the store.
    pub online: bool,
    /// Its counters, or why it does not tell.
    pub counters: Result<ProxyCounters, String>,
    /// Slots that it routes otherwise than the store says; nothing if that was not looked at.
    pub differing: Option<SlotSet>,
}

/// Counters since the start of a proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyCounters {
    /// Operations.
    pub ops: u64,
    /// Of these, how many failed.
    pub failed_ops: u64,
    /// Clients that connected.
    pub connections: u64,
    /// Clients that could not, or were thrown out.
    pub failed_connections: u64,
    /// Failed operations by server.
    pub by_server: Arc<BTreeMap<Addr, u64>>,
}

/// Since when something is so, for what must last before it counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Since(BTreeMap<String, u64>);

impl Since {
    /// Begins a round: who is not in it was not in it throughout.
    pub(crate) fn keep(&mut self, present: impl Fn(&str) -> bool) {
        self.0.retain(|subject, _| present(subject));
    }

    /// Notes that it is so now; says since when.
    pub(crate) fn note(&mut self, subject: &str, now_ms: u64) -> u64 {
        let since = self.0.entry(subject.to_owned()).or_insert(now_ms);
        // A clock that was set back.
        *since = (*since).min(now_ms);
        *since
    }

    /// Notes that it is not so now.
    pub(crate) fn clear(&mut self, subject: &str) {
        self.0.remove(subject);
    }
}
