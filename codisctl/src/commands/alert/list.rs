use std::collections::BTreeMap;

use codis_core::{Severity, notice::Silence};
use codis_ops::{
    Failure, FailureKind,
    alerts::{self, Listed, Shown},
};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// Show what people have been told of, worst first
///
/// An agent writes it; without one the list is what the last one knew.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl alert list
  codisctl alert list --output json | jq '.alerts[] | select(.severity == \"critical\")'

Exit status: 0 done · 1 a node cannot be read · 5 store unreachable")]
pub(crate) struct ListArgs {}

#[derive(Debug, Serialize)]
struct Alerts {
    product: String,
    alerts: Vec<Line>,
    silences: Vec<SilenceLine>,
    #[serde(skip)]
    now_ms: u64,
}

#[derive(Debug, Serialize)]
struct Line {
    kind: &'static str,
    subject: String,
    severity: &'static str,
    /// `open`, `acknowledged`, `silenced` or `event`.
    standing: &'static str,
    since_ms: u64,
    first_ms: u64,
    last_ms: u64,
    count: u64,
    what: String,
    by: Option<String>,
    why: Option<String>,
    until_ms: Option<u64>,
    facts: BTreeMap<&'static str, String>,
    #[serde(skip)]
    worst: Severity,
}

#[derive(Debug, Serialize)]
struct SilenceLine {
    kind: &'static str,
    subject: String,
    until_ms: u64,
    by: String,
    why: String,
}

pub(super) async fn run(session: &Session, _args: &ListArgs) -> Done {
    let cx = session.connect().await?;
    let listed = alerts::list(&cx).await?;
    let product = cx.product_name().to_string();
    cx.close().await;
    let gaps = listed.gaps.clone();
    session.ui.report(&Alerts::new(product, listed))?;
    let Some(gap) = gaps.first() else { return Ok(()) };
    let what = format!("{} cannot be read", codis_core::plan::plural(gaps.len(), "node", "nodes"));
    Err(Failure::new(FailureKind::Failed, what, &gap.path, &gap.why)
        .next("it may be of a later version; the agent leaves it alone")
        .into())
}

impl Alerts {
    fn new(product: String, listed: Listed) -> Self {
        let silence = |silence: Silence| SilenceLine {
            kind: silence.kind.map_or("*", codis_core::notice::Kind::as_str),
            subject: silence.subject,
            until_ms: silence.until_ms,
            by: silence.by,
            why: silence.why,
        };
        Self {
            product,
            alerts: listed.alerts.into_iter().map(Line::new).collect(),
            silences: listed.silences.into_iter().map(silence).collect(),
            now_ms: listed.now_ms,
        }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("severity", Fit::Left),
            ("kind", Fit::Left),
            ("subject", Fit::Left),
            ("since (UTC)", Fit::Right),
            ("count", Fit::Right),
            ("what", Fit::Text),
        ]);
        for line in &self.alerts {
            let severity = match line.standing {
                "silenced" => "silenced",
                "acknowledged" => "known",
                "event" => "event",
                _ => line.severity,
            };
            grid.row([
                severity.to_owned(),
                line.kind.to_owned(),
                line.subject.clone(),
                self.clock(line.since_ms),
                line.count.to_string(),
                self.text(line),
            ]);
        }
        grid
    }

    /// What it is, or who keeps it silent.
    fn text(&self, line: &Line) -> String {
        let why = line.why.as_deref().filter(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let by = line.by.as_deref().unwrap_or_default();
        match (line.standing, line.until_ms) {
            ("silenced", Some(until)) => format!("until {} by {by}{why}", self.clock(until)),
            ("acknowledged", _) => format!("{} (known to {by}{why})", line.what),
            _ => line.what.clone(),
        }
    }

    /// The time if it is of today, else the day and the minute.
    fn clock(&self, ms: u64) -> String {
        let day = |ms: u64| ms / 86_400_000;
        if day(ms) == day(self.now_ms) {
            units::time(ms)
        } else {
            units::date_time(ms).chars().take(16).collect()
        }
    }

    fn summary(&self) -> String {
        let open = |severity| {
            self.alerts.iter().filter(|line| line.standing == "open" && line.worst == severity).count()
        };
        let quiet = |standing| self.alerts.iter().filter(|line| line.standing == standing).count();
        let counts = [
            (open(Severity::Critical), "critical"),
            (open(Severity::Warning), "warning"),
            (open(Severity::Info), "info"),
            (quiet("acknowledged"), "known"),
            (quiet("silenced"), "silenced"),
            (quiet("event"), "event"),
        ];
        let plural = |word: &str, n: usize| match word {
            "warning" | "event" if n != 1 => format!("{n} {word}s"),
            _ => format!("{n} {word}"),
        };
        let counts: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| plural(word, *n)).collect();
        let next = self.alerts.iter().find(|line| line.standing == "open");
        match next {
            Some(line) => {
                format!("{}   ack: codisctl alert ack {} {}", counts.join(", "), line.kind, line.subject)
            }
            None => counts.join(", "),
        }
    }
}

impl Line {
    fn new(shown: Shown) -> Self {
        let Shown { record, silence, what } = shown;
        let alert = record.alert;
        let standing = match (&silence, &record.ack, alert.kind().is_event()) {
            (Some(_), ..) => "silenced",
            (None, Some(_), _) => "acknowledged",
            (None, None, true) => "event",
            (None, None, false) => "open",
        };
        let (by, why) = match (&silence, record.ack) {
            (Some(silence), _) => (Some(silence.by.clone()), Some(silence.why.clone())),
            (None, Some(ack)) => (Some(ack.by), Some(ack.why)),
            (None, None) => (None, None),
        };
        Self {
            kind: alert.kind().as_str(),
            severity: alert.severity.as_str(),
            standing,
            since_ms: alert.since_ms,
            first_ms: record.first_ms,
            last_ms: record.last_ms,
            count: record.count,
            what,
            by,
            why,
            until_ms: silence.map(|silence| silence.until_ms),
            facts: alert.facts.fields().into_iter().collect(),
            worst: alert.severity,
            subject: alert.subject,
        }
    }
}

impl Report for Alerts {
    fn human(&self, look: &Look) -> String {
        if self.alerts.is_empty() {
            return match self.silences.len() {
                0 => "no alerts".to_owned(),
                n => format!("no alerts; {}", codis_core::plan::plural(n, "silence", "silences")),
            };
        }
        format!("{}\n{}", self.grid().draw(look), self.summary())
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |line: &Line| {
            vec![
                line.severity.to_owned(),
                line.standing.to_owned(),
                line.kind.to_owned(),
                line.subject.clone(),
                line.since_ms.to_string(),
                line.count.to_string(),
                line.what.clone(),
            ]
        };
        self.alerts.iter().map(row).collect()
    }
}
