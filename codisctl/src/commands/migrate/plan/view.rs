//! What `migrate plan` shows.

use std::{collections::BTreeSet, time::Duration};

use codis_core::{
    GroupId, SlotSet,
    plan::{Step, plural},
};
use codis_ops::forecast::{Forecast, Guard, Mark, WaveForecast};
use serde::Serialize;

use super::PlanArgs;
use crate::{
    render::{Look, units},
    ui::Report,
};

/// Big keys that are named.
const NAMED: usize = 3;
/// Waves that are listed for people.
const MOST_WAVES: usize = 16;
/// Width of a guard of which two fit beside each other.
const HALF: usize = 40;

/// What a move would do.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    pub(super) slots: String,
    pub(super) count: usize,
    pub(super) to: u32,
    waves: Vec<Wave>,
    keys: u64,
    bytes: u64,
    used_memory: u64,
    used_memory_after: u64,
    maxmemory: u64,
    guards: Vec<Checked>,
    max_stall_ms: f64,
    big_keys: Vec<Big>,
    more_big_keys: usize,
    batch_keys: u64,
    pub(super) blocked: Vec<Blocked>,
    notes: Vec<String>,
    writes: Vec<String>,
    takes_s: f64,
    pub(super) next: String,
}

#[derive(Debug, Serialize)]
struct Wave {
    from: u32,
    to: u32,
    slots: String,
    count: usize,
    keys: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Checked {
    mark: &'static str,
    text: String,
    next: String,
}

#[derive(Debug, Serialize)]
struct Big {
    slot: u16,
    key: String,
    kind: &'static str,
    elements: u64,
    bytes: u64,
    stall_ms: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Blocked {
    pub(super) slots: String,
    pub(super) count: usize,
    pub(super) why: String,
}

impl Planned {
    pub(super) fn new(found: &Forecast, args: &PlanArgs) -> Self {
        let to = args.to;
        let moving: SlotSet = found.waves.iter().flat_map(|wave| wave.slots.iter()).collect();
        let blocked = found.blocked();
        let stay: SlotSet = blocked.values().flat_map(SlotSet::iter).collect();
        let free: SlotSet = moving.iter().filter(|slot| !stay.contains(*slot)).collect();
        let next = match (moving.is_empty(), free.is_empty()) {
            (true, _) => "codisctl task list".to_owned(),
            (_, true) => format!("codisctl check-slot {stay} --to {to}"),
            _ if stay.is_empty() => format!("codisctl migrate start --slots {free} --to {to}"),
            _ => format!("codisctl migrate start --slots {free} --to {to}    moves the others"),
        };
        let big = found.big();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let named = big.iter().take(NAMED).map(|key| Big {
            slot: key.slot.get(),
            key: key.key.escape_ascii().to_string(),
            kind: key.kind.as_str(),
            elements: key.elements,
            bytes: key.bytes,
            stall_ms: ms(key.one_shot.longest()),
        });
        Self {
            slots: moving.to_string(),
            count: moving.len(),
            to: to.0,
            waves: found.waves.iter().map(|wave| Wave::new(wave, to)).collect(),
            keys: found.keys(),
            bytes: found.bytes(),
            used_memory: found.room.used,
            used_memory_after: found.room.after,
            maxmemory: found.room.max,
            guards: found.guards.iter().map(Checked::new).collect(),
            max_stall_ms: ms(Duration::from_millis(args.max_stall)),
            big_keys: named.collect(),
            more_big_keys: big.len().saturating_sub(NAMED),
            batch_keys: found.batch_keys,
            blocked: blocked
                .into_iter()
                .map(|(why, slots)| Blocked { slots: slots.to_string(), count: slots.len(), why })
                .collect(),
            notes: found.plan.notes.clone(),
            writes: writes(found, to),
            takes_s: found.takes.as_secs_f64(),
            next,
        }
    }

    fn lines(&self, look: &Look) -> Vec<(String, String)> {
        let arrow = arrow(look);
        let mut lines = Vec::new();
        let mut line = |label: &str, text: String| lines.push((label.to_owned(), text));
        let slots = plural(self.count, "slot", "slots");
        let sources: Vec<String> = self
            .waves
            .iter()
            .map(|wave| wave.from)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|from| from.to_string())
            .collect();
        let groups = if sources.len() == 1 { "group" } else { "groups" };
        let waves = plural(self.waves.len(), "wave", "waves");
        let tasks = plural(self.count, "task", "tasks");
        line(
            "plan",
            format!(
                "{slots} of {groups} {} {arrow} group {}, {waves}, {tasks}; nothing is written by this command",
                sources.join(", "),
                self.to
            ),
        );
        if self.waves.len() > 1 {
            for (i, wave) in self.waves.iter().take(MOST_WAVES).enumerate() {
                let (keys, bytes) = (units::count(wave.keys), units::bytes(wave.bytes));
                let text =
                    format!("{} {arrow} {}: slots {}, {keys} keys, {bytes}", wave.from, wave.to, wave.slots);
                line(&format!("wave {}", i + 1), text);
            }
            if self.waves.len() > MOST_WAVES {
                line("", format!("and {} more", self.waves.len() - MOST_WAVES));
            }
        }
        let refused = self.guards.iter().any(|guard| guard.mark == "bad");
        if !refused {
            line("keys", self.load());
        }
        for (i, row) in self.guards(look).into_iter().enumerate() {
            line(if i == 0 { "guards" } else { "" }, row);
        }
        if refused {
            return lines;
        }
        line("stalls", self.stalls());
        for key in &self.big_keys {
            line(
                "",
                format!(
                    "slot {}  {}  {}, {}   about {:.0} ms",
                    key.slot,
                    key.key,
                    key.kind,
                    units::bytes(key.bytes),
                    key.stall_ms
                ),
            );
        }
        if self.more_big_keys > 0 {
            line(
                "",
                format!(
                    "and {} more   {arrow} codisctl check-slot {} --top N",
                    self.more_big_keys, self.slots
                ),
            );
        }
        for blocked in &self.blocked {
            line("blocked", format!("{} slots {}: {}", glyph("bad", look), blocked.slots, blocked.why));
        }
        for (i, write) in self.writes.iter().enumerate() {
            line(&format!("writes {}", i + 1), write.clone());
        }
        line("takes", self.takes());
        line("next", self.next.clone());
        lines
    }

    fn load(&self) -> String {
        let load = format!("{} keys, {}", units::count(self.keys), units::bytes(self.bytes));
        let after = units::bytes(self.used_memory_after);
        if self.maxmemory == 0 {
            return format!("{load}; group {} after it: {after}, no limit", self.to);
        }
        #[expect(clippy::cast_precision_loss, reason = "a percentage is shown")]
        let share = self.used_memory_after as f64 / self.maxmemory as f64 * 100.0;
        format!(
            "{load}; group {} after it: {after} of {} ({share:.0} %)",
            self.to,
            units::bytes(self.maxmemory)
        )
    }

    /// Two in a row where they are short, as they are read from left to right.
    fn guards(&self, look: &Look) -> Vec<String> {
        let mut rows: Vec<String> = Vec::new();
        let mut open = false;
        for guard in &self.guards {
            let next = if guard.next.is_empty() {
                String::new()
            } else {
                format!("   {} {}", arrow(look), guard.next)
            };
            let text = format!("{} {}{next}", glyph(guard.mark, look), guard.text);
            let short = text.chars().count() <= HALF;
            match rows.last_mut() {
                Some(row) if open && short => {
                    let pad = HALF.saturating_sub(row.chars().count());
                    row.push_str(&format!("{}  {text}", " ".repeat(pad)));
                    open = false;
                }
                _ => {
                    rows.push(text);
                    open = short;
                }
            }
        }
        rows
    }

    fn stalls(&self) -> String {
        let big = self.big_keys.len() + self.more_big_keys;
        let keys = plural(big, "big key", "big keys");
        format!(
            "budget {:.0} ms: {keys} in these slots; batches of about {}",
            self.max_stall_ms,
            plural(usize::try_from(self.batch_keys).unwrap_or(usize::MAX), "key", "keys")
        )
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
    fn takes(&self) -> String {
        if self.takes_s < 1.0 {
            return "below a second".to_owned();
        }
        format!("about {}", units::seconds(self.takes_s.ceil() as u64))
    }
}

impl Wave {
    fn new(wave: &WaveForecast, to: GroupId) -> Self {
        Self {
            from: wave.from.0,
            to: to.0,
            slots: wave.slots.to_string(),
            count: wave.slots.len(),
            keys: wave.keys,
            bytes: wave.bytes,
        }
    }
}

impl Checked {
    fn new(guard: &Guard) -> Self {
        let mark = match guard.mark {
            Mark::Good => "good",
            Mark::Told => "told",
            Mark::Warning => "warning",
            Mark::Partly => "partly",
            Mark::Bad => "bad",
        };
        Self { mark, text: guard.text.clone(), next: guard.next.clone() }
    }
}

fn arrow(look: &Look) -> &'static str {
    if look.ascii { "->" } else { "→" }
}

fn glyph(mark: &str, look: &Look) -> &'static str {
    match (mark, look.ascii) {
        ("good", false) => "✓",
        ("good", true) => "+",
        ("told", false) => "•",
        ("told", true) => "i",
        ("warning", false) => "▲",
        ("warning", true) => "!",
        (_, false) => "✗",
        (_, true) => "X",
    }
}

/// What starting and running the move writes.
fn writes(found: &Forecast, to: GroupId) -> Vec<String> {
    let queues =
        found.plan.steps.iter().filter(|step| matches!(step, Step::QueueMoves(_))).map(ToString::to_string);
    let changes = found.waves.iter().map(|wave| {
        format!(
            "slots/slot_{}: pre_migrate → migrate ({} → {to}) → online at {to}, as the wave goes",
            wave.slots, wave.from
        )
    });
    queues.chain(changes).collect()
}

impl Report for Planned {
    fn human(&self, look: &Look) -> String {
        if self.count == 0 {
            let mut text = "plan      nothing has to move".to_owned();
            for note in &self.notes {
                text.push_str(&format!("\nnote      {note}"));
            }
            return text;
        }
        let lines: Vec<String> = self
            .lines(look)
            .into_iter()
            .map(|(label, text)| format!("{label:<8}  {text}").trim_end().to_owned())
            .collect();
        lines.join("\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |wave: &Wave| {
            vec![
                wave.from.to_string(),
                wave.to.to_string(),
                wave.slots.clone(),
                wave.keys.to_string(),
                wave.bytes.to_string(),
            ]
        };
        self.waves.iter().map(row).collect()
    }
}
