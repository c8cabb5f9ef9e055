//! Sending again what is kept.

use std::time::Duration;

use codis_resp::{lookup, push_array_header, push_bulk};
use tokio::{task::spawn_local, time::timeout};

use super::{Phase, Refusal, Request, STOP};
use crate::worker::{
    Worker,
    backend::{BackendId, State},
    pending::{Arrival, Asker, KeyHead, Question},
    session::{Payload, SessionId},
    slots::LocalRoute,
};

/// First and longest pause between two looks at what can be sent.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// How often the store is read because of refused requests, microseconds.
const NUDGE: u64 = 200_000;

/// Where a kept request can be sent.
enum Place {
    Server(BackendId),
    /// Not known yet.
    Wait,
    /// It cannot be sent where its slots are now.
    Nowhere,
}

impl Worker {
    /// Makes sure that a task looks after what is kept.
    pub(super) fn run_kept(&mut self) {
        self.kept.changed.notify_one();
        if std::mem::replace(&mut self.kept.running, true) {
            return;
        }
        let (me, changed) = (self.me.clone(), self.kept.changed.clone());
        spawn_local(async move {
            let mut pause = PAUSE.0;
            loop {
                let random = pause.mul_f64(rand::random_range(0.5..1.0));
                let paused = timeout(random, changed.notified()).await.is_err();
                let Some(worker) = me.upgrade() else { return };
                if !worker.borrow_mut().retry_kept(paused) {
                    return;
                }
                if paused {
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        });
    }

    /// Sends what can be sent; `paused`: some time has gone by. False if nothing is kept any more.
    fn retry_kept(&mut self, paused: bool) -> bool {
        self.look_at_clock();
        let sessions: Vec<SessionId> = self.kept.held.keys().copied().collect();
        sessions.into_iter().for_each(|id| self.retry_session(id, paused));
        self.kept.running = !self.kept.held.is_empty();
        self.kept.running
    }

    fn retry_session(&mut self, id: SessionId, paused: bool) {
        while let Some(held) = self.kept.held.get(&id) {
            let phase = held.phase;
            let Some(first) = held.requests.front() else {
                // A blocking request, which its session sends again.
                if paused {
                    self.let_go_on(id);
                }
                return;
            };
            if phase.is_sent() {
                return;
            }
            if !self.is_in_time(id) {
                return self.answer_held(id, true, |_| true);
            }
            let anywhere = phase != Phase::Waiting || first.refusal.is_none();
            let (backend, refusal) = (first.backend, first.refusal);
            match self.place_for(first) {
                Place::Server(server) if anywhere || self.backends[server].addr != first.server => {
                    let server = self.in_proto_of(id, server);
                    if !self.send_first(id, server) {
                        return;
                    }
                }
                Place::Nowhere => return self.answer_held(id, false, |_| true),
                Place::Server(_) | Place::Wait => return self.find_out(backend, refusal, paused),
            }
        }
    }

    /// The server that a request can be sent to now.
    fn place_for(&self, request: &Request) -> Place {
        let old = self.backends.get(request.backend).filter(|backend| backend.addr == request.server);
        if old.is_some_and(|old| old.answered.wrapping_sub(request.until).cast_signed() < 0) {
            // What was sent behind it may still be executed.
            return Place::Wait;
        }
        let mut server = None;
        for slot in &request.slots {
            let state = self.slots.get(*slot);
            let this = match state.route {
                _ if state.draining => return Place::Wait,
                LocalRoute::Online(this) => this,
                LocalRoute::Blocked | LocalRoute::Unassigned => return Place::Wait,
                // Its keys may have to be fetched first.
                LocalRoute::Migrate(_) => return Place::Nowhere,
            };
            if *server.get_or_insert(this) != this {
                return Place::Nowhere;
            }
        }
        server.map_or(Place::Nowhere, Place::Server)
    }

    /// Sends the first of a session's kept requests, if the server can be reached. Behind one that was
    /// taken all go; else nothing follows before it is answered.
    fn send_first(&mut self, id: SessionId, server: BackendId) -> bool {
        if !matches!(self.ready(server, id), Ok(true)) {
            return false;
        }
        let Some(held) = self.kept.held.get_mut(&id) else { return false };
        let Some(first) = held.requests.front() else { return false };
        first.slots.iter().for_each(|slot| self.slots.begin(*slot));
        let backend = &mut self.backends[server];
        backend.out.push(&first.bytes, &mut self.pool);
        let pending = first.pending;
        let waited = u32::try_from(self.now.saturating_sub(pending.at)).unwrap_or(u32::MAX);
        let arrival = Arrival { at: pending.at, held: waited, moving: true };
        backend.expect_reply(pending.asker, pending.command, pending.key, arrival);
        if held.phase != Phase::Following && first.refusal.is_some() {
            held.phase = Phase::Sent { again: held.phase == Phase::Again };
        } else {
            let sent = held.requests.pop_front();
            self.kept.bytes -= sent.map_or(0, |sent| sent.size());
            if held.requests.is_empty() {
                self.let_go_on(id);
            }
        }
        self.touch_backend(server);
        true
    }

    /// Does what helps a refused request on.
    fn find_out(&mut self, server: BackendId, refusal: Option<Refusal>, paused: bool) {
        match refusal {
            Some(Refusal::NotMaster) => {
                let Some(backend) = self.backends.get(server) else { return };
                if self.now.saturating_sub(self.kept.nudged) > NUDGE {
                    self.kept.nudged = self.now;
                    self.nudge.refused_by(&backend.addr);
                }
            }
            Some(Refusal::NoReplicas) if paused => self.ask_for_stop(server),
            _ => {}
        }
    }

    /// Asks a server whether its writes are stopped.
    fn ask_for_stop(&mut self, server: BackendId) {
        let Some(backend) = self.backends.get_mut(server) else { return };
        if !matches!(backend.state, State::Up(_)) {
            return;
        }
        let Some(command) = lookup(b"CONFIG") else { return };
        if self.kept.asked.insert(server) {
            backend.out.push_with(&mut self.pool, |out| {
                push_array_header(out, 3);
                push_bulk(out, b"CONFIG");
                push_bulk(out, b"GET");
                push_bulk(out, STOP.0);
            });
            backend.expect_reply(
                Asker::Proxy(Question::WritesStopped),
                command,
                KeyHead::NONE,
                Arrival::new(self.now),
            );
            self.touch_backend(server);
        }
    }

    /// A server has said whether its writes are stopped. If they are not, or it does not say, what it has
    /// refused is sent to it once more: that is the answer then.
    pub(in crate::worker) fn told_of_stop(&mut self, server: BackendId, reply: &Payload<'_>) {
        self.kept.asked.remove(&server);
        // The name, then the number, each as a bulk string.
        let mut lines = reply.bytes().split(|byte| *byte == b'\n').rev().skip(1);
        let number = lines.next().and_then(|line| std::str::from_utf8(line).ok()?.trim_end().parse().ok());
        if number.is_some_and(|number: u64| number >= STOP.1) {
            return;
        }
        for held in self.kept.held.values_mut().filter(|held| held.phase == Phase::Waiting) {
            let first = held.requests.front();
            if first.is_some_and(|f| f.backend == server && f.refusal == Some(Refusal::NoReplicas)) {
                held.phase = Phase::Again;
            }
        }
        self.kept.look_again();
    }
}
