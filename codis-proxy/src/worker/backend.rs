//! A worker's connection to one server: requests out in the order in which they came, replies in,
//! each handed to the request that has waited longest.

use std::{collections::VecDeque, task::Waker};

use bytes::BytesMut;
use codis_core::{Addr, SlotId};
use codis_resp::{CommandId, ReplyScanner};

use super::{
    buffers::OutBuf,
    meter::Meter,
    pending::{Arrival, Asker, KeyHead, Pending},
    pinned::Pinned,
    proto::Proto,
    session::SessionId,
    slow::Sent,
};
use crate::stream::Stream;

/// Place of a backend in its worker.
pub(super) type BackendId = usize;

/// What a connection is called on the server, so that it can be killed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KillName {
    /// `CLIENT KILL ID`.
    Id(u64),
    /// `CLIENT KILL ip:port`, for servers that know no ids (before 2.8.12).
    LocalAddr(String),
}

/// The same with the process that gave it: another one has other clients under the same names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerName {
    pub(super) kill: KillName,
    /// The server's `run_id`, if it tells it.
    pub(super) run: Option<String>,
}

/// A connection that is ready for requests.
pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) name: ServerName,
    /// The server knows `CLIENT UNBLOCK`.
    pub(super) unblocks: bool,
}

pub(super) enum State {
    /// No connection; one is opened by the next request, but not before `not_before`.
    Down,
    /// A task is opening a connection; requests wait in the queue.
    Connecting,
    Up(Link),
}

/// A lost connection with requests that the server may still execute.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) name: ServerName,
    /// The slots of those requests; one entry for each.
    pub(super) slots: Vec<SlotId>,
}

/// Bytes of a reply that has not all come.
pub(super) struct PartialReply {
    pub(super) buf: BytesMut,
    pub(super) scanner: ReplyScanner,
    pub(super) missing: usize,
}

pub(super) struct Backend {
    pub(super) addr: Addr,
    /// What is spoken on the connection.
    pub(super) proto: Proto,
    /// The shared connection to the same server that speaks RESP3; only of one that speaks RESP2.
    pub(super) in_resp3: Option<BackendId>,
    /// The server does not know the protocol, it has said at the last try.
    pub(super) too_old: bool,
    pub(super) state: State,
    /// Counts connections, so that a task can tell whether its own is still the current one.
    pub(super) generation: u64,
    pub(super) waker: Option<Waker>,
    pub(super) out: OutBuf,
    pub(super) pending: VecDeque<Pending>,
    /// Until when the answers to reads from a slave, in their order, can be used; of the worker's clock.
    pub(super) deadlines: VecDeque<u64>,
    /// Where the request ends that was answered last.
    pub(super) answered: u32,
    pub(super) partial: Option<Box<PartialReply>>,
    /// Sessions that wait until `out` is shorter.
    pub(super) waiters: Vec<SessionId>,
    /// Connections that are to be killed on the server before their requests count as finished.
    pub(super) dead: Vec<Dead>,
    /// A task is at it.
    pub(super) killing: bool,
    pub(super) dirty: bool,
    pub(super) want_write: bool,
    /// Some slot of the current table is served here.
    pub(super) used: bool,
    /// Of a connection that one session has, or had, to itself.
    pub(super) pinned: Option<Box<Pinned>>,
    /// Failures in a row.
    pub(super) failures: u32,
    /// Earliest time of the next try, microseconds of the worker's clock.
    pub(super) not_before: u64,
    pub(super) last_error: String,
    pub(super) connects: u64,
    pub(super) total_failures: u64,
    pub(super) bytes_in: u64,
    /// What that was when idle servers were looked for.
    pub(super) heard: u64,
    pub(super) bytes_out: u64,
    /// When these were written.
    pub(super) sent: Sent,
    pub(super) meter: Meter,
}

impl Backend {
    pub(super) fn new(addr: Addr, proto: Proto) -> Self {
        Self {
            addr,
            proto,
            in_resp3: None,
            too_old: false,
            state: State::Down,
            generation: 0,
            waker: None,
            out: OutBuf::default(),
            pending: VecDeque::new(),
            deadlines: VecDeque::new(),
            answered: 0,
            partial: None,
            waiters: Vec::new(),
            dead: Vec::new(),
            killing: false,
            dirty: false,
            want_write: false,
            used: true,
            pinned: None,
            failures: 0,
            not_before: 0,
            last_error: String::new(),
            connects: 0,
            total_failures: 0,
            bytes_in: 0,
            heard: 0,
            bytes_out: 0,
            sent: Sent::default(),
            meter: Meter::default(),
        }
    }

    /// The error reply for a request that this server has failed.
    pub(super) fn error(&self, why: &str) -> Vec<u8> {
        format!("-ERR backend {}: {}\r\n", self.addr, why.replace(['\r', '\n'], " ")).into_bytes()
    }

    /// A request whose bytes have just been queued waits for its reply.
    #[inline]
    pub(super) fn expect_reply(&mut self, asker: Asker, command: CommandId, key: KeyHead, arrival: Arrival) {
        let Arrival { at, held, moving } = arrival;
        let end = self.out.end();
        self.pending.push_back(Pending { asker, command, key, moving, held, end, at });
    }

    /// The request that was written last consists of two.
    pub(super) fn extend_last(&mut self, command: CommandId) {
        let end = self.out.end();
        if let Some(last) = self.pending.back_mut() {
            (last.command, last.end) = (command, end);
        }
    }

    /// The request that is answered next, and where it begins among all bytes that the server is sent.
    #[inline]
    pub(super) fn next_answered(&mut self) -> Option<(Pending, u32)> {
        let pending = self.pending.pop_front()?;
        let start = std::mem::replace(&mut self.answered, pending.end);
        Some((pending, start))
    }

    /// Takes over what another connection to the same server has counted.
    pub(super) fn add_traffic(&mut self, other: &Self) {
        self.connects += other.connects;
        self.total_failures += other.total_failures;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }

    /// Nothing is under way and no slot needs it.
    pub(super) fn is_useless(&self) -> bool {
        let busy = self.killing || matches!(self.state, State::Connecting);
        let pinned = self.pinned.as_ref().is_some_and(|pinned| !pinned.is_free());
        let led_to = self.in_resp3.is_some();
        !self.used && !pinned && !led_to && !busy && self.pending.is_empty() && self.dead.is_empty()
    }
}
