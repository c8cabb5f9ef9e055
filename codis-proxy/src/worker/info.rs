//! What a worker tells about itself: its counters.

use codis_core::{Addr, Sight};

use super::{
    Worker,
    backend::{Backend, State},
    pending::Pending,
};
use crate::stats::{BackendStats, Stats};

/// A server that has not answered a request for so long, microseconds, is seen to fail.
const SILENT: u64 = 2_000_000;

impl Worker {
    /// How the connections to each server do that is used. Those on which nothing is asked are used for that.
    pub(super) fn sights(&mut self) -> Vec<(Addr, Sight)> {
        self.look_at_clock();
        let shared = self.backends.iter().filter(|(_, backend)| backend.used && backend.pinned.is_none());
        let sight = |backend: &Backend| {
            let silent = |pending: &Pending| self.now.saturating_sub(pending.queued()) > SILENT;
            // One that does not know a protocol has answered.
            let failing =
                (backend.failures > 0 && !backend.too_old) || backend.pending.front().is_some_and(silent);
            Sight { connections: 1, failing: u32::from(failing) }
        };
        let sights = shared.map(|(_, backend)| (backend.addr.clone(), sight(backend))).collect();
        self.ask_idle();
        sights
    }

    /// A snapshot of everything counted by this worker.
    pub(super) fn stats(&mut self) -> Stats {
        let moves = self.movers.stats();
        let mut stats = Stats {
            clients_dropped: self.totals.dropped,
            bytes_in: self.totals.bytes_in,
            bytes_out: self.totals.bytes_out,
            requests: self.totals.requests,
            errors: self.totals.errors,
            parked: (self.parked + self.kept.len()) as u64,
            pinned: self.pinned() as u64,
            listeners: self.sessions.iter().filter(|(_, session)| session.subs.is_some()).count() as u64,
            messages: self.pubsub.messages,
            on_demand_moves: self.totals.on_demand_moves,
            on_demand_failures: self.totals.on_demand_failures,
            moves,
            in_flight: self.sessions.iter().map(|(_, session)| session.owed() as u64).sum(),
            ..Stats::default()
        };
        self.meter.add_to(&mut stats.commands);
        for (_, backend) in &self.backends {
            let mut sums = BackendStats {
                connections: u64::from(matches!(backend.state, State::Up(_))),
                connects: backend.connects,
                failures: backend.total_failures,
                in_flight: backend.pending.len() as u64,
                queued_bytes: backend.out.len() as u64,
                bytes_out: backend.bytes_out,
                bytes_in: backend.bytes_in,
                ..BackendStats::default()
            };
            backend.meter.add_to(&mut sums.commands);
            stats.backends.entry(backend.addr.clone()).or_default().add(sums);
        }
        stats
    }
}
