//! What becomes of one request: sent on, split, answered here, refused, or made to wait.

use bytes::Bytes;
use codis_core::{SlotId, slot_of_key};
use codis_resp::{Class, CommandId, Span, flag, lookup};
use smallvec::SmallVec;

use super::{
    Worker,
    backend::{BackendId, State},
    buffers::BIG,
    failures::{Trouble, unknown_command},
    park::{SlotKeys, Verdict},
    pending::{Asker, KeyHead},
    pinned_block::timeout_of,
    session::SessionId,
    slots::LocalRoute,
};
use crate::journal::Cause;

/// A server's queue that has grown to this is written before the turn ends, while it is in the cache.
const EARLY: usize = 128 << 10;

/// The error for keys of several slots, as Redis Cluster words it.
pub(super) const CROSSED: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// What the reader of a session does after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// On to the next one.
    Done,
    /// The request could not be sent yet; it is looked at again when the session is woken.
    Wait,
}

/// A whole request.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) args: &'a [Span],
    /// The same bytes, if they can be passed on without a copy.
    pub(super) whole: Option<&'a Bytes>,
}

impl<'a> Frame<'a> {
    /// An argument's bytes.
    #[inline]
    pub(super) fn arg(&self, at: usize) -> &'a [u8] {
        self.args[at].of(self.bytes)
    }
}

/// Where a single-slot request goes.
pub(super) enum Target {
    Backend(BackendId),
    Hold,
    Settle(BackendId),
    Nowhere,
}

impl Worker {
    /// Deals with one request of a session.
    #[inline]
    pub(super) fn dispatch(&mut self, id: SessionId, frame: Frame<'_>) -> Outcome {
        let outcome = self.decide(id, frame);
        if let Some(trouble) = self.trouble.take() {
            self.request_failed(id, *trouble, frame);
        }
        outcome
    }

    #[inline]
    fn decide(&mut self, id: SessionId, frame: Frame<'_>) -> Outcome {
        let mut verdict = self.verdict.take();
        let name = frame.arg(0);
        self.sample_in = self.sample_in.wrapping_sub(1);
        if self.sample_in == 0 {
            self.sample(frame);
        }
        if self.limits.codis2
            && let Some(outcome) = self.as_codis2(id, frame)
        {
            return outcome;
        }
        let Some(command) = lookup(name) else { return self.unknown(id, frame) };
        if !self.sessions[id].authenticated && !matches!(command.command().class, Class::Session(_)) {
            return self.refuse(id, command, "NOAUTH Authentication required.");
        }
        self.sessions[id].last = Some(command);
        let row = command.command();
        if !row.takes(frame.args.len()) {
            if self.misspelt_exec(id, command) {
                return Outcome::Done;
            }
            let name = row.name.to_ascii_lowercase();
            let text = format!("ERR wrong number of arguments for '{name}' command");
            return self.refuse(id, command, &text);
        }
        if self.sessions[id].pinning.is_some()
            && let Some(outcome) = self.while_pinned(id, command, frame, &mut verdict)
        {
            return outcome;
        }
        if self.sessions[id].subs.is_some()
            && let Some(outcome) = self.while_subscribed(id, command, frame)
        {
            return outcome;
        }
        if self.replicas.is_some()
            && let Some(outcome) = self.read_elsewhere(id, command, frame)
        {
            return outcome;
        }
        match row.class {
            Class::Slot => self.one_slot(id, command, frame, verdict),
            Class::Mget | Class::Mset | Class::Sum => self.split(id, command, frame, verdict),
            Class::EvalSha => self.eval_sha(id, command, frame, verdict),
            Class::Fan(fan) => self.fan_out(id, command, fan, frame),
            Class::Session(which) => self.local(id, command, which, frame),
            Class::Container => match command.subcommand(frame.arg(1)) {
                Some(sub) if !sub.command().takes(frame.args.len()) => {
                    let name = sub.command().name.to_ascii_lowercase();
                    self.refuse(id, sub, &format!("ERR wrong number of arguments for '{name}' command"))
                }
                Some(sub) => match sub.command().class {
                    Class::Slot => self.one_slot(id, sub, frame, verdict),
                    Class::Fan(fan) => self.fan_out(id, sub, fan, frame),
                    Class::Session(which) => self.local(id, sub, which, frame),
                    _ => self.not_allowed(id, sub),
                },
                None => {
                    let sub = printable(frame.arg(1));
                    let text = format!("ERR unknown subcommand '{sub}'. Try {} HELP.", row.name);
                    self.refuse(id, command, &text)
                }
            },
            Class::Publish => self.publish(id, command, frame),
            Class::Subscribe(kind) => self.subscribe(id, command, kind, frame),
            Class::Unsubscribe(kind) => self.unsubscribe(id, command, kind, frame),
            Class::Transaction => self.transaction(id, command, frame, verdict),
            Class::Refused => self.not_allowed(id, command),
        }
    }

    /// A request whose keys must all lie in one slot.
    #[inline]
    pub(super) fn one_slot(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: Option<Verdict>,
    ) -> Outcome {
        let key = match self.common_slot(id, command, frame) {
            Ok(key) => key,
            Err(outcome) => return outcome,
        };
        // Without a key any server would do; slot 0's is taken, as Codis does.
        let (slot, key) = key.map_or_else(|| (slot_of_key(b""), None), |(slot, at)| (slot, Some(at)));
        if command.command().flags & flag::BLOCKING != 0
            && let Some(timeout) = timeout_of(command, frame)
        {
            return self.block(id, command, frame, slot, timeout, verdict);
        }
        match self.route(id, command, frame, slot, verdict) {
            Ok(backend) => self.forward(id, command, frame, (slot, key), backend),
            Err(outcome) => outcome,
        }
    }

    /// The slot of all keys of a request, and which argument one of them is; `None` if it has no key.
    ///
    /// # Errors
    /// What becomes of the request if its keys have different slots, or cannot be found.
    #[inline]
    pub(super) fn common_slot(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
    ) -> Result<Option<(SlotId, usize)>, Outcome> {
        let mut slot: Option<(SlotId, usize)> = None;
        let mut crossed = false;
        let keys = command.command().each_key(frame.bytes, frame.args, |at| {
            let this = slot_of_key(frame.arg(at));
            crossed |= slot.is_some_and(|(slot, _)| slot != this);
            slot = Some((this, at));
        });
        if let Err(error) = keys {
            return Err(self.refuse(id, command, &format!("ERR {error}")));
        }
        if crossed {
            return Err(self.refuse(id, command, CROSSED));
        }
        Ok(slot)
    }

    /// The server that a request for a slot may be sent to now.
    ///
    /// # Errors
    /// What becomes of the request instead.
    #[inline]
    pub(super) fn route(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        slot: SlotId,
        verdict: Option<Verdict>,
    ) -> Result<BackendId, Outcome> {
        match self.target(slot) {
            Target::Backend(backend) => Ok(self.in_proto_of(id, backend)),
            Target::Hold => Err(self.park(id, slot)),
            Target::Nowhere => Err(self.nowhere(id, command, slot)),
            Target::Settle(backend) => match self.unsettled(slot, command, frame, verdict) {
                Ok(None) => Ok(self.in_proto_of(id, backend)),
                Ok(Some(keys)) => Err(self.settle(id, SmallVec::from_buf([(slot, keys)]))),
                Err(reply) => Err(self.failed(id, command, Cause::MoveFailed, &reply)),
            },
        }
    }

    #[inline]
    pub(super) fn target(&self, slot: SlotId) -> Target {
        let state = self.slots.get(slot);
        match state.route {
            _ if state.draining => Target::Hold,
            LocalRoute::Online(backend) => Target::Backend(backend),
            LocalRoute::Blocked => Target::Hold,
            LocalRoute::Migrate(backend) => Target::Settle(backend),
            LocalRoute::Unassigned => Target::Nowhere,
        }
    }

    /// The keys of a request in a migrating slot, unless all have left the old group.
    fn unsettled(
        &self,
        slot: SlotId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: Option<Verdict>,
    ) -> Result<Option<SmallVec<[Bytes; 1]>>, Vec<u8>> {
        match verdict {
            Some(Verdict::Failed(reply)) => return Err(reply),
            Some(Verdict::Settled(slots)) if slots.contains(&slot) => return Ok(None),
            _ => {}
        }
        let mut settled = true;
        let mut keys = SmallVec::new();
        // The keys have been found once already, so they are found again.
        let _ = command.command().each_key(frame.bytes, frame.args, |at| {
            settled &= self.movers.is_settled(slot, frame.arg(at));
            keys.push(Bytes::copy_from_slice(frame.arg(at)));
        });
        Ok((!settled && !keys.is_empty()).then_some(keys))
    }

    /// Queues a request for its server as it came.
    #[inline]
    pub(super) fn forward(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        (slot, key): (SlotId, Option<usize>),
        backend: BackendId,
    ) -> Outcome {
        match self.ready(backend, id) {
            Ok(true) => {}
            Ok(false) => return Outcome::Wait,
            Err(reply) => return self.failed(id, command, Cause::Unreachable, &reply),
        }
        let key = key.map_or(KeyHead::NONE, |at| KeyHead::of(frame.arg(at)));
        let session = &mut self.sessions[id];
        let (seq, arrival) = (session.expect_reply(), session.arrival(self.now));
        self.slots.begin(slot);
        let asker = Asker::Session { session: id as u32, seq, slot };
        let queue = &mut self.backends[backend];
        match frame.whole {
            Some(whole) if whole.len() >= BIG => queue.out.push_big(whole.clone()),
            _ => queue.out.push(frame.bytes, &mut self.pool),
        }
        queue.expect_reply(asker, command, key, arrival);
        let full = queue.out.len() >= EARLY && !queue.want_write;
        self.touch_backend(backend);
        if full {
            self.write_backend(backend);
        }
        Outcome::Done
    }

    /// True if a request may be queued for this server; else the session is woken when it may.
    ///
    /// # Errors
    /// The error reply, while the server is not reachable.
    #[inline]
    pub(super) fn ready(&mut self, backend: BackendId, id: SessionId) -> Result<bool, Vec<u8>> {
        if let State::Down = self.backends[backend].state {
            self.open(backend)?;
        }
        let most = self.backend_pause();
        let queue = &mut self.backends[backend];
        if queue.out.len() <= most {
            return Ok(true);
        }
        queue.waiters.push(id);
        self.sessions[id].hold_back(self.now);
        Ok(false)
    }

    pub(super) fn nowhere(&mut self, id: SessionId, command: CommandId, slot: SlotId) -> Outcome {
        let text = match self.table.fenced {
            true => "-ERR codis-proxy has lost its store and serves nothing (on_store_loss = fence)\r\n"
                .to_owned(),
            false => format!("-ERR slot {slot} is not assigned to a group with a master\r\n"),
        };
        self.failed(id, command, Cause::NoMaster, text.as_bytes())
    }

    pub(super) fn not_allowed(&mut self, id: SessionId, command: CommandId) -> Outcome {
        let name = command.command().name.to_ascii_lowercase();
        self.refuse(id, command, &format!("ERR command '{name}' is not allowed through codis-proxy"))
    }

    fn unknown(&mut self, id: SessionId, frame: Frame<'_>) -> Outcome {
        let reply = match self.sessions[id].authenticated {
            true => unknown_command(frame),
            false => b"-NOAUTH Authentication required.\r\n".to_vec(),
        };
        self.answer_error(id, Cause::Refused, &reply);
        Outcome::Done
    }

    /// Answers with an error of our own, given without `-` and the line's end.
    pub(super) fn refuse(&mut self, id: SessionId, command: CommandId, text: &str) -> Outcome {
        self.failed(id, command, Cause::Refused, format!("-{text}\r\n").as_bytes())
    }

    /// Answers with a whole error reply.
    pub(super) fn failed(
        &mut self,
        id: SessionId,
        command: CommandId,
        cause: Cause,
        reply: &[u8],
    ) -> Outcome {
        self.meter.record(command, 0, 1, true);
        self.answer_error(id, cause, reply);
        Outcome::Done
    }

    /// Answers with an error that belongs to no command.
    pub(super) fn answer_error(&mut self, id: SessionId, cause: Cause, reply: &[u8]) {
        self.totals.errors += 1;
        self.trouble = Some(Box::new(Trouble::new(cause, reply)));
        if let Some(pinning) = &mut self.sessions[id].pinning {
            pinning.transaction.failed();
        }
        self.sessions[id].answer(reply, &mut self.pool);
        self.touch_session(id);
    }

    /// All keys of a split request that must move first, by slot.
    pub(super) fn unsettled_keys(
        &self,
        frame: Frame<'_>,
        keys: &[(usize, SlotId)],
    ) -> SmallVec<[SlotKeys; 1]> {
        let mut by_slot: SmallVec<[SlotKeys; 1]> = SmallVec::new();
        for &(at, slot) in keys {
            if self.movers.is_settled(slot, frame.arg(at)) {
                continue;
            }
            let key = Bytes::copy_from_slice(frame.arg(at));
            match by_slot.iter_mut().find(|(other, _)| *other == slot) {
                Some((_, keys)) => keys.push(key),
                None => by_slot.push((slot, SmallVec::from_buf([key]))),
            }
        }
        by_slot
    }
}

/// A client's word as it may stand in a reply line, shortened.
pub(super) fn printable(word: &[u8]) -> String {
    let short = &word[..word.len().min(128)];
    short.escape_ascii().to_string()
}
