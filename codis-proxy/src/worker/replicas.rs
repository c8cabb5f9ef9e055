//! Reads from slaves, where `read_from` allows it.
//!
//! A read goes to a slave only if it is sure to be answered with data that is at most `max_lag` old when
//! the answer is passed on. How fresh slaves are is measured elsewhere ([`crate::follow`]). An answer that comes too
//! late for that is thrown away, as is any error, and a slave that does not answer in time is not waited for:
//! then the master is asked. So a client never notices a slave's trouble.
//!
//! Also:
//! - a slave must have everything from before the proxy began to use the slot's current route, so that it has seen
//!   what a move or a promotion brought;
//! - it must have what the client itself has written;
//! - a write, and anything else that is not a plain read of one slot, waits until the client's reads from slaves are
//!   answered: they must not see it;
//! - a read counts as unfinished for its slot until it is answered, so a slot does not move away under it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use codis_core::SlotId;
use codis_resp::{Class, CommandId};

use super::{
    Worker,
    backend::{BackendId, State},
    buffers::BIG,
    dispatch::{Frame, Outcome},
    kept::only_reads,
    pending::{Arrival, Asker, KeyHead, Pending},
    session::{Payload, SessionId},
    slots::LocalRoute,
};
use crate::{
    config::{Limits, ReadFrom},
    freshness::{Age, Freshness},
    table::Table,
};

/// The servers that reads may go to instead of one master.
struct Choice {
    /// Of the master itself.
    own: Arc<Age>,
    slaves: Vec<(BackendId, Arc<Age>)>,
}

/// What a worker knows of slaves.
pub(super) struct Replicas {
    nearest: bool,
    /// Microseconds.
    max_lag: u64,
    freshness: Arc<Freshness>,
    /// What the worker's clock is behind the common one.
    skew: u64,
    /// By master; nothing for servers that are none, or have no slaves.
    choices: Vec<Option<Choice>>,
    /// Whose turn it is.
    next: usize,
}

impl Replicas {
    /// `None` if the master is to be asked always.
    pub(super) fn new(limits: &Limits, freshness: Arc<Freshness>, started: Instant) -> Option<Box<Self>> {
        let nearest = match limits.read_from {
            ReadFrom::Master => return None,
            ReadFrom::ReplicaPreferred => false,
            ReadFrom::Nearest => true,
        };
        let max_lag = limits.max_lag.as_micros() as u64;
        let skew = freshness.at(started);
        Some(Box::new(Self { nearest, max_lag, freshness, skew, choices: Vec::new(), next: 0 }))
    }
}

/// What a session that may read from slaves has to remember.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Reads of it that slaves have not answered.
    away: u32,
    /// Something of it that may write is unanswered, or was when this was last looked at.
    writes: bool,
    /// A slave must have everything from before this, microseconds of the worker's clock.
    wrote: u64,
}

impl Worker {
    /// Makes the connections to the slaves that a table lists.
    pub(super) fn use_replicas(&mut self, table: &Table) {
        let Some(mut replicas) = self.replicas.take() else { return };
        replicas.choices.clear();
        for (master, slaves) in &table.slaves {
            let Some(id) = self.by_addr.get(master).copied() else { continue };
            let mut listed = Vec::new();
            for slave in slaves {
                let backend = self.backend_for(slave);
                self.backends[backend].used = true;
                if let Some(twin) = self.backends[backend].in_resp3 {
                    self.backends[twin].used = true;
                }
                listed.push((backend, replicas.freshness.of(master, slave)));
            }
            let choice = Choice { own: replicas.freshness.of(master, master), slaves: listed };
            if replicas.choices.len() <= id {
                replicas.choices.resize_with(id + 1, || None);
            }
            replicas.choices[id] = Some(choice);
        }
        self.replicas = Some(replicas);
    }

    /// Sends a request to a slave if it is a read that one may answer, and keeps everything else behind
    /// those that are under way. `None`: it is dealt with as ever.
    pub(super) fn read_elsewhere(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
    ) -> Option<Outcome> {
        let now = self.now;
        let command = match command.command().class {
            Class::Session(_) => return None,
            Class::Container => command.subcommand(frame.arg(1))?,
            _ => command,
        };
        let session = &mut self.sessions[id];
        if only_reads(command) && command.command().class != Class::Slot {
            return None;
        }
        if !only_reads(command) {
            let away = session.reads.as_ref().is_some_and(|reads| reads.away > 0);
            if away {
                session.hold_back(now);
                return Some(Outcome::Wait);
            }
            session.reads.get_or_insert_default().writes = true;
            return None;
        }
        if session.pinning.is_some() {
            return None;
        }
        let settled = session.owed() == 0;
        let reads = session.reads.get_or_insert_default();
        if reads.writes && settled {
            // Everything has been answered, the last of it just now perhaps.
            (reads.writes, reads.wrote) = (false, now);
        }
        if reads.writes {
            return None;
        }
        let wrote = reads.wrote;
        // An error is given where the master would be asked.
        let (slot, key) = self.slot_and_key(command, frame)?;
        let (backend, deadline) = self.slave_for(slot, wrote)?;
        let backend = self.in_proto_of(id, backend);
        self.is_up(backend).then_some(())?;
        self.send_away(id, command, frame, (slot, key), (backend, deadline));
        Some(Outcome::Done)
    }

    /// The slot of all keys, and one of them.
    fn slot_and_key(&self, command: CommandId, frame: Frame<'_>) -> Option<(SlotId, usize)> {
        let mut found: Option<(SlotId, usize)> = None;
        let mut crossed = false;
        let keys = command.command().each_key(frame.bytes, frame.args, |at| {
            let slot = codis_core::slot_of_key(frame.arg(at));
            crossed |= found.is_some_and(|(other, _)| other != slot);
            found = Some((slot, at));
        });
        found.filter(|_| keys.is_ok() && !crossed)
    }

    /// A slave that has everything from before `wrote`, and until when its answer can be used.
    fn slave_for(&mut self, slot: SlotId, wrote: u64) -> Option<(BackendId, u64)> {
        let state = self.slots.get(slot);
        let LocalRoute::Online(master) = state.route else { return None };
        if state.draining {
            return None;
        }
        let mut replicas = self.replicas.take()?;
        let needed = wrote.max(self.slots.since(slot));
        let found = self.choose_slave(&mut replicas, master, needed);
        self.replicas = Some(replicas);
        found
    }

    fn choose_slave(
        &mut self,
        replicas: &mut Replicas,
        master: BackendId,
        needed: u64,
    ) -> Option<(BackendId, u64)> {
        let choice = replicas.choices.get(master)?.as_ref()?;
        let count = choice.slaves.len();
        replicas.next = replicas.next.wrapping_add(1);
        let mut best: Option<(u32, BackendId, u64)> = None;
        for turn in 0..count {
            let (backend, age) = &choice.slaves[(replicas.next + turn) % count];
            let as_of = age.as_of().saturating_sub(replicas.skew);
            // There must be time for the answer.
            let in_time = as_of + replicas.max_lag > self.now + replicas.max_lag / 4;
            if as_of <= needed || !in_time {
                continue;
            }
            if let State::Down = self.backends[*backend].state {
                // Ready for a later read, perhaps.
                let _ = self.open(*backend);
                continue;
            }
            let deadline = as_of + replicas.max_lag;
            if !replicas.nearest {
                return Some((*backend, deadline));
            }
            if best.is_none_or(|(rtt, _, _)| age.rtt() < rtt) {
                best = Some((age.rtt(), *backend, deadline));
            }
        }
        best.filter(|(rtt, _, _)| *rtt < choice.own.rtt()).map(|(_, backend, deadline)| (backend, deadline))
    }

    /// True if a request can be sent there at once.
    fn is_up(&mut self, backend: BackendId) -> bool {
        match self.backends[backend].state {
            State::Up(_) => self.backends[backend].out.len() <= self.backend_pause(),
            State::Connecting => false,
            State::Down => {
                let _ = self.open(backend);
                false
            }
        }
    }

    fn send_away(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        (slot, key): (SlotId, usize),
        (backend, deadline): (BackendId, u64),
    ) {
        let session = &mut self.sessions[id];
        let (seq, arrival) = (session.expect_reply(), session.arrival(self.now));
        session.reads.get_or_insert_default().away += 1;
        self.slots.begin(slot);
        let queue = &mut self.backends[backend];
        match frame.whole {
            Some(whole) if whole.len() >= BIG => queue.out.push_big(whole.clone()),
            _ => queue.out.push(frame.bytes, &mut self.pool),
        }
        let asker = Asker::Away { session: id as u32, seq, slot };
        queue.expect_reply(asker, command, KeyHead::of(frame.arg(key)), arrival);
        queue.deadlines.push_back(deadline);
        self.touch_backend(backend);
    }

    /// A slave has answered.
    pub(super) fn away_reply(&mut self, id: BackendId, pending: &Pending, start: u32, payload: Payload<'_>) {
        let Asker::Away { session, seq, slot } = pending.asker else { return };
        let in_time = self.backends[id].deadlines.pop_front().is_some_and(|deadline| self.now <= deadline);
        if in_time && !payload.is_error() {
            self.deliver(session as SessionId, seq, payload);
            self.end(slot);
            self.back_from_away(session as SessionId);
        } else {
            let request = self.backends[id].out.between(start, pending.end);
            self.ask_master(pending, request);
        }
    }

    /// Asks the masters what slaves have not answered in time; `all`: nor ever will.
    pub(super) fn recall(&mut self, id: BackendId, all: bool) {
        let (backend, now) = (&mut self.backends[id], self.now);
        let mut late = Vec::new();
        let mut start = backend.answered;
        for pending in &mut backend.pending {
            if let Asker::Away { .. } = pending.asker {
                if !all && backend.deadlines.front().is_none_or(|deadline| *deadline >= now) {
                    break;
                }
                backend.deadlines.pop_front();
                late.push((*pending, backend.out.between(start, pending.end)));
                // Its answer, should it come, is nobody's.
                pending.asker = Asker::NOBODY;
            }
            start = pending.end;
        }
        for (pending, request) in late {
            self.ask_master(&pending, request);
        }
    }

    /// Sends a read that was at a slave to the master. Its slot has waited for it, so the route is the same.
    fn ask_master(&mut self, pending: &Pending, request: Option<Vec<u8>>) {
        let Asker::Away { session, seq, slot } = pending.asker else { return };
        let id = session as SessionId;
        let open = self.sessions.get(id).is_some_and(|session| session.stream.is_some());
        let failed = match (self.slots.get(slot).route, request.filter(|_| open)) {
            (LocalRoute::Online(master), Some(request)) => {
                let master = self.in_proto_of(id, master);
                match self.ready(master, id) {
                    Ok(_) => {
                        let waited = u32::try_from(self.now.saturating_sub(pending.at)).unwrap_or(u32::MAX);
                        let arrival = Arrival { at: pending.at, held: waited, moving: false };
                        let queue = &mut self.backends[master];
                        match request.len() >= BIG {
                            true => queue.out.push_big(Bytes::from(request)),
                            false => queue.out.push(&request, &mut self.pool),
                        }
                        let asker = Asker::Session { session, seq, slot };
                        queue.expect_reply(asker, pending.command, pending.key, arrival);
                        self.touch_backend(master);
                        None
                    }
                    Err(reply) => Some(reply),
                }
            }
            _ => Some(b"-ERR a read from a slave was not answered in time\r\n".to_vec()),
        };
        if let Some(reply) = failed {
            self.totals.errors += 1;
            self.deliver(id, seq, Payload::Slice(&reply));
            self.end(slot);
        }
        self.back_from_away(id);
    }

    /// One read less is at a slave: what waited for all of them goes on.
    fn back_from_away(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(reads) = &mut session.reads else { return };
        reads.away = reads.away.saturating_sub(1);
        if reads.away == 0 && session.backlog {
            session.wake();
        }
    }
}
