//! Where topics are listened to while slots change hands.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use codis_core::{Addr, SLOT_COUNT, SlotId};
use codis_resp::TopicKind;
use smallvec::SmallVec;

use super::{
    FeedId, TopicId,
    topics::{LinkState, Topic, TopicLink},
};
use crate::{
    table::{Route, Table},
    worker::Worker,
};

/// How long a topic is still listened to at the old master of a slot that has moved, microseconds: until
/// the last proxy publishes at the new one.
const LINGER: u64 = 60_000_000;

/// A server at which a topic must be listened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) addr: Addr,
    /// It is published there now.
    pub(super) home: bool,
}

/// Where patterns are listened to.
#[derive(Debug, Clone)]
pub(super) struct Masters(Rc<[Place]>);

impl Masters {
    fn of(table: &Table) -> Self {
        let mut all: BTreeMap<&Addr, bool> = BTreeMap::new();
        for (_, route) in table.iter() {
            for (addr, home) in places(route) {
                *all.entry(addr).or_default() |= home;
            }
        }
        Self(all.into_iter().map(|(addr, home)| Place { addr: addr.clone(), home }).collect())
    }
}

/// Where the channels of a slot with this route are listened to; `true`: and published.
fn places(route: &Route) -> SmallVec<[(&Addr, bool); 2]> {
    let mut places = SmallVec::new();
    match route {
        Route::Unassigned => {}
        Route::Online { master } | Route::Blocked { master } => places.push((&master.addr, true)),
        Route::Migrate { from, to, .. } => {
            places.push((&from.addr, true));
            if from != to {
                places.push((&to.addr, false));
            }
        }
    }
    places
}

impl Worker {
    pub(super) fn places(&mut self, kind: TopicKind, slot: Option<SlotId>) -> SmallVec<[Place; 2]> {
        match (kind, slot) {
            (TopicKind::Channel | TopicKind::Shard, Some(slot)) => places(self.table.route(slot))
                .into_iter()
                .map(|(addr, home)| Place { addr: addr.clone(), home })
                .collect(),
            _ => {
                let table = &self.table;
                self.pubsub.masters.get_or_insert_with(|| Masters::of(table)).0.iter().cloned().collect()
            }
        }
    }

    /// Listens where the new table says so.
    pub(in crate::worker) fn follow_topics(&mut self, old: &Table, changed: &[SlotId]) {
        self.pubsub.masters = None;
        if self.pubsub.topics.is_empty() || changed.is_empty() {
            return;
        }
        let mut touched = vec![false; usize::from(SLOT_COUNT)];
        changed.iter().for_each(|slot| touched[slot.index()] = true);
        let moved = |topic: &Topic| topic.slot.is_none_or(|slot| touched[slot.index()]);
        let topics: Vec<(TopicId, Option<SlotId>)> = self
            .pubsub
            .topics
            .iter()
            .filter(|(_, topic)| moved(topic))
            .map(|(id, topic)| (id, topic.slot))
            .collect();
        let left = self.left_places(old, changed);
        for (id, slot) in topics {
            // A client that has to go takes its other topics along.
            if self.pubsub.topics.contains(id) {
                self.follow_topic(id, slot, old, &left);
            }
        }
    }

    /// The old masters of slots that have just moved, at which other proxies may still publish.
    fn left_places(&self, old: &Table, changed: &[SlotId]) -> BTreeSet<Addr> {
        let left = |slot: &SlotId| match (old.route(*slot), self.table.route(*slot)) {
            (Route::Migrate { from, to, .. }, Route::Online { master }) if to == master => {
                Some(from.addr.clone())
            }
            (Route::Migrate { from, .. }, Route::Blocked { .. }) => Some(from.addr.clone()),
            _ => None,
        };
        changed.iter().filter_map(left).collect()
    }

    fn follow_topic(&mut self, id: TopicId, slot: Option<SlotId>, old: &Table, left: &BTreeSet<Addr>) {
        let kind = self.pubsub.topics[id].kind;
        let places = self.places(kind, slot);
        if places.is_empty() {
            // Whatever is published now is not heard here.
            self.break_topic(id, b"-ERR it is not assigned to a group with a master any more\r\n");
            return;
        }
        for place in &places {
            let feed = self.feed_for(&place.addr);
            let Some(link) = self.pubsub.topics[id].link(feed) else {
                self.add_link(id, place, true);
                continue;
            };
            link.home = place.home;
            match link.state {
                LinkState::Parting(_) => self.set_state(id, feed, LinkState::Live),
                LinkState::Leaving => self.ask_to_join(id, feed),
                LinkState::Joining | LinkState::Waiting | LinkState::Live => {}
            }
        }
        for link in &mut self.pubsub.topics[id].links {
            let feed = &self.pubsub.feeds[link.feed];
            link.home &= places.iter().any(|place| place.addr == feed.addr);
        }
        let is_blocked = |table: &Table, slot| matches!(table.route(slot), Route::Blocked { .. });
        if slot.is_some_and(|slot| is_blocked(&self.table, slot) && !is_blocked(old, slot)) {
            // Where it goes on is not known yet, and not all may know that it stops here.
            return;
        }
        let lacking = |link: &TopicLink| link.home && link.state == LinkState::Waiting;
        if let Some(link) = self.pubsub.topics[id].links.iter().find(|link| lacking(link)) {
            let addr = self.pubsub.feeds[link.feed].addr.clone();
            let reply = self.feed_error(&addr).unwrap_or_default();
            let closed = self.break_topic(id, &reply);
            tracing::warn!(backend = %addr, closed_clients = closed, "a new master cannot be listened at");
            return;
        }
        let links = self.pubsub.topics[id].links.iter();
        let needless: Vec<(FeedId, LinkState)> = links
            .filter(|link| !places.iter().any(|place| place.addr == self.pubsub.feeds[link.feed].addr))
            .map(|link| (link.feed, link.state))
            .collect();
        for (feed, state) in needless {
            match state {
                LinkState::Live => {
                    let until = if left.contains(&self.pubsub.feeds[feed].addr) {
                        self.now + LINGER
                    } else {
                        self.now
                    };
                    self.set_state(id, feed, LinkState::Parting(until));
                }
                LinkState::Joining => self.ask_to_leave(id, feed),
                LinkState::Waiting => self.remove_link(id, feed),
                LinkState::Parting(_) | LinkState::Leaving => {}
            }
        }
        self.maybe_ready(id);
    }
}
