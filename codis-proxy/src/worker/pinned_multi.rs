//! Transactions within one slot: WATCH, MULTI, EXEC, DISCARD, UNWATCH.
//!
//! The server runs them, on a connection that the client has to itself (see [`super::pinned`]). Which
//! server is known from the first key on: until then MULTI and commands without a key are answered
//! here and kept. From then on the server itself answers QUEUED, or why not. A key of another slot is
//! an error, and as after any error of queueing EXEC then answers EXECABORT.
//!
//! If the slot's route changes or the connection is lost before EXEC was sent, nothing of the
//! transaction has been or will be carried out: EXEC answers nil if keys were watched, as if somebody
//! had touched one, so that the client does what it does then anyway; else EXECABORT with the reason.

use codis_core::{SlotId, slot_of_key};
use codis_resp::{Class, CommandId, Session};

use super::{
    Worker,
    dispatch::{CROSSED, Frame, Outcome},
    failures::Trouble,
    park::Verdict,
    pinned::Pinning,
    session::SessionId,
};
use crate::journal::Cause;

/// Bytes of commands without a key that are kept until the first key.
const EARLY_BYTES: usize = 1 << 20;
const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";

/// How far a session's transaction is.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Between MULTI and EXEC.
    multi: bool,
    /// The server has been sent MULTI.
    open: bool,
    watched: bool,
    /// A command could not be queued.
    dirty: bool,
    /// Why it cannot be carried out any more.
    broken: Option<String>,
    /// Commands that were queued before the first key.
    early: Vec<(CommandId, Vec<u8>)>,
}

impl Transaction {
    /// True between MULTI and EXEC.
    pub(super) fn is_multi(&self) -> bool {
        self.multi
    }

    /// True if the server knows of the MULTI.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// It can no longer be carried out.
    pub(super) fn abort(&mut self, why: String) {
        self.broken.get_or_insert(why);
        self.open = false;
    }

    /// A command has been answered with an error.
    pub(super) fn failed(&mut self) {
        self.dirty |= self.multi;
    }
}

impl Worker {
    /// A request of a session that has something open; `None`: it is dealt with like any other.
    #[cold]
    pub(super) fn while_pinned(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: &mut Option<Verdict>,
    ) -> Option<Outcome> {
        let pinning = self.sessions[id].pinning.as_ref()?;
        if pinning.ending {
            return Some(Outcome::Wait);
        }
        let multi = pinning.transaction.multi;
        let row = command.command();
        match row.class {
            Class::Transaction if multi && row.name == "UNWATCH" => self.queue(id, command, frame, verdict),
            Class::Transaction => None,
            Class::Session(Session::Quit | Session::Reset) => {
                self.leave(id);
                None
            }
            Class::Slot | Class::Mget | Class::Mset | Class::Sum | Class::Publish if multi => {
                self.queue(id, command, frame, verdict)
            }
            Class::EvalSha if multi => match self.offer_script(id, command, frame) {
                Ok(()) => self.queue(id, command, frame, verdict),
                Err(outcome) => Some(outcome),
            },
            Class::Session(Session::Ping | Session::Echo) if multi => self.queue(id, command, frame, verdict),
            Class::Container if multi => match command.subcommand(frame.arg(1)) {
                Some(sub) if sub.command().class == Class::Slot && sub.command().takes(frame.args.len()) => {
                    self.queue(id, sub, frame, verdict)
                }
                Some(sub) if matches!(sub.command().class, Class::Fan(_)) => Some(self.not_in_multi(id, sub)),
                _ => None,
            },
            Class::Refused if multi => None,
            _ if multi => Some(self.not_in_multi(id, command)),
            _ if self.change_over(id, true) => None,
            _ => Some(Outcome::Wait),
        }
    }

    fn not_in_multi(&mut self, id: SessionId, command: CommandId) -> Outcome {
        let name = command.command().name.to_ascii_lowercase();
        let text = format!("ERR command '{name}' is not allowed inside MULTI through codis-proxy");
        self.refuse(id, command, &text)
    }

    /// One of the commands that transactions are made of.
    #[cold]
    pub(super) fn transaction(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        mut verdict: Option<Verdict>,
    ) -> Outcome {
        let multi = self.sessions[id].pinning.as_ref().is_some_and(|pinning| pinning.transaction.multi);
        match (command.command().name, multi) {
            ("MULTI", false) => {
                self.sessions[id].pinning.get_or_insert_default().transaction.multi = true;
                self.say(id, command, b"+OK\r\n")
            }
            ("MULTI", true) => self.say(id, command, b"-ERR MULTI calls can not be nested\r\n"),
            ("WATCH", false) => {
                self.watch(id, command, frame, &mut verdict).unwrap_or_else(|outcome| outcome)
            }
            ("WATCH", true) => self.say(id, command, b"-ERR WATCH inside MULTI is not allowed\r\n"),
            ("EXEC", true) => self.exec(id, command, frame, &mut verdict).unwrap_or_else(|outcome| outcome),
            ("EXEC", false) => self.say(id, command, b"-ERR EXEC without MULTI\r\n"),
            ("DISCARD", false) => self.say(id, command, b"-ERR DISCARD without MULTI\r\n"),
            // DISCARD and UNWATCH.
            _ => {
                self.leave(id);
                self.say(id, command, b"+OK\r\n")
            }
        }
    }

    fn watch(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: &mut Option<Verdict>,
    ) -> Result<Outcome, Outcome> {
        let Some((slot, _)) = self.common_slot(id, command, frame)? else { return Ok(Outcome::Done) };
        if self.is_pinned_elsewhere(id, slot) {
            return Err(self.refuse(id, command, CROSSED));
        }
        if self.sessions[id].pinning.as_ref().is_some_and(|pinning| pinning.transaction.broken.is_some()) {
            return Ok(self.say(id, command, b"+OK\r\n"));
        }
        let backend = self.route_and_pin(id, command, frame, slot, verdict.take())?;
        self.state(id).watched = true;
        self.send_pinned(id, command, frame, backend, false);
        Ok(Outcome::Done)
    }

    fn queue(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: &mut Option<Verdict>,
    ) -> Option<Outcome> {
        Some(self.try_queue(id, command, frame, verdict).unwrap_or_else(|outcome| outcome))
    }

    /// Lets the server queue a command, or keeps it if no key has said yet which server.
    fn try_queue(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: &mut Option<Verdict>,
    ) -> Result<Outcome, Outcome> {
        let slot = match command.command().class {
            Class::Publish => Some(slot_of_key(frame.arg(1))),
            _ => self.common_slot(id, command, frame)?.map(|(slot, _)| slot),
        };
        if slot.is_some_and(|slot| self.is_pinned_elsewhere(id, slot)) {
            return Err(self.refuse(id, command, CROSSED));
        }
        let pin = self.pin_of(id);
        let transaction = self.state(id);
        // What will not be carried out need not be sent.
        let in_vain = transaction.dirty || transaction.broken.is_some();
        let Some(slot) = slot.or(pin.map(|pin| pin.slot)).filter(|_| !in_vain) else {
            let kept: usize = transaction.early.iter().map(|(_, request)| request.len()).sum();
            if !in_vain && kept + frame.bytes.len() > EARLY_BYTES {
                return Err(self.refuse(id, command, "ERR too many commands before the first key of MULTI"));
            }
            if !in_vain {
                transaction.early.push((command, frame.bytes.to_vec()));
            }
            return Ok(self.say(id, command, b"+QUEUED\r\n"));
        };
        let backend = self.route_and_pin(id, command, frame, slot, verdict.take())?;
        self.open_multi(id, backend);
        self.send_pinned(id, command, frame, backend, false);
        Ok(Outcome::Done)
    }

    fn exec(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: &mut Option<Verdict>,
    ) -> Result<Outcome, Outcome> {
        let null = self.sessions[id].proto.null_array();
        let transaction = self.state(id);
        let verdict_of_ours = match (&transaction.broken, transaction.watched) {
            _ if transaction.dirty => Some(ABORTED.to_vec()),
            (Some(_), true) => Some(null.to_vec()),
            (Some(why), false) => {
                Some(format!("-EXECABORT Transaction discarded because of: {why}\r\n").into())
            }
            (None, false) if !transaction.open && transaction.early.is_empty() => Some(b"*0\r\n".to_vec()),
            _ => None,
        };
        if let Some(reply) = verdict_of_ours {
            self.leave(id);
            return Ok(self.say(id, command, &reply));
        }
        let pin = self.pin_of(id);
        // Without a key any server would do; slot 0's is taken, as for other commands.
        let slot = pin.map_or_else(|| slot_of_key(b""), |pin| pin.slot);
        let backend = self.route_and_pin(id, command, frame, slot, verdict.take())?;
        self.open_multi(id, backend);
        self.send_pinned(id, command, frame, backend, true);
        Ok(Outcome::Done)
    }

    /// EXEC with arguments ends the transaction, as a server does it. True if that was it.
    #[cold]
    pub(super) fn misspelt_exec(&mut self, id: SessionId, command: CommandId) -> bool {
        let multi = |pinning: &Pinning| pinning.transaction.multi && !pinning.ending;
        if command.command().name != "EXEC" || !self.sessions[id].pinning.as_deref().is_some_and(multi) {
            return false;
        }
        self.leave(id);
        let reply =
            b"-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n";
        self.say(id, command, reply);
        true
    }

    /// Tells the server what it has not been told yet of the session's MULTI.
    fn open_multi(&mut self, id: SessionId, backend: usize) {
        let transaction = self.state(id);
        if std::mem::replace(&mut transaction.open, true) {
            return;
        }
        let early = std::mem::take(&mut transaction.early);
        self.send_own_word(backend, "MULTI", false);
        for (command, request) in early {
            self.send_own(backend, command, &request, false);
        }
    }

    /// Ends a session's transaction; what is open on a server is taken back.
    pub(super) fn leave(&mut self, id: SessionId) {
        if let Some(pinning) = self.sessions[id].pinning.take() {
            self.let_go(&pinning);
        }
    }

    fn state(&mut self, id: SessionId) -> &mut Transaction {
        &mut self.sessions[id].pinning.get_or_insert_default().transaction
    }

    fn is_pinned_elsewhere(&self, id: SessionId, slot: SlotId) -> bool {
        self.pin_of(id).is_some_and(|pin| pin.slot != slot)
    }

    /// Answers in place of a server.
    fn say(&mut self, id: SessionId, command: CommandId, reply: &[u8]) -> Outcome {
        let failed = reply.starts_with(b"-");
        if failed {
            self.trouble = Some(Box::new(Trouble::new(Cause::Refused, reply)));
        }
        self.meter.record(command, 0, 1, failed);
        self.totals.errors += u64::from(failed);
        self.sessions[id].answer(reply, &mut self.pool);
        self.touch_session(id);
        Outcome::Done
    }
}
