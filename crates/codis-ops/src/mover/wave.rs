//! One wave, from pre-flight to its end.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use codis_core::{Cluster, SlotSet, plan::plural};
use codis_redis::{
    BigKey, BulkError, BulkOptions, BulkProgress, NativeOptions, Redis, RedisError, Route, SlotKeys, Speed,
    bulk_move, native_counts, native_move, sample_slots, scan_slots,
};
use codis_store::ErrorKind;
use tokio_util::sync::CancellationToken;

use super::{
    RunOptions, Verify,
    preflight::{self, Ends, Ready, slots_place, too_big},
    progress::Progress,
    queue::{Item, Wave},
    run::Run,
    switch,
};
use crate::{Event, Failure, FailureKind, WavePhase};

/// How often a wave's tasks are told how far it is.
const NOTE_EVERY: Duration = Duration::from_millis(500);
/// Places looked at by a sample.
const SAMPLE: usize = 64;
/// How often leftovers are moved before something must be wrong.
const ROUNDS: u32 = 3;
/// How long a native server may wait for the destination in each step of a move: so long it serves nobody.
const NATIVE_STALL: Duration = Duration::from_secs(1);
/// How many changes of a master a wave goes along with.
const FAILOVERS: u32 = 3;

/// Carries a wave out. Safe to stop anywhere: see the table in the module's head.
///
/// # Errors
/// What went wrong, in which state the slots are and what to do. The tasks are still there.
pub(crate) async fn carry_out(run: &Run, cluster: &Cluster, wave: &mut Wave) -> Result<(), Failure> {
    let mut progress = Progress::new(wave);
    run.events.emit(Event::Wave(progress.phase(WavePhase::PreFlight)));
    let outcome = steps(run, cluster, wave, &mut progress).await;
    match &outcome {
        Ok(()) => run.events.emit(Event::Wave(progress.phase(WavePhase::Done))),
        Err(failure) => run.events.emit(Event::Wave(progress.failed(failure.to_string()))),
    }
    outcome
}

async fn steps(
    run: &Run,
    cluster: &Cluster,
    wave: &mut Wave,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let ready = preflight::check(run, cluster, wave).await?;
    preflight::refuse_big(wave, &ready.big)?;
    if run.stop.is_cancelled() {
        return Err(run.interrupted("before anything was changed"));
    }
    let taken_over = !wave.moving.is_empty() || wave.turns_back;
    begin_tasks(run, wave, &ready.by_slot, progress).await?;
    switch::enter(run, wave, progress).await?;
    let left = move_keys(run, wave, ready, taken_over, progress).await?;
    let held = left_out(run, wave, &left);
    if !wave.moving.is_empty() {
        switch::leave(run, wave, progress).await?;
        run.finish(wave.moving.drain(..).collect()).await?;
    }
    run.totals().wave();
    let Some((items, failure)) = held else { return Ok(()) };
    wave.moving = items;
    wave.held = true;
    Err(failure)
}

/// Takes the slots from the wave whose keys have grown so much that they stay on the source. They stay in `migrate`.
fn left_out(run: &Run, wave: &mut Wave, left: &[BigKey]) -> Option<(Vec<Item>, Failure)> {
    let why = too_big(left)?;
    let slots: SlotSet = left.iter().map(|key| key.slot).collect();
    let (items, moving) =
        std::mem::take(&mut wave.moving).into_iter().partition(|item| slots.contains(item.slot.id));
    wave.moving = moving;
    let what = format!("slots {slots} stay in migrate from group {} to {}", wave.from, wave.to);
    let why = format!("{why}; it moves only when a client asks for it");
    let failure = Failure::new(FailureKind::Failed, what, slots_place(&slots), why)
        .next(format!("{} --allow-stall    or, when it is smaller or gone: {0}", run.again()));
    Some((items, failure))
}

/// Notes in the tasks that they are being worked on, and how many keys there are to move.
async fn begin_tasks(
    run: &Run,
    wave: &mut Wave,
    by_slot: &[u64],
    progress: &mut Progress,
) -> Result<(), Failure> {
    for item in wave.items_mut() {
        item.task.begin(by_slot.get(item.slot.id.index()).copied().unwrap_or_default());
    }
    let left = wave.items().map(|item| by_slot.get(item.slot.id.index()).copied().unwrap_or_default());
    progress.total(left.sum());
    run.write_tasks(wave.items_mut().collect()).await
}

/// Moves all keys of the wave, however long it takes and whoever becomes master meanwhile, and makes sure
/// that none is left on the source or its slaves, but for keys that would hold a server up for too long: those are returned.
async fn move_keys(
    run: &Run,
    wave: &mut Wave,
    ready: Ready,
    taken_over: bool,
    progress: &mut Progress,
) -> Result<Vec<BigKey>, Failure> {
    let Ready { mut ends, spare, .. } = ready;
    let slots = wave.slots();
    let what = format!(
        "cannot move the keys of slots {slots} from {} to {}",
        ends.route.from.addr, ends.route.to.addr
    );
    let mut thorough = taken_over || run.options.verify == Verify::Full;
    let (mut rounds, mut failovers) = (0, 0);
    loop {
        let big = match move_once(run, wave, &ends, spare, progress).await {
            Ok(Moved { tasks_changed: true, .. }) if !run.stop.is_cancelled() => {
                return Err(changed(run, &what));
            }
            Ok(Moved { retries, big, .. }) => {
                thorough |= retries > 0;
                big
            }
            Err(BulkError::Refused { answer, keys, .. }) if answer.starts_with("OOM") => {
                wave.held = true;
                return Err(no_room(run, wave, &ends.route, keys, &answer));
            }
            Err(error) => {
                // Perhaps because one of them is not the master any more.
                match run.masters_now(wave, &what).await? {
                    Some(new) if new.addrs() != ends.addrs() => {
                        failovers += 1;
                        if failovers > FAILOVERS {
                            return Err(stuck(run, &what, &ends.route, error));
                        }
                        ends = new;
                        thorough = true;
                    }
                    _ => return Err(stuck(run, &what, &ends.route, error)),
                }
                continue;
            }
        };
        if run.stop.is_cancelled() {
            return Err(run.interrupted("the slots are in migrate and every key is reachable"));
        }
        run.events.emit(Event::Wave(progress.phase(WavePhase::Verify)));
        let stay: SlotSet = big.iter().map(|key| key.slot).collect();
        let gone: SlotSet = slots.iter().filter(|slot| !stay.contains(*slot)).collect();
        let left = left_behind(&ends, &gone, thorough).await;
        let left = left.map_err(|error| unverified(run, &what, &error))?;
        if left.count == 0 {
            settle(run, &ends, &what).await?;
            return Ok(big);
        }
        let route = &ends.route;
        rounds += 1;
        if rounds == ROUNDS {
            let why = format!(
                "{} keys are still there after {rounds} rounds, e.g. {:?}: something writes past the proxies",
                left.count,
                left.some.first().map(|key| String::from_utf8_lossy(key)).unwrap_or_default()
            );
            return Err(Failure::new(FailureKind::Failed, what, &route.from.addr, why).next(format!(
                "CLIENT LIST on {}    then: {}",
                route.from.addr,
                run.again()
            )));
        }
        thorough = true;
        run.events.emit(Event::Wave(progress.phase(WavePhase::Migrate)));
    }
}

/// How moving keys ended.
struct Moved {
    /// How often something had to be tried again.
    retries: u64,
    /// Somebody has paused, cancelled or deleted a task meanwhile, and it was stopped for that.
    tasks_changed: bool,
    /// Keys left on the source, the worst first.
    big: Vec<BigKey>,
}

/// One scan and all hand-overs.
async fn move_once(
    run: &Run,
    wave: &mut Wave,
    ends: &Ends,
    spare: Option<Speed>,
    progress: &mut Progress,
) -> Result<Moved, BulkError> {
    let RunOptions { max_stall, workers, rate, attempts, .. } = run.options;
    let options = BulkOptions { max_stall, spare, workers, rate, attempts };
    let asked =
        Duration::from_millis(wave.items().map(|item| item.task.delay_ms()).max().unwrap_or_default());
    let delay = run.options.delay.unwrap_or(asked);
    let native = NativeOptions { timeout: NATIVE_STALL, delay, rate, attempts };
    let (route, slots) = (&ends.route, wave.slots());
    let before: Vec<u64> = wave.items().map(|item| item.task.keys_moved()).collect();
    let latest = Mutex::new(BulkProgress::default());
    let done = CancellationToken::new();
    let stop = run.stop.child_token();
    let shown = Mutex::new(progress);
    let on_progress = |bulk: &BulkProgress| {
        let event = shown.lock().unwrap_or_else(PoisonError::into_inner).moved(bulk);
        run.events.emit(Event::Wave(event));
        latest.lock().unwrap_or_else(PoisonError::into_inner).clone_from(bulk);
    };
    let moving = async {
        let moved = match ends.native {
            false => bulk_move(route, &slots, &options, run.lease(), &stop, &on_progress).await,
            true => native_move(route, &slots, &native, run.lease(), &stop, &on_progress).await,
        };
        done.cancel();
        moved
    };
    let noting = note_progress(run, wave, &before, &latest, &stop, &done);
    let (tasks_changed, moved) = tokio::join!(noting, moving);
    shown.into_inner().unwrap_or_else(PoisonError::into_inner).keep();
    let moved = moved?;
    run.totals().bulk(&moved);
    Ok(Moved { retries: moved.progress.retries, tasks_changed, big: moved.big })
}

/// Writes into the tasks how many of their keys have moved: once in a while, and at the end. Cancels `stop` and returns true if
/// somebody else has changed one of them.
async fn note_progress(
    run: &Run,
    wave: &mut Wave,
    before: &[u64],
    latest: &Mutex<BulkProgress>,
    stop: &CancellationToken,
    done: &CancellationToken,
) -> bool {
    loop {
        tokio::select! {
            () = tokio::time::sleep(NOTE_EVERY) => {}
            () = done.cancelled() => {}
        }
        let last = done.is_cancelled();
        let by_slot = latest.lock().unwrap_or_else(PoisonError::into_inner).by_slot.clone();
        let mut news = Vec::new();
        for (item, before) in wave.items_mut().zip(before) {
            let moved = before + by_slot.get(item.slot.id.index()).copied().unwrap_or_default();
            if item.task.note_moved(moved) {
                news.push(item);
            }
        }
        match run.put_tasks(news).await {
            Ok(()) if last => return false,
            Ok(()) => {}
            Err(error) if matches!(error.kind, ErrorKind::BadVersion | ErrorKind::NoNode) => {
                stop.cancel();
                return true;
            }
            // The keys move all the same; the next note makes up for this one.
            Err(error) => {
                tracing::warn!(%error, "progress could not be noted");
                if last {
                    return false;
                }
            }
        }
    }
}

/// Somebody has changed a task of the wave: what is to be done is looked at anew.
fn changed(run: &Run, what: &str) -> Failure {
    let why =
        "a task of the wave was paused, cancelled or deleted; the slots are in migrate, every key reachable";
    Failure::new(FailureKind::Failed, what, "moves", why).next(run.again()).stale()
}

async fn left_behind(ends: &Ends, slots: &SlotSet, thorough: bool) -> Result<SlotKeys, RedisError> {
    let route = &ends.route;
    if ends.native {
        let counts = native_counts(&route.from.addr, &route.connect).await?;
        let count = slots.iter().map(|slot| counts.get(slot.index()).copied().unwrap_or_default()).sum();
        return Ok(SlotKeys { count, some: Vec::new() });
    }
    match thorough {
        true => scan_slots(&route.from.addr, &route.connect, slots).await,
        false => sample_slots(&route.from.addr, &route.connect, slots, SAMPLE).await,
    }
}

/// The source's slaves must have heard of every key that left: one that has not could be promoted and
/// bring the key back. A native server cannot tell.
async fn settle(run: &Run, ends: &Ends, what: &str) -> Result<(), Failure> {
    let (route, from) = (&ends.route, &ends.route.from);
    if ends.native {
        return Ok(());
    }
    let redis = |error: RedisError| Failure::redis(what, &error).next(run.again());
    let begun = Instant::now();
    let patience = run.options.wait_timeout * 3;
    let mut server = Redis::connect(&from.addr, &route.connect).await.map_err(redis)?;
    if server.settle(from.slaves, patience).await.map_err(redis)? {
        return Ok(());
    }
    let why = format!(
        "its {} slaves have not confirmed for {} ms that the keys are gone; the slots stay in migrate",
        from.slaves,
        begun.elapsed().as_millis()
    );
    Err(Failure::new(FailureKind::Unreachable, what, &from.addr, why).next(format!(
        "codisctl server info {}    then: {}",
        from.addr,
        run.again()
    )))
}

/// The destination does not take any more. Nothing but room helps, and the slots stay where they are meanwhile.
fn no_room(run: &Run, wave: &Wave, route: &Route, keys: usize, answer: &str) -> Failure {
    let (addr, keys) = (&route.to.addr, plural(keys, "key", "keys"));
    let what = format!("group {} has no room for these slots", wave.to);
    let why = format!(
        "it refused {keys}: {answer}; slots {} stay in migrate, and keys that have not moved answer with an error until there is \
         room",
        wave.slots()
    );
    let tasks: Vec<String> = wave.items().take(1).map(|item| item.task.argument()).collect();
    Failure::new(FailureKind::Failed, what, addr, why).next(format!(
        "CONFIG SET maxmemory on {addr}, then: {}    or take them back: codisctl task cancel {}",
        run.again(),
        tasks.join(" ")
    ))
}

fn stuck(run: &Run, what: &str, route: &Route, error: BulkError) -> Failure {
    let stays =
        "the slots stay in migrate; keys that have not moved are reachable as long as both servers are";
    match error {
        BulkError::Server { attempts, source } => {
            let failure = Failure::redis(what, &source);
            let why = format!("{}, {attempts} times in a row; {stays}", failure.why);
            let next =
                format!("codisctl server info {}    and when it is well: {}", source.addr, run.again());
            Failure { why, ..failure }.next(next)
        }
        BulkError::LeaseLost(why) => {
            Failure::new(FailureKind::Unsafe, what, "mover", format!("{why}; {stays}"))
                .next("codisctl status")
        }
        other => Failure::new(FailureKind::Failed, what, &route.to.addr, format!("{other}; {stays}"))
            .next(format!("codisctl server info {}    then: {}", route.to.addr, run.again())),
    }
}

fn unverified(run: &Run, what: &str, error: &RedisError) -> Failure {
    let failure = Failure::redis(what, error);
    let why = format!("{}; the slots stay in migrate until the source has been searched", failure.why);
    Failure { why, ..failure }.next(run.again())
}
