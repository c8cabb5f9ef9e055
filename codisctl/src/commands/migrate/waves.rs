//! The queue as waves: tasks asked for together that move between the same two groups.
//!
//! Built from one snapshot after another, because whoever watches is not whoever moves: what
//! happened is what differs.

use std::collections::BTreeMap;

use codis_core::{Cluster, GroupId, Move, MoveState, SlotSet, SlotStatus};
use serde::Serialize;

use crate::render::{gauge, short, units};

/// How often a log is told that a wave still moves, milliseconds.
const LOG_EVERY_MS: u64 = 10_000;

/// Tasks that were asked for together, between two groups.
type Key = (u64, GroupId, GroupId);

/// A wave at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Wave {
    pub(super) wave: u64,
    pub(super) from: u32,
    pub(super) to: u32,
    /// As ranges.
    pub(super) slots: String,
    pub(super) count: usize,
    /// `pending`, `pre_migrate`, `migrate`, `error`, or `done` when its tasks have left the queue.
    pub(super) state: &'static str,
    pub(super) keys_moved: u64,
    pub(super) keys_total: Option<u64>,
    pub(super) keys_per_s: f64,
    pub(super) eta_s: Option<u64>,
    pub(super) note: String,
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
    seen: BTreeMap<Key, Seen>,
    begun_with: usize,
    left: usize,
    gone: usize,
}

impl Waves {
    /// Takes the next snapshot and returns the waves that somebody should be told about: new ones,
    /// those whose state changed, those that still move every 10 s, and those that are gone.
    pub(super) fn take(&mut self, cluster: &Cluster) -> Vec<Wave> {
        let now = cluster.taken_ms;
        let mut groups: BTreeMap<Key, Vec<&Move>> = BTreeMap::new();
        for task in &cluster.moves {
            groups.entry((task.wave, task.from, task.to)).or_default().push(&task.value);
        }
        let mut news = Vec::new();
        let gone: Vec<Key> = self.seen.keys().filter(|key| !groups.contains_key(key)).copied().collect();
        for key in gone {
            if let Some(seen) = self.seen.remove(&key) {
                self.gone += seen.wave.count;
                let took = now.saturating_sub(seen.first_ms) / 1000;
                let note = format!("took {}", units::seconds(took));
                let keys_moved = seen.wave.keys_total.unwrap_or(seen.wave.keys_moved);
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
        self.left = cluster.moves.len();
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

fn wave(cluster: &Cluster, (number, from, to): Key, tasks: &[&Move]) -> Wave {
    let slots: SlotSet = tasks.iter().map(|task| task.slot).collect();
    let any = |state| tasks.iter().any(|task| task.state == state);
    let in_status =
        |status| tasks.iter().any(|task| cluster.slot(task.slot).is_some_and(|s| s.status == status));
    let state = if any(MoveState::Migrating) {
        if in_status(SlotStatus::Migrate) { "migrate" } else { "pre_migrate" }
    } else if any(MoveState::Pending) {
        "pending"
    } else {
        "error"
    };
    let totals: Option<Vec<u64>> = tasks.iter().map(|task| task.keys_total).collect();
    let mut notes: Vec<&str> =
        tasks.iter().map(|task| task.note.as_str()).filter(|note| !note.is_empty()).collect();
    notes.dedup();
    Wave {
        wave: number,
        from: from.0,
        to: to.0,
        slots: slots.to_string(),
        count: slots.len(),
        state,
        keys_moved: tasks.iter().map(|task| task.keys_moved).sum(),
        keys_total: totals.map(|totals| totals.iter().sum()),
        keys_per_s: 0.0,
        eta_s: None,
        note: notes.first().map_or_else(String::new, |note| (*note).to_owned()),
    }
}

impl Wave {
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
        let head = format!("wave {}   {} {arrow} {}  {slots}", short(self.wave), self.from, self.to);
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
            "{} wave {} {} {}→{} slots {}",
            units::time(now_ms),
            short(self.wave),
            self.state,
            self.from,
            self.to,
            self.slots
        );
        let note = if self.note.is_empty() { String::new() } else { format!(" {}", self.note) };
        match self.state {
            "migrate" => {
                let eta = self.eta_s.map_or_else(String::new, |eta| format!(" eta {eta}s"));
                let rate = units::rate(self.keys_per_s);
                format!("{head} {}% {} {rate}/s{eta}{note}", self.percent(), self.keys())
            }
            "done" => format!("{head} {} keys{note}", units::count(self.keys_moved)),
            _ => format!("{head}{note}"),
        }
    }
}
