//! A client's connection: its bytes in, its replies in order, its bytes out.
//!
//! What holds here, and the test (in `tests/data_path/`) that proves it:
//! - every request gets exactly one reply, in request order: `pipeline.rs`;
//! - a failed backend fails the requests it held and nothing else: `backend_loss.rs`;
//! - after a protocol error the connection closes once its earlier replies are written: `garbage.rs`;
//! - a client that has nothing to say holds no buffer: the memory row of `cargo xtask bench`.

use std::task::Waker;

use bytes::{Bytes, BytesMut};
use codis_core::SlotId;
use codis_resp::{CommandId, RequestParser};

use super::{
    buffers::{BIG, OutBuf, Pool},
    early::Early,
    pending::{Arrival, Held},
    pinned::Pinning,
    proto::Proto,
    pubsub::Subs,
    replicas::Reads,
};
use crate::{restart::Muted, stream::Stream};

/// Bytes of big replies that a client may ask for at a time.
const FAIR: usize = 1 << 20;

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

    /// True for what a server says without having been asked.
    pub(super) fn is_push(&self) -> bool {
        self.bytes().first() == Some(&b'>')
    }
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

/// Which replies a client does not want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mute {
    #[default]
    Nothing,
    /// Those to this request and all behind it.
    From(u32),
    /// That to this request.
    Only(u32),
}

/// Which library a client uses, as it says.
#[derive(Debug, Default)]
pub(super) struct Library {
    pub(super) name: Box<str>,
    pub(super) version: Box<str>,
}

/// A client. There may be very many that do nothing: what is rarely needed lies in boxes.
pub(super) struct Session {
    /// `None` once it is closed and only waits for its replies to come in.
    pub(super) stream: Option<Stream>,
    /// Number of the client in this process; the registry knows the rest about it.
    pub(super) client: u64,
    pub(super) waker: Option<Waker>,
    pub(super) out: OutBuf,
    pub(super) partial: Option<Box<Partial>>,
    pub(super) parked: Option<Box<Parked>>,
    /// What it has open on a connection of its own.
    pub(super) pinning: Option<Box<Pinning>>,
    /// What it listens to.
    pub(super) subs: Option<Box<Subs>>,
    /// Since when requests that came together have been held back.
    pub(super) held: Option<Box<Held>>,
    /// Number of the request whose reply is owed first.
    first: u32,
    /// How many are owed from there on.
    owed: u32,
    /// How many may be owed; begins small, grows while replies are small, and shrinks with a big one.
    window: u32,
    /// `first` when the window last changed.
    window_since: u32,
    /// Replies that came before their turn; `None` for a client whose requests go to one server.
    early: Option<Box<Early>>,
    /// Tick at which the request began that is under way; 0 if none is.
    pub(super) begun: u32,
    /// Last time that bytes came, microseconds of the worker's clock.
    pub(super) heard: u64,
    /// Its output is in the list of what is written at the end of the turn.
    pub(super) dirty: bool,
    /// Turns that its output has waited for what else it is owed.
    pub(super) put_off: u8,
    /// The socket takes no more; the session's task waits until it does.
    pub(super) want_write: bool,
    /// Not read because too much is owed or not taken; woken when something has been written.
    pub(super) stalled: bool,
    /// Whole requests lie in `partial`.
    pub(super) backlog: bool,
    /// No more requests are read; it closes when all owed replies are written.
    pub(super) closing: bool,
    pub(super) authenticated: bool,
    /// Changes only while nothing is owed.
    pub(super) proto: Proto,
    /// Its place among the users, if it has logged in as one.
    pub(super) user: Option<u16>,
    /// The latest command, for CLIENT LIST.
    pub(super) last: Option<CommandId>,
    pub(super) mute: Mute,
    pub(super) library: Option<Box<Library>>,
    /// What it must know if it may read from slaves.
    pub(super) reads: Option<Box<Reads>>,
    /// Requests of it were refused and are kept; it is not read before they are answered.
    pub(super) keeping: bool,
}

impl Session {
    pub(super) fn new(stream: Stream, client: u64, authenticated: bool, now: u64) -> Self {
        Self {
            stream: Some(stream),
            client,
            waker: None,
            out: OutBuf::default(),
            partial: None,
            parked: None,
            pinning: None,
            subs: None,
            held: None,
            first: 0,
            owed: 0,
            window: 1,
            window_since: 0,
            early: None,
            begun: 0,
            heard: now,
            dirty: false,
            put_off: 0,
            want_write: false,
            stalled: false,
            backlog: false,
            closing: false,
            authenticated,
            proto: Proto::default(),
            user: None,
            last: None,
            mute: Mute::default(),
            library: None,
            reads: None,
            keeping: false,
        }
    }

    /// Requests whose replies are not in the output yet.
    #[inline]
    pub(super) fn owed(&self) -> usize {
        self.owed as usize
    }

    /// True if no more may be asked for until a reply comes. A client that pipelines has to show that its
    /// replies are small first: many big ones at once would keep the server's other clients waiting.
    #[inline]
    pub(super) fn is_window_full(&mut self, max: usize) -> bool {
        self.owed >= self.window && !self.widen(max)
    }

    /// Widens the window if enough replies have come since it was last changed.
    fn widen(&mut self, max: usize) -> bool {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        while self.window < max && self.first.wrapping_sub(self.window_since) >= self.window {
            self.window = self.window.saturating_mul(2).min(max);
            self.window_since = self.window_since.wrapping_add(self.window / 2);
        }
        self.owed < self.window
    }

    /// A reply so big has come: only so many more at a time as make up a fair share.
    fn narrow(&mut self, bytes: usize) {
        self.window = self.window.min((FAIR / bytes.max(1)).max(1) as u32);
        self.window_since = self.first;
    }

    /// Which replies it does not want from its next request on.
    pub(super) fn mutes(&self) -> Muted {
        match self.mute {
            Mute::From(_) => Muted::All,
            Mute::Only(seq) if seq == self.first.wrapping_add(self.owed) => Muted::Next,
            Mute::Only(_) | Mute::Nothing => Muted::No,
        }
    }

    /// True if nothing is owed and nothing is to be written.
    pub(super) fn is_done(&self) -> bool {
        self.owed == 0 && self.out.is_empty() && !self.want_write
    }

    /// The next one of its requests came now, or when it was held back.
    #[inline]
    pub(super) fn arrival(&self, now: u64) -> Arrival {
        match &self.held {
            None => Arrival::new(now),
            Some(held) => {
                let waited = u32::try_from(now.saturating_sub(held.since)).unwrap_or(u32::MAX);
                Arrival { at: now - u64::from(waited), held: waited, moving: held.moving }
            }
        }
    }

    /// Since when it has waited for a server to take its requests.
    pub(super) fn waits_since(&self) -> Option<u64> {
        self.held.as_ref()?.parked
    }

    /// Notes that its next request cannot be sent yet.
    pub(super) fn hold_back(&mut self, now: u64) -> &mut Held {
        self.held.get_or_insert_with(|| Box::new(Held::new(now)))
    }

    /// True if the reply to request `seq` is in the output, or was.
    pub(super) fn has_answered(&self, seq: u32) -> bool {
        self.first.wrapping_sub(seq).cast_signed() > 0
    }

    /// Takes a number for a request whose reply will come.
    #[inline]
    pub(super) fn expect_reply(&mut self) -> u32 {
        let seq = self.next_seq();
        self.owed += 1;
        seq
    }

    /// The number of the next request that will have a reply.
    #[inline]
    pub(super) fn next_seq(&self) -> u32 {
        self.first.wrapping_add(self.owed)
    }

    /// True if the reply whose turn it is is not wanted.
    #[cold]
    fn passes_over(&self) -> bool {
        match self.mute {
            Mute::Nothing => false,
            Mute::Only(seq) => seq == self.first,
            Mute::From(seq) => self.first.wrapping_sub(seq) < u32::MAX / 2,
        }
    }

    /// The request that was numbered last is asked for anew.
    pub(super) fn take_back(&mut self) {
        self.owed -= 1;
    }

    /// Puts the reply to request `seq` where its turn is.
    #[inline]
    pub(super) fn reply(&mut self, seq: u32, payload: Payload<'_>, pool: &mut Pool) {
        let place = seq.wrapping_sub(self.first);
        if place == 0 {
            self.send(payload, pool);
            self.next_turn();
            if self.early.as_ref().is_some_and(|early| !early.is_empty()) {
                self.send_early(pool);
            }
        } else if place < self.owed {
            // Whom nobody can tell any more needs no reply, only its place.
            let payload = if self.stream.is_some() { payload } else { Payload::Slice(b"") };
            self.early.get_or_insert_default().keep(place as usize, payload, pool);
        }
    }

    /// The reply that was owed first has been sent.
    #[inline]
    fn next_turn(&mut self) {
        self.first = self.first.wrapping_add(1);
        self.owed -= 1;
    }

    /// Answers a request at once, in its turn.
    pub(super) fn answer(&mut self, bytes: &[u8], pool: &mut Pool) {
        let seq = self.expect_reply();
        self.reply(seq, Payload::Slice(bytes), pool);
    }

    /// True if it speaks RESP3, in which what nobody has asked for may come at any time.
    pub(super) fn is_resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    /// Sends what it has not asked for just now, between two replies.
    pub(super) fn push(&mut self, message: Payload<'_>, pool: &mut Pool) {
        self.put(message, pool);
    }

    #[inline]
    fn send(&mut self, payload: Payload<'_>, pool: &mut Pool) {
        if self.mute != Mute::Nothing && self.passes_over() {
            return;
        }
        self.put(payload, pool);
    }

    #[inline]
    fn put(&mut self, payload: Payload<'_>, pool: &mut Pool) {
        if self.stream.is_none() {
            return;
        }
        match payload {
            Payload::Slice(bytes) => self.out.push(bytes, pool),
            Payload::Whole(bytes) if bytes.len() < BIG => self.out.push(&bytes, pool),
            Payload::Whole(bytes) => {
                self.narrow(bytes.len());
                self.out.push_big(bytes);
            }
        }
    }

    /// Sends the replies whose turn has come because an earlier one came in.
    fn send_early(&mut self, pool: &mut Pool) {
        let Some(mut early) = self.early.take() else { return };
        early.skip();
        while let Some(payload) = early.next() {
            self.send(payload, pool);
            self.next_turn();
        }
        early.tidy(pool);
        self.early = Some(early).filter(|early| self.owed > 0 || !early.is_unusual());
    }

    /// Gives all room back: nothing has come for a while.
    pub(super) fn release(&mut self) {
        if self.owed == 0 {
            self.early = None;
        }
    }

    /// The session has ended: of the replies that came before their turn only the places count.
    pub(super) fn forget_early(&mut self) {
        if let Some(early) = &mut self.early {
            early.forget();
        }
    }

    /// Bytes that are held for it.
    pub(super) fn held(&self) -> usize {
        let early = self.early.as_ref().map_or(0, |early| early.held());
        let partial =
            self.partial.as_ref().map_or(0, |partial| partial.buf.len() + size_of_val(partial.parser.args()));
        self.out.len() + early + partial
    }

    /// True if it is parked under this token.
    pub(super) fn waits_as(&self, token: u64) -> bool {
        self.parked.as_ref().is_some_and(|parked| parked.token == token)
    }

    /// Wakes the session's task.
    pub(super) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
