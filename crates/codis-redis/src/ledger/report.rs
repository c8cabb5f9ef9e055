//! What the writers found.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

/// Violations and different error texts that are kept; further ones are only counted.
const KEPT: usize = 50;

/// How long requests took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half were quicker.
    pub p50: Duration,
    /// 99 of 100 were quicker.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p99: at(0.99), max: Duration::from_micros(histogram.max()) }
    }
}

/// The account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerReport {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes with an error or without an answer.
    pub ambiguous: u64,
    /// Reads that were answered, each compared with the account.
    pub reads: u64,
    /// Errors by their text, reads included.
    pub errors: BTreeMap<String, u64>,
    /// Keys that were read and compared at the end.
    pub keys_checked: u64,
    /// What must not be, the first fifty.
    pub violations: Vec<String>,
    /// How many there were.
    pub violation_count: u64,
    /// How long answered requests took.
    pub latency: Latency,
    /// Since the start.
    pub elapsed: Duration,
}

impl LedgerReport {
    /// True if nothing was lost, came back or was done twice.
    pub fn holds(&self) -> bool {
        self.violation_count == 0
    }

    /// How many requests got an error.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// The account while it is kept.
pub(crate) struct Stats {
    begun: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    report: LedgerReport,
    histogram: Histogram<u64>,
}

impl Stats {
    #[expect(clippy::expect_used, reason = "the bounds are constants that satisfy the library's conditions")]
    pub(crate) fn new() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("1 us to 1 h with three digits");
        Self {
            begun: Instant::now(),
            inner: Mutex::new(Inner { report: LedgerReport::default(), histogram }),
        }
    }

    pub(crate) fn acknowledged(&self, took: Duration) {
        let mut inner = self.lock();
        inner.report.acknowledged += 1;
        inner.histogram.saturating_record(took.as_micros() as u64);
    }

    pub(crate) fn read(&self, took: Duration) {
        let mut inner = self.lock();
        inner.report.reads += 1;
        inner.histogram.saturating_record(took.as_micros() as u64);
    }

    pub(crate) fn ambiguous(&self) {
        self.lock().report.ambiguous += 1;
    }

    pub(crate) fn error(&self, text: String) {
        let errors = &mut self.lock().report.errors;
        let text = if errors.len() < KEPT || errors.contains_key(&text) { text } else { "other".into() };
        *errors.entry(text).or_default() += 1;
    }

    pub(crate) fn checked(&self) {
        self.lock().report.keys_checked += 1;
    }

    pub(crate) fn violation(&self, text: String) {
        let report = &mut self.lock().report;
        report.violation_count += 1;
        if report.violations.len() < KEPT {
            report.violations.push(text);
        }
    }

    pub(crate) fn report(&self) -> LedgerReport {
        let inner = self.lock();
        LedgerReport {
            latency: Latency::of(&inner.histogram),
            elapsed: self.begun.elapsed(),
            ..inner.report.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
