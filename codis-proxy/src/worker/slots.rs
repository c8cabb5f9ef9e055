//! What this worker does with each slot, and how it changes over to a new table.
//!
//! A slot whose route changes while requests are unfinished under the old one drains first: new
//! requests for it wait as in `pre_migrate`. A request is unfinished until its reply is in or its
//! connection is known dead on the server; a hand-over of keys counts as well. So requests of a slot
//! never overtake each other, and [`Worker::install`] knows when the old route is history.

use std::{collections::BTreeMap, sync::Arc};

use codis_core::{SLOT_COUNT, SlotId};
use tokio::sync::oneshot;

use super::{Worker, backend::BackendId, session::SessionId};
use crate::table::{Route, Table};

/// How long a new table may wait until its servers have confirmed what clients listen to, microseconds.
/// Whoever has asked for the table waits no longer for a server that cannot be reached.
const SUBSCRIBING: u64 = 2_000_000;

/// A [`Route`] as the hot path needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalRoute {
    Unassigned,
    Online(BackendId),
    Blocked,
    Migrate(BackendId),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct SlotState {
    pub(super) route: LocalRoute,
    /// Unfinished requests and hand-overs.
    pub(super) unfinished: u32,
    /// The route has changed and waits for `unfinished` to become 0.
    pub(super) draining: bool,
}

/// A table that has been taken over, except for slots that drain.
pub(super) struct Install {
    draining: Vec<SlotId>,
    /// How long it waits for subscriptions, microseconds of the worker's clock.
    patience: u64,
    done: oneshot::Sender<()>,
}

/// All slots of a worker.
pub(super) struct Slots {
    states: Vec<SlotState>,
    installs: Vec<Install>,
    /// Since when each has its route, microseconds of the worker's clock.
    since: Vec<u64>,
    /// Sessions that wait for a slot, with the token of their wait.
    parked: BTreeMap<SlotId, Vec<(SessionId, u64)>>,
}

impl Slots {
    pub(super) fn new() -> Self {
        let state = SlotState { route: LocalRoute::Unassigned, unfinished: 0, draining: false };
        let count = usize::from(SLOT_COUNT);
        let (states, since) = (vec![state; count], vec![0; count]);
        Self { states, installs: Vec::new(), since, parked: BTreeMap::new() }
    }

    /// Since when a slot has its route; whoever has everything from before is up to date with its move.
    pub(super) fn since(&self, slot: SlotId) -> u64 {
        self.since[slot.index()]
    }

    #[inline]
    pub(super) fn get(&self, slot: SlotId) -> SlotState {
        self.states[slot.index()]
    }

    /// One more request is under way.
    #[inline]
    pub(super) fn begin(&mut self, slot: SlotId) {
        self.states[slot.index()].unfinished += 1;
    }

    /// One less. True if the slot has drained, which `Worker::drained` must be told.
    #[inline]
    #[must_use]
    pub(super) fn end(&mut self, slot: SlotId) -> bool {
        let state = &mut self.states[slot.index()];
        state.unfinished -= 1;
        state.unfinished == 0 && state.draining
    }

    /// Notes that a session waits for a slot.
    pub(super) fn park(&mut self, slot: SlotId, session: SessionId, token: u64) {
        self.parked.entry(slot).or_default().push((session, token));
    }

    /// Forgets that a session waits for a slot.
    pub(super) fn unpark(&mut self, slot: SlotId, token: u64) {
        if let Some(list) = self.parked.get_mut(&slot) {
            list.retain(|(_, other)| *other != token);
            if list.is_empty() {
                self.parked.remove(&slot);
            }
        }
    }
}

impl Worker {
    /// Takes over a table; `done` is told when nothing under the old routes is unfinished.
    pub(super) fn install(&mut self, table: Arc<Table>, done: oneshot::Sender<()>) {
        self.look_at_clock();
        let old = std::mem::replace(&mut self.table, table);
        let table = self.table.clone();
        self.use_backends(&table);
        self.use_replicas(&table);
        self.plan = None;
        if table.membership != old.membership {
            SlotId::all().for_each(|slot| self.movers.clear(slot));
            // They may have had others in between.
            self.slots.since.fill(self.now);
        }
        let changed: Vec<SlotId> = table.changed_from(&old).collect();
        for &slot in &changed {
            if let Route::Migrate { .. } = old.route(slot) {
                self.await_hand_overs(slot);
            }
            self.abort_pins(slot);
            self.forgive(slot, table.route(slot));
            let state = &mut self.slots.states[slot.index()];
            if state.unfinished > 0 {
                state.draining = true;
            } else {
                // Earlier tables may have waited for it.
                self.drained(slot);
            }
        }
        self.movers.installed(&table);
        self.follow_topics(&old, &changed);
        // Slots that still drain because of an earlier table count: this table is not in use before.
        let draining = SlotId::all().filter(|slot| self.slots.get(*slot).draining).collect();
        let patience = self.now + SUBSCRIBING;
        self.slots.installs.push(Install { draining, patience, done });
        self.finish_installs();
    }

    /// Keeps a slot draining until no hand-over of it can still do anything on a server.
    fn await_hand_overs(&mut self, slot: SlotId) {
        self.slots.begin(slot);
        let movers = self.movers.clone();
        let me = self.me.clone();
        tokio::task::spawn_local(async move {
            movers.quiet(slot).await;
            if let Some(worker) = me.upgrade() {
                worker.borrow_mut().end(slot);
            }
        });
    }

    /// Lets go of lost requests for a slot on servers that its new route does not name: the store has
    /// named another master, so what the old one still does is nobody's business.
    fn forgive(&mut self, slot: SlotId, route: &Route) {
        let mut forgiven = 0;
        for (_, backend) in &mut self.backends {
            if route.names(&backend.addr) {
                continue;
            }
            for dead in &mut backend.dead {
                let before = dead.slots.len();
                dead.slots.retain(|other| *other != slot);
                forgiven += before - dead.slots.len();
            }
        }
        self.slots.states[slot.index()].unfinished -= forgiven as u32;
    }

    /// One request or hand-over of the slot is finished.
    #[inline]
    pub(super) fn end(&mut self, slot: SlotId) {
        if self.slots.end(slot) {
            self.drained(slot);
        }
    }

    #[cold]
    fn drained(&mut self, slot: SlotId) {
        self.apply(slot);
        for install in &mut self.slots.installs {
            install.draining.retain(|other| *other != slot);
        }
        self.finish_installs();
    }

    /// Answers those who wait for a table to be in use.
    pub(super) fn finish_installs(&mut self) {
        let (behind, now) = (self.pubsub.is_behind(), self.now);
        let finished =
            |install: &mut Install| install.draining.is_empty() && (!behind || now >= install.patience);
        for install in self.slots.installs.extract_if(.., finished) {
            // Whoever asked may have gone away.
            let _ = install.done.send(());
        }
    }

    /// Begins to use the table's route for a slot.
    fn apply(&mut self, slot: SlotId) {
        self.movers.clear(slot);
        let table = self.table.clone();
        let backend = |endpoint: &crate::table::Endpoint| self.by_addr.get(&endpoint.addr).copied();
        let route = match table.route(slot) {
            Route::Unassigned => Some(LocalRoute::Unassigned),
            Route::Online { master } => backend(master).map(LocalRoute::Online),
            Route::Blocked { .. } => Some(LocalRoute::Blocked),
            Route::Migrate { to, .. } => backend(to).map(LocalRoute::Migrate),
        };
        let state = &mut self.slots.states[slot.index()];
        state.route = route.unwrap_or(LocalRoute::Unassigned);
        state.draining = false;
        self.slots.since[slot.index()] = self.now;
        self.kept.look_again();
        for (session, token) in self.slots.parked.remove(&slot).unwrap_or_default() {
            let waiting = self.sessions.get_mut(session);
            if let Some(session) = waiting.filter(|s| s.waits_as(token)) {
                session.parked = None;
                session.wake();
                self.parked -= 1;
            }
        }
    }

    /// Makes a backend for every server that the table names, and marks those that it does not.
    fn use_backends(&mut self, table: &Table) {
        self.backends.iter_mut().for_each(|(_, backend)| backend.used = false);
        for (_, route) in table.iter() {
            for server in route.servers() {
                let id = self.backend_for(&server.addr);
                self.backends[id].used = true;
                if let Some(twin) = self.backends[id].in_resp3 {
                    self.backends[twin].used = true;
                }
            }
        }
    }
}
