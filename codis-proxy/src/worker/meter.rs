//! Counting calls without sharing anything: plain numbers in the worker that made the call.

use codis_resp::{COMMANDS, CommandId};
use hdrhistogram::Histogram;

use crate::stats::{Calls, MAX_LATENCY_US};

/// Calls by command. Room for a command is made at its first call.
#[derive(Debug, Default)]
pub(super) struct Meter {
    commands: Vec<Option<Box<Calls>>>,
    /// Calls are counted, and not how their times are spread.
    plain: bool,
}

impl Meter {
    /// Counts calls, and with `statistics` also how their times are spread.
    pub(super) fn new(statistics: bool) -> Self {
        Self { commands: Vec::new(), plain: !statistics }
    }

    /// Counts `count` calls that took `usecs` microseconds each.
    #[inline]
    pub(super) fn record(&mut self, command: CommandId, usecs: u64, count: u64, failed: bool) {
        if self.commands.is_empty() {
            self.commands.resize_with(COMMANDS.len(), || None);
        }
        let calls = self.commands[command.index()].get_or_insert_with(|| Box::new(Calls::new()));
        calls.calls += count;
        calls.usecs += usecs * count;
        if failed {
            calls.errors += count;
            calls.error_usecs += usecs * count;
        }
        if !self.plain {
            calls.latency.saturating_record_n(usecs.max(1), count);
        }
    }

    /// Calls `each` with the name of every command that has been called, and its calls.
    pub(super) fn each(&self, mut each: impl FnMut(&'static str, &Calls)) {
        for (command, calls) in COMMANDS.iter().zip(&self.commands) {
            if let Some(calls) = calls {
                each(command.name, calls);
            }
        }
    }

    /// Adds these calls to a snapshot.
    pub(super) fn add_to(&self, sums: &mut std::collections::BTreeMap<&'static str, Calls>) {
        self.each(|name, calls| sums.entry(name).or_insert_with(Calls::new).add(calls));
    }
}

impl Calls {
    /// No calls yet.
    #[expect(clippy::expect_used, reason = "constant bounds that the constructor accepts")]
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, MAX_LATENCY_US, 2).expect("bounds of a histogram");
        Self { calls: 0, errors: 0, usecs: 0, error_usecs: 0, latency }
    }

    /// Adds the calls of another worker.
    pub(crate) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.usecs += other.usecs;
        self.error_usecs += other.error_usecs;
        // Both have the same bounds, so nothing can fall outside.
        let _ = self.latency.add(&other.latency);
    }
}
