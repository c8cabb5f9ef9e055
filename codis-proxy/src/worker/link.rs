//! The life of a worker's connection to a server: opened, used, lost, and after a loss made sure that
//! the server has ended it, too.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use codis_core::SlotId;
use tokio::{task::spawn_local, time::sleep};

use super::{
    Worker,
    backend::{BackendId, Dead, Link, ServerName, State},
    connect::{ConnectError, connect, kill, one_line},
    pending::Asker,
    session::{Payload, SessionId},
    slow::Sent,
};
use crate::journal::Cause;

/// Reads in a row of one server before others get their turn.
const READS: usize = 8;
/// First pause after a failed try to connect; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A pause that grows with the failures in a row, random between half and all of it.
pub(super) fn pause(failures: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    full.mul_f64(rand::random_range(0.5..1.0))
}

impl Worker {
    /// Begins to open a connection; requests may be queued from now on.
    ///
    /// # Errors
    /// The error reply, while the last failure is too recent for another try.
    pub(super) fn open(&mut self, id: BackendId) -> Result<(), Vec<u8>> {
        let backend = &mut self.backends[id];
        if self.now < backend.not_before {
            return Err(backend.error(&backend.last_error));
        }
        backend.state = State::Connecting;
        backend.generation += 1;
        let (addr, limits, me) = (backend.addr.clone(), self.limits.clone(), self.me.clone());
        let (generation, proto) = (backend.generation, backend.proto);
        spawn_local(async move {
            let link = connect(&addr, proto, &limits).await;
            let Some(worker) = me.upgrade() else { return };
            if worker.borrow_mut().opened(id, link) {
                std::future::poll_fn(move |cx| worker.borrow_mut().poll_backend(id, generation, cx)).await;
            }
        });
        Ok(())
    }

    /// True if there is a connection now.
    fn opened(&mut self, id: BackendId, link: Result<Link, ConnectError>) -> bool {
        self.look_at_clock();
        self.backends[id].too_old = matches!(link, Err(ConnectError::TooOld(_)));
        match self.fit(id, link) {
            Ok(link) => {
                let backend = &mut self.backends[id];
                backend.connects += 1;
                backend.failures = 0;
                backend.state = State::Up(link);
                self.touch_backend(id);
                true
            }
            Err(error) => {
                self.fail(id, &error);
                false
            }
        }
    }

    /// Body of the task that reads a connection. Ready when the connection is no more.
    fn poll_backend(&mut self, id: BackendId, generation: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.look_at_clock();
        for _ in 0..READS {
            let Some(backend) = self.backends.get_mut(id) else { return Poll::Ready(()) };
            let State::Up(link) = &backend.state else { return Poll::Ready(()) };
            if backend.generation != generation {
                return Poll::Ready(());
            }
            if !backend.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                backend.waker = Some(cx.waker().clone());
            }
            if backend.want_write && link.stream.poll_write_ready(cx).is_ready() {
                self.write_backend(id);
                continue;
            }
            if self.reply_must_wait(id) {
                return Poll::Pending;
            }
            match ready!(self.poll_replies(id, cx)) {
                Ok(0) => self.lose(id, Cause::Lost, "connection closed by the server"),
                Ok(n) => {
                    if let Some(backend) = self.backends.get_mut(id) {
                        backend.bytes_in += n as u64;
                    }
                    self.grew(n);
                }
                Err(error) => self.lose(id, Cause::Lost, &error.to_string()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A connection cannot be used any more. Exactly the requests it holds fail.
    pub(super) fn lose(&mut self, id: BackendId, cause: Cause, why: &str) {
        let Some(backend) = self.backends.get_mut(id) else { return };
        if !backend.deadlines.is_empty() {
            self.recall(id, true);
        }
        let backend = &mut self.backends[id];
        let State::Up(link) = std::mem::replace(&mut backend.state, State::Down) else { return };
        let mut slots: Vec<SlotId> = Vec::new();
        for pending in &self.backends[id].pending {
            match pending.asker {
                Asker::Session { slot, .. } => slots.push(slot),
                Asker::Split { split, part } => slots.extend(self.part_slots(split, part)),
                // Their slot is that of the connection.
                Asker::Pinned { .. } | Asker::Own { .. } | Asker::Away { .. } | Asker::Proxy(_) => {}
            }
        }
        let name = link.name.clone();
        drop(link);
        slots.extend(self.fail_held(id, cause, why));
        // Where the store names another master by now, what this one still does does not matter.
        let addr = self.backends[id].addr.clone();
        let (slots, forgiven): (Vec<_>, Vec<_>) =
            slots.into_iter().partition(|slot| self.table.route(*slot).names(&addr));
        forgiven.into_iter().for_each(|slot| self.end(slot));
        if !slots.is_empty() {
            self.backends[id].dead.push(Dead { name, slots });
            self.kill_dead(id);
        }
    }

    /// No connection could be opened. The requests that waited for it were never sent. One that nobody waited for is
    /// tried again with the next look, or by the next request: that has not been refused anything yet.
    fn fail(&mut self, id: BackendId, why: &str) {
        let backend = &mut self.backends[id];
        backend.state = State::Down;
        if !backend.pending.is_empty() || !backend.waiters.is_empty() {
            backend.failures += 1;
            backend.not_before = self.now + pause(backend.failures).as_micros() as u64;
        } else if backend.failures == 0 {
            backend.failures = 1;
            tracing::warn!(backend = %backend.addr, why, "a server cannot be reached");
        }
        let slot = self.fail_held(id, Cause::Unreachable, why);
        slot.into_iter().for_each(|slot| self.end(slot));
    }

    /// Fails the requests that a backend holds. The slot that it was pinned for is returned: it is still to
    /// be ended.
    fn fail_held(&mut self, id: BackendId, cause: Cause, why: &str) -> Option<SlotId> {
        // The server may have got them.
        let sent = cause != Cause::Unreachable;
        let slot = self.break_pin(id, why);
        let counted = self.counted_at(id);
        let backend = &mut self.backends[id];
        if !backend.pending.is_empty() {
            let held = backend.pending.len();
            tracing::warn!(backend = %backend.addr, why, failed_requests = held, "connection to a server lost");
        }
        backend.total_failures += 1;
        backend.generation += 1;
        backend.last_error = why.to_owned();
        backend.partial = None;
        backend.want_write = false;
        backend.out.clear(&mut self.pool);
        backend.sent = Sent::default();
        backend.answered = backend.out.end();
        let reply = backend.error(why);
        let held = std::mem::take(&mut backend.pending);
        let waiters = std::mem::take(&mut backend.waiters);
        if let Some(waker) = backend.waker.take() {
            waker.wake();
        }
        for pending in held {
            if !self.kept.is_empty() {
                self.kept_lost(id, &pending);
            }
            if !matches!(pending.asker, Asker::Own { .. } | Asker::Proxy(_)) {
                let usecs = self.now.saturating_sub(pending.at);
                self.backends[counted].meter.record(pending.command, usecs, 1, true);
            }
            self.held_failed(id, &pending, slot, cause, why);
            match pending.asker {
                Asker::Session { session, seq, slot } => {
                    self.totals.errors += 1;
                    self.deliver(session as SessionId, seq, Payload::Slice(&reply));
                    if !sent {
                        self.end(slot);
                    }
                }
                Asker::Split { split, part } => self.part_reply(split, part, Payload::Slice(&reply), sent),
                Asker::Pinned { session, seq, .. } => {
                    self.deliver_pinned(session as SessionId, seq, Payload::Slice(&reply));
                }
                // Reads from slaves have been recalled.
                Asker::Away { .. } | Asker::Own { .. } | Asker::Proxy(_) => {}
            }
        }
        for session in waiters {
            if let Some(session) = self.sessions.get(session) {
                session.wake();
            }
        }
        slot
    }

    /// Keeps trying to end lost connections on the server until it has answered, or nothing depends
    /// on it any more.
    fn kill_dead(&mut self, id: BackendId) {
        let backend = &mut self.backends[id];
        if std::mem::replace(&mut backend.killing, true) {
            return;
        }
        let (addr, limits, me) = (backend.addr.clone(), self.limits.clone(), self.me.clone());
        spawn_local(async move {
            let mut failures = 0;
            loop {
                let Some(worker) = me.upgrade() else { return };
                let Some(names) = worker.borrow_mut().dead_names(id) else { return };
                drop(worker);
                match kill(&addr, &names, &limits).await {
                    Ok(()) => {
                        failures = 0;
                        if let Some(worker) = me.upgrade() {
                            worker.borrow_mut().killed(id, &names);
                        }
                    }
                    Err(error) => {
                        tracing::warn!(backend = %addr, error = one_line(&error), "cannot end a lost connection on the server yet");
                        failures += 1;
                        sleep(pause(failures)).await;
                    }
                }
            }
        });
    }

    /// Connections of a backend that are to be killed; `None` (and an end to killing) if there are none.
    fn dead_names(&mut self, id: BackendId) -> Option<Vec<ServerName>> {
        let backend = self.backends.get_mut(id)?;
        backend.dead.retain(|dead| !dead.slots.is_empty());
        backend.killing = !backend.dead.is_empty();
        backend.killing.then(|| backend.dead.iter().map(|dead| dead.name.clone()).collect())
    }

    /// The server has ended these lost connections.
    fn killed(&mut self, id: BackendId, names: &[ServerName]) {
        let Some(backend) = self.backends.get_mut(id) else { return };
        let killed = backend.dead.extract_if(.., |dead| names.contains(&dead.name));
        let slots: Vec<SlotId> = killed.flat_map(|dead| dead.slots).collect();
        slots.into_iter().for_each(|slot| self.end(slot));
    }
}
