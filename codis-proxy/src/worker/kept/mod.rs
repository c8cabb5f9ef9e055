//! Requests that a server has refused because it takes no writes now: it is no master any more, or its
//! writes are stopped while another becomes master. Nothing of them was executed. They are kept until the
//! store names a server that takes them, at most `hold_timeout`, and so the client sees no error.
//!
//! The order of a client's requests stays. A client of which a request is kept is not read. What it had
//! sent to that server behind the refused request has been answered without it, so those answers are held
//! back as well: what only read is asked again in its turn, and what was refused, too, follows in its turn.
//! If anything behind was, or may have been, a write that was executed, the refused request can no longer
//! come before it: then all are answered as the server did. They are consistent: the request failed, the
//! others saw that.
//!
//! One request of a client goes first; the others follow when that one has been taken.
//!
//! Only a reply that proves that nothing was executed makes a request be kept: READONLY, MASTERDOWN and
//! NOREPLICAS, to a command that is no script. A script's error may be its own, after a write. NOREPLICAS may
//! as well be what the server's operator wants, when slaves are missing; so the server is asked whether
//! the stop is that of a promotion, else the client gets the error at once.

mod begin;
mod retry;

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use codis_core::{Addr, SlotId};
use codis_resp::{Class, CommandId, flag};
use smallvec::SmallVec;
use tokio::sync::Notify;

use super::{
    Worker,
    backend::BackendId,
    pending::{Asker, Pending},
    session::{Payload, SessionId},
};
use crate::journal::Cause;

/// Bytes of kept requests and held back answers, of all clients of a worker, and of requests on their way to
/// one server; what would be more is not kept.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// The setting by which a promotion stops writes, and from which number on it is that.
const STOP: (&[u8], u64) = (b"min-slaves-to-write", 1_000_000);

/// Why a server has not executed a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It is a slave.
    NotMaster,
    /// It has fewer slaves in line than it wants for a write.
    NoReplicas,
}

impl Refusal {
    fn of(reply: &[u8]) -> Option<Self> {
        if reply.starts_with(b"-READONLY ") || reply.starts_with(b"-MASTERDOWN ") {
            return Some(Self::NotMaster);
        }
        reply.starts_with(b"-NOREPLICAS ").then_some(Self::NoReplicas)
    }
}

/// A request that waits, and how it was answered.
struct Request {
    pending: Pending,
    /// Its number among the session's.
    seq: u32,
    /// One entry for each key, as it counted for them.
    slots: SmallVec<[SlotId; 1]>,
    bytes: Vec<u8>,
    reply: Vec<u8>,
    /// `None`: it was answered, but a request before it was not.
    refusal: Option<Refusal>,
    /// Who has answered.
    server: Addr,
    backend: BackendId,
    /// The place behind everything that had been queued for that server then.
    until: u32,
}

impl Request {
    fn size(&self) -> usize {
        self.bytes.len() + self.reply.len()
    }
}

/// What a session waits with.
struct Held {
    /// Since when, microseconds of the worker's clock.
    since: u64,
    /// In the client's order; none for a blocking request, which its session has got back.
    requests: VecDeque<Request>,
    phase: Phase,
    /// One that stood before them has been taken since they were answered.
    taken: bool,
}

/// What the first of a session's kept requests waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Another server, or word that the one which refused it has no reason to any more.
    Waiting,
    /// Nothing: it may go to the same server once more.
    Again,
    /// An answer; `again`: from the server that had refused it.
    Sent { again: bool },
    /// Nothing: one before it was taken, so that all can follow.
    Following,
}

impl Phase {
    fn is_sent(self) -> bool {
        matches!(self, Self::Sent { .. })
    }
}

/// All that a worker keeps.
#[derive(Default)]
pub(super) struct Kept {
    held: HashMap<SessionId, Held>,
    bytes: usize,
    /// Servers that are being asked whether their writes are stopped.
    asked: HashSet<BackendId>,
    /// Wakes the task that sends them again.
    changed: Rc<Notify>,
    running: bool,
    /// When the store was last asked to be read, microseconds of the worker's clock.
    nudged: u64,
}

impl Kept {
    /// True if nobody waits, as almost always.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Bytes of what is kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Sessions that wait.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// A route has changed: looks again whether something can be sent.
    pub(super) fn look_again(&self) {
        if !self.held.is_empty() {
            self.changed.notify_one();
        }
    }
}

/// True if a command that was refused may be sent again: what the error says is the server's own word.
fn is_plain(command: CommandId) -> bool {
    let row = command.command();
    let script = ["EVAL", "FCALL"].iter().any(|name| row.name.starts_with(name));
    matches!(row.class, Class::Slot | Class::Mget | Class::Mset | Class::Sum) && !script
}

/// True if a command can be carried out twice without a difference.
pub(super) fn only_reads(command: CommandId) -> bool {
    command.command().flags & (flag::READ | flag::WRITE | flag::BLOCKING) == flag::READ
}

/// The text that a client gets for a request that nobody has taken in time.
fn gave_up(request: &Request, seconds: f32) -> Vec<u8> {
    let reply = String::from_utf8_lossy(&request.reply);
    let (code, text) = reply.trim_end().split_once(' ').unwrap_or((&reply, ""));
    format!(
        "{code} {} has not executed the request, and no other master was named within {seconds} s: {text}\r\n",
        request.server
    )
    .into_bytes()
}

impl Worker {
    /// Ends the wait of some of a session's requests: each gets the answer that is known, or, if time is
    /// `over`, an error that says so.
    fn answer_held(&mut self, id: SessionId, over: bool, which: impl Fn(&Request) -> bool) {
        let Some(held) = self.kept.held.get_mut(&id) else { return };
        let under_way = if held.phase.is_sent() { held.requests.pop_front() } else { None };
        let (answered, left): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut held.requests).into_iter().partition(which);
        held.requests = under_way.into_iter().chain(left).collect();
        self.kept.bytes -= answered.iter().map(Request::size).sum::<usize>();
        let taken = held.taken;
        if held.requests.is_empty() {
            self.let_go_on(id);
        }
        let seconds = self.limits.hold_timeout.as_secs_f32();
        for request in answered {
            let reply = match request.refusal {
                Some(_) if over => {
                    let why = format!("no other master was named within {seconds} s");
                    if self.backends.contains(request.backend) {
                        self.held_failed(request.backend, &request.pending, None, Cause::NoMaster, &why);
                    }
                    gave_up(&request, seconds)
                }
                // What was read then is older than what its client has written since.
                None if taken => {
                    let text = format!("-ERR backend {}: cannot be asked again\r\n", request.server);
                    text.into_bytes()
                }
                _ => request.reply,
            };
            self.totals.errors += u64::from(reply.first() == Some(&b'-'));
            match request.pending.asker {
                Asker::Session { session, seq, .. } => {
                    self.deliver(session as SessionId, seq, Payload::Slice(&reply));
                }
                // Its slots have been ended already.
                Asker::Split { split, part } => self.part_reply(split, part, Payload::Slice(&reply), true),
                Asker::Pinned { .. } | Asker::Own { .. } | Asker::Away { .. } | Asker::Proxy(_) => {}
            }
        }
    }

    /// Nothing of a session is kept any more: it is read again.
    fn let_go_on(&mut self, id: SessionId) {
        self.kept.held.remove(&id);
        if let Some(session) = self.sessions.get_mut(id) {
            session.keeping = false;
            session.wake();
        }
    }

    /// A session is over: nobody waits for what it has asked.
    pub(super) fn drop_kept(&mut self, id: SessionId) {
        if self.kept.is_empty() {
            return;
        }
        self.answer_held(id, false, |_| true);
        if let Some(held) = self.kept.held.remove(&id) {
            self.kept.bytes -= held.requests.iter().map(Request::size).sum::<usize>();
        }
    }
}
