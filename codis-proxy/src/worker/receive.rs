//! Reading what clients send.
//!
//! Bytes are read into the worker's scratch buffer and requests are dealt with where they lie. Only
//! the beginning of a request that has not all come is copied into a buffer of the session's own; a
//! big one is then read straight into it and passed on from there without another copy.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use codis_resp::{ProtocolError, Request, RequestParser, inline_to_array};
use tokio::io::{AsyncRead, ReadBuf};

use super::{
    OWN_BUFFER, Worker,
    dispatch::{Frame, Outcome},
    request_limits,
    session::{Partial, SessionId},
};
use crate::journal::Cause;

/// Reads in a row of one session before others get their turn.
const READS: usize = 4;
/// Room that a big request is given at first; all of it when so much has really come.
const FIRST_ROOM: usize = 1 << 20;

/// Why [`Worker::consume`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Everything is dealt with, or the rest is an incomplete request.
    Drained { missing: usize },
    /// The next request must wait.
    Held,
    /// Nothing more is read from this client.
    Closing,
}

impl Worker {
    /// Body of a session's task. Ready when the session is over.
    pub(super) fn poll_session(&mut self, id: SessionId, cx: &mut Context<'_>) -> Poll<()> {
        self.look_at_clock();
        let session = &mut self.sessions[id];
        if !session.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            session.waker = Some(cx.waker().clone());
        }
        session.stalled = false;
        if session.backlog && session.parked.is_none() && !session.keeping {
            self.resume(id);
        }
        for _ in 0..READS {
            let session = &mut self.sessions[id];
            if session.want_write {
                match session.stream.as_ref().map(|stream| stream.poll_write_ready(cx)) {
                    Some(Poll::Ready(Ok(()))) => self.write_session(id),
                    Some(Poll::Ready(Err(_))) => session.stream = None,
                    Some(Poll::Pending) | None => {}
                }
            }
            let session = &mut self.sessions[id];
            if session.stream.is_none() || (session.closing && session.is_done()) {
                self.close(id);
                return Poll::Ready(());
            }
            let (wait, backlog) = (session.closing || session.backlog, session.backlog);
            let full = self.is_full(id) || self.must_wait(id);
            if (backlog || full) && self.is_blocked(id) && self.is_gone(id, cx) {
                self.sessions[id].stream = None;
                continue;
            }
            if wait || full {
                self.sessions[id].stalled = !wait;
                return Poll::Pending;
            }
            match ready!(self.poll_receive(id, cx)) {
                // As a server does it: who has closed is not given an element.
                Ok(0) if self.is_blocked(id) => self.sessions[id].stream = None,
                Ok(0) => {
                    // What has been asked for is still answered.
                    self.sessions[id].closing = true;
                    self.sessions[id].partial = None;
                }
                Ok(n) => {
                    self.totals.bytes_in += n as u64;
                    self.grew(n);
                }
                Err(_) => self.sessions[id].stream = None,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// True if a client that is not being read has closed its connection.
    fn is_gone(&self, id: SessionId, cx: &mut Context<'_>) -> bool {
        self.sessions[id].stream.as_ref().is_some_and(|stream| stream.poll_is_gone(cx))
    }

    /// True while a session may not ask for more: too many replies owed, or too many not taken.
    fn is_full(&mut self, id: SessionId) -> bool {
        let pause = self.client_pause();
        let session = &mut self.sessions[id];
        session.is_window_full(self.limits.max_pipeline) || session.out.len() > pause || session.keeping
    }

    /// Ends a session. Its record stays until all replies it is owed are in.
    fn close(&mut self, id: SessionId) {
        if self.sessions[id].subs.is_some() {
            self.unsubscribe_all(id);
        }
        let session = &mut self.sessions[id];
        if let Some(mut stream) = session.stream.take() {
            stream.farewell();
        }
        session.partial = None;
        session.waker = None;
        session.backlog = false;
        session.out.clear(&mut self.pool);
        session.forget_early();
        let (parked, pinning) = (session.parked.take(), session.pinning.take());
        let (client, owed) = (session.client, session.owed());
        if let Some(parked) = parked.filter(|parked| !parked.settling) {
            self.parked -= 1;
            self.slots.unpark(parked.slot, parked.token);
        }
        if let Some(pinning) = pinning {
            self.let_go(&pinning);
        }
        self.registry.remove(client);
        if owed == 0 {
            self.sessions.remove(id);
        }
        self.drop_kept(id);
    }

    /// Reads once and deals with what has come.
    fn poll_receive(&mut self, id: SessionId, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let session = &mut self.sessions[id];
        if session.partial.as_ref().is_some_and(|partial| partial.buf.len() + partial.missing > OWN_BUFFER) {
            return self.poll_receive_big(id, cx);
        }
        let Some(stream) = &mut session.stream else { return Poll::Ready(Ok(0)) };
        let known = session.partial.as_ref().map_or(0, |partial| partial.buf.len());
        let mut room = ReadBuf::new(&mut self.scratch[known..]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        if read == 0 {
            return Poll::Ready(Ok(0));
        }
        session.heard = self.now;
        session.held = None;
        let scratch = std::mem::take(&mut self.scratch);
        let mut scratch = scratch;
        match session.partial.take() {
            None => {
                let mut parser = self.take_parser();
                self.consume(id, &scratch[..read], &mut parser);
                self.parser = parser;
            }
            Some(mut partial) => {
                scratch[..known].copy_from_slice(&partial.buf);
                self.consume(id, &scratch[..known + read], &mut partial.parser);
            }
        }
        self.scratch = scratch;
        Poll::Ready(Ok(read))
    }

    fn take_parser(&mut self) -> RequestParser {
        let fresh = RequestParser::new(request_limits(&self.limits));
        std::mem::replace(&mut self.parser, fresh)
    }

    /// Reads into the session's own buffer, about as much as the request still misses.
    fn poll_receive_big(&mut self, id: SessionId, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let session = &mut self.sessions[id];
        let (Some(stream), Some(partial)) = (&mut session.stream, &mut session.partial) else {
            return Poll::Ready(Ok(0));
        };
        let want = partial.missing.max(OWN_BUFFER / 2);
        if partial.buf.capacity() - partial.buf.len() < want {
            let modest = FIRST_ROOM.saturating_sub(partial.buf.len()).max(OWN_BUFFER);
            let room = if partial.buf.len() >= FIRST_ROOM { want } else { want.min(modest) };
            partial.buf.reserve(room);
        }
        let read = ready!(stream.poll_read_more(cx, &mut partial.buf, want))?;
        if read == 0 {
            return Poll::Ready(Ok(0));
        }
        session.heard = self.now;
        session.held = None;
        partial.missing = partial.missing.saturating_sub(read).max(1);
        self.consume_big(id);
        Poll::Ready(Ok(read))
    }

    /// Deals with the first request in the session's own buffer, if it is all there, as one piece.
    fn consume_big(&mut self, id: SessionId) {
        let Some(mut partial) = self.sessions[id].partial.take() else { return };
        match partial.parser.advance(&partial.buf) {
            Ok(Request::Incomplete { missing }) => {
                partial.missing = missing;
                self.sessions[id].partial = Some(partial);
            }
            Ok(Request::Complete { len }) => {
                let whole = partial.buf.split_to(len).freeze();
                let rest = std::mem::take(&mut partial.buf);
                self.totals.requests += 1;
                self.note_progress(id, true, true);
                let frame = Frame { bytes: &whole, args: partial.parser.args(), whole: Some(&whole) };
                match self.dispatch(id, frame) {
                    Outcome::Done => {
                        drop(whole);
                        self.consume_rest(id, rest);
                    }
                    Outcome::Wait => {
                        let mut buf =
                            whole.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                        buf.unsplit(rest);
                        self.hold(id, buf);
                    }
                }
            }
            Ok(_) | Err(_) => self.consume_rest(id, partial.buf),
        }
    }

    fn consume_rest(&mut self, id: SessionId, rest: BytesMut) {
        if !rest.is_empty() {
            let mut parser = self.take_parser();
            self.consume(id, &rest, &mut parser);
            self.parser = parser;
        }
    }

    /// Goes on with requests that were held.
    pub(super) fn resume(&mut self, id: SessionId) {
        let session = &mut self.sessions[id];
        session.backlog = false;
        let Some(mut partial) = session.partial.take() else { return };
        if session.closing && session.stream.is_none() {
            return;
        }
        let buf: Bytes = std::mem::take(&mut partial.buf).freeze();
        self.consume(id, &buf, &mut partial.parser);
    }

    /// Keeps whole requests for later.
    pub(super) fn hold(&mut self, id: SessionId, buf: BytesMut) {
        let parser = RequestParser::new(request_limits(&self.limits));
        let session = &mut self.sessions[id];
        session.partial = Some(Box::new(Partial { buf, parser, missing: 0 }));
        session.backlog = true;
    }

    /// Deals with all requests in `data`, keeps the beginning of the last one if it is not whole.
    fn consume(&mut self, id: SessionId, data: &[u8], parser: &mut RequestParser) {
        let mut used = 0;
        let stop = loop {
            if self.is_full(id) {
                break if used == data.len() { Stop::Drained { missing: 0 } } else { Stop::Held };
            }
            if used == data.len() {
                break Stop::Drained { missing: 0 };
            }
            match parser.advance(&data[used..]) {
                Ok(Request::Complete { len }) => {
                    let bytes = &data[used..used + len];
                    match self.dispatch(id, Frame { bytes, args: parser.args(), whole: None }) {
                        Outcome::Wait => break Stop::Held,
                        Outcome::Done => {
                            self.totals.requests += 1;
                            used += len;
                        }
                    }
                }
                Ok(Request::Inline { len }) => match self.inline(id, &data[used..used + len]) {
                    Ok(Outcome::Wait) => break Stop::Held,
                    Ok(Outcome::Done) => used += len,
                    Err(error) => break self.protocol_error(id, error),
                },
                Ok(Request::Nothing { .. }) if self.limits.codis2 => self.hang_up(id),
                Ok(Request::Nothing { len }) => used += len,
                Ok(Request::Incomplete { missing }) => break Stop::Drained { missing },
                Err(error) => break self.protocol_error(id, error),
            }
            if self.sessions[id].closing {
                break Stop::Closing;
            }
        };
        let whole = !matches!(stop, Stop::Drained { .. }) || used == data.len();
        self.note_progress(id, used > 0, whole);
        match stop {
            Stop::Closing => parser.reset(),
            Stop::Drained { .. } if used == data.len() => {}
            Stop::Drained { missing } => {
                let fresh = RequestParser::new(request_limits(&self.limits));
                let parser = std::mem::replace(parser, fresh);
                let buf = BytesMut::from(&data[used..]);
                self.sessions[id].partial = Some(Box::new(Partial { buf, parser, missing }));
            }
            Stop::Held => self.hold(id, BytesMut::from(&data[used..])),
        }
    }

    /// Remembers when the request began that is under way: `done` if one has been completed, `whole` if nothing
    /// of the next one has come.
    #[inline]
    fn note_progress(&mut self, id: SessionId, done: bool, whole: bool) {
        let session = &mut self.sessions[id];
        if whole {
            session.begun = 0;
        } else if done || session.begun == 0 {
            session.begun = (self.ticks as u32).max(1);
        }
    }

    fn inline(&mut self, id: SessionId, line: &[u8]) -> Result<Outcome, ProtocolError> {
        let array = inline_to_array(line)?;
        let mut parser = RequestParser::new(request_limits(&self.limits));
        match parser.advance(&array)? {
            Request::Complete { .. } => {
                self.totals.requests += 1;
                Ok(self.dispatch(id, Frame { bytes: &array, args: parser.args(), whole: None }))
            }
            _ => Ok(Outcome::Done),
        }
    }

    /// The client cannot be understood any more: it is told so after its other replies, then closed.
    fn protocol_error(&mut self, id: SessionId, error: ProtocolError) -> Stop {
        tracing::debug!(peer = self.registry.peer(self.sessions[id].client), %error, "protocol error");
        let text = format!("ERR Protocol error: {error}");
        self.client_failed(id, Cause::Protocol, &text);
        if !self.limits.codis2 {
            self.answer_error(id, Cause::Protocol, format!("-{text}\r\n").as_bytes());
        }
        // Written down already, as what it is: no request.
        self.trouble = None;
        self.sessions[id].closing = true;
        Stop::Closing
    }
}
