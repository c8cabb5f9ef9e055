//! What a worker tells about itself: its counters, and the text of INFO.

use std::fmt::Write;

use codis_core::SlotId;

use super::{Worker, backend::State, local::REDIS_VERSION, slots::LocalRoute};
use crate::stats::{BackendStats, Stats};

impl Worker {
    /// A snapshot of everything counted by this worker.
    pub(super) fn stats(&mut self) -> Stats {
        let moves = self.movers.stats();
        let mut stats = Stats {
            clients_dropped: self.totals.dropped,
            bytes_in: self.totals.bytes_in,
            bytes_out: self.totals.bytes_out,
            requests: self.totals.requests,
            errors: self.totals.errors,
            parked: self.parked as u64,
            pinned: self.pinned() as u64,
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

    /// The text of INFO. Requests and bytes are those of the worker that serves the client.
    pub(super) fn info_text(&self) -> String {
        let route = |slot| self.slots.get(slot).route;
        let assigned = SlotId::all().filter(|slot| route(*slot) != LocalRoute::Unassigned).count();
        let moving = SlotId::all()
            .filter(|slot| matches!(route(*slot), LocalRoute::Migrate(_) | LocalRoute::Blocked))
            .count();
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "# Server\r\nredis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\ncodis_proxy_version:{}\r\n\
             process_id:{}\r\nuptime_in_seconds:{}\r\n\r\n\
             # Clients\r\nconnected_clients:{}\r\nmaxclients:{}\r\n\r\n\
             # Stats\r\nworker_requests:{}\r\nworker_errors:{}\r\nworker_bytes_in:{}\r\nworker_bytes_out:{}\r\n\r\n\
             # Replication\r\nrole:master\r\n\r\n\
             # Codis\r\nslots_assigned:{assigned}\r\nslots_moving:{moving}\r\nbackends:{}\r\n",
            env!("CARGO_PKG_VERSION"),
            std::process::id(),
            self.started.elapsed().as_secs(),
            self.registry.len(),
            self.limits.max_clients,
            self.totals.requests,
            self.totals.errors,
            self.totals.bytes_in,
            self.totals.bytes_out,
            self.backends.iter().filter(|(_, backend)| backend.used).count(),
        );
        text
    }
}
