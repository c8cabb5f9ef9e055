//! The queue of moves, worked on by the agent that leads when nobody else does.
//!
//! The mover runs in a task with a session of its own: its lease lives and dies with that session, whatever becomes of the
//! agent's. Like any other it can be ended anywhere, and the next one goes on. What fails is left to people.

use std::time::Duration;

use codis_core::{
    duty::{QueueSeen, Tasks},
    ha::Observed,
    notice::{Alert, Facts},
};
use rand::Rng as _;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Events, Failure, FailureKind, Target, context,
    mover::{self, RunOptions, RunReport},
};

/// How long a mover may take to come to a safe point; then it is ended where it is.
const SAFE_POINT: Duration = Duration::from_secs(10);
/// Bounds of the pause after a run that failed.
const REST: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How an agent works on the queue of moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovesOptions {
    /// Only when nobody else has for so long.
    pub after: Duration,
    /// Keys per second at most, of each wave.
    pub rate: Option<u32>,
}

impl Default for MovesOptions {
    fn default() -> Self {
        Self { after: Duration::from_secs(30), rate: None }
    }
}

#[derive(Debug)]
struct Job {
    task: JoinHandle<Result<RunReport, Failure>>,
    stop: CancellationToken,
}

/// The queue as this agent deals with it.
#[derive(Debug, Default)]
pub(super) struct Moves {
    tasks: Tasks,
    job: Option<Job>,
    /// Runs that failed one after another, and until when the queue is left alone.
    resting: Option<(u32, Instant)>,
    /// Why the last run ended.
    trouble: Option<Failure>,
    /// When that was, Unix milliseconds: an older picture shows tasks that are done.
    ended_ms: u64,
}

impl Moves {
    /// Begins to work on the queue when it is this agent's turn. Never waits.
    pub(super) async fn tend(
        &mut self,
        cx: &Context,
        id: &str,
        options: &MovesOptions,
        observed: &Observed,
        events: &Events,
    ) {
        self.collect(events).await;
        let cluster = &observed.cluster;
        if cluster.taken_ms <= self.ended_ms {
            return;
        }
        let run = RunOptions {
            rate: options.rate,
            leave_failed: true,
            owner: Some(format!("agent {id}")),
            ..RunOptions::default()
        };
        let work = !cluster.moves.is_empty() && mover::has_work(cluster, &run);
        if !work {
            (self.trouble, self.resting) = (None, None);
        }
        let queue = QueueSeen { work, taken: cluster.mover.is_some() || self.job.is_some() };
        let after_ms = options.after.as_millis() as u64;
        let due = self.tasks.is_due(&queue, after_ms, observed.now_ms);
        if !due || self.resting.is_some_and(|(_, until)| Instant::now() < until) {
            return;
        }
        events
            .note(format!("{} tasks are queued and nobody moves them: this agent does", cluster.moves.len()));
        let stop = run.stop.clone();
        let task = tokio::spawn(Box::pin(work_on(cx.target().clone(), cx.argv().to_owned(), run)));
        self.job = Some(Job { task, stop });
    }

    async fn collect(&mut self, events: &Events) {
        let Some(job) = self.job.take_if(|job| job.task.is_finished()) else { return };
        self.ended_ms = context::now_ms();
        match job.task.await {
            Ok(Ok(report)) => {
                events.note(format!("the queue of moves is done: {} slots moved", report.slots_moved));
                (self.trouble, self.resting) = (None, None);
            }
            Ok(Err(failure)) if failure.kind == FailureKind::Interrupted => {}
            Ok(Err(failure)) => {
                tracing::warn!(%failure, "moving slots has ended");
                let failures = self.resting.map_or(0, |(failures, _)| failures);
                let full = (REST.0 * 2u32.saturating_pow(failures)).min(REST.1);
                let pause = full.mul_f64(rand::rng().random_range(0.5..=1.0));
                self.resting = Some((failures.saturating_add(1), Instant::now() + pause));
                // That somebody else moves is no trouble.
                self.trouble = Some(failure).filter(|failure| failure.place != "mover");
            }
            Err(error) => tracing::warn!(%error, "the mover was ended"),
        }
    }

    /// Has the mover stop at the next safe point; does not wait for it.
    pub(super) fn stop(&mut self) {
        if let Some(job) = &self.job {
            job.stop.cancel();
        }
    }

    /// The same, and waits until it has.
    pub(super) async fn leave(&mut self) {
        self.stop();
        if let Some(job) = self.job.take() {
            let abort = job.task.abort_handle();
            if timeout(SAFE_POINT * 2, job.task).await.is_err() {
                abort.abort();
            }
        }
    }

    /// The queue cannot be worked on, and why.
    pub(super) fn trouble(&self, observed: &Observed) -> Option<Alert> {
        let failure = self.trouble.as_ref().filter(|_| observed.cluster.taken_ms > self.ended_ms)?;
        let facts = Facts::Check {
            duty: "tasks".to_owned(),
            place: "the queue of moves".to_owned(),
            why: failure.to_string(),
        };
        Some(Alert::new("moves", observed.now_ms, facts))
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            job.task.abort();
        }
    }
}

/// What an agent that acts on nothing says of the queue.
pub(super) fn would_move(observed: &Observed) -> Option<String> {
    let cluster = &observed.cluster;
    let run = RunOptions { leave_failed: true, ..RunOptions::default() };
    let idle = cluster.mover.is_none() && !cluster.moves.is_empty() && mover::has_work(cluster, &run);
    idle.then(|| format!("{} tasks are queued and nobody moves them: an agent would", cluster.moves.len()))
}

/// A run in a session of its own. The lease goes with that, also when the run does not come to a safe point in time.
async fn work_on(target: Target, argv: String, options: RunOptions) -> Result<RunReport, Failure> {
    let mut cx = Context::connect(&target).await?;
    cx.set_argv(argv);
    let late = async {
        options.stop.cancelled().await;
        sleep(SAFE_POINT).await;
    };
    let events = Events::none();
    let outcome = tokio::select! {
        outcome = mover::run(&cx, &options, &events) => outcome,
        () = late => {
            let why = "it did not come to a safe point in time; every key stays reachable";
            Err(Failure::new(FailureKind::Interrupted, "stopped moving slots", "moves", why))
        }
    };
    cx.close().await;
    outcome
}
