//! Makes sure that a key has left its old group before a request for it goes to the new one.
//!
//! While a slot is in `migrate`, its requests go to the destination, but their keys may still lie on
//! the source. Each worker hands such keys over itself, on connections of its own, so that a source
//! or destination that hangs holds up nothing else. How one hand-over works, and why in that order,
//! is in [`handover`]; [`debts`] says what happens when a server does not answer.

mod breaker;
mod debts;
mod handover;
mod link;
mod native;
mod pair;
mod reply;
mod server;
mod settled;
mod side;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use codis_core::{Addr, SLOT_COUNT, SlotId};
use smallvec::SmallVec;
use tokio::sync::{Notify, watch};

use crate::config::{MoveLimits, Secret};
use crate::table::{Endpoint, Route, Table};
use crate::tls::BackendTls;
use debts::Debts;
use handover::{Cause, Done, Job};
use pair::Pair;
use settled::Settled;

/// Bounds of the hand-overs of one worker.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Password for the servers.
    password: Option<Secret>,
    tls: Option<BackendTls>,
    /// Name that its connections carry on the servers.
    name: String,
    /// Time that opening a connection may take.
    connect_timeout: Duration,
    /// Time a server may take for an answer; longer for large values.
    command_timeout: Duration,
    /// Time slaves may take to confirm.
    wait: Duration,
    /// Time that a source which moves keys itself may spend on each step with the destination; it serves
    /// nobody else meanwhile.
    native_timeout: Duration,
    /// A connection that has been idle for longer is asked for a sign of life before it is used.
    fresh: Duration,
    /// Hand-overs of one pair of servers that run at once.
    lanes: usize,
    /// Hand-overs of one pair of servers that may wait for others.
    queue: usize,
    /// Settled keys that are remembered, about 20 bytes each.
    remembered: usize,
}

impl Settings {
    fn new(limits: MoveLimits) -> Self {
        Self {
            password: limits.password,
            tls: limits.tls,
            name: format!("codis-proxy-{}-move", std::process::id()),
            connect_timeout: limits.connect_timeout,
            command_timeout: Duration::from_secs(5),
            wait: Duration::from_secs(5),
            native_timeout: Duration::from_secs(2),
            fresh: Duration::from_secs(1),
            lanes: 4,
            queue: 10_000,
            remembered: 500_000,
        }
    }
}

/// Why keys are not known to have left their old group. The request must not be forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("slot {slot} is moving from {from} to {to} and a key could not be handed over")]
pub(crate) struct MoveError {
    /// Which slot.
    pub(crate) slot: SlotId,
    /// Master of the old group.
    pub(crate) from: Addr,
    /// Master of the new group.
    pub(crate) to: Addr,
    #[source]
    cause: Cause,
}

impl MoveError {
    /// The error reply for the client, without the leading `-` and the line's end. It says
    /// `TRYAGAIN` when nothing was tried, `ERR` when the servers failed.
    pub(crate) fn reply(&self) -> String {
        let code = match self.cause {
            Cause::Paused { .. } | Cause::Full | Cause::Contended { .. } | Cause::Stopping => "TRYAGAIN",
            Cause::Link(_) | Cause::Native { .. } | Cause::Short { .. } => "ERR",
        };
        format!("{code} {self}: {}", self.cause).replace(['\r', '\n'], " ")
    }
}

/// What the hand-overs of one worker have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MoveStats {
    /// Keys that were moved.
    pub(crate) moved: u64,
    /// Keys that had left before, or never existed.
    pub(crate) absent: u64,
    /// Hand-overs that failed, or were not tried because the servers do not answer.
    pub(crate) failed: u64,
    /// Keys that are known to be settled.
    pub(crate) settled: u64,
    /// Pairs of servers that do not answer.
    pub(crate) broken_pairs: u64,
    /// Connections that are still to be killed on their server.
    pub(crate) to_kill: u64,
}

impl MoveStats {
    /// Adds what another worker has done.
    pub(crate) fn add(&mut self, other: Self) {
        self.moved += other.moved;
        self.absent += other.absent;
        self.failed += other.failed;
        self.settled += other.settled;
        self.broken_pairs += other.broken_pairs;
        self.to_kill += other.to_kill;
    }
}

/// The hand-overs of one worker. Cheap to clone; must be used inside a `LocalSet`.
#[derive(Clone)]
pub(crate) struct Movers {
    inner: Rc<Inner>,
}

struct Inner {
    settings: Rc<Settings>,
    debts: Debts,
    pairs: RefCell<HashMap<(Addr, Addr), Rc<Pair>>>,
    settled: RefCell<Settled>,
    /// The hand-over that a key takes part in.
    flights: RefCell<HashMap<(SlotId, Bytes), Flight>>,
    /// By slot: counts the times that its settled keys were forgotten, and the hand-overs that run.
    slots: Vec<SlotState>,
    landed: Notify,
    stats: Cell<MoveStats>,
    next_flight: Cell<u64>,
}

#[derive(Default)]
struct SlotState {
    generation: Cell<u64>,
    running: Cell<u32>,
}

/// Tells everyone who waits for a hand-over how it ended; nothing while it is under way.
type Landing = watch::Receiver<Option<Result<(), MoveError>>>;

#[derive(Clone)]
struct Flight {
    id: u64,
    generation: u64,
    from: Addr,
    to: Addr,
    result: Landing,
}

impl Movers {
    /// No connections yet; they are opened by the first hand-over.
    pub(crate) fn new(limits: MoveLimits) -> Self {
        Self::with(Settings::new(limits))
    }

    fn with(settings: Settings) -> Self {
        let inner = Inner {
            debts: Debts::new(settings.clone()),
            pairs: RefCell::default(),
            settled: RefCell::new(Settled::new(settings.remembered)),
            flights: RefCell::default(),
            slots: (0..SLOT_COUNT).map(|_| SlotState::default()).collect(),
            landed: Notify::new(),
            stats: Cell::default(),
            next_flight: Cell::new(0),
            settings: Rc::new(settings),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Waits until all `keys` have left `from`; only then may the request go to `to`.
    ///
    /// A hand-over that has begun is finished even if the caller goes away; a key that another
    /// request has under way is waited for.
    ///
    /// # Errors
    /// When that is not known. The request must not be forwarded; asking again later is safe.
    pub(crate) async fn settle(
        &self,
        slot: SlotId,
        from: &Endpoint,
        to: &Endpoint,
        from_slaves: u32,
        to_slaves: u32,
        keys: SmallVec<[Bytes; 1]>,
    ) -> Result<(), MoveError> {
        let (mut flights, own) = self.split(slot, from, to, keys);
        if !own.is_empty() {
            let job = Job { slot, keys: own, from_slaves, to_slaves };
            flights.push(self.inner.clone().launch(job, &from.addr, &to.addr));
        }
        for flight in &mut flights {
            match flight.wait_for(Option::is_some).await.map(|result| result.clone()) {
                Ok(result) => result.unwrap_or(Ok(()))?,
                Err(_) => return Err(error(slot, &from.addr, &to.addr, Cause::Stopping)),
            }
        }
        Ok(())
    }

    /// The flights that carry some of the keys, and the keys that nobody carries yet.
    fn split(
        &self,
        slot: SlotId,
        from: &Endpoint,
        to: &Endpoint,
        keys: SmallVec<[Bytes; 1]>,
    ) -> (SmallVec<[Landing; 1]>, Vec<Bytes>) {
        let generation = self.inner.slots[slot.index()].generation.get();
        let flights = self.inner.flights.borrow();
        let mut shared: SmallVec<[&Flight; 1]> = SmallVec::new();
        let mut own: Vec<Bytes> = Vec::new();
        for key in keys {
            if self.is_settled(slot, &key) || own.contains(&key) {
                continue;
            }
            // Borrowing would need a key type of its own; cloning `Bytes` counts a reference.
            match flights.get(&(slot, key.clone())) {
                Some(flight)
                    if flight.generation == generation
                        && flight.from == from.addr
                        && flight.to == to.addr =>
                {
                    if !shared.iter().any(|other| other.id == flight.id) {
                        shared.push(flight);
                    }
                }
                _ => own.push(key),
            }
        }
        (shared.into_iter().map(|flight| flight.result.clone()).collect(), own)
    }

    /// True if the key is known to have left the old group since the slot began to migrate.
    pub(crate) fn is_settled(&self, slot: SlotId, key: &[u8]) -> bool {
        self.inner.settled.borrow().contains(slot, key)
    }

    /// Forgets what is settled in a slot: its state has changed, or the master of one of its groups.
    /// What a hand-over that is still under way finds out is not remembered either.
    pub(crate) fn clear(&self, slot: SlotId) {
        let generation = &self.inner.slots[slot.index()].generation;
        generation.set(generation.get() + 1);
        self.inner.settled.borrow_mut().clear(slot);
    }

    /// Resolves when no hand-over of the slot is unfinished on a server: it has ended, and if a
    /// server did not answer, its connection is known dead there. A change of the slot's state must
    /// not be acknowledged before.
    pub(crate) async fn quiet(&self, slot: SlotId) {
        loop {
            let landed = self.inner.landed.notified();
            if self.inner.slots[slot.index()].running.get() == 0 {
                break;
            }
            landed.await;
        }
        self.inner.debts.paid(slot).await;
    }

    /// Takes note of a new table: closes connections that it has no use for, and stops waiting for
    /// servers that are no longer the master of any slot.
    pub(crate) fn installed(&self, table: &Table) {
        let mut used = std::collections::HashSet::new();
        let mut masters = std::collections::HashSet::new();
        for (_, route) in table.iter() {
            masters.extend(route.master().map(|master| &master.addr));
            if let Route::Migrate { from, to, .. } = route {
                masters.insert(&from.addr);
                used.insert((from.addr.clone(), to.addr.clone()));
            }
        }
        self.inner.pairs.borrow_mut().retain(|pair, _| used.contains(pair));
        self.inner.debts.forgive(|addr| masters.contains(addr));
    }

    /// What has been done so far.
    pub(crate) fn stats(&self) -> MoveStats {
        MoveStats {
            settled: self.inner.settled.borrow().len() as u64,
            broken_pairs: self.inner.pairs.borrow().values().filter(|pair| pair.is_broken()).count() as u64,
            to_kill: self.inner.debts.len() as u64,
            ..self.inner.stats.get()
        }
    }
}

impl Inner {
    /// Begins a hand-over as a task of its own: once begun it must be ended, whatever becomes of the
    /// client that asked for it.
    fn launch(self: Rc<Self>, job: Job, from: &Addr, to: &Addr) -> Landing {
        let (done, result) = watch::channel(None);
        let id = self.next_flight.get();
        self.next_flight.set(id + 1);
        let state = &self.slots[job.slot.index()];
        let generation = state.generation.get();
        state.running.set(state.running.get() + 1);
        let flight = Flight { id, generation, from: from.clone(), to: to.clone(), result: result.clone() };
        let mut flights = self.flights.borrow_mut();
        for key in &job.keys {
            flights.insert((job.slot, key.clone()), flight.clone());
        }
        drop(flights);
        let (from, to) = (from.clone(), to.clone());
        tokio::task::spawn_local(async move {
            let outcome = self.pair(&from, &to).hand_over(&job).await;
            self.land(&job, id, generation, &outcome);
            let _ = done.send(Some(outcome.map(drop).map_err(|cause| error(job.slot, &from, &to, cause))));
        });
        result
    }

    /// Notes the end of a hand-over.
    fn land(&self, job: &Job, id: u64, generation: u64, outcome: &Result<Done, Cause>) {
        let mut flights = self.flights.borrow_mut();
        for key in &job.keys {
            let place = (job.slot, key.clone());
            if flights.get(&place).is_some_and(|flight| flight.id == id) {
                flights.remove(&place);
            }
        }
        let state = &self.slots[job.slot.index()];
        let mut stats = self.stats.get();
        match outcome {
            Ok(done) => {
                stats.moved += done.found as u64;
                // A source that moves keys itself may have moved more than were asked for.
                stats.absent += job.keys.len().saturating_sub(done.found) as u64;
                if state.generation.get() == generation {
                    let mut settled = self.settled.borrow_mut();
                    job.keys.iter().for_each(|key| settled.insert(job.slot, key));
                }
            }
            Err(_) => stats.failed += 1,
        }
        self.stats.set(stats);
        state.running.set(state.running.get() - 1);
        self.landed.notify_waiters();
    }

    fn pair(&self, from: &Addr, to: &Addr) -> Rc<Pair> {
        let new = || Rc::new(Pair::new(from, to, self.settings.clone(), self.debts.clone()));
        self.pairs.borrow_mut().entry((from.clone(), to.clone())).or_insert_with(new).clone()
    }
}

fn error(slot: SlotId, from: &Addr, to: &Addr, cause: Cause) -> MoveError {
    MoveError { slot, from: from.clone(), to: to.clone(), cause }
}

/// Between half of the pause and all of it, so that many proxies do not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
