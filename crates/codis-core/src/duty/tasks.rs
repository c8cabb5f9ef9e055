//! The queue of moves: when an agent works on it, and moves that wait for a person.

use std::collections::{BTreeMap, BTreeSet};

use crate::notice::{Alert, Facts, Kind, Round};
use crate::{GroupId, Move, MoveState, SlotSet, Versioned};

/// What an agent sees of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSeen {
    /// There is something that a mover would do without being told to.
    pub work: bool,
    /// Somebody moves slots, or may: a mover has the lease, or a dashboard is registered.
    pub taken: bool,
}

/// Since when nobody works on the queue.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    idle: Option<u64>,
}

impl Tasks {
    /// True if it is this agent's turn: there is work, and nobody has taken it up for so long, milliseconds. A person who has
    /// queued moves has that time to run them as they like.
    pub fn is_due(&mut self, queue: &QueueSeen, after_ms: u64, now_ms: u64) -> bool {
        if queue.taken || !queue.work {
            self.idle = None;
            return false;
        }
        let since = self.idle.get_or_insert(now_ms);
        // A clock that was set back.
        *since = (*since).min(now_ms);
        now_ms - *since >= after_ms
    }
}

/// Adds moves that failed, or that their mover has paused: nobody tries them again unless a person says so. One alert for each
/// pair of groups, as most of the slots of a wave fail for the same reason.
pub fn failed_moves(moves: &[Versioned<Move>], now_ms: u64, round: &mut Round) {
    let mut pairs: BTreeMap<(GroupId, GroupId), Vec<&Move>> = BTreeMap::new();
    for task in moves.iter().filter(|task| task.waits_for_a_person()) {
        pairs.entry((task.from, task.to)).or_default().push(&task.value);
    }
    let alerts = pairs.into_iter().map(|((from, to), tasks)| {
        let slots: SlotSet = tasks.iter().map(|task| task.slot).collect();
        let state = if tasks.iter().any(|task| task.state == MoveState::Error) {
            MoveState::Error
        } else {
            MoveState::Paused
        };
        let why: BTreeSet<&str> = tasks.iter().map(|task| task.note.as_str()).collect();
        let facts = Facts::TaskError {
            tasks: tasks.len() as u64,
            slots: slots.to_string(),
            from,
            to,
            state: state.to_string(),
            why: why.into_iter().collect::<Vec<_>>().join("; "),
        };
        Alert::new(format!("{from}-{to}"), now_ms, facts)
    });
    round.looked_for([Kind::TaskError], alerts);
}
