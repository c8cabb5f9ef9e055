//! What clients say: SUBSCRIBE, UNSUBSCRIBE and PUBLISH, and what they may not say meanwhile.

use std::collections::BTreeSet;

use codis_core::slot_of_key;
use codis_resp::{Class, CommandId, Session as Local, TopicKind, push_array_header, push_bulk, push_integer};

use super::{Join, JoinId, SUBSCRIPTION_BYTES, TOPIC_BYTES, TopicId, place, verbs};
use crate::{
    table::Route,
    worker::{
        Worker,
        dispatch::{Frame, Outcome, Target},
        session::{Payload, Session, SessionId},
    },
};

/// Topics that one client may listen to.
const MAX_TOPICS: usize = 100_000;
/// Bytes that the topics of all clients of a worker may take.
const MAX_BYTES: usize = 256 << 20;

/// What a session listens to.
#[derive(Debug, Default)]
pub(in crate::worker) struct Subs {
    /// By kind.
    topics: [BTreeSet<TopicId>; 3],
    /// Its SUBSCRIBE that is not confirmed yet.
    pub(super) join: Option<JoinId>,
}

impl Subs {
    /// The count that a confirmation for this kind tells.
    fn count(&self, kind: TopicKind) -> usize {
        let [channels, patterns, shards] = &self.topics;
        match kind {
            TopicKind::Shard => shards.len(),
            TopicKind::Channel | TopicKind::Pattern => channels.len() + patterns.len(),
        }
    }

    /// How many channels, patterns and shard channels it listens to.
    pub(in crate::worker) fn counts(&self) -> [usize; 3] {
        self.topics.each_ref().map(BTreeSet::len)
    }

    fn is_empty(&self) -> bool {
        self.topics.iter().all(BTreeSet::is_empty)
    }
}

/// One confirmation, as the protocol of the session wants it.
fn confirm(session: &Session, verb: &str, name: Option<&[u8]>, count: usize, out: &mut Vec<u8>) {
    let at = out.len();
    push_array_header(out, 3);
    if session.is_resp3() {
        out[at] = b'>';
    }
    push_bulk(out, verb.as_bytes());
    match name {
        Some(name) => push_bulk(out, name),
        None if session.is_resp3() => out.extend_from_slice(b"_\r\n"),
        None => out.extend_from_slice(b"$-1\r\n"),
    }
    push_integer(out, count as i64);
}

impl Worker {
    /// A request of a session that listens; `None`: it is dealt with like any other.
    #[cold]
    pub(in crate::worker) fn while_subscribed(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
    ) -> Option<Outcome> {
        let class = command.command().class;
        if class == Class::Session(Local::Reset) {
            if self.sessions[id].owed() > 0 {
                return Some(Outcome::Wait);
            }
            self.unsubscribe_all(id);
            return None;
        }
        if self.sessions[id].is_resp3() {
            return None;
        }
        match class {
            Class::Subscribe(_) | Class::Unsubscribe(_) | Class::Session(Local::Quit) => None,
            Class::Session(Local::Ping) => {
                let mut out = Vec::new();
                push_array_header(&mut out, 2);
                push_bulk(&mut out, b"pong");
                push_bulk(&mut out, frame.args.get(1).map_or(b"", |arg| arg.of(frame.bytes)));
                Some(self.confirmed_at_once(id, command, &out))
            }
            _ => {
                let sub = match class {
                    Class::Container => command.subcommand(frame.arg(1)).unwrap_or(command),
                    _ => command,
                };
                let name = sub.command().name.to_ascii_lowercase();
                let text = format!(
                    "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
                     are allowed in this context"
                );
                Some(self.refuse(id, command, &text))
            }
        }
    }

    /// PUBLISH and SPUBLISH.
    pub(in crate::worker) fn publish(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
    ) -> Outcome {
        let slot = slot_of_key(frame.arg(1));
        let backend = match self.target(slot) {
            Target::Backend(backend) => backend,
            Target::Hold => return self.park(id, slot),
            Target::Nowhere => return self.nowhere(id, command, slot),
            // What was asked for before goes to the new master; it must not be overtaken.
            Target::Settle(_) if self.sessions[id].owed() > 0 => return Outcome::Wait,
            Target::Settle(to) => match self.table.route(slot) {
                Route::Migrate { from, .. } => {
                    let addr = from.addr.clone();
                    self.backend_for(&addr)
                }
                _ => to,
            },
        };
        let backend = self.in_proto_of(id, backend);
        self.forward(id, command, frame, (slot, Some(1)), backend)
    }

    /// SUBSCRIBE, PSUBSCRIBE and SSUBSCRIBE.
    #[cold]
    pub(in crate::worker) fn subscribe(
        &mut self,
        id: SessionId,
        command: CommandId,
        kind: TopicKind,
        frame: Frame<'_>,
    ) -> Outcome {
        // So what comes of its topics can be told from the replies that it is owed.
        if self.sessions[id].owed() > 0 {
            return Outcome::Wait;
        }
        let names = || frame.args[1..].iter().map(|arg| arg.of(frame.bytes));
        let known =
            self.sessions[id].subs.as_ref().map_or(0, |subs| subs.topics.iter().map(BTreeSet::len).sum());
        if known + names().len() > MAX_TOPICS {
            let text = format!("ERR a client may listen to {MAX_TOPICS} channels and patterns at most");
            return self.refuse(id, command, &text);
        }
        let bytes: usize = names().map(|name| name.len() + TOPIC_BYTES + SUBSCRIPTION_BYTES).sum();
        if self.pubsub.bytes + bytes > MAX_BYTES {
            let text = "ERR clients of this proxy listen to too many channels and patterns already";
            return self.refuse(id, command, text);
        }
        // Nothing is begun if it cannot be finished.
        for name in names() {
            if let Err(outcome) = self.check_topic(id, command, kind, name) {
                return outcome;
            }
        }
        let mut subs = self.sessions[id].subs.take().unwrap_or_default();
        let (mut reply, mut fresh) = (Vec::new(), Vec::new());
        for name in names() {
            let topic = self.topic(kind, name);
            if self.pubsub.topics[topic].sessions.insert(id) {
                self.pubsub.bytes += SUBSCRIPTION_BYTES;
                subs.topics[place(kind)].insert(topic);
                fresh.push(topic);
            }
            confirm(&self.sessions[id], verbs(kind).0, Some(name), subs.count(kind), &mut reply);
        }
        self.sessions[id].subs = Some(subs);
        self.join(id, command, reply, fresh)
    }

    /// Confirms a SUBSCRIBE once all servers have.
    fn join(&mut self, id: SessionId, command: CommandId, reply: Vec<u8>, fresh: Vec<TopicId>) -> Outcome {
        let open: Vec<TopicId> =
            fresh.iter().copied().filter(|topic| !self.pubsub.topics[*topic].is_ready()).collect();
        if open.is_empty() {
            return self.confirmed_at_once(id, command, &reply);
        }
        let seq = self.sessions[id].expect_reply();
        let join = self.pubsub.joins.insert(Join {
            session: id,
            seq,
            command,
            at: self.now,
            reply,
            fresh,
            waiting: open.len(),
            held: Vec::new(),
            held_bytes: 0,
        });
        open.into_iter().for_each(|topic| self.pubsub.topics[topic].joins.push(join));
        if let Some(subs) = &mut self.sessions[id].subs {
            subs.join = Some(join);
        }
        Outcome::Done
    }

    /// All servers have confirmed.
    pub(super) fn joined(&mut self, join: JoinId) {
        let join = self.pubsub.joins.remove(join);
        self.meter.record(join.command, self.now.saturating_sub(join.at), 1, false);
        if let Some(subs) = self.sessions.get_mut(join.session).and_then(|session| session.subs.as_mut()) {
            subs.join = None;
        }
        self.deliver(join.session, join.seq, Payload::Slice(&join.reply));
        for (_, message) in join.held {
            self.push(join.session, Payload::Whole(message));
        }
    }

    /// A server has not confirmed: the client listens to nothing of what it has just asked for.
    pub(super) fn not_joined(&mut self, join: JoinId, reply: &[u8]) {
        let Some(join) = self.forget_join(join) else { return };
        let id = join.session;
        self.meter.record(join.command, self.now.saturating_sub(join.at), 1, true);
        self.totals.errors += 1;
        if let Some(mut subs) = self.sessions.get_mut(id).and_then(|session| session.subs.take()) {
            subs.join = None;
            let fresh = |topics: &mut BTreeSet<TopicId>| {
                join.fresh.iter().for_each(|topic| _ = topics.remove(topic));
            };
            subs.topics.iter_mut().for_each(fresh);
            self.sessions[id].subs = Some(subs).filter(|subs| !subs.is_empty());
        }
        join.fresh.iter().for_each(|topic| self.leave_topic(*topic, id));
        self.deliver(id, join.seq, Payload::Slice(reply));
        for (topic, message) in join.held {
            if !join.fresh.contains(&topic) {
                self.push(id, Payload::Whole(message));
            }
        }
    }

    fn forget_join(&mut self, join: JoinId) -> Option<Join> {
        let removed = self.pubsub.joins.try_remove(join)?;
        for topic in &removed.fresh {
            if let Some(topic) = self.pubsub.topics.get_mut(*topic) {
                topic.joins.retain(|other| *other != join);
            }
        }
        Some(removed)
    }

    /// UNSUBSCRIBE, PUNSUBSCRIBE and SUNSUBSCRIBE.
    #[cold]
    pub(in crate::worker) fn unsubscribe(
        &mut self,
        id: SessionId,
        command: CommandId,
        kind: TopicKind,
        frame: Frame<'_>,
    ) -> Outcome {
        if self.sessions[id].owed() > 0 {
            return Outcome::Wait;
        }
        let mut subs = self.sessions[id].subs.take().unwrap_or_default();
        let named: Vec<Vec<u8>> = match frame.args.len() {
            1 => {
                let topics = subs.topics[place(kind)].iter();
                topics.map(|topic| self.pubsub.topics[*topic].name.to_vec()).collect()
            }
            _ => frame.args[1..].iter().map(|arg| arg.of(frame.bytes).to_vec()).collect(),
        };
        let mut reply = Vec::new();
        let verb = verbs(kind).1;
        for name in &named {
            let topic = self.pubsub.find(kind, name);
            if let Some(topic) = topic.filter(|topic| subs.topics[place(kind)].remove(topic)) {
                self.leave_topic(topic, id);
            }
            confirm(&self.sessions[id], verb, Some(name), subs.count(kind), &mut reply);
        }
        if named.is_empty() {
            confirm(&self.sessions[id], verb, None, subs.count(kind), &mut reply);
        }
        self.sessions[id].subs = Some(subs).filter(|subs| !subs.is_empty());
        self.confirmed_at_once(id, command, &reply)
    }

    fn confirmed_at_once(&mut self, id: SessionId, command: CommandId, reply: &[u8]) -> Outcome {
        self.meter.record(command, 0, 1, false);
        self.sessions[id].answer(reply, &mut self.pool);
        self.touch_session(id);
        Outcome::Done
    }

    /// The session listens to nothing any more, and is not told.
    #[cold]
    pub(in crate::worker) fn unsubscribe_all(&mut self, id: SessionId) {
        let join = self.sessions[id].subs.as_ref().and_then(|subs| subs.join);
        if let Some(join) = join {
            self.not_joined(join, b"-ERR the connection is being closed\r\n");
        }
        // The session itself may be gone by now.
        let Some(subs) = self.sessions.get_mut(id).and_then(|session| session.subs.take()) else { return };
        subs.topics.iter().flatten().for_each(|topic| self.leave_topic(*topic, id));
    }
}
