//! Round after round: what is next in the queue is begun beside what is at work already.
//!
//! Each look at the queue is a snapshot of the store, and what is at work was noted before it was taken, so it can neither be begun
//! twice nor taken for something that a dead mover left behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use codis_core::{Cluster, SlotSet};
use rand::Rng as _;
use tokio::task::{Id, JoinError, JoinSet};

use super::{
    RunOptions,
    queue::{AtWork, Item, Next, Rules, Wave, next, telling},
    run::Run,
    switch,
    task::GivenUp,
    wave,
};
use crate::{Failure, FailureKind, audit};

/// Failures of the store in a row before a run gives up.
const STORE_ATTEMPTS: usize = 5;
/// Longest pause between them.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// How something ended: the tasks that are left for the next run, and why.
struct Ended {
    given_up: BTreeSet<u64>,
    outcome: Result<(), Failure>,
}

struct Rounds<'a> {
    run: &'a Arc<Run>,
    jobs: JoinSet<Ended>,
    at_work: BTreeMap<Id, AtWork>,
    /// Tasks that failed in this run.
    failed: BTreeSet<u64>,
    /// The first failure that stopped nothing but its own tasks.
    first: Option<Failure>,
    /// What ends the run as soon as nothing is at work.
    last: Option<Failure>,
    /// What made the next look necessary, if it was a failure that looking again may settle.
    stale: Option<Failure>,
    outages: usize,
}

/// Whether a run with these options would do anything.
pub(crate) fn has_work(cluster: &Cluster, options: &RunOptions) -> bool {
    let rules = Rules {
        codis2: options.as_codis2,
        wave_slots: options.wave_slots,
        max_parallel: options.max_parallel,
        failed: &BTreeSet::new(),
        leave_failed: options.leave_failed,
        at_work: &[],
    };
    next(cluster, &rules) != Next::Nothing
}

/// Everything in the queue. What fails is left for the next run, and the others are done first.
pub(crate) async fn all(run: &Arc<Run>) -> Result<(), Failure> {
    let mut rounds = Rounds {
        run,
        jobs: JoinSet::new(),
        at_work: BTreeMap::new(),
        failed: BTreeSet::new(),
        first: None,
        last: None,
        stale: None,
        outages: 0,
    };
    loop {
        while let Some(ended) = rounds.jobs.try_join_next_with_id() {
            rounds.take(ended);
        }
        if run.stop.is_cancelled() && rounds.last.is_none() && rounds.jobs.is_empty() {
            rounds.last = Some(run.interrupted("between two waves"));
        }
        let over = rounds.last.is_some() || run.stop.is_cancelled();
        if over || !rounds.begin().await {
            match rounds.jobs.join_next_with_id().await {
                Some(ended) => rounds.take(ended),
                None if rounds.last.is_some() || !over => {
                    return rounds.last.or(rounds.first).map_or(Ok(()), Err);
                }
                None => {}
            }
        }
    }
}

impl Rounds<'_> {
    /// Looks at the queue and begins what is next. False if there is nothing for now.
    async fn begin(&mut self) -> bool {
        if let Some(failure) = self.stale.take() {
            // Each of those at work may meet the same outage.
            if self.outages >= STORE_ATTEMPTS + self.at_work.len() {
                self.end(failure);
                return false;
            }
            self.outages += 1;
            self.run.events.note(format!("{failure}; trying again"));
            pause(self.run, self.outages).await;
        }
        let cluster = match self.run.cx.load().await {
            Ok(cluster) => Arc::new(cluster),
            Err(failure) if failure.stale => {
                self.stale = Some(failure);
                return true;
            }
            Err(failure) => {
                self.end(failure);
                return false;
            }
        };
        let (run, options) = (self.run.clone(), &self.run.options);
        let at_work: Vec<AtWork> = self.at_work.values().cloned().collect();
        let rules = Rules {
            codis2: options.as_codis2,
            wave_slots: options.wave_slots,
            max_parallel: options.max_parallel,
            failed: &self.failed,
            leave_failed: options.leave_failed,
            at_work: &at_work,
        };
        let next = next(&cluster, &rules);
        let Some(work) = AtWork::of(&next) else { return false };
        let job = self.jobs.spawn(async move { Box::pin(carry_out(&run, &cluster, next)).await });
        self.at_work.insert(job.id(), work);
        true
    }

    /// Takes note of the end of something.
    fn take(&mut self, ended: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                self.at_work.remove(&error.id());
                return self.end(Failure::new(FailureKind::Failed, "cannot move slots", "moves", error));
            }
        };
        self.at_work.remove(&id);
        let Ended { mut given_up, outcome } = ended;
        match outcome {
            Ok(()) => self.outages = 0,
            // The store's state says how far it is, so whatever was interrupted is simply looked at again.
            Err(failure) if failure.stale => self.stale = Some(failure),
            Err(failure) if !given_up.is_empty() && failure.kind != FailureKind::Interrupted => {
                self.failed.append(&mut given_up);
                self.first.get_or_insert(failure);
            }
            Err(failure) => self.end(failure),
        }
    }

    /// The run ends with this, when all that is at work has come to a safe point.
    fn end(&mut self, failure: Failure) {
        self.last.get_or_insert(failure);
        self.run.stop.cancel();
    }
}

impl AtWork {
    fn of(next: &Next) -> Option<Self> {
        let slots = |items: &[Item]| items.iter().map(|item| item.slot.id).collect();
        Some(match next {
            Next::Nothing => return None,
            Next::Unblock(slots) => Self { slots: slots.iter().map(|slot| slot.id).collect(), ends: None },
            Next::Finish(items) => Self { slots: slots(items), ends: None },
            Next::Hopeless(item, _) => Self { slots: [item.slot.id].into_iter().collect(), ends: None },
            Next::Move(wave) => Self { slots: wave.slots(), ends: Some((wave.from, wave.to)) },
        })
    }
}

/// Does one thing. Safe to stop anywhere: see the table in the module's head.
async fn carry_out(run: &Run, cluster: &Cluster, next: Next) -> Ended {
    let telling = telling(cluster, run.options.as_codis2);
    let mut held = false;
    let (items, outcome) = match next {
        Next::Nothing => (Vec::new(), Ok(())),
        Next::Unblock(slots) => {
            let set: SlotSet = slots.iter().map(|slot| slot.id).collect();
            run.events
                .note(format!("slots {set} were left in pre_migrate; they go back to where they were first"));
            (Vec::new(), switch::unblock_left(run, slots, telling).await)
        }
        Next::Finish(items) => {
            let finished = async {
                switch::repeat(run, &items, telling).await?;
                run.finish(items.clone()).await
            };
            let outcome = finished.await;
            (items, outcome)
        }
        Next::Hopeless(item, why) => {
            let what = format!("cannot carry out task {}", item.number());
            let failure =
                Failure::new(FailureKind::Unsafe, what, format!("slots/slot_{}", item.slot.id), why)
                    .next(format!("codisctl task delete {}", item.task.argument()));
            (vec![item], Err(failure))
        }
        Next::Move(mut wave) => {
            let outcome = Box::pin(recorded(run, cluster, &mut wave)).await;
            held = wave.held;
            // What the wave still holds: pre-flight may have refused a part of it.
            (wave.items().cloned().collect(), outcome)
        }
    };
    let Err(failure) = &outcome else { return Ended { given_up: BTreeSet::new(), outcome } };
    let given_up = items.iter().map(Item::number).collect();
    let how = match failure.kind {
        FailureKind::Interrupted => GivenUp::Stopped,
        _ if held => GivenUp::Held,
        _ => GivenUp::Failed,
    };
    run.give_up(items, how, failure).await;
    Ended { given_up, outcome }
}

/// A wave, with its audit record.
async fn recorded(run: &Run, cluster: &Cluster, wave: &mut Wave) -> Result<(), Failure> {
    let numbers: Vec<u64> = wave.items().map(Item::number).collect();
    let plan = {
        let (count, from, to) = (numbers.len(), wave.from, wave.to);
        let queue = if run.options.as_codis2 { "migrate_tasks" } else { "tasks" };
        format!("move {count} slots from group {from} to {to}, {queue} {numbers:?}")
    };
    let record = audit::begin(&run.cx, plan, run.options.consent).await?;
    let outcome = Box::pin(wave::carry_out(run, cluster, wave)).await;
    if let Err(error) = record.end(&run.cx, &outcome).await {
        tracing::warn!(%error, "the audit record could not be completed");
    }
    outcome
}

/// A growing, jittered pause, cut short by a stop.
async fn pause(run: &Run, failures: usize) {
    let failures = u32::try_from(failures).unwrap_or(u32::MAX);
    let full = (Duration::from_millis(100) * 2u32.saturating_pow(failures)).min(STORE_PAUSE);
    let pause = full.mul_f64(rand::rng().random_range(0.5..=1.0));
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = run.stop.cancelled() => {}
    }
}
