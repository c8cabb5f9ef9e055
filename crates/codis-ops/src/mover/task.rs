//! A task of either queue: ours, which says how far it is, and the original's, which has a status and no more.

use codis_core::{Cluster, GoTask, GroupId, Move, MoveState, Slot, SlotId, Versioned};

/// A task as it was read or last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    Ours(Versioned<Move>),
    Codis2(Versioned<GoTask>),
}

/// Why a task is left for the next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivenUp {
    /// The run was asked to stop.
    Stopped,
    /// Something went wrong.
    Failed,
    /// It waits for something that only people can change, e.g. for room at the destination.
    Held,
}

impl Task {
    /// A queue in its order.
    pub(crate) fn queue(cluster: &Cluster, codis2: bool) -> Vec<Self> {
        match codis2 {
            false => cluster.moves.iter().cloned().map(Self::Ours).collect(),
            true => cluster.go_tasks.iter().cloned().map(Self::Codis2).collect(),
        }
    }

    /// The number of its node.
    pub(crate) fn number(&self) -> u64 {
        match self {
            Self::Ours(task) => task.task,
            Self::Codis2(task) => task.name.parse().unwrap_or_default(),
        }
    }

    pub(crate) fn slot(&self) -> SlotId {
        match self {
            Self::Ours(task) => task.slot,
            Self::Codis2(task) => task.slot,
        }
    }

    pub(crate) fn to(&self) -> GroupId {
        match self {
            Self::Ours(task) => task.to,
            Self::Codis2(task) => task.to,
        }
    }

    /// Left alone until a person resumes it. What a mover has paused is tried again by the next run.
    pub(crate) fn is_paused(&self) -> bool {
        matches!(self, Self::Ours(task) if task.state == MoveState::Paused && !task.held)
    }

    /// It has failed, or its mover has paused it for a reason that only people can change.
    pub(crate) fn waits_for_a_person(&self) -> bool {
        match self {
            Self::Ours(task) => task.waits_for_a_person(),
            Self::Codis2(task) => task.status == MoveState::Error.as_str(),
        }
    }

    /// Its move was cancelled half-way: what has moved goes back.
    pub(crate) fn turns_back(&self, slot: &Slot) -> bool {
        matches!(self, Self::Ours(task) if task.turns_back(slot))
    }

    /// Which others were asked for together with it.
    pub(crate) fn wave(&self) -> u64 {
        match self {
            Self::Ours(task) => task.wave,
            Self::Codis2(task) => task.created * 1000,
        }
    }

    /// The pause that it asks for between two keys, milliseconds.
    pub(crate) fn delay_ms(&self) -> u64 {
        match self {
            Self::Ours(_) => 0,
            Self::Codis2(task) => task.delay_ms,
        }
    }

    /// How to name it to codisctl.
    pub(crate) fn argument(&self) -> String {
        match self {
            Self::Ours(task) => task.task.to_string(),
            Self::Codis2(_) => format!("--as codis2 {}", self.number()),
        }
    }

    /// Its slot begins to move, or goes on, with `left` keys at the source.
    pub(crate) fn begin(&mut self, left: u64) {
        match self {
            Self::Ours(task) => {
                task.value.state = MoveState::Migrating;
                task.value.keys_total = Some(task.keys_moved + left);
                task.value.held = false;
                task.value.note.clear();
            }
            Self::Codis2(task) => task.value.status = MoveState::Migrating.as_str().to_owned(),
        }
    }

    pub(crate) fn keys_moved(&self) -> u64 {
        match self {
            Self::Ours(task) => task.keys_moved,
            Self::Codis2(_) => 0,
        }
    }

    /// Notes how many keys have moved; false if there is nothing new to write.
    pub(crate) fn note_moved(&mut self, moved: u64) -> bool {
        match self {
            Self::Ours(task) if task.keys_moved != moved => {
                task.value.keys_moved = moved;
                true
            }
            Self::Ours(_) | Self::Codis2(_) => false,
        }
    }

    /// Notes why it was not done; false if there is nothing to write.
    pub(crate) fn give_up(&mut self, how: GivenUp, why: String) -> bool {
        match self {
            Self::Ours(task) => {
                let task = &mut task.value;
                task.held = how == GivenUp::Held;
                match how {
                    GivenUp::Stopped => {}
                    GivenUp::Failed => task.state = MoveState::Error,
                    GivenUp::Held => task.state = MoveState::Paused,
                }
                task.note = why;
                true
            }
            Self::Codis2(task) => {
                if how != GivenUp::Stopped {
                    task.value.status = MoveState::Error.as_str().to_owned();
                }
                how != GivenUp::Stopped
            }
        }
    }

    /// It has been written.
    pub(crate) fn written(&mut self) {
        match self {
            Self::Ours(task) => task.version += 1,
            Self::Codis2(task) => task.version += 1,
        }
    }
}

/// The tasks of each queue among these.
pub(crate) fn split<'a>(
    tasks: impl IntoIterator<Item = &'a Task>,
) -> (Vec<Versioned<Move>>, Vec<Versioned<GoTask>>) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for task in tasks {
        match task {
            Task::Ours(task) => ours.push(task.clone()),
            Task::Codis2(task) => theirs.push(task.clone()),
        }
    }
    (ours, theirs)
}
