//! What the process keeps for people: operations that failed, and requests that took long. Shared by all
//! workers, and touched only when something fails or is slow.
//!
//! It is bounded twice: the newest entries are kept, and a burst that nobody could read is counted
//! instead of written down.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use codis_admin::{CauseCount, ErrorsPage, FailedOp, SlowOp, SlowPage};

use crate::config::Limits;

/// Failed operations that are kept.
const KEPT: usize = 1000;
/// Failed operations that may be written down at once.
const BURST: u32 = 1000;
/// How many more may be with each tick of a worker.
const PER_TICK: u32 = 100;
/// Lines for the log that may be written at once, and more with each tick of a worker.
const LINES: u32 = 20;
const LINES_PER_TICK: u32 = 1;

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The connection to the server broke.
    Lost,
    /// The server did not answer in time.
    TimedOut,
    /// No connection to the server could be opened.
    Unreachable,
    /// What the servers answered could not be put together.
    BadReply,
    /// The proxy does not do that.
    Refused,
    /// Waited too long for a slot that is switching, or too many did.
    TryAgain,
    /// The keys could not be handed over.
    MoveFailed,
    /// The slot has no master.
    NoMaster,
    /// The client did not speak RESP, or sent too much.
    Protocol,
    /// The client was silent for too long.
    Idle,
    /// The client did not take its replies.
    SlowReader,
    /// The client's request did not become complete.
    SlowRequest,
    /// The client made the proxy hold more than any other when memory was short.
    ShortOfMemory,
    /// There were too many clients already.
    TooManyClients,
}

impl Cause {
    const ALL: [Self; 14] = [
        Self::Lost,
        Self::TimedOut,
        Self::Unreachable,
        Self::BadReply,
        Self::Refused,
        Self::TryAgain,
        Self::MoveFailed,
        Self::NoMaster,
        Self::Protocol,
        Self::Idle,
        Self::SlowReader,
        Self::SlowRequest,
        Self::ShortOfMemory,
        Self::TooManyClients,
    ];

    /// In one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "backend_lost",
            Self::TimedOut => "backend_timeout",
            Self::Unreachable => "backend_unreachable",
            Self::BadReply => "bad_reply",
            Self::Refused => "refused",
            Self::TryAgain => "try_again",
            Self::MoveFailed => "move_failed",
            Self::NoMaster => "no_master",
            Self::Protocol => "protocol",
            Self::Idle => "idle",
            Self::SlowReader => "slow_reader",
            Self::SlowRequest => "slow_request",
            Self::ShortOfMemory => "short_of_memory",
            Self::TooManyClients => "too_many_clients",
        }
    }
}

/// What is written down.
#[derive(Debug)]
pub(crate) struct Journal {
    counts: [AtomicU64; Cause::ALL.len()],
    left_out: AtomicU64,
    /// How many failures may still be written down, and how many lines.
    room: AtomicU32,
    lines: AtomicU32,
    /// Failures since the last line.
    unsaid: AtomicU64,
    /// Newest last.
    failures: Mutex<VecDeque<FailedOp>>,
    /// How many slow requests may still be written down.
    slow_room: AtomicU32,
    slow: Mutex<SlowLog>,
    slower_than_us: u64,
}

/// Slow requests, newest last.
#[derive(Debug)]
struct SlowLog {
    entries: VecDeque<SlowOp>,
    next_id: u64,
    max_len: usize,
}

impl Journal {
    /// An empty one.
    pub(crate) fn new(limits: &Limits) -> Self {
        let max_len = limits.slowlog_max_len;
        Self {
            slow_room: AtomicU32::new(BURST),
            slow: Mutex::new(SlowLog { entries: VecDeque::new(), next_id: 0, max_len }),
            slower_than_us: limits.slowlog_slower_than.as_micros() as u64,
            counts: Default::default(),
            left_out: AtomicU64::new(0),
            room: AtomicU32::new(BURST),
            lines: AtomicU32::new(LINES),
            unsaid: AtomicU64::new(0),
            failures: Mutex::default(),
        }
    }

    /// Counts a failure; `describe` is asked only if it is to be written down.
    pub(crate) fn failed(&self, cause: Cause, describe: impl FnOnce() -> FailedOp) {
        self.counts[cause as usize].fetch_add(1, Ordering::Relaxed);
        if !take(&self.room) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let op = FailedOp { ts_ms: now_ms(), cause: cause.as_str().to_owned(), ..describe() };
        if take(&self.lines) {
            say(&op);
        } else {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
        }
        let mut failures = self.failures();
        if failures.len() == KEPT {
            failures.pop_front();
        }
        failures.push_back(op);
    }

    /// Lets more be written down; called with every tick of every worker. `second`: what was left out of the
    /// log is summed up.
    pub(crate) fn tick(&self, second: bool) {
        add(&self.room, PER_TICK, BURST);
        add(&self.slow_room, PER_TICK, BURST);
        add(&self.lines, LINES_PER_TICK, LINES);
        if second {
            let unsaid = self.unsaid.swap(0, Ordering::Relaxed);
            if unsaid > 0 {
                tracing::warn!(operations = unsaid, "more operations failed; the newest are at /errors");
            }
        }
    }

    /// How often each cause was met, those that never were left out.
    pub(crate) fn counts(&self) -> Vec<CauseCount> {
        let count = |cause: &Cause| self.counts[*cause as usize].load(Ordering::Relaxed);
        let one = |cause: &Cause| CauseCount { cause: cause.as_str().to_owned(), count: count(cause) };
        Cause::ALL.iter().map(one).filter(|one| one.count > 0).collect()
    }

    /// `/errors`.
    pub(crate) fn errors(&self) -> ErrorsPage {
        let errors = self.failures().iter().rev().cloned().collect();
        ErrorsPage { counts: self.counts(), left_out: self.left_out.load(Ordering::Relaxed), errors }
    }

    /// True if one more slow request may be written down.
    pub(crate) fn may_note_slow(&self) -> bool {
        take(&self.slow_room)
    }

    /// Writes a slow request down.
    pub(crate) fn slow(&self, op: SlowOp) {
        let mut log = self.slow_log();
        let id = log.next_id;
        log.next_id += 1;
        if log.entries.len() >= log.max_len {
            log.entries.pop_front();
        }
        log.entries.push_back(SlowOp { id, ts_ms: now_ms(), ..op });
    }

    /// The newest slow requests, newest first.
    pub(crate) fn slow_newest(&self, count: usize) -> Vec<SlowOp> {
        self.slow_log().entries.iter().rev().take(count).cloned().collect()
    }

    /// How many slow requests are kept.
    pub(crate) fn slow_len(&self) -> usize {
        self.slow_log().entries.len()
    }

    /// How many there were since the start.
    pub(crate) fn slow_total(&self) -> u64 {
        self.slow_log().next_id
    }

    /// Forgets the slow requests.
    pub(crate) fn forget_slow(&self) {
        self.slow_log().entries.clear();
    }

    /// `/slowlog`.
    pub(crate) fn slow_page(&self) -> SlowPage {
        let log = self.slow_log();
        SlowPage {
            slower_than_us: self.slower_than_us,
            max_len: log.max_len,
            total: log.next_id,
            entries: log.entries.iter().rev().cloned().collect(),
        }
    }

    fn slow_log(&self) -> MutexGuard<'_, SlowLog> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, VecDeque<FailedOp>> {
        // Whoever panicked with the lock held had at most not added one entry.
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes one of what is left, if anything is.
fn take(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

/// Adds up to a bound.
fn add(left: &AtomicU32, more: u32, most: u32) {
    if left.load(Ordering::Relaxed) < most {
        let grown = |left: u32| Some(left.saturating_add(more).min(most));
        let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
    }
}

fn say(op: &FailedOp) {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    tracing::warn!(
        cause = %op.cause,
        client = or_none(&op.client),
        command = or_none(&op.command),
        key = or_none(&op.key),
        slot = op.slot,
        backend = or_none(&op.backend),
        took_us = op.took_us,
        "operation failed: {}",
        op.why
    );
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(journal: &Journal, key: usize) {
        journal.failed(Cause::Lost, || FailedOp { key: Some(key.to_string()), ..FailedOp::default() });
    }

    #[test]
    fn the_newest_are_kept_and_a_burst_is_counted() {
        let journal = Journal::new(&Limits::default());
        (0..KEPT + 5).for_each(|key| fail(&journal, key));
        let page = journal.errors();
        assert_eq!((page.errors.len(), page.left_out), (KEPT, 5));
        assert_eq!(page.counts, [CauseCount { cause: "backend_lost".into(), count: KEPT as u64 + 5 }]);
        journal.tick(true);
        fail(&journal, 7777);
        let page = journal.errors();
        assert_eq!((page.errors.len(), page.left_out), (KEPT, 5));
        assert_eq!(page.errors[0].key.as_deref(), Some("7777"));
        assert_eq!(page.errors[KEPT - 1].key.as_deref(), Some("1"));
    }

    #[test]
    fn every_cause_has_a_word_and_a_counter_of_its_own() {
        let journal = Journal::new(&Limits::default());
        Cause::ALL.iter().for_each(|cause| journal.failed(*cause, FailedOp::default));
        let counts = journal.counts();
        assert_eq!(counts.len(), Cause::ALL.len());
        assert!(counts.iter().all(|one| one.count == 1), "{counts:?}");
    }
}
