//! What a bulk move tells while it runs and at its end.

use std::time::{Duration, Instant};

use codis_core::Addr;
use hdrhistogram::Histogram;

use crate::{BigKey, RedisError};

/// How long servers were busy with one batch's commands: what a client may have had to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stall {
    /// Half of the batches were quicker.
    pub p50: Duration,
    /// 99 of 100 were quicker.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Stall {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p99: at(0.99), max: Duration::from_micros(histogram.max()) }
    }
}

/// Where a bulk move stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BulkProgress {
    /// Keys of the slots that the scan has come across so far.
    pub found: u64,
    /// True once the scan has seen the whole source.
    pub scanned: bool,
    /// Keys handed over here.
    pub moved: u64,
    /// Keys that had left the source before their turn: fetched by a proxy, deleted or expired.
    pub gone: u64,
    /// Keys that the destination had already, counted in `moved`.
    pub busy: u64,
    /// Payload bytes handed over.
    pub bytes: u64,
    /// Batches that had to be tried again.
    pub retries: u64,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Of all batches so far.
    pub stall: Stall,
    /// What a batch may weigh now, in small keys.
    pub batch: u64,
    /// Keys of each slot that have left the source during this move; 1024 entries once it has begun.
    pub by_slot: Vec<u64>,
}

impl BulkProgress {
    /// Keys of the slots no longer on the source.
    pub fn done(&self) -> u64 {
        self.moved + self.gone
    }

    /// Keys per second so far.
    pub fn rate(&self) -> f64 {
        self.done() as f64 / self.elapsed.as_secs_f64().max(1e-6)
    }
}

/// The end of a bulk move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkReport {
    /// The figures.
    pub progress: BulkProgress,
    /// From the first hand-over to the last, scans excluded; `None` without a hand-over.
    pub moving: Option<(Instant, Instant)>,
    /// True if it was asked to stop before everything had moved.
    pub stopped: bool,
    /// Keys left on the source because they would hold a server up for too long, the worst first.
    pub big: Vec<BigKey>,
}

/// Why a bulk move ended early. Everything moved so far stays moved and the rest stays on the source;
/// the slots stay in `migrate`, where every key is reachable, and a new run goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BulkError {
    /// A server failed again and again.
    #[error("gave up after {attempts} attempts")]
    Server {
        /// How many times in a row.
        attempts: u32,
        /// The last failure.
        #[source]
        source: RedisError,
    },
    /// Another mover has taken over.
    #[error("this process may no longer move keys: {0}")]
    LeaseLost(String),
    /// The destination does not take a key.
    #[error("{addr} refused {keys} keys, the first {first:?}: {answer}")]
    Refused {
        /// The destination.
        addr: Addr,
        /// How many of one batch.
        keys: usize,
        /// One of them.
        first: String,
        /// Its words.
        answer: String,
    },
    /// Copies do not reach the destination's slaves.
    #[error(
        "{addr} could not confirm copies on its {slaves} slaves within {} ms, {attempts} times: the keys stay on \
         the source",
        .patience.as_millis()
    )]
    DestinationShort {
        /// The destination.
        addr: Addr,
        /// How many must confirm.
        slaves: u32,
        /// For how long they were waited for.
        patience: Duration,
        /// How many times in a row.
        attempts: u32,
    },
    /// A key was touched on the source every time, which no proxy does while its slot migrates.
    #[error(
        "key {key:?} on {addr} was changed during each of {attempts} attempts: something writes past the proxies"
    )]
    KeepsChanging {
        /// The source.
        addr: Addr,
        /// The key.
        key: String,
        /// How many times in a row.
        attempts: u32,
    },
}
