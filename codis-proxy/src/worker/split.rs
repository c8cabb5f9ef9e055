//! MGET, MSET, DEL, EXISTS, UNLINK and TOUCH over several servers: one request for each server that
//! has some of the keys, the replies put together.
//!
//! The parts are not one transaction. **If any server fails its part, the whole request is answered
//! with that error** (the first one, in the order of the keys), although other parts may have been
//! carried out: an MSET that fails may have set some of its keys. Repeating such a request is safe,
//! except that DEL, UNLINK and the like then count only what was left.

mod merge;
mod slow;

use bytes::Bytes;
use codis_core::{SlotId, slot_of_key};
use codis_resp::{Class, CommandId, push_array_header, push_bulk};
use slab::Slab;
use smallvec::SmallVec;

use super::{
    Worker,
    backend::BackendId,
    buffers::BIG,
    dispatch::{Frame, Outcome},
    fanout::Sequel,
    park::Verdict,
    pending::{Arrival, Asked, Asker, KeyHead},
    session::{Payload, SessionId},
    slots::LocalRoute,
};
use crate::journal::Cause;

/// The reply to a request to all masters whose replies are more than a client may have waiting.
const TOO_BIG: &[u8] = b"-ERR the replies of all masters together are above client_output\r\n";
/// Records of split requests that are kept for reuse.
const KEEP: usize = 64;
/// A record for more keys than this is not kept.
const KEEP_KEYS: usize = 1024;

/// A server's share of a split request.
pub(super) struct Part {
    backend: BackendId,
    pub(super) keys: usize,
    /// The first of them.
    key: KeyHead,
    pub(super) reply: PartReply,
    /// Its connection broke: its slots are waited for elsewhere.
    lost: bool,
}

impl Part {
    /// The share of a server, without keys yet.
    pub(super) fn new(backend: BackendId) -> Self {
        Self { backend, keys: 0, key: KeyHead::NONE, reply: PartReply::Waiting, lost: false }
    }

    /// True if the server has done its share, as far as it could know.
    fn is_usable(&self) -> bool {
        let bytes = self.reply.bytes();
        bytes == TOO_BIG || bytes.first().is_some_and(|first| *first != b'-')
    }

    /// The share of a server in a request to all.
    pub(super) fn backend(&self) -> BackendId {
        self.backend
    }
}

pub(super) enum PartReply {
    Waiting,
    Copied(Vec<u8>),
    Whole(Bytes),
}

impl PartReply {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Waiting => &[],
            Self::Copied(bytes) => bytes,
            Self::Whole(bytes) => bytes,
        }
    }
}

/// A request under way at several servers.
pub(super) struct Split {
    pub(super) asked: Asked,
    pub(super) command: CommandId,
    arrival: Arrival,
    /// When the last part that came late had been sent.
    sent: u64,
    /// For each key its slot and its part. For a request to all masters: the slots that must not change
    /// over meanwhile.
    pub(super) keys: Vec<(SlotId, usize)>,
    pub(super) parts: SmallVec<[Part; 4]>,
    waiting: usize,
    /// Bytes of the replies that are in.
    bytes: usize,
    /// What a request to all masters has to remember.
    pub(super) sequel: Option<Sequel>,
}

/// All split requests of a worker.
#[derive(Default)]
pub(super) struct Splits {
    live: Slab<Split>,
    /// Lists of keys, empty, for reuse.
    free: Vec<Vec<(SlotId, usize)>>,
    /// Where the keys of the request at hand stand, with their slots.
    found: Vec<(usize, SlotId)>,
}

impl Splits {
    /// Whose request this is.
    pub(super) fn asker(&self, id: usize) -> Option<SessionId> {
        Some(self.live.get(id)?.asked.session)
    }

    /// Tells for each request whose it is and how many bytes of replies are held for it.
    pub(super) fn each_held(&self, mut tell: impl FnMut(SessionId, usize)) {
        for (_, split) in &self.live {
            let replies: usize = split.parts.iter().map(|part| part.reply.bytes().len()).sum();
            tell(split.asked.session, replies);
        }
    }

    /// Bytes that are held for requests under way, whoever has asked.
    pub(super) fn bytes(&self) -> usize {
        self.live.iter().map(|(_, split)| size_of_val(&split.keys[..])).sum()
    }
}

impl Worker {
    /// Sends a request with many keys to the servers that have them.
    pub(super) fn split(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: Option<Verdict>,
    ) -> Outcome {
        if command.command().class == Class::Mset && frame.args.len().is_multiple_of(2) {
            return self.refuse(id, command, "ERR wrong number of arguments for 'mset' command");
        }
        let mut found = std::mem::take(&mut self.splits.found);
        found.clear();
        // The rule of these commands is a range, which cannot fail.
        let _ = command.command().each_key(frame.bytes, frame.args, |at| {
            found.push((at, slot_of_key(frame.arg(at))));
        });
        let outcome = self.split_found(id, command, frame, verdict, &found);
        if found.capacity() <= KEEP_KEYS {
            self.splits.found = found;
        }
        outcome
    }

    fn split_found(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        verdict: Option<Verdict>,
        found: &[(usize, SlotId)],
    ) -> Outcome {
        let mut moving: SmallVec<[(usize, SlotId); 8]> = SmallVec::new();
        let mut parts: SmallVec<[Part; 4]> = SmallVec::new();
        let mut keys = self.splits.free.pop().unwrap_or_default();
        for &(at, slot) in found {
            let state = self.slots.get(slot);
            let backend = match state.route {
                LocalRoute::Unassigned if !state.draining => return self.nowhere(id, command, slot),
                LocalRoute::Online(backend) if !state.draining => backend,
                LocalRoute::Migrate(backend) if !state.draining => {
                    moving.push((at, slot));
                    backend
                }
                _ => return self.park(id, slot),
            };
            let backend = self.in_proto_of(id, backend);
            let part = parts.iter().position(|part| part.backend == backend).unwrap_or_else(|| {
                parts.push(Part { key: KeyHead::of(frame.arg(at)), ..Part::new(backend) });
                parts.len() - 1
            });
            parts[part].keys += 1;
            keys.push((slot, part));
        }
        if !moving.is_empty() {
            match verdict {
                Some(Verdict::Failed(reply)) => return self.failed(id, command, Cause::MoveFailed, &reply),
                Some(Verdict::Settled(slots)) => moving.retain(|(_, slot)| !slots.contains(slot)),
                None => {}
            }
            let unsettled = self.unsettled_keys(frame, &moving);
            if !unsettled.is_empty() {
                return self.settle(id, unsettled);
            }
        }
        if let Some(outcome) = self.parts_ready(id, command, &parts) {
            return outcome;
        }
        self.queue_parts(command, frame, &parts, &keys, found);
        self.await_parts(id, command, parts, keys, None)
    }

    /// Makes sure that all parts may be queued; else what becomes of the request.
    pub(super) fn parts_ready(
        &mut self,
        id: SessionId,
        command: CommandId,
        parts: &[Part],
    ) -> Option<Outcome> {
        for part in parts {
            match self.ready(part.backend, id) {
                Ok(true) => {}
                Ok(false) => return Some(Outcome::Wait),
                Err(reply) => return Some(self.failed(id, command, Cause::Unreachable, &reply)),
            }
        }
        None
    }

    /// All parts have been queued, in this order: their replies are waited for.
    pub(super) fn await_parts(
        &mut self,
        id: SessionId,
        command: CommandId,
        parts: SmallVec<[Part; 4]>,
        keys: Vec<(SlotId, usize)>,
        sequel: Option<Sequel>,
    ) -> Outcome {
        let seq = self.sessions[id].expect_reply();
        let arrival = self.sessions[id].arrival(self.now);
        self.await_replies(Asked { session: id, seq }, command, arrival, parts, keys, sequel);
        Outcome::Done
    }

    /// The same for whoever has asked.
    pub(super) fn await_replies(
        &mut self,
        asked: Asked,
        command: CommandId,
        arrival: Arrival,
        parts: SmallVec<[Part; 4]>,
        keys: Vec<(SlotId, usize)>,
        sequel: Option<Sequel>,
    ) {
        keys.iter().for_each(|(slot, _)| self.slots.begin(*slot));
        let waiting = parts.len();
        let queued: SmallVec<[(BackendId, KeyHead); 4]> =
            parts.iter().map(|part| (part.backend, part.key)).collect();
        let split = Split { asked, command, arrival, sent: 0, keys, parts, waiting, bytes: 0, sequel };
        let split = self.splits.live.insert(split);
        for (part, (backend, key)) in queued.into_iter().enumerate() {
            let asker = Asker::Split { split: split as u32, part: part as u32 };
            self.backends[backend].expect_reply(asker, command, key, arrival);
            self.touch_backend(backend);
        }
    }

    /// Writes each server's share of the request into its queue, in one pass over the keys.
    fn queue_parts(
        &mut self,
        command: CommandId,
        frame: Frame<'_>,
        parts: &[Part],
        keys: &[(SlotId, usize)],
        found: &[(usize, SlotId)],
    ) {
        let width = if command.command().class == Class::Mset { 2 } else { 1 };
        if let [only] = parts {
            let out = &mut self.backends[only.backend].out;
            match frame.whole {
                Some(whole) if whole.len() >= BIG => out.push_big(whole.clone()),
                _ => out.push(frame.bytes, &mut self.pool),
            }
            return;
        }
        for part in parts {
            self.backends[part.backend].out.push_with(&mut self.pool, |out| {
                push_array_header(out, 1 + part.keys * width);
                push_bulk(out, frame.arg(0));
            });
        }
        // An argument's header stands between the end of the one before and its own beginning.
        let mut run_start = 0;
        while run_start < keys.len() {
            let part = keys[run_start].1;
            let run = keys[run_start..].iter().take_while(|(_, other)| *other == part).count();
            let first = found[run_start].0;
            let last = found[run_start + run - 1].0 + width - 1;
            let from = frame.args[first - 1].end() + 2;
            let to = frame.args[last].end() + 2;
            let out = &mut self.backends[parts[part].backend].out;
            match frame.whole {
                Some(whole) if to - from >= BIG => out.push_big(whole.slice(from..to)),
                _ => out.push(&frame.bytes[from..to], &mut self.pool),
            }
            run_start += run;
        }
    }

    /// The reply to one part is in, or why there is none (`lost`).
    pub(super) fn part_reply(&mut self, id: u32, part: u32, payload: Payload<'_>, lost: bool) {
        let id = id as usize;
        let Some(split) = self.splits.live.get_mut(id) else { return };
        let share = &mut split.parts[part as usize];
        share.lost = lost;
        split.bytes += payload.bytes().len();
        let payload = match split.sequel {
            Some(_) if split.bytes > self.limits.client_output => Payload::Slice(TOO_BIG),
            _ => payload,
        };
        share.reply = match payload {
            Payload::Slice(bytes) => {
                let mut copy = self.pool.take();
                copy.extend_from_slice(bytes);
                PartReply::Copied(copy)
            }
            Payload::Whole(bytes) => PartReply::Whole(bytes),
        };
        split.waiting -= 1;
        if split.waiting == 0 {
            self.finish_split(id);
        }
    }

    /// The slots of one part, one entry for each of its keys.
    pub(super) fn part_slots(&self, id: u32, part: u32) -> impl Iterator<Item = SlotId> {
        let keys = self.splits.live.get(id as usize).map_or(&[][..], |split| &split.keys);
        keys.iter().filter(move |(_, other)| *other == part as usize).map(|(slot, _)| *slot)
    }

    /// Who waits for a part, and the slot of its first key if it has one; `None` for a request of our own.
    pub(super) fn part_of(&self, id: u32, part: u32) -> Option<(SessionId, Option<SlotId>)> {
        let split = self.splits.live.get(id as usize)?;
        (split.asked != Asked::BY_NOBODY).then(|| (split.asked.session, self.part_slots(id, part).next()))
    }

    /// The session that a part with keys was sent for, and the number of its request; `None` for a request to all
    /// masters.
    pub(super) fn split_asked_by(&self, id: u32) -> Option<(SessionId, u32)> {
        let split = self.splits.live.get(id as usize).filter(|split| split.sequel.is_none())?;
        Some((split.asked.session, split.asked.seq))
    }

    /// A part is not under way any more, though it will be again.
    pub(super) fn end_part(&mut self, id: u32, part: u32) {
        let slots: SmallVec<[SlotId; 8]> = self.part_slots(id, part).collect();
        slots.into_iter().for_each(|slot| self.end(slot));
    }

    /// All parts are in: puts them together and lets go of the request.
    fn finish_split(&mut self, id: usize) {
        let mut split = self.splits.live.remove(id);
        let mut merged = self.pool.take();
        let (payload, failed) = match split.sequel.take() {
            Some(sequel) => self.finish_fan(&split, sequel, &mut merged),
            None => merge::merge(&mut split, &mut merged),
        };
        if split.asked != Asked::BY_NOBODY {
            let took = self.now.saturating_sub(split.arrival.at);
            self.meter.record(split.command, took, 1, failed);
            self.totals.errors += u64::from(failed);
            if failed && split.parts.iter().all(Part::is_usable) {
                self.merge_failed(split.asked.session, split.command, took, payload.bytes());
            }
            if took >= self.slow_after {
                self.split_was_slow(&split);
            }
            self.deliver(split.asked.session, split.asked.seq, payload);
        }
        self.pool.give(merged);
        for part in &mut split.parts {
            if let PartReply::Copied(copy) = std::mem::replace(&mut part.reply, PartReply::Waiting) {
                self.pool.give(copy);
            }
        }
        for &(slot, part) in &split.keys {
            if !split.parts[part].lost {
                self.end(slot);
            }
        }
        if self.splits.free.len() < KEEP && split.keys.capacity() <= KEEP_KEYS {
            split.keys.clear();
            self.splits.free.push(split.keys);
        }
    }
}
