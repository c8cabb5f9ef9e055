//! One run: the lease, then wave after wave until the queue is empty.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use codis_core::{Addr, Cluster, SlotSet};
use codis_redis::{ConnectOptions, Lease};
use codis_store::StoreError;
use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use super::{
    RunOptions, RunReport,
    lease::{Guard, Held},
    preflight::{self, Ends},
    progress::Totals,
    queue::{Item, Next, Wave, next, telling},
    switch,
    task::{self, Task},
    wave,
};
use crate::{Context, Events, Failure, FailureKind, audit};

/// Failures of the store in a row before a run gives up.
const STORE_ATTEMPTS: u32 = 5;
/// Longest pause between them.
const STORE_PAUSE: Duration = Duration::from_secs(2);

/// What all parts of a run share.
pub(crate) struct Run<'a> {
    pub(crate) cx: &'a Context,
    pub(crate) options: &'a RunOptions,
    pub(crate) events: &'a Events,
    /// Cancelled by the caller's stop, and when our dashboard node is taken away.
    pub(crate) stop: CancellationToken,
    held: Held,
    totals: Mutex<Totals>,
    /// Servers on which no connection of an earlier mover is left.
    clean: Mutex<BTreeSet<Addr>>,
}

/// Moves all queued slots, those first that an earlier run left half-way. Ends when the queue is empty, or
/// holds only tasks that failed in this run.
///
/// Safe to stop anywhere and to repeat: by `options.stop` at the next safe point, by SIGKILL, by
/// dropping the future and closing the context (the lease goes with its session). Slots that are in `migrate` then stay there, every key reachable, until the next run.
///
/// # Errors
/// The first wave that failed, when no other is left to do; its tasks carry the reason. `Unsafe` if another
/// mover or a dashboard is at work. `Interrupted` after a stop. `Unreachable` if the store stays away.
pub async fn run(cx: &Context, options: &RunOptions, events: &Events) -> Result<RunReport, Failure> {
    let begun = Instant::now();
    let cluster = cx.load().await?;
    if Task::queue(&cluster, options.as_codis2).is_empty() {
        return Ok(RunReport::default());
    }
    let held = Held::take(cx, events).await?;
    let guard = match Guard::take(cx).await {
        Ok(guard) => guard,
        Err(failure) => {
            held.release().await;
            return Err(failure);
        }
    };
    let stop = options.stop.child_token();
    let run = Run { cx, options, events, stop, held, totals: Mutex::default(), clean: Mutex::default() };
    let outcome = Box::pin(run.guarded(&guard)).await;
    let report = run.totals().report(begun);
    guard.release().await;
    run.held.release().await;
    outcome.map(|()| report)
}

impl Run<'_> {
    /// All waves, stopped at a safe point if a dashboard takes our node away.
    async fn guarded(&self, guard: &Guard) -> Result<(), Failure> {
        let mut waves = Box::pin(self.waves());
        tokio::select! {
            outcome = &mut waves => return outcome,
            () = guard.lost() => self.stop.cancel(),
        }
        match waves.await {
            Err(failure) if failure.kind == FailureKind::Interrupted => {
                let why =
                    "the node was taken away while slots were moving; the run has stopped at a safe point";
                Err(Failure::new(FailureKind::Unsafe, "cannot go on moving slots", "dashboard", why)
                    .next("stop the Go dashboard that was started, then: codisctl migrate run"))
            }
            outcome => outcome,
        }
    }

    /// Wave after wave. What fails is left for the next run, and the others are done first.
    async fn waves(&self) -> Result<(), Failure> {
        let mut failed = BTreeSet::new();
        let mut first = None;
        let mut outages = 0;
        loop {
            if self.stop.is_cancelled() {
                return Err(self.interrupted("between two waves"));
            }
            let known = failed.len();
            match Box::pin(self.once(&mut failed)).await {
                Ok(true) => outages = 0,
                Ok(false) => return first.map_or(Ok(()), Err),
                // The store's state says how far it is, so whatever was interrupted is simply looked at again.
                Err(failure) if failure.stale && outages < STORE_ATTEMPTS => {
                    outages += 1;
                    self.events.note(format!("{failure}; trying again"));
                    self.pause(outages).await;
                }
                Err(failure) if failed.len() > known && failure.kind != FailureKind::Interrupted => {
                    first.get_or_insert(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Does what is next in the queue. False if there is nothing.
    async fn once(&self, failed: &mut BTreeSet<u64>) -> Result<bool, Failure> {
        let cluster = self.cx.load().await?;
        let telling = telling(&cluster, self.options.as_codis2);
        match next(&cluster, self.options.as_codis2, failed, self.options.wave_slots) {
            Next::Nothing => return Ok(false),
            Next::Unblock(slots) => {
                let set: SlotSet = slots.iter().map(|slot| slot.id).collect();
                self.events.note(format!(
                    "slots {set} were left in pre_migrate; they go back to where they were first"
                ));
                switch::unblock_left(self, slots, telling).await?;
            }
            Next::Finish(items) => {
                let numbers: Vec<u64> = items.iter().map(Item::number).collect();
                let finished = async {
                    switch::repeat(self, &items, telling).await?;
                    self.finish(items.clone()).await
                };
                if let Err(failure) = finished.await {
                    return self.give_up(items, numbers, failed, failure).await;
                }
            }
            Next::Hopeless(item, why) => {
                let what = format!("cannot carry out task {}", item.number());
                let place = format!("slots/slot_{}", item.slot.id);
                let failure = Failure::new(FailureKind::Unsafe, what, place, why)
                    .next(format!("codisctl task delete {}", item.task.argument()));
                let number = item.number();
                return self.give_up(vec![item], vec![number], failed, failure).await;
            }
            Next::Move(mut wave) => {
                let numbers: Vec<u64> = wave.items().map(Item::number).collect();
                let plan = {
                    let (count, from, to) = (numbers.len(), wave.from, wave.to);
                    let queue = if self.options.as_codis2 { "migrate_tasks" } else { "tasks" };
                    format!("move {count} slots from group {from} to {to}, {queue} {numbers:?}")
                };
                let record = audit::begin(self.cx, plan, self.options.consent).await?;
                let outcome = Box::pin(wave::carry_out(self, &cluster, &mut wave)).await;
                if let Err(error) = record.end(self.cx, &outcome).await {
                    tracing::warn!(%error, "the audit record could not be completed");
                }
                if let Err(failure) = outcome {
                    // What the wave still holds: pre-flight may have refused a part of it.
                    let items: Vec<Item> = wave.items().cloned().collect();
                    let numbers = items.iter().map(Item::number).collect();
                    return self.give_up(items, numbers, failed, failure).await;
                }
            }
        }
        Ok(true)
    }

    /// Notes in the tasks why they are not done, and leaves them for the next run.
    async fn give_up(
        &self,
        mut items: Vec<Item>,
        numbers: Vec<u64>,
        failed: &mut BTreeSet<u64>,
        failure: Failure,
    ) -> Result<bool, Failure> {
        // Hand-overs that failed may have left connections behind.
        self.lock_clean().clear();
        if failure.stale {
            return Err(failure);
        }
        let stopped = failure.kind == FailureKind::Interrupted;
        let noted = items.iter_mut().filter_map(|item| {
            let noted = item.task.give_up(stopped, failure.to_string());
            noted.then_some(item)
        });
        if let Err(second) = self.write_tasks(noted.collect()).await {
            tracing::warn!(failure = %second, "the reason could not be noted in the tasks");
        }
        failed.extend(numbers);
        Err(failure)
    }

    /// Slots are online at their destination: their tasks go.
    pub(crate) async fn finish(&self, items: Vec<Item>) -> Result<(), Failure> {
        self.totals().slots(items.len());
        let fail = |error| Failure::store("cannot delete finished tasks", &error);
        let (ours, theirs) = task::split(items.iter().map(|item| &item.task));
        if !ours.is_empty() {
            self.cx.product.delete_moves(&ours).await.map_err(fail)?;
        }
        if !theirs.is_empty() {
            self.cx.product.delete_go_tasks(&theirs).await.map_err(fail)?;
        }
        Ok(())
    }

    /// Writes tasks, all or none, and takes over their new versions.
    pub(crate) async fn write_tasks(&self, items: Vec<&mut Item>) -> Result<(), Failure> {
        let fail = |error| Failure::store("cannot note progress in the tasks", &error);
        self.put_tasks(items).await.map_err(fail)
    }

    /// The same, with the error of the store.
    pub(crate) async fn put_tasks(&self, items: Vec<&mut Item>) -> Result<(), StoreError> {
        let (ours, theirs) = task::split(items.iter().map(|item| &item.task));
        if !ours.is_empty() {
            self.cx.product.put_moves(&ours).await?;
        }
        if !theirs.is_empty() {
            self.cx.product.put_go_tasks(&theirs).await?;
        }
        items.into_iter().for_each(|item| item.task.written());
        Ok(())
    }

    /// Both masters as the store has them now, if both still answer as masters.
    pub(crate) async fn masters_now(&self, wave: &Wave, what: &str) -> Result<Option<Ends>, Failure> {
        let cluster: Cluster = self.cx.load().await?;
        self.lock_clean().clear();
        Ok(preflight::connect(self, &cluster, wave, what).await.ok())
    }

    /// Ends the connections of earlier movers on these servers, once per run.
    pub(crate) async fn bury_predecessors(&self, addrs: &[&Addr], what: &str) -> Result<(), Failure> {
        for addr in addrs {
            if !self.lock_clean().contains(*addr) {
                preflight::bury(self, addr, what).await?;
                self.lock_clean().insert((*addr).clone());
            }
        }
        Ok(())
    }

    /// How to connect to servers: under this mover's name.
    pub(crate) fn redis(&self) -> ConnectOptions {
        self.cx.redis.named(self.held.name())
    }

    pub(crate) fn lease(&self) -> &dyn Lease {
        &self.held
    }

    pub(crate) fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end after a stop; `when` says in which state things are.
    pub(crate) fn interrupted(&self, when: &str) -> Failure {
        Failure::new(FailureKind::Interrupted, "stopped moving slots", "moves", format!("as asked, {when}"))
            .next(format!("{}    goes on where it stopped", self.again()))
    }

    /// The command that begins such a run.
    pub(crate) fn again(&self) -> &'static str {
        if self.options.as_codis2 { "codisctl migrate run --as codis2" } else { "codisctl migrate run" }
    }

    fn lock_clean(&self) -> MutexGuard<'_, BTreeSet<Addr>> {
        self.clean.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pause(&self, failures: u32) {
        let full = (Duration::from_millis(100) * 2u32.saturating_pow(failures)).min(STORE_PAUSE);
        let pause = full.mul_f64(rand::rng().random_range(0.5..=1.0));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stop.cancelled() => {}
        }
    }
}
