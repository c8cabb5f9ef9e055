//! PUBLISH and the SUBSCRIBE families.
//!
//! A channel belongs to the slot of its name, and is published at that slot's master: at one server,
//! whichever proxy is asked. So a worker listens where the slots of its clients' channels are, and for
//! patterns at every master, over one connection to each server ([`feed`]) that all its clients share;
//! what comes is handed to those who have asked for it ([`deliver`]).
//!
//! While a slot is in `migrate` its channels are still published at the **old** master, but listened to
//! at both; the table with `migrate` counts as taken over only when the new master has confirmed the
//! subscriptions. So when the first proxy begins to publish at the new master all others listen there,
//! and they go on listening at the old one until the last has changed over ([`follow`]). Each message
//! is published once, and arrives once.
//!
//! When the connection over which a client listens breaks, messages may have been missed: its own
//! connection is closed, as a restart of Redis would do, so that it subscribes again and knows.

mod client;
mod deliver;
mod feed;
mod follow;
mod topics;

use std::{collections::HashMap, rc::Rc};

use bytes::Bytes;
use codis_core::Addr;
use codis_resp::{CommandId, TopicKind};
use slab::Slab;

pub(super) use self::client::Subs;
use self::{feed::Feed, follow::Masters, topics::Topic};
use super::session::SessionId;

/// Place of a topic in its worker.
type TopicId = usize;
/// Place of a feed in its worker.
type FeedId = usize;
/// Place of a SUBSCRIBE that is not confirmed yet in its worker.
type JoinId = usize;

/// What a topic takes besides its name, about, and what each of its clients adds.
const TOPIC_BYTES: usize = 512;
const SUBSCRIPTION_BYTES: usize = 64;

/// Everything that clients of a worker listen to.
#[derive(Default)]
pub(super) struct PubSub {
    /// By kind, in the order of [`place`].
    names: [HashMap<Rc<[u8]>, TopicId>; 3],
    topics: Slab<Topic>,
    feeds: Slab<Feed>,
    by_addr: HashMap<Addr, FeedId>,
    joins: Slab<Join>,
    /// Where patterns are listened to, once somebody has asked for one.
    masters: Option<Masters>,
    /// Tells topics and connections from earlier ones in the same place.
    serial: u64,
    /// Subscriptions that a new table has asked for and no server has confirmed yet.
    behind: usize,
    /// What topics and subscriptions take, about.
    bytes: usize,
    /// Messages that were handed to clients, once for each.
    pub(super) messages: u64,
}

/// A SUBSCRIBE that waits for servers.
struct Join {
    session: SessionId,
    seq: u32,
    command: CommandId,
    at: u64,
    /// What the client is told when all servers have confirmed.
    reply: Vec<u8>,
    /// Topics that the client did not listen to before.
    fresh: Vec<TopicId>,
    /// Of these, how many are not confirmed.
    waiting: usize,
    /// What has come for the client meanwhile.
    held: Vec<(TopicId, Bytes)>,
    held_bytes: usize,
}

impl PubSub {
    /// The topic of this kind and name, if somebody listens to it.
    fn find(&self, kind: TopicKind, name: &[u8]) -> Option<TopicId> {
        self.names[place(kind)].get(name).copied()
    }

    /// True if subscriptions that a new table needs are still to be confirmed.
    pub(super) fn is_behind(&self) -> bool {
        self.behind > 0
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}

const fn place(kind: TopicKind) -> usize {
    match kind {
        TopicKind::Channel => 0,
        TopicKind::Pattern => 1,
        TopicKind::Shard => 2,
    }
}

/// The words of a kind: what a client says, what it takes that back with.
const fn verbs(kind: TopicKind) -> (&'static str, &'static str) {
    match kind {
        TopicKind::Channel => ("subscribe", "unsubscribe"),
        TopicKind::Pattern => ("psubscribe", "punsubscribe"),
        TopicKind::Shard => ("ssubscribe", "sunsubscribe"),
    }
}
