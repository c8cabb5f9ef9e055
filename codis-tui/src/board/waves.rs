//! What moves, from the queue: tasks that were asked for together and have the same way are one row.

use codis_core::{Cluster, GroupId, Move, MoveState, SlotSet, SlotStatus};

use crate::pace::Pace;

/// Where a row stands. Ordered as the list is: what runs first, then what failed, then what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaveState {
    /// Requests of its slots wait for the proxies to agree.
    PreMigrate,
    /// Keys move.
    Migrate,
    /// It began, and nobody works on it.
    Stuck,
    /// A mover gave it up.
    Error,
    /// Left alone until somebody resumes it.
    Paused,
    /// Its turn has not come.
    Pending,
}

/// Tasks with the same origin, way and fate.
#[derive(Debug, Clone, PartialEq)]
pub struct Wave {
    /// The request that they came with.
    pub wave: u64,
    /// Source.
    pub from: GroupId,
    /// Destination.
    pub to: GroupId,
    /// Their slots.
    pub slots: SlotSet,
    /// Where they stand.
    pub state: WaveState,
    /// Keys to move, as far as they were counted; `None` if none was.
    pub keys_total: Option<u64>,
    /// Keys moved.
    pub keys_moved: u64,
    /// Keys per second; `None` until watched long enough.
    pub keys_per_s: Option<f64>,
    /// What the first task with a note says.
    pub note: String,
}

impl Wave {
    /// Per cent of the keys moved; 0 if they were not counted.
    pub fn percent(&self) -> u64 {
        self.keys_total.filter(|total| *total > 0).map_or(0, |total| self.keys_moved.min(total) * 100 / total)
    }

    /// Time that the rest will take at this pace, milliseconds.
    pub fn eta_ms(&self) -> Option<u64> {
        // Clients may have written more keys than there were when they were counted.
        let left = self.keys_total?.checked_sub(self.keys_moved).filter(|left| *left > 0)?;
        let rate = self.keys_per_s.filter(|rate| *rate > 0.0)?;
        Some((left as f64 * 1_000.0 / rate) as u64)
    }
}

pub(super) fn of(cluster: &Cluster, pace: &Pace) -> Vec<Wave> {
    let mut rows: Vec<(Wave, Vec<&Move>)> = Vec::new();
    for entry in &cluster.moves {
        let state = state(cluster, entry);
        let same = |wave: &Wave| {
            (wave.wave, wave.from, wave.to, wave.state) == (entry.wave, entry.from, entry.to, state)
        };
        match rows.iter_mut().find(|(wave, _)| same(wave)) {
            Some((_, tasks)) => tasks.push(entry),
            None => rows.push((new(entry, state), vec![entry])),
        }
    }
    for (wave, tasks) in &mut rows {
        wave.slots = tasks.iter().map(|task| task.slot).collect();
        wave.keys_total = tasks.iter().filter_map(|task| task.keys_total).reduce(|a, b| a + b);
        wave.keys_moved = tasks.iter().map(|task| task.keys_moved).sum();
        if wave.state == WaveState::Migrate {
            let numbers: Vec<u64> = tasks.iter().map(|task| task.task).collect();
            wave.keys_per_s = pace.rate(&numbers);
        }
        if let Some(task) = tasks.iter().find(|task| !task.note.is_empty()) {
            wave.note.clone_from(&task.note);
        }
    }
    let mut waves: Vec<Wave> = rows.into_iter().map(|(wave, _)| wave).collect();
    // Stable: the order of the queue stays within each state.
    waves.sort_by_key(|wave| wave.state);
    waves
}

fn new(entry: &Move, state: WaveState) -> Wave {
    Wave {
        wave: entry.wave,
        from: entry.from,
        to: entry.to,
        slots: SlotSet::default(),
        state,
        keys_total: None,
        keys_moved: 0,
        keys_per_s: None,
        note: String::new(),
    }
}

fn state(cluster: &Cluster, entry: &Move) -> WaveState {
    let slot = cluster.slot(entry.slot).map(|slot| slot.status);
    let under_way = matches!(slot, Some(SlotStatus::PreMigrate | SlotStatus::Migrate));
    match (entry.state, slot) {
        (MoveState::Error, _) => WaveState::Error,
        (MoveState::Paused, _) => WaveState::Paused,
        _ if under_way && cluster.mover.is_none() => WaveState::Stuck,
        (_, Some(SlotStatus::PreMigrate)) => WaveState::PreMigrate,
        (_, Some(SlotStatus::Migrate)) | (MoveState::Migrating, _) => WaveState::Migrate,
        (MoveState::Pending, _) => WaveState::Pending,
    }
}
