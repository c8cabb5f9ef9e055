//! Which answers are held back.

use smallvec::SmallVec;

use super::{Held, MAX_BYTES, Phase, Refusal, Request, is_plain, only_reads};
use crate::worker::{
    Worker,
    backend::BackendId,
    pending::{Asker, Pending, Question},
    session::{Payload, SessionId},
};

/// What the answer to the request that went first again says about those behind it.
enum First {
    Taken,
    Refused,
}

impl Worker {
    /// An answer has come that is an error, or while something is kept. True if it is held back; the slots of
    /// a split request are ended then, that of another is not. `start`: where the request began.
    #[cold]
    pub(in crate::worker) fn keep_back(
        &mut self,
        id: BackendId,
        pending: &Pending,
        start: u32,
        reply: &Payload<'_>,
    ) -> bool {
        let (session, seq) = match pending.asker {
            Asker::Session { session, seq, .. } => (session as SessionId, seq),
            Asker::Split { split, .. } => match self.split_asked_by(split) {
                Some(asked_by) => asked_by,
                None => return false,
            },
            Asker::Pinned { .. } | Asker::Own { .. } | Asker::Away { .. } | Asker::Proxy(_) => return false,
        };
        let refusal = Refusal::of(reply.bytes()).filter(|_| is_plain(pending.command));
        if self.kept.held.contains_key(&session) {
            if let Some(first) = self.first_answered(id, session, pending, refusal, reply) {
                return matches!(first, First::Refused);
            }
            if refusal.is_none() && !self.is_behind(session, seq, id) {
                return false;
            }
            if refusal.is_none() && !only_reads(pending.command) {
                self.answer_held(session, false, |request| request.backend == id);
                return false;
            }
        } else if refusal.is_none() || !self.may_keep(session) {
            return false;
        }
        let Some(request) = self.request(id, session, seq, pending, start, refusal, reply) else {
            self.answer_held(session, false, |request| request.backend == id);
            return false;
        };
        self.add_kept(session, request);
        true
    }

    /// Whether a client may begin to wait.
    fn may_keep(&self, id: SessionId) -> bool {
        let hold = self.limits.hold_timeout.as_micros() as u64;
        let session = self.sessions.get(id).filter(|session| session.stream.is_some());
        let in_time = |since: u64| self.now.saturating_sub(since) < hold;
        session.is_some_and(|session| in_time(session.waits_since().unwrap_or(self.now)))
            && self.kept.len() < self.limits.max_parked
    }

    /// The answer to the request that went first again, if it is that: taken, or refused once more.
    fn first_answered(
        &mut self,
        id: BackendId,
        session: SessionId,
        pending: &Pending,
        refusal: Option<Refusal>,
        reply: &Payload<'_>,
    ) -> Option<First> {
        let (end, addr) = (self.backends[id].out.end(), self.backends[id].addr.clone());
        let in_time = self.is_in_time(session);
        let held = self.kept.held.get_mut(&session)?;
        let Phase::Sent { again } = held.phase else { return None };
        let first = held.requests.front_mut().filter(|first| first.pending.asker == pending.asker)?;
        held.phase = Phase::Waiting;
        self.kept.changed.notify_one();
        // Asked for once more, and not because of a promotion: that is the answer.
        let final_word = again && refusal == Some(Refusal::NoReplicas);
        if refusal.is_none() || final_word {
            held.phase = Phase::Following;
            held.taken |= refusal.is_none();
            let first = held.requests.pop_front();
            self.kept.bytes -= first.map_or(0, |first| first.size());
            if held.requests.is_empty() {
                self.let_go_on(session);
            } else if final_word {
                self.answer_held(session, false, |_| true);
            }
            return Some(First::Taken);
        }
        self.kept.bytes += reply.bytes().len();
        self.kept.bytes -= first.reply.len();
        first.reply = reply.bytes().to_vec();
        (first.refusal, first.server, first.backend, first.until) = (refusal, addr, id, end);
        if let Asker::Split { split, part } = pending.asker {
            self.end_part(split, part);
        }
        if !in_time {
            self.answer_held(session, true, |_| true);
        }
        Some(First::Refused)
    }

    pub(super) fn is_in_time(&self, session: SessionId) -> bool {
        let hold = self.limits.hold_timeout.as_micros() as u64;
        self.kept.held.get(&session).is_some_and(|held| self.now.saturating_sub(held.since) < hold)
    }

    /// Whether a request was sent behind one that is kept, to the same server.
    fn is_behind(&self, session: SessionId, seq: u32, backend: BackendId) -> bool {
        let before = |kept: u32| kept.wrapping_sub(seq).cast_signed() <= 0;
        self.kept
            .held
            .get(&session)
            .is_some_and(|held| held.requests.iter().any(|kept| kept.backend == backend && before(kept.seq)))
    }

    /// A copy of a request, unless there is no room for it or it is gone.
    #[expect(clippy::too_many_arguments, reason = "all that is known of an answer")]
    fn request(
        &self,
        id: BackendId,
        session: SessionId,
        seq: u32,
        pending: &Pending,
        start: u32,
        refusal: Option<Refusal>,
        reply: &Payload<'_>,
    ) -> Option<Request> {
        self.sessions.get(session).filter(|session| session.stream.is_some())?;
        let backend = &self.backends[id];
        let size = pending.end.wrapping_sub(start) as usize + reply.bytes().len();
        if self.kept.bytes + size > MAX_BYTES {
            return None;
        }
        let slots = match pending.asker {
            Asker::Session { slot, .. } => SmallVec::from_buf([slot]),
            Asker::Split { split, part } => self.part_slots(split, part).collect(),
            Asker::Pinned { .. } | Asker::Own { .. } | Asker::Away { .. } | Asker::Proxy(_) => return None,
        };
        Some(Request {
            pending: *pending,
            seq,
            slots,
            bytes: backend.out.between(start, pending.end)?,
            reply: reply.bytes().to_vec(),
            refusal,
            server: backend.addr.clone(),
            backend: id,
            until: backend.out.end(),
        })
    }

    fn add_kept(&mut self, id: SessionId, request: Request) {
        self.kept.bytes += request.size();
        if let Asker::Split { split, part } = request.pending.asker {
            self.end_part(split, part);
        }
        match self.kept.held.get_mut(&id) {
            // Answers of several servers come in any order.
            Some(held) => {
                let behind = |other: &Request| other.seq.wrapping_sub(request.seq).cast_signed() > 0;
                let place = held.requests.iter().position(behind).unwrap_or(held.requests.len());
                if held.phase == Phase::Following && request.refusal.is_some() {
                    held.phase = Phase::Waiting;
                }
                // What is under way stays first.
                held.requests.insert(place.max(usize::from(held.phase.is_sent())), request);
            }
            None => {
                let Some(session) = self.sessions.get_mut(id) else { return };
                session.keeping = true;
                let since = *session.hold_back(self.now).parked.get_or_insert(self.now);
                let requests = [request].into();
                self.kept.held.insert(id, Held { since, requests, phase: Phase::Waiting, taken: false });
            }
        }
        self.run_kept();
    }

    /// A blocking request was refused: its session has got it back and sends it again in a while.
    pub(in crate::worker) fn wait_to_block(&mut self, id: SessionId, since: u64) {
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.stream.is_some()) else {
            return;
        };
        session.keeping = true;
        session.hold_back(since).parked = Some(since);
        self.kept.held.insert(id, Held { since, requests: [].into(), phase: Phase::Waiting, taken: false });
        self.run_kept();
    }

    /// Whether a blocking request that was answered like this may wait and be sent again.
    pub(in crate::worker) fn may_wait_to_block(&self, id: SessionId, reply: &Payload<'_>) -> bool {
        let text = reply.bytes();
        let changed = || text.windows(22).any(|window| window == b"instance state changed");
        let unexecuted = Refusal::of(text).is_some() || (text.starts_with(b"-UNBLOCKED") && changed());
        unexecuted && self.may_keep(id)
    }

    /// A request whose connection broke: whether it was executed is not known.
    #[cold]
    pub(in crate::worker) fn kept_lost(&mut self, id: BackendId, pending: &Pending) {
        let (session, seq) = match pending.asker {
            Asker::Session { session, seq, .. } => (session as SessionId, seq),
            Asker::Split { split, .. } => match self.split_asked_by(split) {
                Some(asked_by) => asked_by,
                None => return,
            },
            Asker::Proxy(Question::WritesStopped) => {
                self.kept.asked.remove(&id);
                return;
            }
            Asker::Pinned { .. } | Asker::Own { .. } | Asker::Away { .. } | Asker::Proxy(_) => return,
        };
        let Some(held) = self.kept.held.get_mut(&session) else { return };
        let first = held.requests.front().filter(|_| held.phase.is_sent());
        if first.is_some_and(|first| first.pending.asker == pending.asker) {
            let first = held.requests.pop_front();
            held.phase = Phase::Waiting;
            self.kept.bytes -= first.map_or(0, |first| first.size());
            // The others were answered before it, as if it had failed; so it has.
            self.answer_held(session, false, |_| true);
        } else if self.is_behind(session, seq, id) && !only_reads(pending.command) {
            self.answer_held(session, false, |request| request.backend == id);
        }
    }
}
