//! Writing down what failed. Nothing here runs while all goes well.
//!
//! An error that a server answers with is a reply like any other: it is counted by command, not
//! written down. What is written down is what the proxy could not do, or would not.

use std::{io, net::SocketAddr};

use codis_admin::FailedOp;
use codis_core::{SlotId, slot_of_key};
use codis_resp::{Class, CommandId, lookup};

use super::{
    Worker,
    backend::BackendId,
    dispatch::{Frame, printable},
    pending::{Asker, Pending, key_text},
    session::SessionId,
};
use crate::journal::Cause;

/// Why a request has been answered with an error of ours.
pub(super) struct Trouble {
    cause: Cause,
    /// The error reply without its first sign and its end.
    why: String,
}

impl Trouble {
    pub(super) fn new(cause: Cause, reply: &[u8]) -> Self {
        let reply = reply.strip_prefix(b"-").unwrap_or(reply);
        Self { cause, why: String::from_utf8_lossy(reply).trim_end().to_owned() }
    }
}

impl Worker {
    /// A request has just been answered with an error of ours: now its bytes are still here.
    #[cold]
    pub(super) fn request_failed(&mut self, id: SessionId, trouble: Trouble, frame: Frame<'_>) {
        let took_us = self.sessions.get(id).map_or(0, |session| u64::from(session.arrival(self.now).held));
        let client = self.client_of(id);
        let Trouble { cause, why } = trouble;
        self.journal.failed(cause, || {
            let command = command_of(frame);
            let key = command.and_then(|command| first_key(command, frame));
            let name = command.map_or_else(
                || printable(frame.arg(0)).to_ascii_uppercase(),
                |command| command.command().name.to_owned(),
            );
            // The text of an error that a server is to blame for says which one.
            let blamed = why.strip_prefix("ERR backend ").and_then(|rest| rest.split_once(": "));
            FailedOp {
                client,
                command: Some(name),
                key: key.and_then(key_text),
                slot: key.map(|key| slot_of_key(key).get()),
                backend: blamed.map(|(addr, _)| addr.to_owned()),
                why: blamed.map_or(&*why, |(_, why)| why).to_owned(),
                took_us,
                ..FailedOp::default()
            }
        });
    }

    /// A request that was queued for a server, or sent to it, has failed with the connection. `slot` is the one
    /// that a connection of one client was for.
    #[cold]
    pub(super) fn held_failed(
        &mut self,
        backend: BackendId,
        pending: &Pending,
        slot: Option<SlotId>,
        cause: Cause,
        why: &str,
    ) {
        let (session, slot) = match pending.asker {
            Asker::Session { session, slot, .. } | Asker::Away { session, slot, .. } => {
                (Some(session as SessionId), Some(slot))
            }
            Asker::Split { split, part } => match self.part_of(split, part) {
                Some((session, slot)) => (Some(session), slot),
                // A request of our own.
                None => return,
            },
            Asker::Pinned { session, .. } => (Some(session as SessionId), slot),
            Asker::Own { .. } | Asker::Proxy(_) => return,
        };
        let client = session.and_then(|id| self.client_of(id));
        let addr = &self.backends[backend].addr;
        let now = self.now;
        self.journal.failed(cause, || FailedOp {
            client,
            command: Some(pending.command.command().name.to_owned()),
            key: pending.key.text(),
            slot: slot.map(SlotId::get),
            backend: Some(addr.to_string()),
            why: why.to_owned(),
            sent: cause != Cause::Unreachable,
            took_us: now.saturating_sub(pending.at),
            ..FailedOp::default()
        });
    }

    /// The replies of several servers could not be put together.
    #[cold]
    pub(super) fn merge_failed(&mut self, id: SessionId, command: CommandId, took_us: u64, reply: &[u8]) {
        let Trouble { cause, why } = Trouble::new(Cause::BadReply, reply);
        let client = self.client_of(id);
        self.journal.failed(cause, || FailedOp {
            client,
            command: Some(command.command().name.to_owned()),
            why,
            sent: true,
            took_us,
            ..FailedOp::default()
        });
    }

    /// A client is disconnected, or about to be.
    #[cold]
    pub(super) fn client_failed(&mut self, id: SessionId, cause: Cause, why: &str) {
        self.totals.dropped += 1;
        let client = self.client_of(id);
        let since = self.sessions.get(id).map_or(self.now, |session| session.heard);
        let took_us = self.now.saturating_sub(since);
        let why = why.to_owned();
        self.journal.failed(cause, || FailedOp { client, why, took_us, ..FailedOp::default() });
    }

    /// A client could not agree on TLS.
    #[cold]
    pub(super) fn tls_failed(&mut self, peer: &SocketAddr, error: &io::Error) {
        self.totals.dropped += 1;
        let (client, why) = (Some(peer.to_string()), format!("TLS: {error}"));
        self.journal.failed(Cause::Protocol, || FailedOp { client, why, ..FailedOp::default() });
    }

    fn client_of(&self, id: SessionId) -> Option<String> {
        self.registry.address(self.sessions.get(id)?.client)
    }
}

/// The command that a request is, subcommands told apart.
pub(super) fn command_of(frame: Frame<'_>) -> Option<CommandId> {
    let command = lookup(frame.arg(0))?;
    match (command.command().class, frame.args.get(1)) {
        (Class::Container, Some(sub)) => command.subcommand(sub.of(frame.bytes)).or(Some(command)),
        _ => Some(command),
    }
}

/// The first key of a request, if its arguments say where that is.
pub(super) fn first_key<'a>(command: CommandId, frame: Frame<'a>) -> Option<&'a [u8]> {
    let row = command.command();
    if !row.takes(frame.args.len()) {
        return None;
    }
    let mut first = None;
    let found = row.each_key(frame.bytes, frame.args, |at| {
        first.get_or_insert(at);
    });
    found.ok()?;
    first.map(|at| frame.arg(at))
}

/// What a server says to a command that it does not know: its name and what follows, 128 bytes of each.
pub(super) fn unknown_command(frame: Frame<'_>) -> Vec<u8> {
    // As in C, a word ends with its first zero.
    let word = |at: usize| frame.arg(at).split(|byte| *byte == 0).next().unwrap_or_default();
    let short = |at: usize, most: usize| &word(at)[..word(at).len().min(most)];
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(short(0, 128));
    text.extend_from_slice(b"', with args beginning with: ");
    let begin = text.len();
    for at in 1..frame.args.len() {
        let Some(room) = 128usize.checked_sub(text.len() - begin).filter(|room| *room > 0) else { break };
        text.push(b'\'');
        text.extend_from_slice(short(at, room));
        text.extend_from_slice(b"' ");
    }
    text.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
    [b"-", &text[..], b"\r\n"].concat()
}
