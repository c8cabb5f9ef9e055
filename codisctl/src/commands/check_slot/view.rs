//! What `check-slot` shows: the verdicts first, slots of the same verdict together, then the keys that matter.

use std::time::Duration;

use codis_core::{SlotSet, plan::plural};
use codis_ops::{
    BigKey, LiveRole,
    check::{CheckOptions, GroupCheck, SlotVerdict, Verdict},
};
use serde::Serialize;

use crate::{
    render::{Fit, Grid, Look, units},
    ui::Report,
};

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    max_stall_ms: f64,
    to: Option<u32>,
    groups: Vec<Group>,
    ok: usize,
    stalls: usize,
    blocked: usize,
}

#[derive(Debug, Serialize)]
struct Group {
    group: u32,
    server: String,
    role: &'static str,
    took_s: f64,
    slowest_answer_ms: f64,
    calibrated: bool,
    verdicts: Vec<Row>,
    big_keys: Vec<Big>,
    /// Big keys that are not listed.
    more_big_keys: usize,
    strays: Vec<StrayKeys>,
    slots: Vec<Slot>,
}

/// Slots with the same verdict.
#[derive(Debug, Serialize)]
struct Row {
    verdict: &'static str,
    why: String,
    count: usize,
    keys: u64,
    bytes: u64,
    stall_ms: f64,
    slots: String,
}

#[derive(Debug, Serialize)]
struct Slot {
    slot: u16,
    keys: u64,
    bytes: u64,
    big_keys: usize,
    stall_ms: f64,
    verdict: &'static str,
    why: String,
}

#[derive(Debug, Serialize)]
struct Big {
    slot: u16,
    key: String,
    kind: &'static str,
    elements: u64,
    #[serde(skip)]
    unit: &'static str,
    bytes: u64,
    ttl_s: Option<u64>,
    dump_ms: f64,
    restore_ms: f64,
    stall_ms: f64,
}

#[derive(Debug, Serialize)]
struct StrayKeys {
    slots: String,
    group: Option<u32>,
    keys: u64,
}

impl Checked {
    /// Lists `top` big keys of each group.
    pub(super) fn new(checks: &[GroupCheck], options: &CheckOptions, top: usize) -> Self {
        let count = |word: &str| {
            checks
                .iter()
                .flat_map(|check| &check.slots)
                .filter(|slot| word_of(&slot.verdict).0 == word)
                .count()
        };
        Self {
            max_stall_ms: ms(options.max_stall),
            to: options.to.map(|group| group.0),
            groups: checks.iter().map(|check| Group::new(check, top)).collect(),
            ok: count("ok"),
            stalls: count("stalls"),
            blocked: count("blocked"),
        }
    }
}

impl Group {
    fn new(check: &GroupCheck, top: usize) -> Self {
        let asked: SlotSet = check.slots.iter().map(|slot| slot.slot).collect();
        let big: Vec<&BigKey> = check.survey.big.iter().filter(|key| asked.contains(key.slot)).collect();
        Self {
            group: check.group.0,
            server: check.server.to_string(),
            role: match check.role {
                LiveRole::Master => "master",
                LiveRole::Slave => "slave",
            },
            took_s: check.survey.took.as_secs_f64(),
            slowest_answer_ms: ms(check.survey.slowest_answer),
            calibrated: check.survey.calibrated,
            verdicts: rows(&check.slots),
            big_keys: big.iter().take(top).map(|key| Big::new(key)).collect(),
            more_big_keys: big.len().saturating_sub(top),
            strays: check
                .strays
                .iter()
                .map(|stray| StrayKeys {
                    slots: stray.slots.to_string(),
                    group: stray.owner.map(|owner| owner.0),
                    keys: stray.keys,
                })
                .collect(),
            slots: check.slots.iter().map(Slot::new).collect(),
        }
    }

    fn count(&self) -> usize {
        self.verdicts.iter().map(|row| row.count).sum()
    }

    fn head(&self) -> String {
        let slots = plural(self.count(), "slot", "slots");
        let answer = format!("slowest answer {:.1} ms", self.slowest_answer_ms);
        format!(
            "group {}, {slots}; read-only, from the {} {}, {:.0} s, {answer}",
            self.group, self.role, self.server, self.took_s
        )
    }

    fn lines(&self, look: &Look) -> Vec<String> {
        let mut lines = Vec::new();
        let arrow = if look.ascii { "->" } else { "→" };
        for key in &self.big_keys {
            let ttl = key.ttl_s.map_or_else(String::new, |ttl| format!(", TTL {}", units::seconds(ttl)));
            lines.push(format!(
                "{} slot {}  {}  {}, {} {}, {}{ttl}   dump {}, restore {}",
                if look.ascii { "!" } else { "▲" },
                key.slot,
                key.key,
                key.kind,
                units::grouped(key.elements),
                key.unit,
                units::bytes(key.bytes),
                time(key.dump_ms),
                time(key.restore_ms)
            ));
        }
        if self.more_big_keys > 0 {
            lines.push(format!("  and {} more   {arrow} --top N", self.more_big_keys));
        }
        if !self.big_keys.is_empty() && !self.calibrated {
            lines.push(
                "  predicted for a machine like ours: no key of moderate size to measure this one with"
                    .to_owned(),
            );
        }
        for stray in &self.strays {
            let owner = stray.group.map_or_else(|| "nobody".to_owned(), |group| format!("group {group}"));
            let keys = plural(usize::try_from(stray.keys).unwrap_or(usize::MAX), "key", "keys");
            lines.push(format!(
                "strays: {keys} of slots {} ({owner}) on {}; not touched",
                stray.slots, self.server
            ));
        }
        lines
    }
}

impl Slot {
    fn new(slot: &SlotVerdict) -> Self {
        let (verdict, why) = word_of(&slot.verdict);
        Self {
            slot: slot.slot.get(),
            keys: slot.size.keys,
            bytes: slot.size.bytes,
            big_keys: slot.big,
            stall_ms: ms(slot.stall),
            verdict,
            why: why.to_owned(),
        }
    }
}

impl Big {
    fn new(key: &BigKey) -> Self {
        Self {
            slot: key.slot.get(),
            key: key.key.escape_ascii().to_string(),
            kind: key.kind.as_str(),
            elements: key.elements,
            unit: key.kind.elements(),
            bytes: key.bytes,
            ttl_s: key.ttl.map(|ttl| ttl.as_secs()),
            dump_ms: ms(key.one_shot.dump),
            restore_ms: ms(key.one_shot.restore),
            stall_ms: ms(key.one_shot.longest()),
        }
    }
}

/// Slots of the same verdict together, in the order in which the verdicts come up.
fn rows(slots: &[SlotVerdict]) -> Vec<Row> {
    let mut rows: Vec<(Row, Vec<codis_core::SlotId>)> = Vec::new();
    for slot in slots {
        let (verdict, why) = word_of(&slot.verdict);
        let place = match rows.iter().position(|(row, _)| row.verdict == verdict && row.why == why) {
            Some(place) => place,
            None => {
                let row = Row {
                    verdict,
                    why: why.to_owned(),
                    count: 0,
                    keys: 0,
                    bytes: 0,
                    stall_ms: 0.0,
                    slots: String::new(),
                };
                rows.push((row, Vec::new()));
                rows.len() - 1
            }
        };
        let (row, ids) = &mut rows[place];
        row.count += 1;
        row.keys += slot.size.keys;
        row.bytes += slot.size.bytes;
        row.stall_ms = row.stall_ms.max(ms(slot.stall));
        ids.push(slot.slot);
    }
    let order = |verdict: &str| ["ok", "stalls", "blocked"].iter().position(|word| *word == verdict);
    rows.sort_by_key(|(row, _)| order(row.verdict));
    rows.into_iter()
        .map(|(row, ids)| Row { slots: ids.into_iter().collect::<SlotSet>().to_string(), ..row })
        .collect()
}

fn word_of(verdict: &Verdict) -> (&'static str, &str) {
    match verdict {
        Verdict::Ok => ("ok", ""),
        Verdict::Stalls => ("stalls", "big keys, allowed"),
        Verdict::Blocked(why) => ("blocked", why),
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// `3 ms`, `0.9 s`.
fn time(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) }
}

fn grid(group: &Group, look: &Look) -> Grid {
    let mut grid = Grid::new(&[
        ("verdict", Fit::Left),
        ("slots", Fit::Right),
        ("keys", Fit::Right),
        ("bytes", Fit::Right),
        ("stall", Fit::Right),
        ("slots", Fit::Text),
    ]);
    for row in &group.verdicts {
        let glyph = match (row.verdict, look.ascii) {
            ("ok", false) => "✓ ",
            ("stalls", false) => "▲ ",
            (_, false) => "✗ ",
            (_, true) => "",
        };
        let why = if row.why.is_empty() { String::new() } else { format!(": {}", row.why) };
        let stall = if row.stall_ms > 0.0 { time(row.stall_ms) } else { String::new() };
        grid.row([
            format!("{glyph}{}{why}", row.verdict),
            row.count.to_string(),
            units::count(row.keys),
            units::bytes(row.bytes),
            stall,
            row.slots.clone(),
        ]);
    }
    grid
}

impl Report for Checked {
    fn human(&self, look: &Look) -> String {
        let mut text = String::new();
        for group in &self.groups {
            text.push_str(&format!("{}\n{}\n", group.head(), grid(group, look).draw(look)));
            for line in group.lines(look) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        let mut counts = vec![format!("{} ok", self.ok)];
        if self.stalls > 0 {
            counts.push(format!("{} with stalls", self.stalls));
        }
        counts.push(format!("{} blocked", self.blocked));
        text.push_str(&counts.join(", "));
        text
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let slots = self.groups.iter().flat_map(|group| group.slots.iter().map(move |slot| (group, slot)));
        let row = |(group, slot): (&Group, &Slot)| {
            vec![
                slot.slot.to_string(),
                group.group.to_string(),
                slot.verdict.to_owned(),
                slot.keys.to_string(),
                slot.bytes.to_string(),
                slot.big_keys.to_string(),
                format!("{:.1}", slot.stall_ms),
                slot.why.clone(),
            ]
        };
        slots.map(row).collect()
    }
}
