//! Counters of the data path. Every worker counts alone; a snapshot is their sum.

use std::collections::BTreeMap;

use codis_admin::CauseCount;
use codis_core::Addr;
use hdrhistogram::Histogram;

use crate::moving::MoveStats;

/// Longest latency that is told apart, in microseconds (60 s); longer ones count as this.
pub(crate) const MAX_LATENCY_US: u64 = 60_000_000;

/// Calls of one command, or to one server.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    /// Requests answered, errors included.
    pub(crate) calls: u64,
    /// Of these, how many were answered with an error.
    pub(crate) errors: u64,
    /// Sum of the times to the answer, microseconds.
    pub(crate) usecs: u64,
    /// Sum of the times of those answered with an error, microseconds.
    pub(crate) error_usecs: u64,
    /// Times to the answer, microseconds, to 2 significant figures.
    pub(crate) latency: Histogram<u64>,
}

/// What one server has done for us.
#[derive(Debug, Clone, Default)]
pub(crate) struct BackendStats {
    /// Connections that are up (one per worker, and those of one client each).
    pub(crate) connections: u64,
    /// Times a connection was opened.
    pub(crate) connects: u64,
    /// Times a connection broke, timed out or could not be opened.
    pub(crate) failures: u64,
    /// Requests sent that wait for a reply.
    pub(crate) in_flight: u64,
    /// Bytes waiting to be sent.
    pub(crate) queued_bytes: u64,
    /// Bytes sent.
    pub(crate) bytes_out: u64,
    /// Bytes received.
    pub(crate) bytes_in: u64,
    /// Client requests by command in upper case. A request that was split counts at each server it went to.
    pub(crate) commands: BTreeMap<&'static str, Calls>,
}

/// Snapshot of the whole data path.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stats {
    /// Clients connected now.
    pub(crate) clients: u64,
    /// Clients accepted since the start.
    pub(crate) clients_accepted: u64,
    /// Clients refused because of `max_clients`.
    pub(crate) clients_refused: u64,
    /// Clients disconnected by us: protocol error, idle, too slow.
    pub(crate) clients_dropped: u64,
    /// Bytes from clients.
    pub(crate) bytes_in: u64,
    /// Bytes to clients.
    pub(crate) bytes_out: u64,
    /// Requests read.
    pub(crate) requests: u64,
    /// Requests answered with an error, by whoever.
    pub(crate) errors: u64,
    /// Requests that wait because their slot is switching or a key is on its way.
    pub(crate) parked: u64,
    /// Connections to servers that one client has to itself now.
    pub(crate) pinned: u64,
    /// Clients that listen to channels or patterns.
    pub(crate) listeners: u64,
    /// Published messages that were handed to clients, once for each.
    pub(crate) messages: u64,
    /// Slots in `pre_migrate` and `migrate`.
    pub(crate) migrating_slots: u64,
    /// Requests that made sure first that their keys had moved.
    pub(crate) on_demand_moves: u64,
    /// Of these, how many failed.
    pub(crate) on_demand_failures: u64,
    /// What the hand-overs on demand have done.
    pub(crate) moves: MoveStats,
    /// Replies awaited by clients, all workers.
    pub(crate) in_flight: u64,
    /// Operations that failed, by cause.
    pub(crate) failures: Vec<CauseCount>,
    /// Requests that the slow log has noted.
    pub(crate) slow: u64,
    /// By command in upper case, as the client sees it.
    pub(crate) commands: BTreeMap<&'static str, Calls>,
    /// By server.
    pub(crate) backends: BTreeMap<Addr, BackendStats>,
}

impl Stats {
    /// Adds what another worker has counted.
    pub(crate) fn add(&mut self, other: Self) {
        let sums = [
            (&mut self.clients_dropped, other.clients_dropped),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.parked, other.parked),
            (&mut self.pinned, other.pinned),
            (&mut self.listeners, other.listeners),
            (&mut self.messages, other.messages),
            (&mut self.on_demand_moves, other.on_demand_moves),
            (&mut self.on_demand_failures, other.on_demand_failures),
            (&mut self.in_flight, other.in_flight),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
        self.moves.add(other.moves);
        add_calls(&mut self.commands, other.commands);
        for (addr, more) in other.backends {
            self.backends.entry(addr).or_default().add(more);
        }
    }
}

impl BackendStats {
    /// Adds what other connections have done.
    pub(crate) fn add(&mut self, other: Self) {
        let sums = [
            (&mut self.connections, other.connections),
            (&mut self.connects, other.connects),
            (&mut self.failures, other.failures),
            (&mut self.in_flight, other.in_flight),
            (&mut self.queued_bytes, other.queued_bytes),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.bytes_in, other.bytes_in),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
        add_calls(&mut self.commands, other.commands);
    }
}

/// Adds calls up by command.
pub(crate) fn add_calls(sums: &mut BTreeMap<&'static str, Calls>, more: BTreeMap<&'static str, Calls>) {
    for (name, calls) in more {
        sums.entry(name).or_insert_with(Calls::new).add(&calls);
    }
}
