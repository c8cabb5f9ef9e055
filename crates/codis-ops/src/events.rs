//! What is going on, for whoever shows it.

use codis_core::{GroupId, SlotSet};
use tokio::sync::mpsc;

/// How many events may wait for a reader. Beyond it new ones are dropped: they report progress,
/// and the next report replaces the lost one.
const BACKLOG: usize = 1024;

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A step of a plan begins.
    StepStarted {
        /// Its number, from 1.
        n: usize,
        /// How many there are.
        of: usize,
        /// The step as the plan shows it.
        text: String,
    },
    /// A step of a plan is done.
    StepDone {
        /// Its number, from 1.
        n: usize,
        /// How many there are.
        of: usize,
        /// How long it took, milliseconds.
        took_ms: u64,
    },
    /// Waiting for somebody else.
    Waiting {
        /// For whom: proxies by id, or the holder of a lock.
        on: Vec<String>,
        /// For how long already, milliseconds.
        ms: u64,
    },
    /// Keys are being looked at.
    Looked {
        /// How many have been.
        keys: u64,
        /// About how many there are.
        of: u64,
    },
    /// A remark.
    Note(String),
    /// A wave of moving slots got on.
    Wave(WaveProgress),
}

/// What a wave is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WavePhase {
    /// Checking both sides; nothing is written yet.
    PreFlight,
    /// Requests are held back until all proxies have acknowledged.
    PreMigrate,
    /// Keys move.
    Migrate,
    /// Looking for keys left on the source.
    Verify,
    /// Going online at the destination.
    Online,
    /// All slots are online at the destination.
    Done,
    /// Given up; the note says why and in which state the slots are.
    Failed,
}

impl WavePhase {
    /// The word for people, e.g. `pre_migrate`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreFlight => "pre-flight",
            Self::PreMigrate => "pre_migrate",
            Self::Migrate => "migrate",
            Self::Verify => "verify",
            Self::Online => "online",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// How far a wave is.
#[derive(Debug, Clone)]
pub struct WaveProgress {
    /// Number of the wave, as in its tasks.
    pub wave: u64,
    /// Group that gives.
    pub from: GroupId,
    /// Group that takes.
    pub to: GroupId,
    /// The slots that move together.
    pub slots: SlotSet,
    /// What it is doing.
    pub phase: WavePhase,
    /// Acknowledgements of the current switch: received, expected.
    pub acks: (usize, usize),
    /// Keys to move, if known.
    pub keys_total: Option<u64>,
    /// Keys moved by this run.
    pub keys_moved: u64,
    /// Keys per second, lately.
    pub keys_per_s: f64,
    /// Seconds left, if that can be said.
    pub eta_s: Option<u64>,
    /// Keys in a batch, now.
    pub batch_keys: u32,
    /// Median time that a batch held a server up, milliseconds.
    pub stall_p50_ms: f64,
    /// 99th percentile of the same.
    pub stall_p99_ms: f64,
    /// Longest of the same.
    pub stall_max_ms: f64,
    /// What a person should know.
    pub note: String,
}

/// Where events go. Cheap to clone; emitting never blocks.
#[derive(Debug, Clone, Default)]
pub struct Events(Option<mpsc::Sender<Event>>);

/// Where events come out.
#[derive(Debug)]
pub struct EventStream(mpsc::Receiver<Event>);

impl Events {
    /// A sink and its stream.
    pub fn channel() -> (Self, EventStream) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (Self(Some(sender)), EventStream(receiver))
    }

    /// A sink that nobody listens to.
    pub fn none() -> Self {
        Self(None)
    }

    /// Tells; drops the event if the listener is too far behind or gone.
    pub fn emit(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // Full or closed: see BACKLOG.
            let _ = sender.try_send(event);
        }
    }

    /// Tells a remark.
    pub fn note(&self, text: impl Into<String>) {
        self.emit(Event::Note(text.into()));
    }
}

impl EventStream {
    /// The next event; `None` when every sink is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// The next event if one is waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}
