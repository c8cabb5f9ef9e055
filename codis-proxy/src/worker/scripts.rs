//! EVALSHA: a server that has missed a `SCRIPT LOAD` is given the script just before the request.
//!
//! Before and not after it has answered NOSCRIPT: sending the request again would let it overtake
//! those that the client has sent behind it. So each connection to a server is given each script that
//! a client has loaded through this process once, with the first request for it.

use std::collections::HashMap;

use codis_core::slot_of_key;
use codis_resp::{CommandId, lookup, push_array_header, push_bulk};

use super::{
    Worker,
    backend::BackendId,
    dispatch::{Frame, Outcome},
    park::Verdict,
    pending::{Arrival, Asker, KeyHead},
    session::{Payload, SessionId},
    slots::LocalRoute,
};
use crate::{journal::Cause, scripts::Sha};

/// Names of scripts that are remembered; with one more all are looked up anew.
const MAX_GIVEN: usize = 8192;

/// A connection to a server, and the version of the scripts that was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    generation: u64,
    version: u64,
}

/// Scripts that servers have been given, or that nobody here knows.
#[derive(Debug, Default)]
pub(super) struct Given {
    looked_up: HashMap<(BackendId, Sha), Moment>,
}

impl Given {
    /// Forgets a server.
    pub(super) fn forget(&mut self, backend: BackendId) {
        self.looked_up.retain(|(other, _), _| *other != backend);
    }

    /// A server has answered with an error. If it misses a script, somebody has flushed its scripts.
    #[cold]
    fn refused(&mut self, backend: BackendId, reply: &[u8]) {
        if reply.starts_with(b"-NOSCRIPT") && !self.looked_up.is_empty() {
            self.forget(backend);
        }
    }
}

impl Worker {
    /// A request for a script by its name, whose keys must all lie in one slot.
    pub(super) fn eval_sha(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: Option<Verdict>,
    ) -> Outcome {
        match self.offer_script(id, command, frame) {
            Ok(()) => self.one_slot(id, command, frame, verdict),
            Err(outcome) => outcome,
        }
    }

    /// Makes sure that the server which a request for a script goes to has it, if we have it. In a
    /// transaction, which has a connection of its own, that is likely but not certain: the server may
    /// look at that connection first.
    ///
    /// # Errors
    /// What becomes of the request if the server cannot be asked now.
    pub(super) fn offer_script(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
    ) -> Result<(), Outcome> {
        let version = self.scripts.version();
        if version > 0
            && let Some(sha) = Sha::parse(frame.arg(1))
            && let Some(backend) = self.server_of(command, frame)
        {
            let backend = self.in_proto_of(id, backend);
            match self.ready(backend, id) {
                Ok(true) => self.give_script(backend, sha, version),
                Ok(false) => return Err(Outcome::Wait),
                Err(reply) => return Err(self.failed(id, command, Cause::Unreachable, &reply)),
            }
        }
        Ok(())
    }

    /// Counts a request that a server has answered with an error.
    #[inline]
    pub(super) fn note_error(&mut self, id: BackendId, failed: bool, reply: &Payload<'_>) {
        if failed {
            self.totals.errors += 1;
            self.given.refused(id, reply.bytes());
        }
    }

    /// The server that a request with keys of one slot will be sent to, if it can be sent now.
    fn server_of(&self, command: CommandId, frame: Frame<'_>) -> Option<BackendId> {
        let mut first = None;
        let keys = command.command().each_key(frame.bytes, frame.args, |at| {
            first.get_or_insert(at);
        });
        keys.ok()?;
        let state = self.slots.get(slot_of_key(first.map_or(b"", |at| frame.arg(at))));
        match state.route {
            LocalRoute::Online(backend) | LocalRoute::Migrate(backend) if !state.draining => Some(backend),
            _ => None,
        }
    }

    /// Makes sure that a server which can be reached has a script, if we have it.
    fn give_script(&mut self, id: BackendId, sha: Sha, version: u64) {
        let backend = &mut self.backends[id];
        let now = Moment { generation: backend.generation, version };
        if self.given.looked_up.get(&(id, sha)) == Some(&now) {
            return;
        }
        if self.given.looked_up.len() >= MAX_GIVEN {
            self.given.looked_up.clear();
        }
        self.given.looked_up.insert((id, sha), now);
        let (Some(body), Some(script)) = (self.scripts.get(&sha), lookup(b"SCRIPT|LOAD")) else { return };
        backend.out.push_with(&mut self.pool, |out| {
            push_array_header(out, 3);
            push_bulk(out, b"SCRIPT");
            push_bulk(out, b"LOAD");
            push_bulk(out, &body);
        });
        backend.expect_reply(Asker::NOBODY, script, KeyHead::NONE, Arrival::new(self.now));
        self.touch_backend(id);
    }
}
