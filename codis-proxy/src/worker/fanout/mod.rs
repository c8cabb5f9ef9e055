//! DBSIZE, SCAN, KEYS, RANDOMKEY, SCRIPT, FUNCTION and FLUSH: what is about all keys or all servers.
//!
//! Every master that some slot names now is asked, and of a slot in `migrate` both. The replies wait
//! for each other as those of a split request ([`super::split`]) and are put together by [`merge`];
//! **if any master fails, the whole request is answered with its error**, although others may have
//! carried it out. Repeating SCRIPT and FLUSH is always safe; FUNCTION LOAD and RESTORE need REPLACE
//! for that, and a FUNCTION DELETE that is repeated says that there is nothing to delete.
//!
//! Requests that change no keys hold up no slot: their replies may be on the way while it switches.

mod cursor;
mod keyspace;
mod merge;
mod plan;

use std::rc::Rc;

use bytes::Bytes;
use codis_core::SlotId;
use codis_resp::{CommandId, Fan, lookup, push_array_header, push_bulk};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use self::cursor::{Cursor, MAX_STEPS};
pub(super) use self::{keyspace::Keyspace, plan::Plan};
use super::{
    Worker,
    backend::BackendId,
    buffers::BIG,
    dispatch::{Frame, Outcome},
    session::{Payload, SessionId},
    slots::LocalRoute,
    split::{Part, Split},
};
use crate::scripts::Sha;

/// What has to be remembered until all masters have answered.
pub(super) enum Sequel {
    /// Only how to put the replies together.
    Merge(Fan),
    /// The text of a script that is being loaded.
    Script(Bytes),
    /// A step of a SCAN, and the masters it was counted in.
    Scan(Rc<Plan>, usize),
    /// Who wants to know how many keys there are.
    Keyspace(oneshot::Sender<Keyspace>),
}

impl Worker {
    /// Sends a request to every master.
    #[cold]
    pub(super) fn fan_out(
        &mut self,
        id: SessionId,
        command: CommandId,
        fan: Fan,
        frame: Frame<'_>,
    ) -> Outcome {
        let plan = self.plan();
        if plan.masters().is_empty() {
            return self.refuse(id, command, "ERR no slot is assigned to a group with a master");
        }
        let mut slots = Vec::new();
        let sequel = match fan {
            Fan::Scan => return self.scan(id, command, frame, plan),
            Fan::Flush => match self.flushed(id, command, &plan) {
                Ok(all) => {
                    slots = all;
                    Sequel::Merge(fan)
                }
                Err(outcome) => return outcome,
            },
            Fan::ScriptLoad => Sequel::Script(Bytes::copy_from_slice(frame.arg(2))),
            _ => Sequel::Merge(fan),
        };
        let masters: SmallVec<[BackendId; 4]> =
            plan.masters().iter().map(|master| self.in_proto_of(id, *master)).collect();
        let mut parts: SmallVec<[Part; 4]> = masters.iter().map(|id| Part::new(*id)).collect();
        if let Some(outcome) = self.parts_ready(id, command, &parts) {
            return outcome;
        }
        if fan == Fan::ScriptFlush {
            self.scripts.flush();
        }
        for part in &parts {
            let out = &mut self.backends[part.backend()].out;
            match frame.whole {
                Some(whole) if whole.len() >= BIG => out.push_big(whole.clone()),
                _ => out.push(frame.bytes, &mut self.pool),
            }
        }
        if fan == Fan::RandomKey {
            parts.extend(masters.iter().map(|id| Part::new(*id)));
            let outcome = self.await_parts(id, command, parts, slots, Some(sequel));
            masters.iter().for_each(|id| self.ask_size(*id));
            return outcome;
        }
        self.await_parts(id, command, parts, slots, Some(sequel))
    }

    /// Writes the second question of a RANDOMKEY: how many keys there are to choose from.
    fn ask_size(&mut self, id: BackendId) {
        let backend = &mut self.backends[id];
        backend.out.push(b"*1\r\n$6\r\nDBSIZE\r\n", &mut self.pool);
        if let Some(size) = lookup(b"DBSIZE") {
            backend.extend_last(size);
        }
    }

    /// The masters of the current table.
    pub(super) fn plan(&mut self) -> Rc<Plan> {
        let (table, by_addr) = (&self.table, &self.by_addr);
        self.plan.get_or_insert_with(|| Rc::new(Plan::new(table, |addr| by_addr.get(addr).copied()))).clone()
    }

    /// The slots of each master, which must not switch before all is flushed: a key that is on its way
    /// between two masters would survive.
    fn flushed(
        &mut self,
        id: SessionId,
        command: CommandId,
        plan: &Plan,
    ) -> Result<Vec<(SlotId, usize)>, Outcome> {
        if !self.limits.allow_flush {
            return Err(self.not_allowed(id, command));
        }
        let mut all = Vec::new();
        for slot in SlotId::all() {
            let state = self.slots.get(slot);
            match state.route {
                LocalRoute::Blocked => return Err(self.park(id, slot)),
                _ if state.draining => return Err(self.park(id, slot)),
                LocalRoute::Migrate(_) => {
                    let text = format!("TRYAGAIN slot {slot} is moving to another group, try again");
                    return Err(self.refuse(id, command, &text));
                }
                LocalRoute::Online(backend) => {
                    all.extend(plan.masters().iter().position(|id| *id == backend).map(|part| (slot, part)));
                }
                LocalRoute::Unassigned => {}
            }
        }
        Ok(all)
    }

    /// Sends one step of a SCAN to the master whose turn it is.
    fn scan(&mut self, id: SessionId, command: CommandId, frame: Frame<'_>, plan: Rc<Plan>) -> Outcome {
        let given = std::str::from_utf8(frame.arg(1)).ok().and_then(|text| text.parse().ok());
        let cursor = match given.and_then(Cursor::decode) {
            // Where slots are served has changed since: keys may have come to masters that have been
            // passed, so it begins again. Keys may come twice, but none is missed.
            Some(cursor) if cursor.mark != plan.mark() => Cursor { mark: plan.mark(), step: 0, at: 0 },
            Some(cursor) if cursor.step < plan.steps().len() => cursor,
            _ => return self.refuse(id, command, "ERR invalid cursor"),
        };
        if plan.steps().len() > MAX_STEPS {
            let text = format!("ERR SCAN over more than {MAX_STEPS} servers is not supported");
            return self.refuse(id, command, &text);
        }
        let master = self.in_proto_of(id, plan.steps()[cursor.step]);
        let parts: SmallVec<[Part; 4]> = SmallVec::from_iter([Part::new(master)]);
        if let Some(outcome) = self.parts_ready(id, command, &parts) {
            return outcome;
        }
        self.backends[parts[0].backend()].out.push_with(&mut self.pool, |out| {
            push_array_header(out, frame.args.len());
            push_bulk(out, b"SCAN");
            push_bulk(out, cursor.at.to_string().as_bytes());
            out.extend_from_slice(&frame.bytes[frame.args[1].end() + 2..]);
        });
        self.await_parts(id, command, parts, Vec::new(), Some(Sequel::Scan(plan, cursor.step)))
    }

    /// Puts the replies of all masters together. Returns the reply, and whether it is an error.
    pub(super) fn finish_fan<'a>(
        &mut self,
        split: &Split,
        sequel: Sequel,
        out: &'a mut Vec<u8>,
    ) -> (Payload<'a>, bool) {
        let proto = self.sessions.get(split.asked.session).map(|session| session.proto).unwrap_or_default();
        let replies: SmallVec<[&[u8]; 8]> = split.parts.iter().map(|part| part.reply.bytes()).collect();
        if let Sequel::Keyspace(sender) = sequel {
            // Whoever has asked may have stopped waiting.
            let _ = sender.send(Keyspace::sum(&replies));
            return (Payload::Slice(out), false);
        }
        let merged = match replies.iter().find(|reply| reply.first() == Some(&b'-')) {
            Some(error) => {
                out.extend_from_slice(error);
                Ok(())
            }
            None => match sequel {
                Sequel::Scan(plan, step) => self.scanned(&plan, step, replies[0], out),
                Sequel::Script(body) => merge::merge(Fan::ScriptLoad, proto, &replies, out).inspect(|()| {
                    if let Some(sha) = merge::bulk(out).and_then(Sha::parse) {
                        self.scripts.keep(sha, body);
                    }
                }),
                Sequel::Keyspace(_) => Ok(()),
                Sequel::Merge(fan) => merge::merge(fan, proto, &replies, out),
            },
        };
        if let Err(why) = merged {
            out.clear();
            out.extend_from_slice(format!("-ERR {why}\r\n").as_bytes());
        }
        let failed = out.first() == Some(&b'-');
        if out.len() >= BIG {
            return (Payload::Whole(std::mem::take(out).into()), failed);
        }
        (Payload::Slice(out), failed)
    }

    /// A master's page of a SCAN, with the cursor for the next one.
    fn scanned(&mut self, plan: &Plan, step: usize, reply: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let (at, keys) = merge::page(reply)?;
        let next = match at {
            0 if step + 1 < plan.steps().len() => {
                Cursor { mark: plan.mark(), step: step + 1, at: 0 }.encode()
            }
            // The page may have been taken after keys had begun to leave this master. A cursor that is
            // out of date lets the client begin again.
            0 if self.plan().mark() != plan.mark() => Cursor { mark: plan.mark(), step, at: 0 }.encode(),
            0 => Some(0),
            at => Cursor { mark: plan.mark(), step, at }.encode(),
        };
        let next = next.ok_or_else(|| {
            let addr = &self.backends[plan.steps()[step]].addr;
            format!("backend {addr}: its cursor {at} is above what a cursor of the proxy can carry")
        })?;
        merge::push_page(out, next, keys);
        Ok(())
    }
}
