//! What servers answer: read, cut into replies, and each handed to the request that has waited longest.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use codis_resp::{CommandId, Cut, ReplyScanner};
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    OWN_BUFFER, Worker,
    backend::{BackendId, PartialReply, State},
    pending::{Asker, Pending},
    session::{Payload, SessionId},
};

/// Calls with the same command and time, counted together.
#[derive(Clone, Copy)]
struct Run {
    command: CommandId,
    at: u64,
    failed: bool,
    count: u64,
}

impl Worker {
    /// Reads once and hands out the replies that have come.
    pub(super) fn poll_replies(&mut self, id: BackendId, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let backend = &mut self.backends[id];
        let State::Up(link) = &mut backend.state else { return Poll::Ready(Ok(0)) };
        if backend.partial.as_ref().is_some_and(|partial| partial.buf.len() + partial.missing > OWN_BUFFER) {
            return self.poll_big_reply(id, cx);
        }
        let known = backend.partial.as_ref().map_or(0, |partial| partial.buf.len());
        let mut room = ReadBuf::new(&mut self.scratch[known..]);
        ready!(Pin::new(&mut link.stream).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        if read == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let scanner = match backend.partial.take() {
            None => ReplyScanner::default(),
            Some(partial) => {
                scratch[..known].copy_from_slice(&partial.buf);
                partial.scanner
            }
        };
        let result = self.hand_out(id, &scratch[..known + read], scanner);
        self.scratch = scratch;
        Poll::Ready(result.map(|()| read))
    }

    /// Reads a big reply into a buffer of its own and passes it on as it lies.
    fn poll_big_reply(&mut self, id: BackendId, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let backend = &mut self.backends[id];
        let (State::Up(link), Some(partial)) = (&mut backend.state, &mut backend.partial) else {
            return Poll::Ready(Ok(0));
        };
        let want = partial.missing.max(OWN_BUFFER / 2);
        partial.buf.reserve(want);
        let read = ready!(link.stream.poll_read_more(cx, &mut partial.buf, want))?;
        if read == 0 {
            return Poll::Ready(Ok(0));
        }
        partial.missing = partial.missing.saturating_sub(read).max(1);
        let cut =
            partial.scanner.advance(&partial.buf).map_err(|error| io::Error::other(error.to_string()))?;
        match cut {
            Cut::Missing(missing) => partial.missing = missing,
            Cut::Complete(len) => {
                let whole = partial.buf.split_to(len).freeze();
                let rest = std::mem::take(&mut partial.buf);
                backend.partial = None;
                let run = self.hand_one(id, Payload::Whole(whole), None)?;
                self.count(id, run);
                self.hand_out(id, &rest, ReplyScanner::default())?;
            }
        }
        Poll::Ready(Ok(read))
    }

    /// Hands out all whole replies in `data`, keeps the beginning of the last one if it is not whole.
    fn hand_out(&mut self, id: BackendId, data: &[u8], mut scanner: ReplyScanner) -> io::Result<()> {
        let mut used = 0;
        let mut run = None;
        while used < data.len() {
            match scanner.advance(&data[used..]) {
                Ok(Cut::Complete(len)) => {
                    run = self.hand_one(id, Payload::Slice(&data[used..used + len]), run)?;
                    used += len;
                }
                Ok(Cut::Missing(missing)) => {
                    let buf = BytesMut::from(&data[used..]);
                    self.backends[id].partial = Some(Box::new(PartialReply { buf, scanner, missing }));
                    break;
                }
                Err(error) => {
                    self.count(id, run);
                    return Err(io::Error::other(error.to_string()));
                }
            }
        }
        self.count(id, run);
        if let Some(backend) = self.backends.get_mut(id) {
            backend.out.answered(backend.answered, &mut self.pool);
        }
        Ok(())
    }

    /// Hands a reply to the request that has waited longest.
    #[inline]
    fn hand_one(&mut self, id: BackendId, payload: Payload<'_>, run: Option<Run>) -> io::Result<Option<Run>> {
        if payload.is_push() {
            // RESP3 only: it answers nothing.
            return Ok(run);
        }
        let Some((pending, start)) = self.backends[id].next_answered() else {
            return Err(io::Error::other("a reply that nobody asked for"));
        };
        let failed = payload.is_error();
        if self.is_ours(id, pending.asker, &payload) {
            return Ok(run);
        }
        let size = payload.bytes().len();
        if size > self.big_from {
            self.big_reply(id, &pending, size);
        }
        if self.now.saturating_sub(pending.at) >= self.slow_after {
            self.late_reply(id, &pending);
        }
        let run = match run {
            Some(run) if run.command == pending.command && run.at == pending.at && run.failed == failed => {
                Run { count: run.count + 1, ..run }
            }
            other => {
                self.count(id, other);
                Run { command: pending.command, at: pending.at, failed, count: 1 }
            }
        };
        match pending.asker {
            Asker::Session { session, seq, slot } => {
                if !self.is_kept(id, &pending, start, &payload, failed) {
                    self.note_error(id, failed, &payload);
                    self.deliver(session as SessionId, seq, payload);
                }
                self.end(slot);
            }
            Asker::Split { split, part } => {
                if !self.is_kept(id, &pending, start, &payload, failed) {
                    self.part_reply(split, part, payload, false);
                }
            }
            Asker::Pinned { session, seq, last } => {
                self.deliver_pinned(session as SessionId, seq, payload);
                self.pinned_reply(id, false, last, failed);
            }
            Asker::Away { .. } => self.away_reply(id, &pending, start, payload),
            Asker::Own { .. } | Asker::Proxy(_) => {}
        }
        Ok(Some(run))
    }

    /// True if a reply is held back, because the request was refused or stands behind one that was.
    #[inline]
    fn is_kept(
        &mut self,
        id: BackendId,
        pending: &Pending,
        start: u32,
        payload: &Payload<'_>,
        failed: bool,
    ) -> bool {
        (failed || !self.kept.is_empty()) && self.keep_back(id, pending, start, payload)
    }

    #[inline]
    fn count(&mut self, id: BackendId, run: Option<Run>) {
        if let Some(Run { command, at, failed, count }) = run {
            let id = self.counted_at(id);
            self.backends[id].meter.record(command, self.now.saturating_sub(at), count, failed);
        }
    }

    /// Gives a session the reply to one of its requests.
    #[inline]
    pub(super) fn deliver(&mut self, id: SessionId, seq: u32, payload: Payload<'_>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.reply(seq, payload, &mut self.pool);
        if session.stream.is_some() {
            self.touch_session(id);
        } else if session.owed() == 0 && session.waker.is_none() {
            self.sessions.remove(id);
        }
    }
}
