//! The bound of everything that is held for clients and servers, see [`Budget`](crate::budget::Budget).
//!
//! What sessions and servers hold is added up when much has come in since the last time, and while memory is
//! short at every tick; requests are not slowed down by it. From half of `max_memory` on, a client with a big
//! request under way is not read and one with replies to take may not ask for more. At all of it big replies
//! stay with their servers for a moment, in which those who take their replies can do so; then clients are
//! disconnected, those with most first, until half is free again. One client, the one with most, may go on as
//! long as it gets on, so that even a value above the bound passes.

use super::{OWN_BUFFER, Worker, backend::BackendId, pending::Asker, session::SessionId};
use crate::{budget::Pressure, journal::Cause};

/// A request of which more than this has come waits while memory is short.
const BIG_REQUEST: usize = 1 << 20;
/// Replies not taken above which a client is not read while memory is short.
const SHORT_PAUSE: usize = 64 << 10;
/// Bytes queued for a server above which its clients are not read while memory is short.
const SHORT_QUEUE: usize = 1 << 20;
/// Messages not taken by a listener that must not become more while all memory is used.
const SHORT_LISTENER: usize = 1 << 20;
/// Who holds less than this is not worth being disconnected.
const WORTH: usize = 4 << 10;
/// What a client is told that has to go.
const SHORT: &str = "ERR codis-proxy is short of memory (max_memory), try again";
/// How long those who take their replies have to do so, microseconds.
const PATIENCE: u64 = 200_000;
/// After how long of better times they have that time again, microseconds.
const CALM: u64 = 1_000_000;
/// How long the privileged client may stand still, microseconds.
const STANDSTILL: u64 = 1_000_000;

/// What a worker knows of the memory it uses.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Bytes that have come since the last look.
    grown: usize,
    /// What the other workers have been told.
    told: usize,
    pressure: Pressure,
    /// Since when all is used, microseconds of the worker's clock.
    full_since: u64,
    /// When all was used the last time.
    full_last: u64,
    /// Big replies are not read for now.
    wait: bool,
    /// The client of this worker that may go on.
    privileged: Option<Privileged>,
}

#[derive(Debug, Clone, Copy)]
struct Privileged {
    session: SessionId,
    client: u64,
    /// Bytes that had gone in and out of it, and when that was last different.
    held: usize,
    moved: u64,
}

impl Worker {
    /// Bytes have come in.
    #[inline]
    pub(super) fn grew(&mut self, bytes: usize) {
        self.held.grown += bytes;
        if self.held.grown >= self.held_step {
            self.weigh();
        }
    }

    /// Replies not taken above which a client is not read.
    #[inline]
    pub(super) fn client_pause(&self) -> usize {
        if self.held.pressure == Pressure::None {
            self.limits.client_pause
        } else {
            SHORT_PAUSE.min(self.limits.client_pause)
        }
    }

    /// Bytes queued for a server above which its clients are not read.
    #[inline]
    pub(super) fn backend_pause(&self) -> usize {
        if self.held.pressure == Pressure::None {
            self.limits.backend_pause
        } else {
            SHORT_QUEUE.min(self.limits.backend_pause)
        }
    }

    /// True while a session may not go on with the request that it has begun.
    #[inline]
    pub(super) fn must_wait(&self, id: SessionId) -> bool {
        self.held.pressure != Pressure::None && self.is_too_big(id)
    }

    fn is_too_big(&self, id: SessionId) -> bool {
        let most = if self.held.pressure == Pressure::Full { OWN_BUFFER } else { BIG_REQUEST };
        let big = self.sessions[id].partial.as_ref().is_some_and(|partial| partial.buf.len() > most);
        big && !self.is_privileged(id)
    }

    fn is_privileged(&self, id: SessionId) -> bool {
        self.held.privileged.is_some_and(|privileged| privileged.session == id)
    }

    /// True while a server's big reply is left where it is.
    #[inline]
    pub(super) fn reply_must_wait(&self, id: BackendId) -> bool {
        self.held.wait && self.is_big_reply(id)
    }

    /// True if a client that listens, and leaves so many bytes of messages, has to go at once: a server does not
    /// wait with its messages.
    #[inline]
    pub(super) fn is_too_slow(&self, bytes: usize) -> bool {
        self.held.pressure == Pressure::Full && bytes > SHORT_LISTENER
    }

    fn is_big_reply(&self, id: BackendId) -> bool {
        let backend = &self.backends[id];
        let big =
            backend.partial.as_ref().is_some_and(|partial| partial.buf.len() + partial.missing > OWN_BUFFER);
        big && !self.asker(id).is_some_and(|session| self.is_privileged(session))
    }

    /// Whose reply comes next from a server.
    fn asker(&self, id: BackendId) -> Option<SessionId> {
        match self.backends[id].pending.front()?.asker {
            Asker::Session { session, .. } | Asker::Pinned { session, .. } | Asker::Away { session, .. } => {
                Some(session as SessionId)
            }
            Asker::Split { split, .. } => self.splits.asker(split as usize),
            Asker::Own { .. } | Asker::Proxy(_) => None,
        }
    }

    /// Once a tick.
    pub(super) fn tick_held(&mut self) {
        if self.held.pressure != Pressure::None || self.budget.pressure() != Pressure::None {
            self.weigh();
        }
    }

    /// Adds up what is held, and does what that asks for.
    fn weigh(&mut self) {
        self.held.grown = 0;
        let mut holders = self.holders();
        self.tell(holders.iter().map(|(bytes, _)| bytes).sum::<usize>() + self.queued());
        let pressure = self.budget.pressure();
        if pressure == Pressure::None {
            return self.relax();
        }
        if std::mem::replace(&mut self.held.pressure, pressure) > pressure {
            self.wake_stalled();
        }
        holders.retain(|(bytes, _)| *bytes > WORTH);
        holders.sort_unstable_by(|a, b| b.cmp(a));
        self.choose(&holders);
        if pressure != Pressure::Full {
            if std::mem::take(&mut self.held.wait) {
                self.wake_backends();
            }
            return;
        }
        // Not again before it has been better for a while: others wait behind those replies.
        if self.now.saturating_sub(self.held.full_last) > CALM {
            self.held.full_since = self.now;
        }
        self.held.full_last = self.now;
        self.held.wait = self.now.saturating_sub(self.held.full_since) < PATIENCE;
        if !self.held.wait {
            self.let_go_of(&holders);
            self.wake_backends();
        }
    }

    /// What each session holds: its replies, its request, and the replies that are on their way to it.
    fn holders(&self) -> Vec<(usize, SessionId)> {
        let mut holders: Vec<(usize, SessionId)> = Vec::new();
        let mut place = vec![usize::MAX; if self.sessions.is_empty() { 0 } else { self.sessions.capacity() }];
        for (id, session) in &self.sessions {
            place[id] = holders.len();
            holders.push((session.held(), id));
        }
        let mut add = |session: SessionId, bytes: usize| {
            if let Some(holder) = place.get(session).and_then(|place| holders.get_mut(*place)) {
                holder.0 += bytes;
            }
        };
        for (id, backend) in &self.backends {
            if let (Some(partial), Some(session)) = (&backend.partial, self.asker(id)) {
                add(session, partial.buf.len());
            }
        }
        self.splits.each_held(add);
        holders
    }

    /// What waits for servers, may have to be sent to them again, or will be.
    fn queued(&self) -> usize {
        let queues = self.backends.iter().map(|(_, backend)| backend.out.len() + backend.out.logged());
        queues.sum::<usize>() + self.kept.bytes() + self.splits.bytes()
    }

    fn tell(&mut self, now: usize) {
        self.budget.tell(self.held.told, now);
        self.held.told = now;
    }

    /// There is room again: whoever waits goes on.
    fn relax(&mut self) {
        if let Some(privileged) = self.held.privileged.take() {
            self.budget.unclaim(privileged.client);
        }
        self.held.wait = false;
        if std::mem::take(&mut self.held.pressure) != Pressure::None {
            self.wake_backends();
            self.wake_stalled();
        }
    }

    fn wake_stalled(&self) {
        self.sessions.iter().filter(|(_, session)| session.stalled).for_each(|(_, session)| session.wake());
    }

    fn wake_backends(&self) {
        self.backends
            .iter()
            .filter_map(|(_, backend)| backend.waker.as_ref())
            .for_each(|waker| waker.wake_by_ref());
    }

    /// Lets the client with most go on, unless another one does that; `holders` has those with most first.
    fn choose(&mut self, holders: &[(usize, SessionId)]) {
        if let Some(privileged) = &mut self.held.privileged {
            let held = holders.iter().find(|(_, id)| *id == privileged.session).map(|(held, _)| *held);
            let same = self.sessions.get(privileged.session).is_some_and(|s| s.client == privileged.client);
            match held.filter(|_| same) {
                Some(held) if held != privileged.held => {
                    (privileged.held, privileged.moved) = (held, self.now)
                }
                Some(_) if self.now.saturating_sub(privileged.moved) < STANDSTILL => {}
                _ => {
                    self.budget.unclaim(privileged.client);
                    self.held.privileged = None;
                }
            }
            return;
        }
        let Some(&(held, session)) = holders.first().filter(|(held, _)| *held > OWN_BUFFER) else { return };
        let client = self.sessions[session].client;
        if self.budget.claim(client) {
            self.held.privileged = Some(Privileged { session, client, held, moved: self.now });
            self.sessions[session].wake();
            self.wake_backends();
        }
    }

    /// Disconnects clients, those with most first, until enough is free or this worker has only its share.
    fn let_go_of(&mut self, holders: &[(usize, SessionId)]) {
        let (mut clients, mut freed) = (0, 0);
        for &(bytes, id) in holders {
            if self.held.told <= self.budget.share() || self.budget.pressure() == Pressure::None {
                break;
            }
            if !self.is_privileged(id) && self.sessions[id].stream.is_some() {
                self.disconnect(id);
                self.tell(self.held.told.saturating_sub(bytes));
                (clients, freed) = (clients + 1, freed + bytes);
            }
        }
        if clients > 0 {
            tracing::warn!(
                clients,
                bytes = freed,
                "clients disconnected: max_memory is used up by what they hold"
            );
        }
    }

    /// Ends a session that holds too much; it is told so if it is sending and not owed anything.
    fn disconnect(&mut self, id: SessionId) {
        self.client_failed(id, Cause::ShortOfMemory, SHORT);
        let session = &mut self.sessions[id];
        if session.is_done() && !session.backlog {
            session.partial = None;
            self.answer_error(id, Cause::ShortOfMemory, format!("-{SHORT}\r\n").as_bytes());
            self.sessions[id].closing = true;
        } else {
            session.stream = None;
        }
        self.sessions[id].wake();
    }
}
