//! One scan, several workers, one end.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use codis_core::{SLOT_COUNT, SlotSet, slot_of_key};
use futures::future::join_all;
use hdrhistogram::Histogram;
use tokio_util::sync::CancellationToken;

use super::{
    Lease, Route,
    batch::Outcome,
    pace::{Pace, weight},
    queue::Queue,
    report::{BulkError, BulkProgress, BulkReport, Stall},
    worker::Worker,
};
use crate::{BigKey, Found, RedisError, Scan, Speed, backoff::Backoff, survey::worst_first};

/// How often progress is told at most.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// How hard to push.
#[derive(Debug, Clone)]
pub struct BulkOptions {
    /// How long a batch may keep a server busy.
    pub max_stall: Duration,
    /// Leave keys on the source that would hold a server of this speed up for longer; `None`: move whatever there is.
    pub spare: Option<Speed>,
    /// Batches in flight, each with a connection to either end.
    pub workers: usize,
    /// Keys per second at most.
    pub rate: Option<u32>,
    /// Failures in a row before it gives up; each is followed by a growing, jittered pause.
    pub attempts: u32,
}

impl Default for BulkOptions {
    fn default() -> Self {
        Self { max_stall: Duration::from_millis(5), spare: None, workers: 4, rate: None, attempts: 8 }
    }
}

/// What the scan and the workers share.
pub(crate) struct Job<'a> {
    pub(crate) route: &'a Route,
    pub(crate) options: &'a BulkOptions,
    pub(crate) lease: &'a dyn Lease,
    pub(crate) stop: &'a CancellationToken,
    /// Cancelled when one of them has given up.
    pub(crate) failed: CancellationToken,
    pub(crate) queue: Queue,
    state: Mutex<State>,
    begun: Instant,
    on_progress: &'a (dyn Fn(&BulkProgress) + Send + Sync),
}

struct State {
    pace: Pace,
    progress: BulkProgress,
    histogram: Histogram<u64>,
    moving: Option<(Instant, Instant)>,
    /// When the next key may go, if the rate is capped.
    next: Instant,
    told: Instant,
    error: Option<BulkError>,
    /// Left on the source, by name.
    big: BTreeMap<Vec<u8>, BigKey>,
}

/// Moves every key of `slots` that is on the source. The slots must be in `migrate` (or unserved), so
/// that nobody writes them on the source. Safe to repeat, and to stop anywhere: what has not moved is
/// on the source, whole.
///
/// `stop` ends it between two batches; dropping the future ends it anywhere, and then the caller
/// must kill this route's connections by name before anybody acts on these slots again.
///
/// # Errors
/// [`BulkError`] after bounded retries.
pub async fn bulk_move(
    route: &Route,
    slots: &SlotSet,
    options: &BulkOptions,
    lease: &dyn Lease,
    stop: &CancellationToken,
    on_progress: &(dyn Fn(&BulkProgress) + Send + Sync),
) -> Result<BulkReport, BulkError> {
    let job = Job::new(route, options, lease, stop, on_progress);
    let workers = (0..options.workers.max(1)).map(|index| Worker::new(&job, index).run());
    futures::join!(job.scan(slots), join_all(workers));
    job.end()
}

impl<'a> Job<'a> {
    fn new(
        route: &'a Route,
        options: &'a BulkOptions,
        lease: &'a dyn Lease,
        stop: &'a CancellationToken,
        on_progress: &'a (dyn Fn(&BulkProgress) + Send + Sync),
    ) -> Self {
        let begun = Instant::now();
        let state = State {
            pace: Pace::new(options.max_stall),
            progress: BulkProgress { by_slot: vec![0; usize::from(SLOT_COUNT)], ..BulkProgress::default() },
            // Up to an hour, three digits: the bounds are constants that the library accepts.
            histogram: new_histogram(),
            moving: None,
            next: begun,
            told: begun,
            error: None,
            big: BTreeMap::new(),
        };
        Self {
            route,
            options,
            lease,
            stop,
            failed: CancellationToken::new(),
            queue: Queue::default(),
            state: Mutex::new(state),
            begun,
            on_progress,
        }
    }

    /// Feeds the queue; a scan that fails starts over, because a cursor means nothing elsewhere.
    async fn scan(&self, slots: &SlotSet) {
        let mut backoff = Backoff::new(self.options.attempts);
        loop {
            match self.scan_once(slots).await {
                Ok(()) => break,
                Err(source) => {
                    tracing::warn!(error = %source, cause = %source.cause, "scan of the source starts over");
                    if !self.pause(&mut backoff).await {
                        self.fail(BulkError::Server { attempts: backoff.failures(), source });
                        break;
                    }
                }
            }
        }
        self.queue.complete();
    }

    async fn scan_once(&self, slots: &SlotSet) -> Result<(), RedisError> {
        let options = self.route.connect.named(format!("{}.scan", self.route.connect.name));
        let mut scan = Scan::open(&self.route.from.addr, &options, slots, true).await?;
        while !self.is_over() {
            let Some(mut page) = scan.page().await? else {
                self.lock().progress.scanned = true;
                break;
            };
            self.lock().progress.found += page.len() as u64;
            self.spare(&mut scan, &mut page).await?;
            tokio::select! {
                () = self.queue.put(page) => {}
                () = self.failed.cancelled() => break,
                () = self.stop.cancelled() => break,
            }
        }
        Ok(())
    }

    /// Takes those keys off a page that stay where they are for now.
    async fn spare(&self, scan: &mut Scan, page: &mut Vec<Found>) -> Result<(), RedisError> {
        let Some(speed) = self.options.spare else { return Ok(()) };
        let budget = self.options.max_stall;
        for suspect in
            page.extract_if(.., |found| found.bytes > speed.harmless_bytes(budget)).collect::<Vec<_>>()
        {
            match scan.if_big(&suspect, speed, budget).await? {
                Some(big) => drop(self.lock().big.insert(suspect.key, big)),
                None => page.push(suspect),
            }
        }
        Ok(())
    }

    /// True once nothing new should begin.
    pub(crate) fn is_over(&self) -> bool {
        self.stop.is_cancelled() || self.failed.is_cancelled()
    }

    /// Waits before another attempt. False if there have been enough, or it is over.
    pub(crate) async fn pause(&self, backoff: &mut Backoff) -> bool {
        let Some(pause) = backoff.next() else { return false };
        self.lock().progress.retries += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.stop.cancelled() => true,
            () = self.failed.cancelled() => false,
        }
    }

    /// Waits until the rate allows this many more keys.
    pub(crate) async fn respect_rate(&self, keys: usize) {
        let Some(rate) = self.options.rate else { return };
        let wait = {
            let mut state = self.lock();
            let now = Instant::now();
            let start = state.next.max(now);
            state.next = start + Duration::from_secs_f64(keys as f64 / f64::from(rate.max(1)));
            start - now
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.stop.cancelled() => {}
            () = self.failed.cancelled() => {}
        }
    }

    /// What a batch may weigh now.
    pub(crate) fn limit(&self) -> u64 {
        self.lock().pace.limit()
    }

    /// Takes the outcome of a batch that was begun at `begun` into account.
    pub(crate) fn account(&self, batch: &[Found], outcome: &Outcome, begun: Instant) {
        let mut state = self.lock();
        let now = Instant::now();
        state.pace.observe(batch.iter().map(weight).sum(), outcome.slowest);
        // Saturates at the histogram's bound, which no time-out lets a command reach.
        state.histogram.saturating_record(outcome.slowest.as_micros() as u64);
        let first = state.moving.map_or(begun, |(first, _)| first.min(begun));
        state.moving = Some((first, now));
        let progress = &mut state.progress;
        progress.moved += outcome.moved;
        progress.gone += outcome.gone;
        progress.busy += outcome.busy;
        progress.bytes += outcome.bytes;
        progress.retries += u64::from(outcome.why.is_some());
        for found in batch.iter().filter(|found| !outcome.again.contains(found)) {
            progress.by_slot[slot_of_key(&found.key).index()] += 1;
        }
        if now - state.told >= TELL_EVERY {
            state.told = now;
            let progress = self.figures(&mut state);
            drop(state);
            (self.on_progress)(&progress);
        }
    }

    /// The first failure ends everything; later ones are its echo.
    pub(crate) fn fail(&self, error: BulkError) {
        self.lock().error.get_or_insert(error);
        self.failed.cancel();
    }

    fn figures(&self, state: &mut State) -> BulkProgress {
        state.progress.elapsed = self.begun.elapsed();
        state.progress.stall = Stall::of(&state.histogram);
        state.progress.batch = state.pace.limit();
        state.progress.clone()
    }

    fn end(self) -> Result<BulkReport, BulkError> {
        let mut state = self.lock();
        let progress = self.figures(&mut state);
        (self.on_progress)(&progress);
        let moving = state.moving;
        match state.error.take() {
            Some(error) => Err(error),
            None => {
                let mut big: Vec<BigKey> = std::mem::take(&mut state.big).into_values().collect();
                big.sort_by(worst_first);
                Ok(BulkReport { progress, moving, stopped: self.stop.is_cancelled(), big })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants that satisfy the library's conditions")]
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("1 us to 1 h with three digits")
}
