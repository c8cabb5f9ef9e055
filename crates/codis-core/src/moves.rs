//! Our queue of slots to move (`moves`), one entry per slot.

use std::{fmt, str::FromStr};

use crate::{Extra, GroupId, ParseError, Slot, SlotId};

/// Where a queued move stands. The words of Codis tasks, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MoveState {
    /// Nothing has happened to its slot.
    Pending,
    /// A mover works on it, or was interrupted doing so; the slot's own state says how far it is.
    Migrating,
    /// The mover gave it up before any key moved (slot online at the source), or stopped half-way
    /// (slot in migrate, every key reachable). The note says why.
    Error,
    /// Left alone until a person resumes it, or what made the mover pause it is over; every key is reachable meanwhile.
    Paused,
}

impl MoveState {
    /// The word in the node: `pending`, `migrating`, `error` or `paused`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Migrating => "migrating",
            Self::Error => "error",
            Self::Paused => "paused",
        }
    }
}

impl FromStr for MoveState {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Pending, Self::Migrating, Self::Error, Self::Paused]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| ParseError::new(text, "a task status (pending, migrating, error, paused)"))
    }
}

impl fmt::Display for MoveState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One slot to move. Deleted when the slot is online at its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Number of the task: the sequence number of its node, from 0. Means nothing before it is queued.
    pub task: u64,
    /// Which slot.
    pub slot: SlotId,
    /// The group that owned it when the move was asked for. A move that was cancelled half-way is turned round: it comes
    /// from the group that it was going to.
    pub from: GroupId,
    /// The group that shall own it.
    pub to: GroupId,
    /// Where it stands.
    pub state: MoveState,
    /// Tasks that were asked for together carry the same number (Unix milliseconds of the request).
    pub wave: u64,
    /// When it was asked for, Unix seconds.
    pub created: u64,
    /// Keys of the slot on the source when its move began, if counted.
    pub keys_total: Option<u64>,
    /// Keys handed over so far.
    pub keys_moved: u64,
    /// `Paused` by the mover itself, for the reason in the note: the next run tries again without being told to.
    pub held: bool,
    /// What a person should know: the reason of an error, what it waits for.
    pub note: String,
    /// Unknown fields.
    pub extra: Extra,
}

impl Move {
    /// True if the slot is on its way in the other direction: its move was cancelled, and what has moved goes back.
    pub fn turns_back(&self, slot: &Slot) -> bool {
        slot.moving() == Some((self.to, self.from)) && slot.group == Some(self.from)
    }

    /// True if it has failed, or its mover has paused it for a reason that only people can change.
    pub fn waits_for_a_person(&self) -> bool {
        self.state == MoveState::Error || self.state == MoveState::Paused && self.held
    }

    /// Share of its keys handed over, 0 to 100; 0 if they were never counted.
    pub fn percent(&self) -> u8 {
        match self.keys_total {
            Some(total) if total > 0 => (self.keys_moved.min(total) * 100 / total) as u8,
            _ => 0,
        }
    }
}
