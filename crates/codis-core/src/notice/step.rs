//! From one round to the next: what is remembered, and what people are told.

use std::collections::{BTreeMap, BTreeSet};

use super::{Alert, AlertId, Kind};
use crate::{Extra, Severity};

/// When people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What lasts is told again after so long, milliseconds.
    pub send_interval_ms: u64,
    /// What is not found any more for so long is over, milliseconds: what comes and goes is one alert.
    pub recover_after_ms: u64,
    /// Events are remembered for so long, milliseconds.
    pub keep_events_ms: u64,
}

impl Default for Policy {
    /// Again after 5 min, over after 10 s, remembered for a day.
    fn default() -> Self {
        Self { send_interval_ms: 300_000, recover_after_ms: 10_000, keep_events_ms: 86_400_000 }
    }
}

/// Values of a lasting alert are remembered anew when they are older than this, milliseconds.
const REFRESH_MS: u64 = 30_000;

/// What was found in one round, and where was looked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Round {
    /// What is not well.
    pub alerts: Vec<Alert>,
    /// Kinds that were looked for, each with the subjects of which nothing could be told. An alert of another kind,
    /// or of such a subject, lasts although it was not found.
    pub looked: BTreeMap<Kind, BTreeSet<String>>,
}

impl Round {
    /// Adds what was found in looking for some kinds, everywhere.
    pub fn looked_for(
        &mut self,
        kinds: impl IntoIterator<Item = Kind>,
        alerts: impl IntoIterator<Item = Alert>,
    ) {
        for kind in kinds {
            self.looked.entry(kind).or_default();
        }
        self.alerts.extend(alerts);
    }

    /// Says that nothing is known of this subject as to this kind.
    pub fn blind(&mut self, kind: Kind, subject: impl std::fmt::Display) {
        self.looked.entry(kind).or_default().insert(subject.to_string());
    }

    fn is_over(&self, id: &AlertId) -> bool {
        self.looked.get(&id.kind).is_some_and(|blind| !blind.contains(&id.subject))
    }
}

/// A person knows about it: no repeats until it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Who.
    pub by: String,
    /// When, Unix milliseconds.
    pub ts_ms: u64,
    /// What they say about it; may be empty.
    pub why: String,
}

/// What is remembered of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its last values, its worst severity since people were told, its first time.
    pub alert: Alert,
    /// When it was found first, Unix milliseconds.
    pub first_ms: u64,
    /// When it was remembered last, Unix milliseconds.
    pub last_ms: u64,
    /// How often people were told, or would have been.
    pub count: u64,
    /// When that was last, Unix milliseconds.
    pub told_ms: u64,
    /// True if they have been: so they are told when it is over.
    pub said: bool,
    /// Since when it is not found any more.
    pub gone_ms: Option<u64>,
    /// Who knows about it.
    pub ack: Option<Ack>,
    /// Unknown fields.
    pub extra: Extra,
}

/// Everything that is remembered.
pub type Records = BTreeMap<AlertId, Record>;

/// Nothing is told of some alerts for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Of which kind; `None` for all.
    pub kind: Option<Kind>,
    /// Whom they are about; `*` stands for any text.
    pub subject: String,
    /// Until when, Unix milliseconds.
    pub until_ms: u64,
    /// Who wants it so.
    pub by: String,
    /// Why.
    pub why: String,
    /// Unknown fields.
    pub extra: Extra,
}

impl Silence {
    /// True if it is about this alert, now.
    pub fn covers(&self, id: &AlertId, now_ms: u64) -> bool {
        now_ms < self.until_ms
            && self.kind.is_none_or(|kind| kind == id.kind)
            && matches(&self.subject, &id.subject)
    }
}

/// Whether a text is what a pattern with `*` describes.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
}

/// Why people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// It begins, is worse than before, or has just happened.
    Fired,
    /// It lasts.
    Repeated,
    /// It is over.
    Recovered,
}

/// What people are told of one alert. Those of one round make one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub kind: NoticeKind,
    /// The alert.
    pub alert: Alert,
    /// How often they were told of it, this time included.
    pub count: u64,
    /// When it was over, or is told, Unix milliseconds.
    pub at_ms: u64,
}

/// What becomes of an alert, for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<'a> {
    /// People are told.
    Open,
    /// Somebody knows about it.
    Acknowledged(&'a Ack),
    /// It is silenced.
    Silenced(&'a Silence),
    /// It has happened, and was told.
    Event,
}

/// What becomes of an alert now.
pub fn standing<'a>(record: &'a Record, silences: &'a [Silence], now_ms: u64) -> Standing<'a> {
    let id = record.alert.id();
    match (silences.iter().find(|silence| silence.covers(&id, now_ms)), &record.ack) {
        (Some(silence), _) => Standing::Silenced(silence),
        (None, Some(ack)) => Standing::Acknowledged(ack),
        (None, None) if id.kind.is_event() => Standing::Event,
        (None, None) => Standing::Open,
    }
}

/// Goes on by one round: what is to be remembered, and what people are to be told, worst first and what is over last.
///
/// An alert is told when it begins or gets worse, again after the interval as long as it lasts, and when it is over if
/// it had been told. An acknowledged one is told when it gets worse or is over, a silenced one not at all. An
/// event is told once; it is another one if its time is later.
pub fn step(
    records: &Records,
    silences: &[Silence],
    round: Round,
    now_ms: u64,
    policy: &Policy,
) -> (Records, Vec<Notice>) {
    let mut next = Records::new();
    let mut notices = Vec::new();
    let mut found: BTreeMap<AlertId, Alert> = BTreeMap::new();
    for alert in &round.alerts {
        match found.get(&alert.id()) {
            Some(other) if other.severity <= alert.severity => {}
            _ => drop(found.insert(alert.id(), alert.clone())),
        }
    }
    for (id, record) in records {
        let alert = found.remove(id);
        let mut record = record.clone();
        let (kind, keep) = record.go_on(alert, round.is_over(id), now_ms, policy);
        if let Some(kind) = kind {
            record.tell(kind, id, silences, now_ms, &mut notices);
        }
        if keep {
            next.insert(id.clone(), record);
        }
    }
    for (id, alert) in found {
        let mut record = Record::new(alert, now_ms);
        record.tell(NoticeKind::Fired, &id, silences, now_ms, &mut notices);
        next.insert(id, record);
    }
    notices.sort_by_key(|notice| {
        (notice.kind == NoticeKind::Recovered, notice.alert.severity, notice.alert.id())
    });
    (next, notices)
}

impl Record {
    fn new(alert: Alert, now_ms: u64) -> Self {
        Self {
            alert,
            first_ms: now_ms,
            last_ms: now_ms,
            count: 0,
            told_ms: now_ms,
            said: false,
            gone_ms: None,
            ack: None,
            extra: Extra::default(),
        }
    }

    /// What there is to tell of it, and whether to remember it any longer.
    fn go_on(
        &mut self,
        alert: Option<Alert>,
        over: bool,
        now_ms: u64,
        policy: &Policy,
    ) -> (Option<NoticeKind>, bool) {
        if self.alert.kind().is_event() {
            let Some(alert) = alert.filter(|alert| alert.since_ms > self.alert.since_ms) else {
                return (None, !passed(self.last_ms, now_ms, policy.keep_events_ms));
            };
            *self = Self { extra: std::mem::take(&mut self.extra), ..Self::new(alert, now_ms) };
            return (Some(NoticeKind::Fired), true);
        }
        if alert.is_none() && over {
            let since = *self.gone_ms.get_or_insert(now_ms);
            let over = passed(since, now_ms, policy.recover_after_ms);
            return (over.then_some(NoticeKind::Recovered), !over);
        }
        let due = passed(self.told_ms, now_ms, policy.send_interval_ms);
        let mut worse = false;
        if let Some(alert) = alert {
            self.gone_ms = None;
            worse = alert.severity < self.alert.severity;
            if due || worse || passed(self.last_ms, now_ms, REFRESH_MS) {
                self.remember(alert, due, now_ms);
            }
        }
        if worse {
            self.ack = None;
        }
        let kind = match (worse || !self.said, due || worse) {
            (_, false) => return (None, true),
            (true, true) => NoticeKind::Fired,
            (false, true) => NoticeKind::Repeated,
        };
        (Some(kind), true)
    }

    /// Takes new values over. The severity goes down only when people are told.
    fn remember(&mut self, alert: Alert, due: bool, now_ms: u64) {
        let severity: Severity = if due { alert.severity } else { alert.severity.min(self.alert.severity) };
        let since_ms = self.alert.since_ms.min(alert.since_ms);
        self.alert = Alert { severity, since_ms, ..alert };
        self.last_ms = now_ms;
    }

    /// Counts, and adds the notice unless nobody wants it.
    fn tell(
        &mut self,
        kind: NoticeKind,
        id: &AlertId,
        silences: &[Silence],
        now_ms: u64,
        notices: &mut Vec<Notice>,
    ) {
        let silent = silences.iter().any(|silence| silence.covers(id, now_ms));
        let over = kind == NoticeKind::Recovered;
        if !over {
            self.count += 1;
            self.told_ms = now_ms;
        }
        if silent || (over && !self.said) || (!over && self.ack.is_some()) {
            return;
        }
        self.said = true;
        let at_ms = if over { self.gone_ms.unwrap_or(now_ms) } else { now_ms };
        notices.push(Notice { kind, alert: self.alert.clone(), count: self.count, at_ms });
    }
}

/// Whether so much time has passed, also if the clock was set back by more than that.
fn passed(since_ms: u64, now_ms: u64, span_ms: u64) -> bool {
    now_ms.abs_diff(since_ms) >= span_ms
}
