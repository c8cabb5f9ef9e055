//! The end of a turn (writing what has gathered) and the slow clock (time-outs).

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::task::yield_now;

use super::{
    Worker,
    backend::{Backend, BackendId, State},
    session::SessionId,
};
use crate::{journal::Cause, stream::Stream};

/// Ticks between two looks at what is idle.
const TICKS_PER_SECOND: u64 = 10;
/// Bytes of a request for which it gets a second more.
const BYTES_PER_SECOND: usize = 64 << 10;
/// Replies that wait for others of the same client are fewer bytes than this, and wait for so many turns.
const LITTLE: usize = 64 << 10;
const PUT_OFF: u8 = 4;

/// Writes at the end of each turn, for as long as the worker lives.
pub(super) async fn write_turns(worker: Rc<RefCell<Worker>>) {
    loop {
        poll_fn(|cx| worker.borrow_mut().poll_flush_asked(cx)).await;
        let left = worker.borrow_mut().flush();
        if left {
            // Until the sockets have been looked at again.
            yield_now().await;
        }
    }
}

impl Worker {
    /// The session's output has grown: it is written at the end of the turn.
    #[inline]
    pub(super) fn touch_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if !session.dirty {
            session.dirty = true;
            self.dirty_sessions.push(id);
            self.ask_flush();
        }
    }

    /// The backend's queue has grown: it is written at the end of the turn.
    #[inline]
    pub(super) fn touch_backend(&mut self, id: BackendId) {
        let backend = &mut self.backends[id];
        if !backend.dirty {
            backend.dirty = true;
            self.dirty_backends.push(id);
            self.ask_flush();
        }
    }

    /// Puts the flusher behind the tasks that are ready now.
    #[inline]
    fn ask_flush(&mut self) {
        if !self.flush_asked {
            self.flush_asked = true;
            if let Some(waker) = &self.flusher {
                waker.wake_by_ref();
            }
        }
    }

    /// Ready when something is to be written.
    fn poll_flush_asked(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.flusher.is_none() {
            self.flusher = Some(cx.waker().clone());
        }
        if self.flush_asked { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Writes what has gathered. True if something is left for the next turn, which must come at once.
    fn flush(&mut self) -> bool {
        let mut backends = std::mem::take(&mut self.dirty_backends);
        backends.drain(..).for_each(|id| self.write_backend(id));
        if self.dirty_backends.is_empty() {
            self.dirty_backends = backends;
        }
        let mut sessions = std::mem::take(&mut self.dirty_sessions);
        sessions.retain(|&id| {
            let wait = self.put_off(id);
            if !wait {
                self.write_session(id);
            }
            wait
        });
        let left = !sessions.is_empty();
        // Writing may have failed and failed requests of others with it.
        sessions.append(&mut self.dirty_sessions);
        self.dirty_sessions = sessions;
        self.flush_asked = !self.dirty_sessions.is_empty() || !self.dirty_backends.is_empty();
        left
    }

    /// True if a session's replies had better wait for the next turn: it is owed more, which is probably
    /// on its way from another server, and two writes cost twice as much as one. No turn sleeps meanwhile.
    #[inline]
    fn put_off(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let wait = session.owed() > 0 && session.put_off < PUT_OFF && session.out.len() < LITTLE;
        session.put_off = if wait { session.put_off + 1 } else { 0 };
        wait
    }

    /// Writes what a session's client will take.
    pub(super) fn write_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.dirty = false;
        let Some(stream) = &mut session.stream else { return };
        match session.out.write(stream, &mut self.pool) {
            Ok(n) => {
                self.totals.bytes_out += n as u64;
                session.want_write = !session.out.is_empty() || stream.wants_write();
                let (bound, key) = match session.subs {
                    Some(_) if self.limits.subscriber_output < self.limits.client_output => {
                        (self.limits.subscriber_output, "subscriber_output")
                    }
                    _ => (self.limits.client_output, "client_output"),
                };
                if session.want_write && session.out.len() > bound {
                    let why = format!("{} bytes of replies were not taken ({key})", session.out.len());
                    session.stream = None;
                    session.wake();
                    self.client_failed(id, Cause::SlowReader, &why);
                } else if session.want_write || session.closing || session.backlog || session.stalled {
                    session.wake();
                }
            }
            Err(_) => {
                session.stream = None;
                session.wake();
            }
        }
        if !self.taking.is_empty() && self.sessions[id].out.is_empty() {
            self.taken(id);
        }
    }

    /// Writes what a server will take.
    pub(super) fn write_backend(&mut self, id: BackendId) {
        let pause = self.backend_pause();
        let Some(backend) = self.backends.get_mut(id) else { return };
        backend.dirty = false;
        let State::Up(link) = &mut backend.state else { return };
        match backend.out.write(&mut link.stream, &mut self.pool) {
            Ok(n) => {
                backend.bytes_out += n as u64;
                let waiting = backend.pending.front().map(|pending| pending.end);
                backend.sent.wrote(self.now, backend.out.sent(), waiting);
                backend.want_write = !backend.out.is_empty() || link.stream.wants_write();
                if backend.want_write
                    && let Some(waker) = &backend.waker
                {
                    waker.wake_by_ref();
                }
                if backend.out.len() <= pause / 2 {
                    for session in backend.waiters.drain(..) {
                        if let Some(session) = self.sessions.get(session) {
                            session.wake();
                        }
                    }
                }
            }
            Err(error) => self.lose(id, Cause::Lost, &error.to_string()),
        }
    }

    /// Looks for everything that has taken too long.
    pub(super) fn tick(&mut self) {
        self.look_at_clock();
        self.tick_backends();
        self.tick_feeds();
        self.finish_installs();
        self.tick_held();
        self.ticks += 1;
        let second = self.ticks.is_multiple_of(TICKS_PER_SECOND);
        self.journal.tick(second);
        self.tick_sampler();
        if !self.taking.is_empty() {
            self.tick_slow();
        }
        if second {
            let totals = &mut self.totals;
            // A request that is put back is taken off again.
            totals.requests_per_second = totals.requests.saturating_sub(totals.requests_before);
            totals.requests_before = totals.requests;
            self.tick_pins();
            self.leave_old_places();
            self.pool.trim();
        }
        if second && !self.limits.request_timeout.is_zero() {
            self.tick_requests();
        }
        if self.parked > 0 || second {
            self.tick_sessions();
        }
    }

    fn tick_backends(&mut self) {
        if self.replicas.is_some() {
            let now = self.now;
            let is_late = |backend: &Backend| backend.deadlines.front().is_some_and(|until| *until < now);
            let late: Vec<BackendId> =
                self.backends.iter().filter(|(_, b)| is_late(b)).map(|(id, _)| id).collect();
            late.into_iter().for_each(|id| self.recall(id, false));
        }
        let limit = self.limits.backend_timeout.as_micros() as u64;
        let mut late = Vec::new();
        let mut useless = Vec::new();
        for (id, backend) in &self.backends {
            if backend
                .pending
                .front()
                .is_some_and(|pending| self.now.saturating_sub(pending.queued()) > limit)
                && matches!(backend.state, State::Up(_))
                && !backend.pinned.as_ref().is_some_and(|pinned| pinned.waits(self.now, limit))
            {
                late.push(id);
            } else if backend.is_useless() {
                useless.push(id);
            }
        }
        for id in late {
            let why = format!("no reply within {} s", self.limits.backend_timeout.as_secs_f32());
            self.lose(id, Cause::TimedOut, &why);
        }
        for id in useless {
            let backend = self.backends.remove(id);
            match self.by_addr.get(&backend.addr).copied() {
                Some(main) if main == id => drop(self.by_addr.remove(&backend.addr)),
                Some(main) => {
                    let main = &mut self.backends[main];
                    main.add_traffic(&backend);
                    main.in_resp3.take_if(|twin| *twin == id);
                }
                None => {}
            }
            self.given.forget(id);
            if let Some(waker) = backend.waker {
                waker.wake();
            }
        }
    }

    /// Ends sessions whose request does not become complete.
    fn tick_requests(&mut self) {
        let allowed = self.limits.request_timeout.as_secs_f64();
        let now = self.ticks as u32;
        let mut late = Vec::new();
        for (id, session) in &mut self.sessions {
            let Some(partial) = session.partial.as_ref().filter(|_| session.begun > 0) else { continue };
            if session.stalled {
                // We have not read it ourselves.
                session.begun = now;
                continue;
            }
            let taken = f64::from(now.wrapping_sub(session.begun)) / TICKS_PER_SECOND as f64;
            let more = partial.buf.len() / BYTES_PER_SECOND;
            if taken > allowed + more as f64 && !session.backlog && !session.closing {
                late.push(id);
            }
        }
        let text = format!("ERR Protocol error: the request was not complete within {allowed} s");
        for id in late {
            self.client_failed(id, Cause::SlowRequest, &text);
            self.answer_error(id, Cause::SlowRequest, format!("-{text}\r\n").as_bytes());
            let session = &mut self.sessions[id];
            session.partial = None;
            session.closing = true;
            session.wake();
        }
    }

    fn tick_sessions(&mut self) {
        let idle = self.limits.idle_timeout.as_micros() as u64;
        let park = self.limits.park_timeout.as_micros() as u64;
        let mut expired = Vec::new();
        let mut silent_ones = Vec::new();
        for (id, session) in &mut self.sessions {
            // How its connection ends is not seen from outside while nobody reads it.
            if session.pinning.is_some() && session.stream.as_ref().is_some_and(Stream::is_tls) {
                session.wake();
            }
            let silent = self.now.saturating_sub(session.heard);
            if let Some(parked) = &session.parked {
                let since = session.held.as_ref().and_then(|held| held.parked).unwrap_or(parked.since);
                if !parked.settling && self.now.saturating_sub(since) > park {
                    expired.push(id);
                }
            } else if session.is_done() && !session.closing && session.subs.is_none() {
                if idle > 0 && silent > idle {
                    session.closing = true;
                    session.wake();
                    silent_ones.push(id);
                } else if silent > 1_000_000 {
                    session.release();
                }
            }
        }
        expired.into_iter().for_each(|id| self.give_up_waiting(id));
        for id in silent_ones {
            let why = format!("silent for {} s (idle_timeout)", self.limits.idle_timeout.as_secs_f32());
            self.client_failed(id, Cause::Idle, &why);
        }
    }
}
