//! What all parts of a run share, and its begin and end.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use codis_core::{Addr, Cluster};
use codis_redis::{ConnectOptions, Lease};
use codis_store::StoreError;
use tokio_util::sync::CancellationToken;

use super::{
    RunOptions, RunReport,
    lease::{Guard, Held},
    preflight::{self, Ends},
    progress::Totals,
    queue::{Item, Wave},
    rounds,
    task::{self, GivenUp, Task},
};
use crate::{Context, Events, Failure, FailureKind, context::who};

/// What all parts of a run share.
pub(crate) struct Run {
    pub(crate) cx: Context,
    pub(crate) options: RunOptions,
    pub(crate) events: Events,
    /// Cancelled by the caller's stop, when our dashboard node is taken away, and when the run has to end.
    pub(crate) stop: CancellationToken,
    /// Waves change the states of their slots one after another: whoever wants to holds this first, and then `LOCK`.
    pub(crate) switching: tokio::sync::Mutex<()>,
    held: Held,
    totals: Mutex<Totals>,
    /// Servers on which no connection of an earlier mover is left.
    clean: Mutex<BTreeSet<Addr>>,
}

/// Moves all queued slots, those first that an earlier run left half-way; waves between different groups at once. Ends when the queue
/// is empty, or holds only tasks that failed in this run.
///
/// Safe to stop anywhere and to repeat: by `options.stop` at the next safe point, by SIGKILL, by
/// dropping the future and closing the context (the lease goes with its session). Slots that are in `migrate` then stay there, every key
/// reachable, until the next run.
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
    let held = Held::take(cx, &options.owner.clone().unwrap_or_else(who), events).await?;
    let guard = match Guard::take(cx).await {
        Ok(guard) => guard,
        Err(failure) => {
            held.release().await;
            return Err(failure);
        }
    };
    let run = Arc::new(Run {
        cx: cx.clone(),
        options: options.clone(),
        events: events.clone(),
        stop: options.stop.child_token(),
        switching: tokio::sync::Mutex::default(),
        held,
        totals: Mutex::default(),
        clean: Mutex::default(),
    });
    let outcome = Box::pin(guarded(&run, &guard)).await;
    let report = run.totals().report(begun);
    guard.release().await;
    run.held.release().await;
    outcome.map(|()| report)
}

/// All waves, stopped at a safe point if a dashboard takes our node away.
async fn guarded(run: &Arc<Run>, guard: &Guard) -> Result<(), Failure> {
    let mut waves = Box::pin(rounds::all(run));
    tokio::select! {
        outcome = &mut waves => return outcome,
        () = guard.lost() => run.stop.cancel(),
    }
    match waves.await {
        Err(failure) if failure.kind == FailureKind::Interrupted => {
            let why = "the node was taken away while slots were moving; the run has stopped at a safe point";
            Err(Failure::new(FailureKind::Unsafe, "cannot go on moving slots", "dashboard", why)
                .next("stop the Go dashboard that was started, then: codisctl migrate run"))
        }
        outcome => outcome,
    }
}

impl Run {
    /// Notes in the tasks why they are not done. They are left for the next run, unless all has to be looked at anew.
    pub(crate) async fn give_up(&self, mut items: Vec<Item>, how: GivenUp, failure: &Failure) {
        // Hand-overs that failed may have left connections behind.
        self.lock_clean().clear();
        if failure.stale {
            return;
        }
        let noted = items.iter_mut().filter_map(|item| {
            let noted = item.task.give_up(how, failure.to_string());
            noted.then_some(item)
        });
        if let Err(second) = self.write_tasks(noted.collect()).await {
            tracing::warn!(failure = %second, "the reason could not be noted in the tasks");
        }
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
}
