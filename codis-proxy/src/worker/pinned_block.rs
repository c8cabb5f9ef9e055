//! Commands that wait on the server until there is something for them: BLPOP and its like, XREAD with
//! BLOCK.
//!
//! Each has a connection to itself while it waits. It is only ever taken out of there by
//! `CLIENT UNBLOCK`, never by closing the connection, because an element that has just been popped
//! would be lost: either the element comes, or an answer that says that nothing was popped. When the
//! slot's route changes such a request is put back in front of what its client has sent since, and
//! goes to the new server with the time that remains (whole seconds are rounded up, for servers that
//! know no fractions). When the client has gone its request is taken out and forgotten.

use bytes::BytesMut;
use codis_core::SlotId;
use codis_resp::{CommandId, push_array_header, push_bulk};
use tokio::{task::spawn_local, time::sleep};

use super::{
    Worker,
    backend::{BackendId, KillName, Link, State},
    connect::{ConnectError, one_line, unblock},
    dispatch::{Frame, Outcome},
    link::pause,
    park::Verdict,
    pending::{Asker, Question},
    session::{Payload, SessionId},
};
use crate::journal::Cause;

/// How the reply of a request begins that was taken out.
const TAKEN_OUT: &[u8] = b"-UNBLOCKED";
const NO_UNBLOCK: &str = "it knows no CLIENT UNBLOCK (version 5), which blocking commands need";

/// A request that may be waiting on a server.
#[derive(Debug)]
pub(super) struct Blocked {
    args: Vec<Vec<u8>>,
    /// Which argument says how long.
    timeout: usize,
    /// That argument counts milliseconds, not seconds.
    millis: bool,
    /// Until when it waits, microseconds of the worker's clock; `None`: for ever.
    until: Option<u64>,
    /// Since when the server is being asked to let it go.
    asked: Option<u64>,
    /// Another client has asked for it to be let go, with CLIENT UNBLOCK.
    pub(super) freed: bool,
}

impl Blocked {
    fn new(frame: Frame<'_>, timeout: usize, millis: bool, now: u64) -> Self {
        let args: Vec<Vec<u8>> = frame.args.iter().map(|arg| arg.of(frame.bytes).to_vec()).collect();
        let text = args.get(timeout).and_then(|arg| std::str::from_utf8(arg).ok());
        // What is no time at all the server refuses at once.
        let given = text.and_then(|text| text.parse::<f64>().ok()).unwrap_or(-1.0);
        let micros = given * if millis { 1e3 } else { 1e6 };
        let until = (micros != 0.0).then(|| now.saturating_add(micros.max(0.0) as u64));
        Self { args, timeout, millis, until, asked: None, freed: false }
    }

    /// The request with the time that remains.
    fn again(mut self, now: u64) -> BytesMut {
        if let Some(until) = self.until
            && let Some(arg) = self.args.get_mut(self.timeout)
        {
            let left = until.saturating_sub(now).max(1000);
            *arg = match (self.millis, arg.contains(&b'.')) {
                (true, _) => left.div_ceil(1000).to_string(),
                (false, true) => format!("{:.3}", left as f64 / 1e6),
                (false, false) => left.div_ceil(1_000_000).to_string(),
            }
            .into_bytes();
        }
        let mut request = Vec::new();
        push_array_header(&mut request, self.args.len());
        self.args.iter().for_each(|arg| push_bulk(&mut request, arg));
        BytesMut::from(&request[..])
    }

    /// True if it may still be waiting, rightly.
    pub(super) fn waits(&self, now: u64, patience: u64) -> bool {
        self.asked.or(self.until).is_none_or(|until| now.saturating_sub(until) <= patience)
    }
}

/// Where a request says for how long it may block, and whether in milliseconds; `None` if it does not
/// block.
pub(super) fn timeout_of(command: CommandId, frame: Frame<'_>) -> Option<(usize, bool)> {
    match command.command().name {
        name @ ("XREAD" | "XREADGROUP") => {
            // Behind the names of group and consumer, which may be any word.
            let options = if name == "XREAD" { 1 } else { 4 };
            let words = frame.args[options..].iter().map(|arg| arg.of(frame.bytes));
            let place = words
                .take_while(|word| !word.eq_ignore_ascii_case(b"STREAMS"))
                .position(|word| word.eq_ignore_ascii_case(b"BLOCK"))?;
            Some((options + place + 1, true))
        }
        "BLMPOP" | "BZMPOP" => Some((1, false)),
        _ => Some((frame.args.len() - 1, false)),
    }
}

impl Worker {
    /// Sends a request that may block, over a connection of its own.
    #[cold]
    pub(super) fn block(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        slot: SlotId,
        (timeout, millis): (usize, bool),
        verdict: Option<Verdict>,
    ) -> Outcome {
        if self.sessions[id].pinning.is_some() {
            let text = "ERR blocking commands are not supported by codis-proxy while keys are watched";
            return self.refuse(id, command, text);
        }
        let backend = match self.route_and_pin(id, command, frame, slot, verdict) {
            Ok(backend) => backend,
            Err(outcome) => return outcome,
        };
        if let State::Up(link) = &self.backends[backend].state
            && !link.unblocks
        {
            let reply = self.backends[backend].error(NO_UNBLOCK);
            self.leave(id);
            return self.failed(id, command, Cause::Refused, &reply);
        }
        self.send_pinned(id, command, frame, backend, true);
        let blocked = Blocked::new(frame, timeout, millis, self.now);
        if let Some(pinned) = &mut self.backends[backend].pinned {
            pinned.blocked = Some(Box::new(blocked));
        }
        Outcome::Done
    }

    /// A new connection if it can be used for what it was opened for, else why not.
    pub(super) fn fit(&self, backend: BackendId, link: Result<Link, ConnectError>) -> Result<Link, String> {
        let blocked = self.backends[backend].pinned.as_ref().is_some_and(|pinned| pinned.blocked.is_some());
        match link {
            Ok(link) if blocked && !link.unblocks => Err(NO_UNBLOCK.to_owned()),
            Ok(link) => Ok(link),
            Err(error) => Err(one_line(&error)),
        }
    }

    /// True while a session waits for the reply of a blocking command.
    pub(super) fn is_blocked(&self, id: SessionId) -> bool {
        self.pin_of(id)
            .and_then(|pin| self.backends[pin.backend].pinned.as_ref())
            .is_some_and(|p| p.blocked.is_some())
    }

    /// Takes blocking requests out of the server that these connections lead to.
    pub(super) fn take_out(&mut self, backends: &[BackendId]) {
        let mut names = Vec::new();
        let mut addr = None;
        for &id in backends {
            let backend = &mut self.backends[id];
            let Some(pinned) = &mut backend.pinned else { continue };
            let Some(blocked) = pinned.blocked.as_mut().filter(|blocked| blocked.asked.is_none()) else {
                continue;
            };
            blocked.asked = Some(self.now);
            // Not used again: the server might be asked once more, when it has long answered.
            pinned.spoiled = true;
            match &backend.state {
                State::Up(link) => {
                    if let KillName::Id(name) = link.name.kill {
                        names.push((id, backend.generation, name));
                        addr = Some(backend.addr.clone());
                    }
                }
                State::Connecting => self.never_sent(id),
                State::Down => {}
            }
        }
        let Some(addr) = addr else { return };
        let (limits, me) = (self.limits.clone(), self.me.clone());
        spawn_local(async move {
            let mut failures = 0;
            loop {
                let ids: Vec<u64> = names.iter().map(|(_, _, name)| *name).collect();
                if let Err(error) = unblock(&addr, &ids, &limits).await {
                    tracing::warn!(backend = %addr, error = one_line(&error), "cannot take blocking requests out yet");
                }
                // Those that it did not know yet, or whose reply is on its way.
                sleep(pause(failures)).await;
                failures += 1;
                let Some(worker) = me.upgrade() else { return };
                names.retain(|(id, generation, _)| worker.borrow().still_blocked(*id, *generation));
                if names.is_empty() {
                    return;
                }
            }
        });
    }

    fn still_blocked(&self, id: BackendId, generation: u64) -> bool {
        let backend = self.backends.get(id).filter(|backend| backend.generation == generation);
        backend.and_then(|backend| backend.pinned.as_ref()).is_some_and(|pinned| pinned.blocked.is_some())
    }

    /// The connection for a blocking request is not even open.
    fn never_sent(&mut self, id: BackendId) {
        let backend = &mut self.backends[id];
        backend.out.clear(&mut self.pool);
        for pending in std::mem::take(&mut backend.pending) {
            if let Asker::Pinned { session, .. } = pending.asker {
                self.put_back(id, session as SessionId);
            }
            self.pinned_reply(id, true, true, true);
        }
    }

    /// True if a reply is not for a client.
    #[inline]
    pub(super) fn is_ours(&mut self, id: BackendId, asker: Asker, payload: &Payload<'_>) -> bool {
        match asker {
            Asker::Own { last } => self.pinned_reply(id, true, last, payload.is_error()),
            Asker::Proxy(Question::IsAlive) => {}
            Asker::Proxy(Question::WritesStopped) => self.told_of_stop(id, payload),
            Asker::Pinned { session, last: true, .. } if self.is_refused_block(id, session, payload) => {
                let session = session as SessionId;
                let since = self.sessions.get(session).and_then(|s| s.waits_since()).unwrap_or(self.now);
                self.put_back(id, session);
                self.wait_to_block(session, since);
                self.pinned_reply(id, false, true, true);
            }
            Asker::Pinned { session, last: true, .. } if payload.bytes().starts_with(TAKEN_OUT) => {
                let blocked = self.backends[id].pinned.as_ref().and_then(|pinned| pinned.blocked.as_ref());
                if blocked.is_none_or(|blocked| blocked.asked.is_none() || blocked.freed) {
                    return false;
                }
                self.put_back(id, session as SessionId);
                self.pinned_reply(id, false, true, true);
            }
            _ => return false,
        }
        true
    }

    /// True if a server has refused to let a request block, as no master or because writes are stopped.
    fn is_refused_block(&self, id: BackendId, session: u32, payload: &Payload<'_>) -> bool {
        let blocked = self.backends[id].pinned.as_ref().and_then(|pinned| pinned.blocked.as_ref());
        payload.is_error()
            && blocked.is_some_and(|blocked| blocked.asked.is_none())
            && self.may_wait_to_block(session as SessionId, payload)
    }

    /// A blocking request was taken out: its session begins anew with it.
    fn put_back(&mut self, backend: BackendId, id: SessionId) {
        let blocked = self.backends[backend].pinned.as_mut().and_then(|pinned| pinned.blocked.take());
        let (Some(blocked), Some(session)) = (blocked, self.sessions.get_mut(id)) else { return };
        session.take_back();
        if session.stream.is_none() {
            if session.owed() == 0 && session.waker.is_none() {
                self.sessions.remove(id);
            }
            return;
        }
        session.held = None;
        let mut request = blocked.again(self.now);
        if let Some(partial) = session.partial.take() {
            request.extend_from_slice(&partial.buf);
        }
        self.totals.requests -= 1;
        self.hold(id, request);
        self.sessions[id].wake();
    }
}
