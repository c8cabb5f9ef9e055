//! The queue as waves: tasks asked for together that move between the same two groups.
//!
//! Built from one snapshot after another, because whoever watches is not whoever moves: what
//! happened is what differs.

use std::collections::BTreeMap;

use codis_core::{Cluster, GoTask, GroupId, Move, MoveState, Slot, SlotId, SlotSet, SlotStatus, Versioned};
use serde::Serialize;

use crate::render::{gauge, short, units};

/// How often a log is told that a wave still moves, milliseconds.
const LOG_EVERY_MS: u64 = 10_000;

/// Tasks that were asked for together, between two groups; of the Go tools' queue, where each is asked for by itself, all between
/// two groups.
type Key = (Queue, u64, GroupId, GroupId);

/// Whose queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Queue {
    /// Ours.
    Ours,
    /// That of the Go tools.
    Go,
}

/// What is known of a task of either queue.
struct Item<'a> {
    slot: SlotId,
    state: MoveState,
    keys_total: Option<u64>,
    keys_moved: u64,
    note: &'a str,
}

/// A wave at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Wave {
    pub(super) queue: Queue,
    pub(super) wave: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    /// As ranges.
    pub(super) slots: String,
    pub(super) count: usize,
    /// `pending`, `pre_migrate`, `migrate`, `error`, `paused`, or `done` when its tasks have left the queue.
    pub(super) state: &'static str,
    pub(super) keys_moved: u64,
    pub(super) keys_total: Option<u64>,
    pub(super) keys_per_s: f64,
    pub(super) eta_s: Option<u64>,
    pub(super) note: String,
    /// Whether the keys of all its slots have been counted; else the total is an estimate.
    #[serde(skip)]
    counted: bool,
}

#[derive(Debug)]
struct Seen {
    wave: Wave,
    /// When it was seen first, and when its state was told last.
    first_ms: u64,
    told_ms: u64,
    /// Figures that the rate is computed from.
    rate_from: (u64, u64),
}

/// What has been seen of the queue.
#[derive(Debug, Default)]
pub(super) struct Waves {
    /// The queue of the Go tools is followed, too.
    both: bool,
    seen: BTreeMap<Key, Seen>,
    begun_with: usize,
    left: usize,
    gone: usize,
}

impl Waves {
    /// Of both queues.
    pub(super) fn of_both_queues() -> Self {
        Self { both: true, ..Self::default() }
    }

    /// Takes the next snapshot and returns the waves that somebody should be told about: new ones,
    /// those whose state changed, those that still move every 10 s, and those that are gone.
    pub(super) fn take(&mut self, cluster: &Cluster) -> Vec<Wave> {
        let now = cluster.taken_ms;
        let mut groups: BTreeMap<Key, Vec<Item<'_>>> = BTreeMap::new();
        for task in &cluster.moves {
            groups.entry((Queue::Ours, task.wave, task.from, task.to)).or_default().push(Item::ours(task));
        }
        let go: &[Versioned<GoTask>] = if self.both { &cluster.go_tasks } else { &[] };
        for task in go {
            if let Some(from) = cluster.slot(task.slot).and_then(|slot| source(slot, task.to)) {
                groups.entry((Queue::Go, 0, from, task.to)).or_default().push(Item::of_go(task));
            }
        }
        let mut news = Vec::new();
        let gone: Vec<Key> = self.seen.keys().filter(|key| !groups.contains_key(key)).copied().collect();
        for key in gone {
            if let Some(seen) = self.seen.remove(&key) {
                self.gone += seen.wave.count;
                let took = now.saturating_sub(seen.first_ms) / 1000;
                let note = format!("took {}", units::seconds(took));
                // What moved between the last look and the end was not seen.
                let all = seen.wave.keys_total.filter(|_| seen.wave.counted);
                let keys_moved = all.unwrap_or(seen.wave.keys_moved);
                news.push(Wave { state: "done", keys_moved, eta_s: None, note, ..seen.wave });
            }
        }
        for (key, tasks) in groups {
            let wave = wave(cluster, key, &tasks);
            let seen = self.seen.entry(key).or_insert_with(|| Seen {
                wave: Wave { state: "", ..wave.clone() },
                first_ms: now,
                told_ms: 0,
                rate_from: (now, wave.keys_moved),
            });
            let wave = seen.rated(wave, now);
            // Slots leave a wave one by one where they go online one by one.
            self.gone += seen.wave.count.saturating_sub(wave.count);
            let changed = seen.wave.state != wave.state || seen.wave.note != wave.note;
            let due = wave.state == "migrate" && now.saturating_sub(seen.told_ms) >= LOG_EVERY_MS;
            seen.wave = wave;
            if changed || due {
                seen.told_ms = now;
                news.push(seen.wave.clone());
            }
        }
        self.left = self.seen.values().map(|seen| seen.wave.count).sum();
        self.begun_with = self.begun_with.max(self.left + self.gone);
        news
    }

    /// How many slots have left the queue while it was watched.
    pub(super) fn moved(&self) -> usize {
        self.gone
    }

    /// The lines that are redrawn on a terminal: waves at work, and the whole.
    pub(super) fn picture(&self, ascii: bool) -> String {
        let at_work = self.seen.values().filter(|seen| matches!(seen.wave.state, "pre_migrate" | "migrate"));
        let mut lines: Vec<String> = at_work.take(5).map(|seen| seen.wave.line(ascii)).collect();
        #[expect(clippy::cast_precision_loss, reason = "at most 1024 slots")]
        let share = self.gone as f64 / self.begun_with.max(1) as f64;
        let errors = self.seen.values().filter(|seen| seen.wave.state == "error").map(|seen| seen.wave.count);
        let errors: usize = errors.sum();
        let errors = if errors == 0 { String::new() } else { format!("  {errors} error") };
        lines.push(format!(
            "all      {} of {} slots   {}  {:>2.0} %{errors}  Ctrl-C leaves it running",
            self.gone,
            self.begun_with,
            gauge(share, 20, ascii),
            (share * 100.0).floor()
        ));
        lines.join("\n")
    }
}

impl Seen {
    /// The wave with its rate since it was first seen to move, and what is left at that rate.
    fn rated(&mut self, mut wave: Wave, now: u64) -> Wave {
        let (since, keys) = self.rate_from;
        if wave.keys_moved < keys || self.wave.state != "migrate" {
            self.rate_from = (now, wave.keys_moved);
            return wave;
        }
        let ms = now.saturating_sub(since);
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        if ms > 0 {
            wave.keys_per_s = (wave.keys_moved - keys) as f64 * 1000.0 / ms as f64;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an estimate in seconds"
        )]
        if let Some(total) = wave.keys_total.filter(|_| wave.keys_per_s > 0.0) {
            wave.eta_s = Some((total.saturating_sub(wave.keys_moved) as f64 / wave.keys_per_s).ceil() as u64);
        }
        wave
    }
}

impl<'a> Item<'a> {
    fn ours(task: &'a Move) -> Self {
        let Move { slot, state, keys_total, keys_moved, note, .. } = task;
        Self { slot: *slot, state: *state, keys_total: *keys_total, keys_moved: *keys_moved, note }
    }

    fn of_go(task: &GoTask) -> Self {
        // A word of theirs that we do not know is not a failure.
        let state = task.status.parse().unwrap_or(MoveState::Pending);
        Self { slot: task.slot, state, keys_total: None, keys_moved: 0, note: "" }
    }
}

/// Where the keys of a slot come from that goes to this group; nothing if it is there.
fn source(slot: &Slot, to: GroupId) -> Option<GroupId> {
    slot.moving().map(|(from, _)| from).or(slot.group).filter(|from| *from != to)
}

fn wave(cluster: &Cluster, (queue, number, from, to): Key, tasks: &[Item<'_>]) -> Wave {
    let slots: SlotSet = tasks.iter().map(|task| task.slot).collect();
    let any = |state| tasks.iter().any(|task| task.state == state);
    let in_status =
        |status| tasks.iter().any(|task| cluster.slot(task.slot).is_some_and(|s| s.status == status));
    let state = if any(MoveState::Migrating) {
        if in_status(SlotStatus::Migrate) { "migrate" } else { "pre_migrate" }
    } else if any(MoveState::Pending) {
        "pending"
    } else if any(MoveState::Error) {
        "error"
    } else {
        "paused"
    };
    let mut notes: Vec<&str> = tasks.iter().map(|task| task.note).filter(|note| !note.is_empty()).collect();
    notes.dedup();
    Wave {
        queue,
        wave: number,
        from: from.0,
        to: to.0,
        slots: slots.to_string(),
        count: slots.len(),
        state,
        keys_moved: tasks.iter().map(|task| task.keys_moved).sum(),
        keys_total: keys_total(tasks),
        keys_per_s: 0.0,
        eta_s: None,
        note: notes.first().map_or_else(String::new, |note| (*note).to_owned()),
        counted: tasks.iter().all(|task| task.keys_total.is_some()),
    }
}

/// Keys of all its slots. Those that the mover has not counted yet are taken to have as many as the
/// others, so that the figure does not jump when it comes to them.
fn keys_total(tasks: &[Item<'_>]) -> Option<u64> {
    let known: Vec<u64> = tasks.iter().filter_map(|task| task.keys_total).collect();
    let sum: u64 = known.iter().sum();
    (!known.is_empty()).then(|| sum * tasks.len() as u64 / known.len() as u64)
}

impl Wave {
    /// Its name: a number, or whose queue it is in.
    fn name(&self) -> String {
        match self.queue {
            Queue::Ours => format!("wave {}", short(self.wave)),
            Queue::Go => "go tasks".to_owned(),
        }
    }

    fn keys(&self) -> String {
        let total = self.keys_total.map_or_else(|| "?".to_owned(), units::count);
        format!("{}/{total} keys", units::count(self.keys_moved))
    }

    fn percent(&self) -> u64 {
        match self.keys_total {
            Some(total) if total > 0 => self.keys_moved.min(total) * 100 / total,
            _ => 0,
        }
    }

    /// For a terminal.
    fn line(&self, ascii: bool) -> String {
        let arrow = if ascii { "->" } else { "→" };
        let slots = codis_core::plan::plural(self.count, "slot", "slots");
        let head = format!("{:<9}  {} {arrow} {}  {slots}", self.name(), self.from, self.to);
        if self.queue == Queue::Go {
            return format!("{head}  {}", self.state);
        }
        if self.state == "pre_migrate" {
            return format!("{head}  pre_migrate  {}", self.note);
        }
        #[expect(clippy::cast_precision_loss, reason = "0 to 100")]
        let bar = gauge(self.percent() as f64 / 100.0, 20, ascii);
        let eta = self.eta_s.map_or_else(String::new, |eta| format!("  ETA {}", units::seconds(eta)));
        format!(
            "{head}  {bar}  {:>2} %  {}  {}/s{eta}",
            self.percent(),
            self.keys(),
            units::rate(self.keys_per_s)
        )
    }

    /// For a log: `14:31:55 wave 5 migrate 5→13 slots 423-428 ...`.
    pub(super) fn log(&self, now_ms: u64) -> String {
        let head = format!(
            "{} {} {} {}→{} slots {}",
            units::time(now_ms),
            self.name(),
            self.state,
            self.from,
            self.to,
            self.slots
        );
        let note = if self.note.is_empty() { String::new() } else { format!(" {}", self.note) };
        match self.state {
            "migrate" if self.queue == Queue::Ours => {
                let eta = self.eta_s.map_or_else(String::new, |eta| format!(" eta {eta}s"));
                let rate = units::rate(self.keys_per_s);
                format!("{head} {}% {} {rate}/s{eta}{note}", self.percent(), self.keys())
            }
            "done" if self.queue == Queue::Ours => {
                format!("{head} {} keys{note}", units::count(self.keys_moved))
            }
            _ => format!("{head}{note}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use codis_core::Extra;

    use super::*;

    fn task(slot: u16, to: u32, state: MoveState, keys: Option<(u64, u64)>) -> Versioned<Move> {
        let task = Move {
            task: u64::from(slot),
            slot: SlotId::new(slot).unwrap(),
            from: GroupId(1),
            to: GroupId(to),
            state,
            wave: 7,
            created: 0,
            keys_total: keys.map(|(_, total)| total),
            keys_moved: keys.map_or(0, |(moved, _)| moved),
            held: false,
            note: String::new(),
            extra: Extra::default(),
        };
        Versioned::new(task, 0)
    }

    /// A snapshot with these tasks, the slots of those at work in migrate.
    fn at(seconds: u64, tasks: Vec<Versioned<Move>>) -> Cluster {
        let mut cluster = Cluster::empty("feed".parse().unwrap());
        cluster.taken_ms = seconds * 1000;
        for task in &tasks {
            let slot = Slot::unassigned(task.slot).online_at(task.from);
            let slot =
                if task.state == MoveState::Migrating { slot.migrate(task.from, task.to) } else { slot };
            cluster.slots[task.slot.index()] = Some(Versioned::new(slot, 0));
        }
        cluster.moves = tasks;
        cluster
    }

    #[test]
    fn waves_are_told_of_when_they_change_and_every_ten_seconds() {
        let mut waves = Waves::default();
        let mut told = Vec::new();
        let mut look = |seconds, tasks| {
            let cluster = at(seconds, tasks);
            told.extend(waves.take(&cluster).iter().map(|wave| wave.log(cluster.taken_ms)));
        };
        let moving = |moved| {
            vec![
                task(5, 2, MoveState::Migrating, Some((moved, 1000))),
                task(6, 2, MoveState::Pending, None),
                task(9, 3, MoveState::Pending, None),
            ]
        };
        look(
            0,
            vec![
                task(5, 2, MoveState::Pending, None),
                task(6, 2, MoveState::Pending, None),
                task(9, 3, MoveState::Pending, None),
            ],
        );
        look(1, moving(0));
        look(2, moving(100));
        look(11, moving(500));
        look(12, vec![task(9, 3, MoveState::Error, None)]);
        assert_eq!(waves.moved(), 2);
        insta::assert_snapshot!(told.join("\n"), @"
        00:00:00 wave 0007 pending 1→2 slots 5-6
        00:00:00 wave 0007 pending 1→3 slots 9
        00:00:01 wave 0007 migrate 1→2 slots 5-6 0% 0/2 000 keys 0/s
        00:00:11 wave 0007 migrate 1→2 slots 5-6 25% 500/2 000 keys 50/s eta 30s
        00:00:12 wave 0007 done 1→2 slots 5-6 500 keys took 12 s
        00:00:12 wave 0007 error 1→3 slots 9
        ");
    }

    #[test]
    fn slots_that_were_not_counted_are_estimated() {
        let counted = task(5, 2, MoveState::Migrating, Some((0, 600)));
        let other = task(6, 2, MoveState::Pending, None);
        let items = |tasks: &[&Versioned<Move>]| -> Option<u64> {
            keys_total(&tasks.iter().map(|task| Item::ours(task)).collect::<Vec<_>>())
        };
        assert_eq!(items(&[&counted, &other]), Some(1200));
        assert_eq!(items(&[&other]), None);
    }

    #[test]
    fn tasks_of_the_go_tools_are_told_of_by_their_ways() {
        let go = |slot: u16, status: &str| {
            let task = GoTask {
                name: format!("{slot:010}"),
                slot: SlotId::new(slot).unwrap(),
                to: GroupId(2),
                delay_ms: 0,
                created: 0,
                status: status.to_owned(),
                extra: Extra::default(),
            };
            Versioned::new(task, 0)
        };
        let mut waves = Waves::of_both_queues();
        let mut told = Vec::new();
        let mut look = |seconds, tasks: Vec<Versioned<GoTask>>| {
            let mut cluster = at(seconds, Vec::new());
            for task in &tasks {
                let slot = Slot::unassigned(task.slot).online_at(GroupId(1));
                let moves = task.status == "migrating";
                let slot = if moves { slot.migrate(GroupId(1), GroupId(2)) } else { slot };
                cluster.slots[task.slot.index()] = Some(Versioned::new(slot, 0));
            }
            cluster.go_tasks = tasks;
            told.extend(waves.take(&cluster).iter().map(|wave| wave.log(cluster.taken_ms)));
        };
        look(0, vec![go(5, "pending"), go(6, "pending")]);
        look(1, vec![go(5, "migrating"), go(6, "pending")]);
        look(2, vec![]);
        assert_eq!(waves.moved(), 2);
        insta::assert_snapshot!(told.join("\n"), @"
        00:00:00 go tasks pending 1→2 slots 5-6
        00:00:01 go tasks migrate 1→2 slots 5-6
        00:00:02 go tasks done 1→2 slots 5-6 took 2 s
        ");
    }
}
