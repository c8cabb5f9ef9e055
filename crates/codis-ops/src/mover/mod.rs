//! Moving slots from group to group in waves, several at once where no server takes part in two.
//!
//! A wave is a set of queued slots with the same source S and destination D. It goes through
//!
//! ```text
//! pre-flight → pre_migrate, acknowledged → migrate, acknowledged → keys move → verified → online at D
//! ```
//!
//! and nothing about it is kept in memory alone: the state of each slot and of its task says how far it is.
//! So whatever ends a run, the next one looks at the slots and goes on:
//!
//! | slot | what the next run does |
//! |---|---|
//! | online at S | begins; no key has moved |
//! | pre_migrate | puts it back online at S at once, so that its requests run again, then begins |
//! | migrate from S to D, and the task says D to S | turns it back: pre_migrate, acknowledged → migrate from D to S |
//! | pre_migrate of that | puts it back to migrate from S to D at once, then turns it back |
//! | migrate | announces that again, moves what is left, looks at all of S for leftovers |
//! | online at D | announces that again and deletes the task |
//!
//! Once a slot is in `migrate`, no failure takes it back to `online`: there the proxies fetch from S
//! what a request needs, so every key stays reachable, and online at either group would hide those of the other.
//! Beside a Go proxy, and in the original's own queue, a wave is one slot, told in the original's actions one after
//! another; keys of a codis-server 2.8 move by its own command, those of other servers by the hand-over, which no Go
//! proxy can take part in.
//! Only one mover runs at a time: it holds a lease in the store, and a successor first kills the
//! connections of its predecessors on S and D.

pub(crate) mod fit;
mod lease;
mod preflight;
mod progress;
mod queue;
mod rounds;
mod run;
mod switch;
mod task;
mod wave;

use std::time::Duration;

pub(crate) use rounds::has_work;
pub use run::run;
pub use tokio_util::sync::CancellationToken;

use crate::Consent;

/// How thoroughly the source is searched for leftovers before slots go online at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// At random places. The whole of it all the same if anything went wrong on the way.
    #[default]
    Sample,
    /// The whole of it.
    Full,
}

/// How a run works.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// How long a batch of keys may keep a server busy.
    pub max_stall: Duration,
    /// Move slots with keys that alone keep a server busy for longer; else they are refused.
    pub allow_stall: bool,
    /// Keys per second at most, of each wave.
    pub rate: Option<u32>,
    /// Slots that may be in `migrate` together; one beside a Go proxy, and in the original's way.
    pub wave_slots: usize,
    /// Waves between different groups that may be at work together; one beside a Go proxy, and in the original's way.
    pub max_parallel: usize,
    /// Work on the original's queue instead of ours, in its way.
    pub as_codis2: bool,
    /// Pause between two keys of a native server; what the task says, if `None`.
    pub delay: Option<Duration>,
    /// Batches in flight.
    pub workers: usize,
    /// How to look for leftovers.
    pub verify: Verify,
    /// How long proxies may take to acknowledge.
    pub ack_patience: Duration,
    /// How long slaves may take to confirm a write.
    pub wait_timeout: Duration,
    /// Failures in a row, each followed by a growing pause, before a wave is given up for this run.
    pub attempts: u32,
    /// Leave tasks alone that have failed, or that their mover has paused: they wait for a person.
    pub leave_failed: bool,
    /// Who moves, for those who would as well; who runs this program, if `None`.
    pub owner: Option<String>,
    /// Who said yes; for the audit records.
    pub consent: Consent,
    /// Cancel it to stop the run at the next safe point.
    pub stop: CancellationToken,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            max_stall: Duration::from_millis(5),
            allow_stall: false,
            rate: None,
            wave_slots: 512,
            max_parallel: 4,
            as_codis2: false,
            delay: None,
            workers: 4,
            verify: Verify::default(),
            ack_patience: Duration::from_secs(5),
            wait_timeout: Duration::from_secs(1),
            attempts: 8,
            leave_failed: false,
            owner: None,
            consent: Consent::Policy,
            stop: CancellationToken::new(),
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct RunReport {
    /// Waves that are done.
    pub waves: usize,
    /// Slots that went online at their destination.
    pub slots_moved: usize,
    /// Keys handed over, those fetched by proxies meanwhile included.
    pub keys_moved: u64,
    /// Payload bytes handed over.
    pub bytes_moved: u64,
    /// Keys per second while keys were moving, scans excluded.
    pub keys_per_s: f64,
    /// Median time that a batch held a server up, milliseconds.
    pub stall_p50_ms: f64,
    /// 99th percentile of the same; of the worst wave.
    pub stall_p99_ms: f64,
    /// Longest of the same.
    pub stall_max_ms: f64,
    /// The whole run, milliseconds.
    pub took_ms: u64,
}
