//! At which servers each topic is listened to, from the first client that asks for it to the last.
//!
//! A place that a topic needs is joined before one that it does not need any more is left. What is left
//! still counts until the server has confirmed that: nothing that was on its way is missed. A message
//! may come twice only when a master is replaced by its own slave and both live, because then both send
//! what is published at either.

use std::{collections::BTreeSet, rc::Rc};

use codis_core::{SlotId, slot_of_key};
use codis_resp::{CommandId, TopicKind};
use smallvec::SmallVec;

use super::{
    FeedId, JoinId, SUBSCRIPTION_BYTES, TOPIC_BYTES, TopicId, feed::Asked, follow::Place, place, verbs,
};
use crate::{
    journal::Cause,
    worker::{Worker, dispatch::Outcome, session::SessionId},
};

/// What clients listen to.
pub(super) struct Topic {
    pub(super) kind: TopicKind,
    pub(super) name: Rc<[u8]>,
    /// `None` for a pattern.
    pub(super) slot: Option<SlotId>,
    serial: u64,
    pub(super) sessions: BTreeSet<SessionId>,
    pub(super) links: SmallVec<[TopicLink; 2]>,
    /// What waits until this is confirmed.
    pub(super) joins: SmallVec<[JoinId; 1]>,
}

/// A server at which a topic is listened to.
#[derive(Debug)]
pub(super) struct TopicLink {
    pub(super) feed: FeedId,
    /// It is published there; else it will be soon, or was until just now.
    pub(super) home: bool,
    pub(super) state: LinkState,
    /// A new table has asked for it, and it is not confirmed yet.
    behind: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    /// The server has been asked.
    Joining,
    /// It could not be asked, and will be when it can be reached.
    Waiting,
    Live,
    /// Not needed any more; left at this time, and when all that is needed is there.
    Parting(u64),
    /// The server has been asked to stop.
    Leaving,
}

impl Topic {
    /// True if every server that can be reached has confirmed.
    pub(super) fn is_ready(&self) -> bool {
        self.links.iter().all(|link| link.state != LinkState::Joining)
    }

    /// True if what comes from this feed is for the topic's sessions.
    pub(super) fn hears(&self, feed: FeedId) -> bool {
        let live = |state| matches!(state, LinkState::Live | LinkState::Parting(_) | LinkState::Leaving);
        self.links.iter().any(|link| link.feed == feed && live(link.state))
    }

    pub(super) fn link(&mut self, feed: FeedId) -> Option<&mut TopicLink> {
        self.links.iter_mut().find(|link| link.feed == feed)
    }
}

impl Worker {
    /// Makes sure that a topic can be listened to now.
    ///
    /// # Errors
    /// What becomes of the request if it cannot.
    pub(super) fn check_topic(
        &mut self,
        id: SessionId,
        command: CommandId,
        kind: TopicKind,
        name: &[u8],
    ) -> Result<(), Outcome> {
        if self.pubsub.find(kind, name).is_some() {
            return Ok(());
        }
        let slot = (kind != TopicKind::Pattern).then(|| slot_of_key(name));
        let places = self.places(kind, slot);
        if places.is_empty() {
            let slot = slot.unwrap_or_else(|| slot_of_key(b""));
            return Err(self.nowhere(id, command, slot));
        }
        let error = places.iter().filter(|place| place.home).find_map(|place| self.feed_error(&place.addr));
        match error {
            Some(reply) => Err(self.failed(id, command, Cause::Unreachable, &reply)),
            None => Ok(()),
        }
    }

    /// The topic of this name, listened to from now on if it is not yet.
    pub(super) fn topic(&mut self, kind: TopicKind, name: &[u8]) -> TopicId {
        if let Some(topic) = self.pubsub.find(kind, name) {
            return topic;
        }
        let name: Rc<[u8]> = name.into();
        let slot = (kind != TopicKind::Pattern).then(|| slot_of_key(&name));
        let serial = self.pubsub.next_serial();
        let id = self.pubsub.topics.insert(Topic {
            kind,
            name: name.clone(),
            slot,
            serial,
            sessions: BTreeSet::new(),
            links: SmallVec::new(),
            joins: SmallVec::new(),
        });
        self.pubsub.bytes += name.len() + TOPIC_BYTES;
        self.pubsub.names[place(kind)].insert(name, id);
        for place in self.places(kind, slot) {
            self.add_link(id, &place, false);
        }
        id
    }

    pub(super) fn add_link(&mut self, id: TopicId, place: &Place, behind: bool) {
        let feed = self.feed_for(&place.addr);
        self.pubsub.feeds[feed].links += 1;
        self.pubsub.behind += usize::from(behind);
        let link = TopicLink { feed, home: place.home, state: LinkState::Joining, behind };
        self.pubsub.topics[id].links.push(link);
        self.ask_to_join(id, feed);
    }

    pub(super) fn ask_to_join(&mut self, id: TopicId, feed: FeedId) {
        let topic = &self.pubsub.topics[id];
        let (name, serial, kind) = (topic.name.clone(), topic.serial, topic.kind);
        let asked = self.ask_feed(feed, Asked::Join(id, serial), verbs(kind).0, &name);
        let state = if asked { LinkState::Joining } else { LinkState::Waiting };
        self.set_state(id, feed, state);
    }

    pub(super) fn ask_to_leave(&mut self, id: TopicId, feed: FeedId) {
        let topic = &self.pubsub.topics[id];
        let (name, serial, kind) = (topic.name.clone(), topic.serial, topic.kind);
        self.ask_feed(feed, Asked::Leave(id, serial), verbs(kind).1, &name);
        self.set_state(id, feed, LinkState::Leaving);
    }

    pub(super) fn set_state(&mut self, id: TopicId, feed: FeedId, state: LinkState) {
        let Some(link) = self.pubsub.topics.get_mut(id).and_then(|topic| topic.link(feed)) else { return };
        link.state = state;
        if state != LinkState::Joining && std::mem::take(&mut link.behind) {
            self.pubsub.behind -= 1;
        }
    }

    pub(super) fn remove_link(&mut self, id: TopicId, feed: FeedId) {
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        let Some(at) = topic.links.iter().position(|link| link.feed == feed) else { return };
        let link = topic.links.remove(at);
        self.pubsub.behind -= usize::from(link.behind);
        self.pubsub.feeds[feed].links -= 1;
    }

    /// A session does not listen to a topic any more; nor does the worker if it was the last one.
    pub(super) fn leave_topic(&mut self, id: TopicId, session: SessionId) {
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        if !topic.sessions.remove(&session) {
            return;
        }
        self.pubsub.bytes -= SUBSCRIPTION_BYTES;
        if !topic.sessions.is_empty() {
            return;
        }
        self.pubsub.bytes -= topic.name.len() + TOPIC_BYTES;
        let links: SmallVec<[(FeedId, LinkState); 2]> =
            topic.links.iter().map(|link| (link.feed, link.state)).collect();
        for (feed, state) in links {
            if !matches!(state, LinkState::Waiting | LinkState::Leaving) {
                self.ask_to_leave(id, feed);
            }
            self.remove_link(id, feed);
        }
        let topic = self.pubsub.topics.remove(id);
        self.pubsub.names[place(topic.kind)].remove(&topic.name);
    }

    fn is_current(&self, id: TopicId, serial: u64) -> bool {
        self.pubsub.topics.get(id).is_some_and(|topic| topic.serial == serial)
    }

    /// A server has confirmed a subscription.
    pub(super) fn heard_of(&mut self, feed: FeedId, id: TopicId, serial: u64) {
        if !self.is_current(id, serial) {
            return;
        }
        if self.pubsub.topics[id].link(feed).is_some_and(|link| link.state == LinkState::Joining) {
            self.set_state(id, feed, LinkState::Live);
            self.maybe_ready(id);
        }
    }

    /// A server has confirmed that it sends no more.
    pub(super) fn left(&mut self, feed: FeedId, id: TopicId, serial: u64) {
        // Meanwhile it may have been joined anew.
        let leaving = |link: &mut TopicLink| link.state == LinkState::Leaving;
        if self.is_current(id, serial) && self.pubsub.topics[id].link(feed).is_some_and(leaving) {
            self.remove_link(id, feed);
        }
    }

    /// A server does not let us listen to a topic.
    pub(super) fn refused(&mut self, feed: FeedId, id: TopicId, serial: u64, reply: &[u8]) {
        if !self.is_current(id, serial) {
            return;
        }
        if self.pubsub.topics[id].link(feed).is_some_and(|link| link.home) {
            self.break_topic(id, reply);
        } else {
            self.remove_link(id, feed);
            self.maybe_ready(id);
        }
    }

    /// Goes on with what has waited for a topic, if everything is confirmed.
    pub(super) fn maybe_ready(&mut self, id: TopicId) {
        let Some(topic) = self.pubsub.topics.get_mut(id).filter(|topic| topic.is_ready()) else { return };
        for join in std::mem::take(&mut topic.joins) {
            let Some(waiting) = self.pubsub.joins.get_mut(join) else { continue };
            waiting.waiting -= 1;
            if waiting.waiting == 0 {
                self.joined(join);
            }
        }
        self.part(id);
        self.finish_installs();
    }

    /// Leaves the servers that a topic does not need any more.
    fn part(&mut self, id: TopicId) {
        let Some(topic) = self.pubsub.topics.get(id).filter(|topic| topic.is_ready()) else { return };
        let over = |link: &&TopicLink| matches!(link.state, LinkState::Parting(at) if at <= self.now);
        let feeds: SmallVec<[FeedId; 2]> = topic.links.iter().filter(over).map(|link| link.feed).collect();
        feeds.into_iter().for_each(|feed| self.ask_to_leave(id, feed));
    }

    /// Once in a while: leaves servers whose time has come.
    pub(in crate::worker) fn leave_old_places(&mut self) {
        let parting = |topic: &Topic| {
            topic.links.iter().any(|link| matches!(link.state, LinkState::Parting(at) if at <= self.now))
        };
        let due: Vec<TopicId> =
            self.pubsub.topics.iter().filter(|(_, topic)| parting(topic)).map(|(id, _)| id).collect();
        due.into_iter().for_each(|id| self.part(id));
    }

    /// A topic cannot be listened to as it must be: who has just asked for it gets the reply, and the
    /// connections of all others are closed. Returns how many those are.
    pub(super) fn break_topic(&mut self, id: TopicId, reply: &[u8]) -> usize {
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return 0 };
        for join in std::mem::take(&mut topic.joins) {
            self.not_joined(join, reply);
        }
        let Some(topic) = self.pubsub.topics.get(id) else { return 0 };
        let sessions: Vec<SessionId> = topic.sessions.iter().copied().collect();
        let count = sessions.len();
        let why = String::from_utf8_lossy(reply).trim_start_matches("-ERR ").trim_end().to_owned();
        for id in sessions {
            self.client_failed(id, Cause::Lost, &why);
            self.unsubscribe_all(id);
            if let Some(session) = self.sessions.get_mut(id) {
                session.closing = true;
                session.wake();
            }
        }
        count
    }

    /// Nothing comes from a feed any more. Returns how many clients had to be disconnected.
    pub(super) fn silenced(&mut self, feed: FeedId, reply: &[u8]) -> usize {
        let (mut broken, mut ready, now) = (Vec::new(), Vec::new(), self.now);
        for (id, topic) in &mut self.pubsub.topics {
            let Some(link) = topic.links.iter().find(|link| link.feed == feed) else { continue };
            match link.state {
                LinkState::Joining | LinkState::Live | LinkState::Waiting if link.home => broken.push(id),
                // What is to take its place is not there yet.
                LinkState::Parting(at) if at <= now && !topic.is_ready() => broken.push(id),
                _ => ready.push(id),
            }
        }
        for id in ready {
            let link = self.pubsub.topics[id].link(feed).map(|link| link.state);
            match link {
                Some(LinkState::Parting(_) | LinkState::Leaving) => self.remove_link(id, feed),
                _ => self.set_state(id, feed, LinkState::Waiting),
            }
            self.maybe_ready(id);
        }
        for id in &broken {
            // It is gone with its connection; nobody is to be told.
            self.set_state(*id, feed, LinkState::Waiting);
        }
        let closed = broken.into_iter().map(|id| self.break_topic(id, reply)).sum();
        self.finish_installs();
        closed
    }

    /// A feed works: everything that has waited for it is asked for.
    pub(super) fn rejoin(&mut self, feed: FeedId) {
        let waits = |topic: &Topic| {
            topic.links.iter().any(|link| link.feed == feed && link.state == LinkState::Waiting)
        };
        let waiting: Vec<TopicId> =
            self.pubsub.topics.iter().filter(|(_, topic)| waits(topic)).map(|(id, _)| id).collect();
        waiting.into_iter().for_each(|id| self.ask_to_join(id, feed));
    }
}
