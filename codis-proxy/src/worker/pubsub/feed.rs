//! The connection over which a worker listens at one server, for all of its clients.
//!
//! It is opened for the first topic there and closed when there has been none for a while. Questions
//! are answered in order; one that is not answered in time, or a PING that is not, ends it.

use std::{
    collections::VecDeque,
    io,
    task::{Context, Poll, Waker, ready},
};

use bytes::BytesMut;
use codis_core::Addr;
use codis_resp::{ReplyScanner, push_array_header, push_bulk};
use tokio::task::spawn_local;

use super::{FeedId, TopicId};
use crate::{
    stream::Stream,
    worker::{
        Worker,
        backend::Link,
        buffers::OutBuf,
        connect::{ConnectError, connect, one_line},
        link::pause,
        proto::Proto,
    },
};

/// Bytes that are read at once.
const READ: usize = 16 << 10;
/// Most that is read ahead for one message.
const READ_BIG: usize = 1 << 20;
/// Reads in a row before others get their turn.
const READS: usize = 8;
/// A connection that has been silent for so long is asked whether it still works, microseconds.
const SILENCE: u64 = 10_000_000;

/// A question whose answer is awaited. The numbers tell a topic from earlier ones in the same place.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Ping,
    Join(TopicId, u64),
    Leave(TopicId, u64),
}

enum State {
    Down,
    Connecting,
    Up(Stream),
}

pub(super) struct Feed {
    pub(super) addr: Addr,
    state: State,
    /// Tells this connection from earlier ones.
    pub(super) serial: u64,
    waker: Option<Waker>,
    out: OutBuf,
    /// What the server has been asked, with the time.
    pub(super) asked: VecDeque<(Asked, u64)>,
    /// What has been read and not been looked at, from the first byte of a frame on.
    pub(super) buf: BytesMut,
    pub(super) scanner: ReplyScanner,
    pub(super) missing: usize,
    /// Topics that are, or were until just now, listened to here.
    pub(super) links: usize,
    /// Failures in a row.
    failures: u32,
    /// Earliest time of the next try, microseconds of the worker's clock.
    not_before: u64,
    last_error: String,
    /// Last time that something came, or that it was needed.
    heard: u64,
}

impl Feed {
    fn new(addr: Addr, now: u64) -> Self {
        Self {
            addr,
            state: State::Down,
            serial: 0,
            waker: None,
            out: OutBuf::default(),
            asked: VecDeque::new(),
            buf: BytesMut::new(),
            scanner: ReplyScanner::default(),
            missing: 0,
            links: 0,
            failures: 0,
            not_before: 0,
            last_error: String::new(),
            heard: now,
        }
    }

    /// The error reply for what this server has failed.
    fn error(&self, why: &str) -> Vec<u8> {
        format!("-ERR backend {}: {}\r\n", self.addr, why.replace(['\r', '\n'], " ")).into_bytes()
    }

    fn is_down(&self) -> bool {
        matches!(self.state, State::Down)
    }
}

impl Worker {
    /// The feed of a server, made if there is none yet.
    pub(super) fn feed_for(&mut self, addr: &Addr) -> FeedId {
        if let Some(id) = self.pubsub.by_addr.get(addr) {
            return *id;
        }
        let id = self.pubsub.feeds.insert(Feed::new(addr.clone(), self.now));
        self.pubsub.by_addr.insert(addr.clone(), id);
        id
    }

    /// Why nothing more can be listened to at a server now, as an error reply.
    pub(super) fn feed_error(&self, addr: &Addr) -> Option<Vec<u8>> {
        let feed = self.pubsub.by_addr.get(addr).map(|id| &self.pubsub.feeds[*id])?;
        if feed.is_down() && self.now < feed.not_before {
            return Some(feed.error(&feed.last_error));
        }
        let full = feed.out.len() > self.limits.backend_pause;
        full.then(|| feed.error("too many subscriptions wait for it, try again"))
    }

    /// Asks the server to begin or to stop sending what is published for a topic. False: it cannot be
    /// asked now.
    pub(super) fn ask_feed(&mut self, id: FeedId, asked: Asked, verb: &str, name: &[u8]) -> bool {
        let feed = &mut self.pubsub.feeds[id];
        if feed.is_down() {
            if self.now < feed.not_before {
                return false;
            }
            self.open_feed(id);
        }
        let feed = &mut self.pubsub.feeds[id];
        feed.asked.push_back((asked, self.now));
        feed.heard = self.now;
        feed.out.push_with(&mut self.pool, |out| {
            let words = if name.is_empty() && matches!(asked, Asked::Ping) { 1 } else { 2 };
            push_array_header(out, words);
            push_bulk(out, verb.as_bytes());
            if words > 1 {
                push_bulk(out, name);
            }
        });
        if let Some(waker) = &feed.waker {
            waker.wake_by_ref();
        }
        true
    }

    fn open_feed(&mut self, id: FeedId) {
        let serial = self.pubsub.next_serial();
        let feed = &mut self.pubsub.feeds[id];
        feed.state = State::Connecting;
        feed.serial = serial;
        let (addr, limits, me) = (feed.addr.clone(), self.limits.clone(), self.me.clone());
        spawn_local(async move {
            let link = connect(&addr, Proto::Resp2, &limits).await;
            let Some(worker) = me.upgrade() else { return };
            if worker.borrow_mut().feed_opened(id, serial, link) {
                std::future::poll_fn(move |cx| worker.borrow_mut().poll_feed(id, serial, cx)).await;
            }
        });
    }

    fn feed_opened(&mut self, id: FeedId, serial: u64, link: Result<Link, ConnectError>) -> bool {
        self.look_at_clock();
        let Some(feed) = self.pubsub.feeds.get_mut(id).filter(|feed| feed.serial == serial) else {
            return false;
        };
        match link {
            Ok(link) => {
                feed.state = State::Up(link.stream);
                feed.failures = 0;
                feed.heard = self.now;
                self.rejoin(id);
                true
            }
            Err(error) => {
                feed.failures += 1;
                feed.not_before = self.now + pause(feed.failures).as_micros() as u64;
                self.lose_feed(id, &one_line(&error));
                false
            }
        }
    }

    /// Body of the task that serves a feed. Ready when the connection is no more.
    fn poll_feed(&mut self, id: FeedId, serial: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.look_at_clock();
        for _ in 0..READS {
            let Some(feed) = self.pubsub.feeds.get_mut(id).filter(|feed| feed.serial == serial) else {
                return Poll::Ready(());
            };
            if !feed.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                feed.waker = Some(cx.waker().clone());
            }
            match self.take_frames(id) {
                Ok(false) => {}
                Ok(true) => break,
                Err(why) => {
                    self.lose_feed(id, &why);
                    return Poll::Ready(());
                }
            }
            match ready!(self.poll_feed_io(id, cx)) {
                Ok(true) => {}
                Ok(false) => self.lose_feed(id, "connection closed by the server"),
                Err(error) => self.lose_feed(id, &error.to_string()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what waits, then reads once. False: the server has closed.
    fn poll_feed_io(&mut self, id: FeedId, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let Some(feed) = self.pubsub.feeds.get_mut(id) else { return Poll::Ready(Ok(true)) };
        let State::Up(stream) = &mut feed.state else { return Poll::Ready(Ok(true)) };
        while (!feed.out.is_empty() || stream.wants_write()) && stream.poll_write_ready(cx)?.is_ready() {
            feed.out.write(stream, &mut self.pool)?;
        }
        let want = feed.missing.clamp(READ, READ_BIG);
        feed.buf.reserve(want);
        let read = ready!(stream.poll_read_more(cx, &mut feed.buf, want))?;
        feed.heard = self.now;
        feed.missing = 0;
        Poll::Ready(Ok(read > 0))
    }

    /// A feed's connection cannot be used any more, or could not be opened.
    fn lose_feed(&mut self, id: FeedId, why: &str) {
        let Some(feed) = self.pubsub.feeds.get_mut(id) else { return };
        feed.state = State::Down;
        feed.serial = 0;
        feed.asked.clear();
        feed.out.clear(&mut self.pool);
        feed.buf = BytesMut::new();
        feed.scanner = ReplyScanner::default();
        feed.missing = 0;
        feed.last_error = why.to_owned();
        if let Some(waker) = feed.waker.take() {
            waker.wake();
        }
        let (addr, reply) = (feed.addr.clone(), feed.error(why));
        let closed = self.silenced(id, &reply);
        tracing::warn!(backend = %addr, why, closed_clients = closed, "cannot listen at a server any more");
    }

    /// Looks for feeds that have taken too long, are needed again, or are not needed any more.
    pub(in crate::worker) fn tick_feeds(&mut self) {
        if self.pubsub.feeds.is_empty() {
            return;
        }
        let limit = self.limits.backend_timeout.as_micros() as u64;
        let ids: Vec<FeedId> = self.pubsub.feeds.iter().map(|(id, _)| id).collect();
        for id in ids {
            let feed = &self.pubsub.feeds[id];
            let silent = self.now.saturating_sub(feed.heard);
            let waiting = feed.asked.front().map(|(_, at)| self.now.saturating_sub(*at));
            match feed.state {
                State::Up(_) if waiting.is_some_and(|waited| waited > limit) => {
                    let why = format!("no reply within {} s", self.limits.backend_timeout.as_secs_f32());
                    self.lose_feed(id, &why);
                }
                State::Up(_) if feed.links == 0 && waiting.is_none() && silent > SILENCE => {
                    self.lose_feed(id, "not needed any more");
                }
                State::Up(_) if waiting.is_none() && silent > SILENCE => {
                    self.ask_feed(id, Asked::Ping, "PING", b"");
                }
                State::Down if feed.links > 0 && self.now >= feed.not_before => self.open_feed(id),
                State::Down if feed.links == 0 && self.now >= feed.not_before => {
                    let feed = self.pubsub.feeds.remove(id);
                    self.pubsub.by_addr.remove(&feed.addr);
                }
                _ => {}
            }
        }
    }
}
