//! Requests that took long: where their time went, for SLOWLOG.
//!
//! A fast request pays one comparison. What the parts of a slow one are is found out when its reply is
//! in: when its bytes left for the server is known from [`Sent`], which has an entry for each write and
//! not for each request.

use std::collections::VecDeque;

use codis_admin::SlowOp;
use codis_core::SlotId;
use codis_resp::CommandId;

use super::{
    Worker,
    backend::BackendId,
    pending::{Asker, KeyHead, Pending},
    session::SessionId,
};

/// Writes that are remembered of each connection.
const WRITES: usize = 1024;
/// Slow requests whose replies clients may be taking.
const TAKING: usize = 1024;

/// When what was written to a server.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Time of a write, and how many bytes had been written after it, modulo 2^32.
    writes: VecDeque<(u64, u32)>,
}

impl Sent {
    /// Notes a write; `waiting` is where the request ends that waits longest for its reply.
    #[inline]
    pub(super) fn wrote(&mut self, now: u64, written: u32, waiting: Option<u32>) {
        while let (Some((_, until)), Some(waiting)) = (self.writes.front(), waiting)
            && (is_before(*until, waiting) || self.writes.len() >= WRITES)
        {
            self.writes.pop_front();
        }
        if waiting.is_none() {
            self.writes.clear();
        }
        self.writes.push_back((now, written));
    }

    /// When the byte before `end` was written; nothing if it has not been.
    fn when(&self, end: u32) -> Option<u64> {
        self.writes.iter().find(|(_, until)| !is_before(*until, end)).map(|(time, _)| *time)
    }
}

/// True if `a` comes before `b`, of numbers that are less than 2^31 apart.
fn is_before(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) > 0
}

/// A slow request whose reply is on its way to the client.
pub(super) struct Taking {
    session: SessionId,
    client: u64,
    seq: u32,
    replied: u64,
    op: SlowOp,
}

/// What a slow request was.
pub(super) struct Slow {
    pub(super) session: SessionId,
    pub(super) seq: u32,
    pub(super) command: CommandId,
    pub(super) key: KeyHead,
    pub(super) slot: Option<SlotId>,
    pub(super) backend: Option<BackendId>,
    /// When it came, how long it was held back then, and whether for keys or a slot on the move.
    pub(super) at: u64,
    pub(super) held: u32,
    pub(super) moving: bool,
    /// When it was sent.
    pub(super) sent: u64,
}

impl Worker {
    /// The reply to a request has come late.
    #[cold]
    pub(super) fn late_reply(&mut self, backend: BackendId, pending: &Pending) {
        let sent = self.backends[backend].sent.when(pending.end).unwrap_or(self.now);
        let (session, seq, slot) = match pending.asker {
            Asker::Session { session, seq, slot } | Asker::Away { session, seq, slot } => {
                (session, seq, Some(slot))
            }
            Asker::Pinned { session, seq, .. } => match &self.backends[backend].pinned {
                // It was asked to take long.
                Some(pinned) if pinned.blocked.is_some() => return,
                Some(pinned) => (session, seq, pinned.slot()),
                None => (session, seq, None),
            },
            Asker::Split { split, .. } => return self.late_part(split, sent),
            Asker::Own { .. } | Asker::Proxy(_) => return,
        };
        let Pending { command, key, at, held, moving, .. } = *pending;
        let session = session as SessionId;
        let backend = Some(backend);
        self.was_slow(Slow { session, seq, command, key, slot, backend, at, held, moving, sent });
    }

    /// Keeps a slow request until its client has taken the reply.
    #[cold]
    pub(super) fn was_slow(&mut self, slow: Slow) {
        let Some(session) = self.sessions.get(slow.session) else { return };
        let client = session.client;
        if self.taking.len() >= TAKING || !self.journal.may_note_slow() {
            return;
        }
        let held = u64::from(slow.held);
        let (queued, migration_wait_us) = if slow.moving { (0, held) } else { (held, 0) };
        let sent = slow.sent.clamp(slow.at + held, self.now);
        let op = SlowOp {
            client: self.registry.address(client),
            name: self.registry.name(client),
            command: slow.command.command().name.to_owned(),
            key: slow.key.text(),
            slot: slow.slot.map(SlotId::get),
            backend: slow.backend.map(|id| self.backends[id].addr.to_string()),
            queue_us: queued + (sent - slow.at - held),
            migration_wait_us,
            backend_us: self.now - sent,
            ..SlowOp::default()
        };
        let (session, seq, replied) = (slow.session, slow.seq, self.now);
        self.taking.push(Taking { session, client, seq, replied, op });
    }

    /// Everything that a session was owed so far has been written.
    #[cold]
    pub(super) fn taken(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else { return };
        let (client, started) = (session.client, self.started);
        let taken = |slow: &mut Taking| slow.client == client && session.has_answered(slow.seq);
        for slow in self.taking.extract_if(.., taken) {
            // Writing may have taken longer than the clock, which is looked at before it, can tell.
            self.journal.slow(slow.over(started.elapsed().as_micros() as u64));
        }
    }

    /// Clients that have gone take nothing any more.
    pub(super) fn tick_slow(&mut self) {
        let sessions = &self.sessions;
        let gone = |slow: &mut Taking| {
            let session = sessions.get(slow.session).filter(|session| session.client == slow.client);
            session.is_none_or(|session| session.stream.is_none())
        };
        for slow in self.taking.extract_if(.., gone) {
            self.journal.slow(slow.over(self.now));
        }
    }
}

impl Taking {
    fn over(self, now: u64) -> SlowOp {
        let flush_us = now.saturating_sub(self.replied);
        let took_us = self.op.queue_us + self.op.migration_wait_us + self.op.backend_us + flush_us;
        SlowOp { flush_us, took_us, ..self.op }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_left_with_the_write_that_held_its_last_byte() {
        let mut sent = Sent::default();
        sent.wrote(10, 100, Some(100));
        sent.wrote(20, 250, Some(100));
        sent.wrote(30, 300, Some(100));
        assert_eq!(
            [1, 100, 101, 250, 251, 300].map(|end| sent.when(end)),
            [10, 10, 20, 20, 30, 30].map(Some)
        );
        assert_eq!(sent.when(301), None);
    }

    #[test]
    fn writes_whose_requests_are_answered_are_forgotten() {
        let mut sent = Sent::default();
        for write in 1..10_000_u64 {
            sent.wrote(write, (write * 1_000_000) as u32, Some(((write - 1) * 1_000_000) as u32));
            assert!(sent.writes.len() <= 2);
            assert_eq!(sent.when((write * 1_000_000) as u32), Some(write), "across 2^32");
        }
        sent.wrote(1, 5, None);
        assert_eq!(sent.writes.len(), 1);
        for write in 0..5000 {
            sent.wrote(write, (5 + write) as u32, Some(5));
        }
        assert_eq!(sent.writes.len(), WRITES);
    }
}
