//! A workload that keeps account.
//!
//! Writers, each with keys of its own, go through the proxies and note for every write whether it was
//! acknowledged. While they run they read their own writes back, through another proxy than the one
//! that took the write; at the end every key is read and compared with the account. So whatever
//! happens to slots, servers and proxies meanwhile, the [`LedgerReport`] says whether an acknowledged
//! write was lost, an old value came back, or something was done twice.
//!
//! A write that got an error or no answer may have happened, may happen late, or not at all: either
//! outcome is accepted for it, and it is counted as ambiguous.

mod client;
mod load;
mod record;
mod report;
mod writer;

use std::{sync::Arc, time::Duration};

use codis_core::{Addr, SlotId, SlotSet, slot_of_key};
use rand::Rng as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use load::{LoadReport, VerifyReport, load, verify};
pub use report::{Latency, LedgerReport};

use crate::Password;
use report::Stats;
use writer::Writer;

/// What the writers do.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// Proxies; each writer uses all of them in turn.
    pub proxies: Vec<Addr>,
    /// The password that proxies ask for.
    pub password: Password,
    /// How many writers.
    pub writers: usize,
    /// Keys of each kind (counters, token strings, versions) per writer.
    pub keys: usize,
    /// Only keys of these slots; all of them in turn. `None`: wherever they fall.
    pub slots: Option<SlotSet>,
    /// Also increment by scripts that declare their key, and in pipelines of fifty.
    pub scripts_and_pipelines: bool,
    /// Pause of a writer between two requests; zero for full speed.
    pub pause: Duration,
    /// How long a request may take, and how often the last reading is tried again for.
    pub timeout: Duration,
}

impl LedgerConfig {
    /// Four writers with eight keys of each kind, 200 requests a second each at most.
    pub fn new(proxies: Vec<Addr>) -> Self {
        Self {
            proxies,
            password: Password::none(),
            writers: 4,
            keys: 8,
            slots: None,
            scripts_and_pipelines: false,
            pause: Duration::from_millis(5),
            timeout: Duration::from_secs(10),
        }
    }
}

/// A running workload.
pub struct Ledger {
    stats: Arc<Stats>,
    stop: CancellationToken,
    writers: JoinSet<()>,
}

impl Ledger {
    /// Starts the writers. Keys get a name of this run, so an earlier run's do not matter.
    /// Dropping it stops them.
    pub fn start(config: LedgerConfig) -> Self {
        let stats = Arc::new(Stats::new());
        let stop = CancellationToken::new();
        let run = format!("{:08x}", rand::rng().random::<u32>());
        let config = Arc::new(config);
        let mut writers = JoinSet::new();
        let tags = config.slots.as_ref().map(tags_of).unwrap_or_default();
        for index in 0..config.writers {
            let writer = Writer::new(index, &run, &tags, config.clone(), stats.clone(), stop.clone());
            writers.spawn(writer.run());
        }
        Self { stats, stop, writers }
    }

    /// The figures so far; keys are checked only as far as the writers have read them back.
    pub fn figures(&self) -> LedgerReport {
        self.stats.report()
    }

    /// Stops the writers, reads every key and compares.
    pub async fn finish(mut self) -> LedgerReport {
        self.stop.cancel();
        while let Some(ended) = self.writers.join_next().await {
            if let Err(error) = ended {
                self.stats.violation(format!("a writer ended early and its keys were not checked: {error}"));
            }
        }
        self.stats.report()
    }
}

/// A hash tag for each slot.
fn tags_of(slots: &SlotSet) -> Vec<String> {
    let mut tags: Vec<Option<String>> = vec![None; SlotId::all().len()];
    let mut missing = slots.len();
    // About 7000 names reach all 1024 slots; a million leaves none out.
    for name in (0..1_000_000u32).map(|n| format!("t{n}")) {
        if missing == 0 {
            break;
        }
        let slot = slot_of_key(name.as_bytes());
        if slots.contains(slot) && tags[slot.index()].is_none() {
            tags[slot.index()] = Some(name);
            missing -= 1;
        }
    }
    tags.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_gets_a_tag_of_its_own() {
        let all: SlotSet = SlotId::all().collect();
        let tags = tags_of(&all);
        assert_eq!(tags.len(), 1024);
        for (slot, tag) in SlotId::all().zip(&tags) {
            assert_eq!(slot_of_key(format!("ledger:{{{tag}}}:x").as_bytes()), slot);
        }
    }
}
