//! A client's connection: its bytes in, its replies in order, its bytes out.
//!
//! What holds here, and the test (in `tests/data_path/`) that proves it:
//! - every request gets exactly one reply, in request order: `pipeline.rs`;
//! - a failed backend fails the requests it held and nothing else: `backend_loss.rs`;
//! - after a protocol error the connection closes once its earlier replies are written: `garbage.rs`;
//! - a client that has nothing to say holds no buffer: the memory row of `cargo xtask bench`.

use std::{collections::VecDeque, net::SocketAddr, task::Waker};

use bytes::{Bytes, BytesMut};
use codis_core::SlotId;
use codis_resp::RequestParser;
use tokio::net::TcpStream;

use super::buffers::{BIG, OutBuf, Pool};

/// Place of a session in its worker.
pub(super) type SessionId = usize;

/// A reply's bytes on their way to the client.
pub(super) enum Payload<'a> {
    /// To be copied.
    Slice(&'a [u8]),
    /// Big, passed on as it lies.
    Whole(Bytes),
}

impl Payload<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Slice(bytes) => bytes,
            Self::Whole(bytes) => bytes,
        }
    }

    pub(super) fn is_error(&self) -> bool {
        self.bytes().first() == Some(&b'-')
    }
}

/// One reply that the client is owed.
#[derive(Debug, Clone, Copy)]
enum Owed {
    /// Not in yet.
    Waiting,
    /// In, but an earlier one is not: kept in `Session::early`.
    Early { start: usize, len: usize },
    /// The same for a big one: kept in `Session::early_big`, in this order.
    EarlyBig,
}

/// Bytes of a request that has not all come, or cannot be sent yet.
pub(super) struct Partial {
    /// From the first byte of a request on.
    pub(super) buf: BytesMut,
    /// How far it has been looked at.
    pub(super) parser: RequestParser,
    /// Bytes that are missing at least.
    pub(super) missing: usize,
}

/// Why a session waits before it goes on with its next request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parked {
    /// Tells this wait from earlier ones.
    pub(super) token: u64,
    /// Since when, microseconds of the worker's clock.
    pub(super) since: u64,
    /// The slot that it waits for.
    pub(super) slot: SlotId,
    /// True if keys are being handed over, which ends by itself.
    pub(super) settling: bool,
}

/// A client.
pub(super) struct Session {
    /// `None` once it is closed and only waits for its replies to come in.
    pub(super) stream: Option<TcpStream>,
    pub(super) peer: SocketAddr,
    /// Number of the client in this process.
    pub(super) client: u64,
    pub(super) waker: Option<Waker>,
    pub(super) out: OutBuf,
    pub(super) partial: Option<Box<Partial>>,
    pub(super) parked: Option<Parked>,
    /// Since when it has waited for a slot, over several requests that came together.
    pub(super) waits_since: Option<u64>,
    owed: VecDeque<Owed>,
    /// Number of the request whose reply is owed first.
    first: u32,
    early: Vec<u8>,
    early_big: VecDeque<(u32, Bytes)>,
    early_count: usize,
    /// Last time that bytes came, microseconds of the worker's clock.
    pub(super) heard: u64,
    /// Its output is in the list of what is written at the end of the turn.
    pub(super) dirty: bool,
    /// The socket takes no more; the session's task waits until it does.
    pub(super) want_write: bool,
    /// Not read because too much is owed or not taken; woken when something has been written.
    pub(super) stalled: bool,
    /// Whole requests lie in `partial`.
    pub(super) backlog: bool,
    /// No more requests are read; it closes when all owed replies are written.
    pub(super) closing: bool,
    pub(super) authenticated: bool,
}

impl Session {
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        client: u64,
        authenticated: bool,
        now: u64,
    ) -> Self {
        Self {
            stream: Some(stream),
            peer,
            client,
            waker: None,
            out: OutBuf::default(),
            partial: None,
            parked: None,
            waits_since: None,
            owed: VecDeque::new(),
            first: 0,
            early: Vec::new(),
            early_big: VecDeque::new(),
            early_count: 0,
            heard: now,
            dirty: false,
            want_write: false,
            stalled: false,
            backlog: false,
            closing: false,
            authenticated,
        }
    }

    /// Requests whose replies are not in the output yet.
    #[inline]
    pub(super) fn owed(&self) -> usize {
        self.owed.len()
    }

    /// True if nothing is owed and nothing is to be written.
    pub(super) fn is_done(&self) -> bool {
        self.owed.is_empty() && self.out.is_empty()
    }

    /// Takes a number for a request whose reply will come.
    #[inline]
    pub(super) fn expect_reply(&mut self) -> u32 {
        let seq = self.first.wrapping_add(self.owed.len() as u32);
        self.owed.push_back(Owed::Waiting);
        seq
    }

    /// Puts the reply to request `seq` where its turn is.
    #[inline]
    pub(super) fn reply(&mut self, seq: u32, payload: Payload<'_>, pool: &mut Pool) {
        let place = seq.wrapping_sub(self.first) as usize;
        if place == 0 {
            self.send(payload, pool);
            self.owed.pop_front();
            self.first = self.first.wrapping_add(1);
            if self.early_count > 0 {
                self.send_early(pool);
            } else if self.owed.is_empty() {
                self.rest();
            }
        } else {
            self.keep(place, seq, payload);
        }
    }

    /// Answers a request at once, in its turn.
    pub(super) fn answer(&mut self, bytes: &[u8], pool: &mut Pool) {
        let seq = self.expect_reply();
        self.reply(seq, Payload::Slice(bytes), pool);
    }

    #[inline]
    fn send(&mut self, payload: Payload<'_>, pool: &mut Pool) {
        if self.stream.is_none() {
            return;
        }
        match payload {
            Payload::Slice(bytes) => self.out.push(bytes, pool),
            Payload::Whole(bytes) if bytes.len() < BIG => self.out.push(&bytes, pool),
            Payload::Whole(bytes) => self.out.push_big(bytes),
        }
    }

    fn keep(&mut self, place: usize, seq: u32, payload: Payload<'_>) {
        let Some(owed) = self.owed.get_mut(place) else { return };
        self.early_count += 1;
        *owed = match payload {
            Payload::Slice(bytes) => {
                let start = self.early.len();
                self.early.extend_from_slice(bytes);
                Owed::Early { start, len: bytes.len() }
            }
            Payload::Whole(bytes) => {
                self.early_big.push_back((seq, bytes));
                Owed::EarlyBig
            }
        };
    }

    /// Sends the replies whose turn has come because an earlier one came in.
    fn send_early(&mut self, pool: &mut Pool) {
        let early = std::mem::take(&mut self.early);
        while let Some(&owed) = self.owed.front() {
            match owed {
                Owed::Waiting => break,
                Owed::Early { start, len } => self.send(Payload::Slice(&early[start..start + len]), pool),
                Owed::EarlyBig => {
                    let at = self.early_big.iter().position(|(seq, _)| *seq == self.first);
                    if let Some((_, bytes)) = at.and_then(|at| self.early_big.remove(at)) {
                        self.send(Payload::Whole(bytes), pool);
                    }
                }
            }
            self.owed.pop_front();
            self.first = self.first.wrapping_add(1);
            self.early_count -= 1;
        }
        self.early = early;
        if self.early_count == 0 {
            self.early.clear();
            self.early_big = VecDeque::new();
            if self.owed.is_empty() {
                self.rest();
            }
        } else if self.early.len() > BIG {
            self.compact();
        }
    }

    /// Drops the bytes of replies that have been sent from among those that are kept.
    fn compact(&mut self) {
        let live: usize =
            self.owed.iter().map(|owed| if let Owed::Early { len, .. } = owed { *len } else { 0 }).sum();
        if live * 2 > self.early.len() {
            return;
        }
        let mut kept = Vec::with_capacity(live * 2);
        for owed in &mut self.owed {
            if let Owed::Early { start, len } = owed {
                let at = kept.len();
                kept.extend_from_slice(&self.early[*start..*start + *len]);
                *start = at;
            }
        }
        self.early = kept;
    }

    /// Gives unusual room back when nothing is owed; the rest goes when the client is idle.
    fn rest(&mut self) {
        if self.early.capacity() > BIG {
            self.early = Vec::new();
        }
        if self.owed.capacity() > 128 {
            self.owed = VecDeque::new();
        }
    }

    /// Gives all room back: nothing has come for a while.
    pub(super) fn release(&mut self) {
        if self.owed.is_empty() {
            self.owed = VecDeque::new();
            self.early = Vec::new();
        }
    }

    /// Wakes the session's task.
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
