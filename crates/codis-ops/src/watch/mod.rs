//! The watching duties of an agent: what a tick has seen becomes a round of alerts.

mod acks;
mod seen;
mod settings;
mod tables;

use codis_core::duty::{Acks, Connectivity, Memory, Proxies, Replication, failed_moves};
use codis_core::notice::{Kind, Round};

pub use self::settings::WatchSettings;
use self::{acks::Told, tables::Tables};
use crate::{Context, agent::Tick};

/// What the failover of an agent tells, as long as it lasts.
const OF_MASTERS: [Kind; 3] = [Kind::FailoverRefused, Kind::RejoinWaiting, Kind::EmptyMaster];

/// The duties with what they remember.
#[derive(Debug)]
pub struct Watch {
    settings: WatchSettings,
    memory: Memory,
    replication: Replication,
    connectivity: Connectivity,
    proxies: Proxies,
    acks: Acks,
    tables: Tables,
    told: Told,
}

impl Watch {
    /// Duties that have seen nothing yet.
    pub fn new(settings: WatchSettings) -> Self {
        Self {
            tables: Tables::new(settings.tables),
            settings,
            memory: Memory::default(),
            replication: Replication::default(),
            connectivity: Connectivity::default(),
            proxies: Proxies::default(),
            acks: Acks::default(),
            told: Told::default(),
        }
    }

    /// What is not well in a tick. Never waits: routes of proxies are read in the background. Every agent looks, so
    /// that the next leader knows what lasts; only the one that leads hands it over.
    pub fn round(&mut self, cx: &Context, tick: &Tick) -> Round {
        let mut round = Round::default();
        let Some(observed) = &tick.observed else {
            round.alerts.extend(tick.alerts.iter().filter(|alert| alert.kind().is_event()).cloned());
            return round;
        };
        round.looked_for(OF_MASTERS, tick.alerts.iter().cloned());
        // What an agent cannot do is told beside what duties cannot look at.
        round.looked_for([Kind::Check], []);
        failed_moves(&observed.cluster.moves, observed.now_ms, &mut round);
        if self.settings.proxies.is_some() {
            self.tables.read(&observed.cluster, &tick.proxies);
            self.told.follow(cx);
        }
        let seen = seen::of(observed, &tick.proxies, &self.tables.pages());
        if let Some(policy) = &self.settings.memory {
            self.memory.check(&seen, policy, &mut round);
        }
        if let Some(policy) = &self.settings.replication {
            self.replication.check(&seen, policy, &mut round);
        }
        if let Some(policy) = &self.settings.connectivity {
            self.connectivity.check(&seen, policy, &mut round);
        }
        if let Some(policy) = &self.settings.proxies {
            self.proxies.check(&seen, policy, &mut round);
            let waiting = self.told.waiting(&observed.cluster);
            self.acks.check(waiting.as_deref(), policy.ack_ms, seen.now_ms, &mut round);
        }
        round
    }
}
