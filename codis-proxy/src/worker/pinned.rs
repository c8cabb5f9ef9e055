//! Connections to servers that one client has to itself for a while: what it does there (WATCH, MULTI)
//! is state of the connection, which requests of others must not meet.
//!
//! A pinned connection is a [`Backend`] that no address leads to. From the moment it is pinned until
//! its last reply is in, or it is known dead on the server, it counts as one unfinished request of its
//! slot; so a slot does not change hands while something is open on its old server. What is begun is
//! taken back (DISCARD, UNWATCH) as soon as the slot's route changes or the client is gone.
//!
//! So that the requests of a client do not overtake each other, it changes over between its own
//! connection and the worker's only when it is owed no reply.

use codis_core::{Addr, SlotId};
use codis_resp::{CommandId, push_array_header, push_bulk};

use super::{
    Worker,
    backend::{Backend, BackendId, State},
    buffers::BIG,
    dispatch::{Frame, Outcome},
    failures::first_key,
    park::Verdict,
    pending::{Arrival, Asker, KeyHead},
    pinned_block::Blocked,
    pinned_multi::Transaction,
    proto::Proto,
    session::{Payload, SessionId},
};
use crate::journal::Cause;

/// Connections that are kept open for the next client, by each worker.
const KEEP_IDLE: usize = 64;
/// How long they are kept, microseconds.
const IDLE_TIME: u64 = 10_000_000;

/// What a session has that needs, or will need, a connection of its own.
#[derive(Debug, Default)]
pub(super) struct Pinning {
    pub(super) pin: Option<Pin>,
    /// The last request has been sent; nothing else is before its reply is in.
    pub(super) ending: bool,
    /// Requests sent there for the session.
    sent: usize,
    /// The latest request went over the worker's connection.
    elsewhere: bool,
    pub(super) transaction: Transaction,
}

/// A session's hold of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pin {
    pub(super) backend: BackendId,
    pub(super) slot: SlotId,
}

/// What a backend that is pinned, or was and may be again, knows about it.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    /// The session that may use it; `None` once that has let go.
    holder: Option<SessionId>,
    /// The slot that it holds back.
    slot: Option<SlotId>,
    /// Since when it has been in the pool.
    idle_since: Option<u64>,
    /// Its state is not known to be clean: it is not used again.
    pub(super) spoiled: bool,
    /// The request that may be waiting there.
    pub(super) blocked: Option<Box<Blocked>>,
}

impl Pinned {
    /// True if a request waits there as it was asked to.
    pub(super) fn waits(&self, now: u64, patience: u64) -> bool {
        self.blocked.as_ref().is_some_and(|blocked| blocked.waits(now, patience))
    }

    /// The slot that it holds back.
    pub(super) fn slot(&self) -> Option<SlotId> {
        self.slot
    }

    /// True if nobody uses it nor is going to.
    pub(super) fn is_free(&self) -> bool {
        self.slot.is_none() && self.idle_since.is_none()
    }
}

/// All pinned connections of a worker.
#[derive(Default)]
pub(super) struct Pins {
    in_use: usize,
    idle: Vec<BackendId>,
}

impl Worker {
    /// The connection that a session has to itself.
    pub(super) fn pin_of(&self, id: SessionId) -> Option<Pin> {
        self.sessions[id].pinning.as_ref()?.pin
    }

    /// The session's own connection to the server of `slot`; opened if it has none.
    ///
    /// # Errors
    /// What becomes of the request instead.
    pub(super) fn route_and_pin(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        slot: SlotId,
        verdict: Option<Verdict>,
    ) -> Result<BackendId, Outcome> {
        let server = self.route(id, command, frame, slot, verdict)?;
        self.pin(id, command, server, slot)
    }

    fn pin(
        &mut self,
        id: SessionId,
        command: CommandId,
        server: BackendId,
        slot: SlotId,
    ) -> Result<BackendId, Outcome> {
        if !self.change_over(id, false) {
            return Err(Outcome::Wait);
        }
        let pin = self.pin_of(id);
        match self.ready(pin.map_or(server, |pin| pin.backend), id) {
            Ok(true) => {}
            Ok(false) => return Err(Outcome::Wait),
            Err(reply) => return Err(self.failed(id, command, Cause::Unreachable, &reply)),
        }
        if let Some(pin) = pin {
            return Ok(pin.backend);
        }
        if self.sessions[id].owed() > 0 {
            return Err(Outcome::Wait);
        }
        if self.pins.in_use >= self.limits.max_pinned {
            let text = "ERR too many transactions and blocking commands at once (max_pinned), try again";
            return Err(self.refuse(id, command, text));
        }
        let addr = self.backends[server].addr.clone();
        let proto = self.sessions[id].proto;
        let backend = match self.take_idle(&addr, proto) {
            Some(backend) => backend,
            None => self
                .open_pinned(addr, proto)
                .map_err(|reply| self.failed(id, command, Cause::Unreachable, &reply))?,
        };
        let pinned = Pinned { holder: Some(id), slot: Some(slot), ..Pinned::default() };
        self.backends[backend].pinned = Some(Box::new(pinned));
        self.pins.in_use += 1;
        self.slots.begin(slot);
        self.sessions[id].pinning.get_or_insert_default().pin = Some(Pin { backend, slot });
        Ok(backend)
    }

    fn take_idle(&mut self, addr: &Addr, proto: Proto) -> Option<BackendId> {
        let usable = |id: &BackendId| {
            let backend = &self.backends[*id];
            backend.addr == *addr && backend.proto == proto && matches!(backend.state, State::Up(_))
        };
        let place = self.pins.idle.iter().rposition(usable)?;
        Some(self.pins.idle.swap_remove(place))
    }

    fn open_pinned(&mut self, addr: Addr, proto: Proto) -> Result<BackendId, Vec<u8>> {
        let id = self.add_backend(addr, proto);
        self.backends[id].used = false;
        self.open(id).map(|()| id)
    }

    /// Makes sure that a session's requests go on in order when they go over its own connection instead
    /// of the worker's, or the other way round. False: they must wait.
    pub(super) fn change_over(&mut self, id: SessionId, elsewhere: bool) -> bool {
        let session = &mut self.sessions[id];
        let owed = session.owed();
        let Some(pinning) = &mut session.pinning else { return true };
        let ready = pinning.pin.is_none() || pinning.elsewhere == elsewhere || owed == 0;
        if ready {
            pinning.elsewhere = elsewhere;
        }
        ready
    }

    /// Sends a session's request over its own connection; `last`: nothing is open there after its reply.
    pub(super) fn send_pinned(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        backend: BackendId,
        last: bool,
    ) {
        let session = &mut self.sessions[id];
        let seq = session.expect_reply();
        if let Some(pinning) = &mut session.pinning {
            pinning.ending = last;
            pinning.sent += 1;
        }
        let asker = Asker::Pinned { session: id as u32, seq, last };
        let key = first_key(command, frame).map_or(KeyHead::NONE, KeyHead::of);
        let arrival = self.sessions[id].arrival(self.now);
        let queue = &mut self.backends[backend];
        match frame.whole {
            Some(whole) if whole.len() >= BIG => queue.out.push_big(whole.clone()),
            _ => queue.out.push(frame.bytes, &mut self.pool),
        }
        queue.expect_reply(asker, command, key, arrival);
        self.touch_backend(backend);
    }

    /// Sends a request of our own, whose reply nobody sees.
    pub(super) fn send_own(&mut self, backend: BackendId, command: CommandId, request: &[u8], last: bool) {
        let queue = &mut self.backends[backend];
        let asker = Asker::Own { last };
        queue.out.push(request, &mut self.pool);
        queue.expect_reply(asker, command, KeyHead::NONE, Arrival::new(self.now));
        self.touch_backend(backend);
    }

    /// Lets go of a session's connection; what is open there is taken back.
    pub(super) fn let_go(&mut self, pinning: &Pinning) {
        let Some(Pin { backend, .. }) = pinning.pin else { return };
        if let Some(pinned) = &mut self.backends[backend].pinned {
            pinned.holder = None;
        }
        if !pinning.ending {
            let name = if pinning.transaction.is_open() { "DISCARD" } else { "UNWATCH" };
            self.send_own_word(backend, name, true);
        } else {
            self.take_out(&[backend]);
        }
    }

    /// Sends a command without arguments, of our own.
    pub(super) fn send_own_word(&mut self, backend: BackendId, name: &'static str, last: bool) {
        let Some(command) = codis_resp::lookup(name.as_bytes()) else { return };
        let mut request = Vec::new();
        push_array_header(&mut request, 1);
        push_bulk(&mut request, name.as_bytes());
        self.send_own(backend, command, &request, last);
    }

    /// Gives a session the reply to a request on its own connection.
    pub(super) fn deliver_pinned(&mut self, id: SessionId, seq: u32, payload: Payload<'_>) {
        self.totals.errors += u64::from(payload.is_error());
        self.deliver(id, seq, payload);
    }

    /// A reply on a pinned connection has been handed out.
    pub(super) fn pinned_reply(&mut self, backend: BackendId, own: bool, last: bool, failed: bool) {
        if failed && (own || last) {
            // Most likely all is well, but who knows.
            self.backends[backend].pinned.iter_mut().for_each(|pinned| pinned.spoiled = true);
        }
        if !last {
            return;
        }
        let spoiled = self.backends[backend].pinned.as_ref().is_none_or(|pinned| pinned.spoiled);
        let slot = self.unpin(backend, |_| true);
        if !spoiled && self.pins.idle.len() < KEEP_IDLE {
            let pinned = Pinned { idle_since: Some(self.now), ..Pinned::default() };
            self.backends[backend].pinned = Some(Box::new(pinned));
            self.pins.idle.push(backend);
        }
        slot.into_iter().for_each(|slot| self.end(slot));
    }

    /// A pinned connection is no more; the slot that it held back, which must still be ended.
    pub(super) fn break_pin(&mut self, backend: BackendId, why: &str) -> Option<SlotId> {
        self.backends[backend].pinned.as_ref()?;
        self.pins.idle.retain(|other| *other != backend);
        let why = format!("backend {}: {}", self.backends[backend].addr, why.replace(['\r', '\n'], " "));
        let unanswered = self.backends[backend].pending.len();
        self.unpin(backend, |pinning| {
            pinning.pin = None;
            // A WATCH that is answered with an error has watched nothing.
            let in_vain = !pinning.transaction.is_multi() && pinning.sent == unanswered;
            pinning.transaction.abort(why);
            // Whether its last request was carried out is not known; its error reply says so.
            pinning.ending || in_vain
        })
    }

    /// Takes a connection from its session, whose state ends if `over` says so.
    fn unpin(&mut self, backend: BackendId, over: impl FnOnce(&mut Pinning) -> bool) -> Option<SlotId> {
        let pinned = std::mem::take(self.backends[backend].pinned.as_mut()?.as_mut());
        let session = pinned.holder.and_then(|holder| self.sessions.get_mut(holder));
        if let Some(session) = session
            && let Some(pinning) = &mut session.pinning
            && over(pinning)
        {
            session.pinning = None;
        }
        self.pins.in_use -= usize::from(pinned.slot.is_some());
        pinned.slot
    }

    /// The route of a slot has changed: what clients have open there is taken back.
    pub(super) fn abort_pins(&mut self, slot: SlotId) {
        if self.pins.in_use == 0 {
            return;
        }
        let on_slot = |backend: &Backend| {
            backend
                .pinned
                .as_ref()
                .filter(|pinned| pinned.slot == Some(slot))
                .and_then(|pinned| pinned.holder)
        };
        let holders: Vec<SessionId> =
            self.backends.iter().filter_map(|(_, backend)| on_slot(backend)).collect();
        let mut blocked = Vec::new();
        for id in holders {
            let Some(mut pinning) = self.sessions[id].pinning.take() else { continue };
            if pinning.ending {
                blocked.extend(pinning.pin.map(|pin| pin.backend));
            } else {
                self.let_go(&pinning);
                pinning.pin = None;
                pinning.transaction.abort(format!("slot {slot} has moved to another server, try again"));
            }
            self.sessions[id].pinning = Some(pinning);
        }
        self.take_out(&blocked);
    }

    /// Closes connections that nobody has used for a while.
    pub(super) fn tick_pins(&mut self) {
        let (backends, now) = (&mut self.backends, self.now);
        self.pins.idle.retain(|id| {
            let Some(pinned) = &mut backends[*id].pinned else { return false };
            let keep = pinned.idle_since.is_some_and(|since| now.saturating_sub(since) < IDLE_TIME);
            if !keep {
                pinned.idle_since = None;
            }
            keep
        });
    }

    /// The backend that counts what this one does: all connections to a server are counted as one.
    pub(super) fn counted_at(&self, backend: BackendId) -> BackendId {
        match &self.backends[backend] {
            Backend { pinned: Some(_), addr, .. } => self.by_addr.get(addr).copied().unwrap_or(backend),
            _ => backend,
        }
    }

    /// Connections that are pinned now.
    pub(super) fn pinned(&self) -> usize {
        self.pins.in_use
    }
}
