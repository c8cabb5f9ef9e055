//! Requests that cannot be sent yet: their slot is switching, or their keys are on their way.
//!
//! The session waits with its request and everything behind it, so its requests stay in order; other
//! sessions do not notice. Bounded by `max_parked` sessions and `park_timeout`; a hand-over has
//! time-outs of its own.

use bytes::Bytes;
use codis_core::SlotId;
use futures::future::try_join_all;
use smallvec::SmallVec;
use tokio::task::spawn_local;

use super::{
    Worker,
    dispatch::Outcome,
    session::{Parked, SessionId},
};
use crate::{journal::Cause, moving::MoveError, table::Route};

/// Keys of one slot that a request needs.
pub(super) type SlotKeys = (SlotId, SmallVec<[Bytes; 1]>);

/// What became of the hand-over that the next request has waited for.
pub(super) enum Verdict {
    /// The keys of these slots have left their old group.
    Settled(SmallVec<[SlotId; 4]>),
    /// They are not known to have; the request is answered with this.
    Failed(Vec<u8>),
}

impl Worker {
    /// Lets a session wait until `slot` has its next route.
    pub(super) fn park(&mut self, id: SessionId, slot: SlotId) -> Outcome {
        let limit = self.limits.park_timeout.as_micros() as u64;
        let session = &mut self.sessions[id];
        let held = session.hold_back(self.now);
        held.moving = true;
        let since = *held.parked.get_or_insert(self.now);
        if self.parked >= self.limits.max_parked || self.now.saturating_sub(since) > limit {
            return self.refuse_waiting(id, slot);
        }
        let token = self.next_token;
        self.next_token += 1;
        session.parked = Some(Box::new(Parked { token, since: self.now, slot, settling: false }));
        self.slots.park(slot, id, token);
        self.parked += 1;
        Outcome::Wait
    }

    fn refuse_waiting(&mut self, id: SessionId, slot: SlotId) -> Outcome {
        let text = format!("-TRYAGAIN slot {slot} is switching to another server, try again\r\n");
        self.answer_error(id, Cause::TryAgain, text.as_bytes());
        Outcome::Done
    }

    /// A session has waited for too long: its task answers the request with an error.
    pub(super) fn give_up_waiting(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(parked) = session.parked.take() {
            session.wake();
            self.parked -= 1;
            self.slots.unpark(parked.slot, parked.token);
        }
    }

    /// Lets a session wait until the keys have left their old group.
    pub(super) fn settle(&mut self, id: SessionId, keys: SmallVec<[SlotKeys; 1]>) -> Outcome {
        let Some(first) = keys.first().map(|(slot, _)| *slot) else { return Outcome::Done };
        if self.parked >= self.limits.max_parked {
            return self.refuse_waiting(id, first);
        }
        let token = self.next_token;
        self.next_token += 1;
        self.totals.on_demand_moves += 1;
        let slots: SmallVec<[SlotId; 4]> = keys.iter().map(|(slot, _)| *slot).collect();
        slots.iter().for_each(|slot| self.slots.begin(*slot));
        let parked = Parked { token, since: self.now, slot: first, settling: true };
        self.sessions[id].hold_back(self.now).moving = true;
        self.sessions[id].parked = Some(Box::new(parked));
        self.parked += 1;
        let (movers, table, me) = (self.movers.clone(), self.table.clone(), self.me.clone());
        spawn_local(async move {
            let hand_overs = keys.into_iter().filter_map(|(slot, keys)| match table.route(slot) {
                Route::Migrate { from, to, from_slaves, to_slaves } => {
                    Some(movers.settle(slot, from, to, *from_slaves, *to_slaves, keys))
                }
                _ => None,
            });
            let result = try_join_all(hand_overs).await;
            if let Some(worker) = me.upgrade() {
                worker.borrow_mut().settled(id, token, &slots, result.map(drop));
            }
        });
        Outcome::Wait
    }

    /// The hand-over for a parked request has ended.
    fn settled(&mut self, id: SessionId, token: u64, slots: &[SlotId], result: Result<(), MoveError>) {
        self.look_at_clock();
        self.parked -= 1;
        let waiting = self.sessions.get_mut(id);
        if let Some(session) = waiting.filter(|s| s.waits_as(token)) {
            session.parked = None;
            self.verdict = Some(match result {
                Ok(()) => Verdict::Settled(slots.into()),
                Err(error) => {
                    self.totals.on_demand_failures += 1;
                    Verdict::Failed(format!("-{}\r\n", error.reply()).into_bytes())
                }
            });
            // At once and not in its task: the slot must not drain between the hand-over and the request.
            self.resume(id);
            self.verdict = None;
            if let Some(session) = self.sessions.get(id) {
                session.wake();
            }
        }
        slots.iter().for_each(|slot| self.end(*slot));
    }
}
