//! Who watches over the product, and what it has told people.

use codis_core::{Severity, plan::plural};
use codis_ops::{agent, alerts::Listed};
use serde::Serialize;

use crate::commands::agent::leads;

/// The agents.
#[derive(Debug, Serialize)]
pub(super) struct Agents {
    live: usize,
    leader: Option<String>,
    /// A lost master would be replaced: somebody leads, and nobody has suspended it.
    failover: bool,
    /// Who has suspended failovers.
    paused_by: Option<String>,
}

impl Agents {
    pub(super) fn new(status: &agent::Status) -> Self {
        Self {
            live: status.agents.len(),
            leader: status.leader.as_ref().map(|leader| leader.owner.clone()),
            failover: !status.agents.is_empty() && status.leader.is_some() && status.paused.is_none(),
            paused_by: status.paused.as_ref().map(|pause| pause.by.clone()),
        }
    }

    pub(super) fn line(&self) -> String {
        if self.live == 0 {
            return "no agent; failover off".to_owned();
        }
        let leads = leads(self.leader.as_deref());
        let failover = match (&self.paused_by, self.failover) {
            (Some(by), _) => format!("▲ failover suspended by {by}"),
            (None, true) => "failover on".to_owned(),
            (None, false) => "failover off".to_owned(),
        };
        format!("agents {} live, {leads}; {failover}", self.live)
    }
}

/// Alerts by what people have said to them; events, which are over, are none.
#[derive(Debug, Default, Serialize)]
pub(super) struct Alerts {
    critical: usize,
    warning: usize,
    info: usize,
    acknowledged: usize,
    silenced: usize,
}

impl Alerts {
    pub(super) fn new(listed: &Listed) -> Self {
        let mut all = Self::default();
        for shown in &listed.alerts {
            let alert = &shown.record.alert;
            let count = match (&shown.silence, &shown.record.ack, alert.severity) {
                _ if alert.kind().is_event() => continue,
                (Some(_), ..) => &mut all.silenced,
                (None, Some(_), _) => &mut all.acknowledged,
                (None, None, Severity::Critical) => &mut all.critical,
                (None, None, Severity::Warning) => &mut all.warning,
                (None, None, Severity::Info) => &mut all.info,
            };
            *count += 1;
        }
        all
    }

    /// Nothing if there are none.
    pub(super) fn line(&self) -> Option<String> {
        let parts = [
            (self.critical, "✗ ", "critical", "critical"),
            (self.warning, "▲ ", "warning", "warnings"),
            (self.info, "• ", "remark", "remarks"),
            (self.acknowledged, "• ", "known", "known"),
            (self.silenced, "• ", "silenced", "silenced"),
        ];
        let parts = parts.into_iter().filter(|(count, ..)| *count > 0);
        let parts: Vec<String> =
            parts.map(|(count, sign, one, many)| format!("{sign}{}", plural(count, one, many))).collect();
        (!parts.is_empty()).then(|| format!("{}   → codisctl alert list", parts.join("  ")))
    }
}
