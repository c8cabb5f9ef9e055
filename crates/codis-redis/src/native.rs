//! Moving keys by the source's own command, where that is a codis-server 2.8: it does not have what the
//! hand-over needs, and it is the only kind of source that Go proxies can fetch keys from.
//!
//! `SLOTSMGRTTAGSLOT` moves one random key of a slot with all keys of its tag. It overwrites what the destination has,
//! waits for no slave, and blocks the source while the destination is slow; so the time that it may wait is short, and
//! a failure is followed by a pause. Whoever moves in this way has been told what is at risk.

use std::time::{Duration, Instant};

use codis_core::{Addr, SLOT_COUNT, SlotId, SlotSet};
use hdrhistogram::Histogram;
use tokio_util::sync::CancellationToken;

use crate::{
    BulkError, BulkProgress, BulkReport, Conn, ConnectOptions, Lease, RedisError, Reply, Route, Stall,
    backoff::Backoff, handover::new_histogram, kill_by_name,
};

/// How often progress is told at most.
const TELL_EVERY: Duration = Duration::from_millis(200);
const MOVE: &str = "SLOTSMGRTTAGSLOT";

/// How hard to push.
#[derive(Debug, Clone)]
pub struct NativeOptions {
    /// How long the source may wait for the destination in each step of a move: so long nobody is served by it.
    pub timeout: Duration,
    /// Pause between two moves.
    pub delay: Duration,
    /// Keys per second at most.
    pub rate: Option<u32>,
    /// Failures in a row before it gives up; each is followed by a growing, jittered pause.
    pub attempts: u32,
}

/// Moves every key of `slots` from the source to the destination, slot after slot. The slots must be in `migrate`.
/// Safe to repeat, and to stop anywhere: what has not moved is on the source.
///
/// `stop` ends it between two moves. After a failure the connection is killed on the source before another is used.
///
/// # Errors
/// [`BulkError::Server`] after bounded retries, [`BulkError::LeaseLost`].
pub async fn native_move(
    route: &Route,
    slots: &SlotSet,
    options: &NativeOptions,
    lease: &dyn Lease,
    stop: &CancellationToken,
    on_progress: &(dyn Fn(&BulkProgress) + Send + Sync),
) -> Result<BulkReport, BulkError> {
    let begun = Instant::now();
    let progress = BulkProgress {
        scanned: true,
        batch: 1,
        by_slot: vec![0; usize::from(SLOT_COUNT)],
        ..BulkProgress::default()
    };
    let mut mover = Mover {
        route,
        options,
        lease,
        conn: None,
        generation: 0,
        unburied: false,
        histogram: new_histogram(),
    };
    let mut report = BulkReport { progress, moving: None, stopped: false, big: Vec::new() };
    let mut backoff = Backoff::new(options.attempts);
    let mut told = begun;
    for slot in slots.iter() {
        loop {
            if stop.is_cancelled() {
                report.stopped = true;
                break;
            }
            let pause = match mover.step(slot).await {
                Ok((moved, left)) => {
                    backoff.reset();
                    report.progress.moved += moved;
                    report.progress.by_slot[slot.index()] += moved;
                    if left == 0 {
                        break;
                    }
                    options.pause_after(moved)
                }
                Err(Fault::Lease(why)) => return Err(BulkError::LeaseLost(why)),
                Err(Fault::Server(source)) => {
                    tracing::warn!(error = %source, cause = %source.cause, slot = slot.get(), "a native move failed");
                    report.progress.retries += 1;
                    match backoff.next() {
                        Some(pause) => pause,
                        None => return Err(BulkError::Server { attempts: backoff.failures(), source }),
                    }
                }
            };
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                mover.figures(&mut report.progress, begun);
                on_progress(&report.progress);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    mover.figures(&mut report.progress, begun);
    on_progress(&report.progress);
    report.moving = Some((begun, Instant::now()));
    Ok(report)
}

/// How many keys of each slot a native server holds, as it says itself; 1024 entries.
///
/// # Errors
/// With address and command.
pub async fn native_counts(addr: &Addr, options: &ConnectOptions) -> Result<Vec<u64>, RedisError> {
    let mut conn = Conn::open(addr, options).await?;
    let reply = conn.query(&["SLOTSINFO", "0", &SLOT_COUNT.to_string()]).await?;
    let Reply::Array(rows) = &reply else { return Err(conn.unexpected("SLOTSINFO", &reply)) };
    let mut counts = vec![0; usize::from(SLOT_COUNT)];
    for row in rows {
        let row_of = |row: &Reply| match row {
            Reply::Array(pair) => Some((usize::try_from(pair.first()?.int()?).ok()?, pair.get(1)?.int()?)),
            _ => None,
        };
        match row_of(row).and_then(|(slot, keys)| Some((counts.get_mut(slot)?, keys))) {
            Some((count, keys)) => *count = keys.max(0) as u64,
            None => return Err(conn.unexpected("SLOTSINFO", row)),
        }
    }
    Ok(counts)
}

impl NativeOptions {
    fn pause_after(&self, moved: u64) -> Duration {
        let paced = self.rate.map(|rate| Duration::from_secs_f64(moved as f64 / f64::from(rate.max(1))));
        self.delay.max(paced.unwrap_or_default())
    }
}

enum Fault {
    Server(RedisError),
    Lease(String),
}

/// One connection to the source, replaced when something went wrong on it.
struct Mover<'a> {
    route: &'a Route,
    options: &'a NativeOptions,
    lease: &'a dyn Lease,
    conn: Option<Conn>,
    /// Counts connections, so that each has a name of its own.
    generation: u32,
    /// The last one is not known to be dead on the server.
    unburied: bool,
    histogram: Histogram<u64>,
}

impl Mover<'_> {
    /// One command: keys that have moved, and keys that are left in the slot.
    async fn step(&mut self, slot: SlotId) -> Result<(u64, u64), Fault> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.open().await?,
        };
        let to = &self.route.to.addr;
        let (port, timeout) = (to.port().to_string(), self.options.timeout.as_millis().max(1).to_string());
        let begun = Instant::now();
        let reply = conn.query(&[MOVE, to.host(), &port, &timeout, &slot.to_string()]).await;
        // Saturates at the histogram's bound, which no time-out lets a command reach.
        self.histogram.saturating_record(begun.elapsed().as_micros() as u64);
        let failed = match reply {
            Ok(Reply::Array(pair)) => match &pair[..] {
                [moved, left] if moved.int().is_some() && left.int().is_some() => {
                    let number = |reply: &Reply| reply.int().unwrap_or_default().max(0) as u64;
                    self.conn = Some(conn);
                    return Ok((number(moved), number(left)));
                }
                _ => conn.unexpected(MOVE, &Reply::Array(pair)),
            },
            Ok(other) => conn.unexpected(MOVE, &other),
            Err(error) => error,
        };
        self.unburied = true;
        Err(Fault::Server(failed))
    }

    /// The old connection dead on the server, the new one named, the lease proved, in this order.
    async fn open(&mut self) -> Result<Conn, Fault> {
        let from = &self.route.from.addr;
        if self.unburied {
            kill_by_name(from, &self.route.connect, &self.name()).await.map_err(Fault::Server)?;
            self.unburied = false;
        }
        self.generation += 1;
        let mut connect = self.route.connect.named(self.name());
        // It may wait for the destination to connect, to take the keys, and to answer.
        connect.command_timeout += self.options.timeout * 3;
        let conn = Conn::open(from, &connect).await.map_err(Fault::Server)?;
        self.lease.prove().await.map_err(Fault::Lease)?;
        Ok(conn)
    }

    /// Ends in a full stop, so that no name is the beginning of another.
    fn name(&self) -> String {
        format!("{}.native.{}.", self.route.connect.name, self.generation)
    }

    fn figures(&self, progress: &mut BulkProgress, begun: Instant) {
        progress.elapsed = begun.elapsed();
        progress.stall = Stall::of(&self.histogram);
    }
}
