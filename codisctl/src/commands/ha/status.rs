use codis_core::ha::{Loss, Saga};
use codis_ops::agent::{self, Status};
use serde::Serialize;

use crate::{
    commands::agent::{NOBODY, leads},
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// Show agents, whether failovers are suspended, and the last change of each group's master
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl ha status
  codisctl ha status --output json | jq '.changes[] | {group, stage, lost}'

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct StatusArgs {}

#[derive(Debug, Serialize)]
struct HaStatus {
    agents: usize,
    leader: Option<String>,
    paused: Option<Paused>,
    changes: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Paused {
    by: String,
    why: String,
    since_ms: u64,
    until_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Change {
    group: u32,
    kind: &'static str,
    stage: &'static str,
    from: String,
    to: String,
    begun_ms: u64,
    ended_ms: u64,
    why: String,
    lost: String,
    waiting: Vec<String>,
    #[serde(skip)]
    age: String,
}

pub(super) async fn run(session: &Session, _args: &StatusArgs) -> Done {
    let cx = session.connect().await?;
    let status = agent::status(&cx).await?;
    cx.close().await;
    session.ui.report(&HaStatus::new(&status))
}

impl HaStatus {
    fn new(status: &Status) -> Self {
        let paused = status.paused.as_ref().map(|pause| Paused {
            by: pause.by.clone(),
            why: pause.why.clone(),
            since_ms: pause.since_ms,
            until_ms: pause.until_ms,
        });
        // A journal may only say whom people want back.
        let changes = status.sagas.values().filter(|saga| saga.old != saga.new);
        let changes = changes.map(|saga| Change::new(saga, status.now_ms)).collect();
        let leader = status.leader.as_ref().map(|leader| leader.owner.clone());
        Self { agents: status.agents.len(), leader, paused, changes }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("group", Fit::Right),
            ("change", Fit::Left),
            ("from", Fit::Left),
            ("to", Fit::Left),
            ("stage", Fit::Left),
            ("age", Fit::Right),
            ("lost", Fit::Left),
            ("why", Fit::Text),
        ]);
        for change in &self.changes {
            grid.row([
                change.group.to_string(),
                change.kind.to_owned(),
                change.from.clone(),
                change.to.clone(),
                change.stage.to_owned(),
                change.age.clone(),
                change.lost.clone(),
                change.why.clone(),
            ]);
        }
        grid
    }
}

impl Change {
    fn new(saga: &Saga, now_ms: u64) -> Self {
        Self {
            group: saga.group.0,
            kind: saga.kind.as_str(),
            stage: saga.stage.as_str(),
            from: saga.old.to_string(),
            to: saga.new.to_string(),
            begun_ms: saga.begun_ms,
            ended_ms: saga.receipt.ended_ms,
            why: saga.why.clone(),
            lost: match saga.receipt.lost {
                None => "unknown".to_owned(),
                Some(Loss::NONE) => "none".to_owned(),
                Some(Loss { bytes, writes: Some(writes) }) => {
                    format!("{bytes} B or more, {writes} writes at most")
                }
                Some(Loss { bytes, writes: None }) => format!("{bytes} B or more"),
            },
            waiting: saga.demoted.iter().map(|server| server.addr.to_string()).collect(),
            age: units::seconds(now_ms.saturating_sub(saga.begun_ms) / 1000),
        }
    }
}

impl Report for HaStatus {
    fn human(&self, look: &Look) -> String {
        let agents = codis_core::plan::plural(self.agents, "agent", "agents");
        let leads = leads(self.leader.as_deref());
        let mut text = match &self.paused {
            Some(pause) => {
                let why = if pause.why.is_empty() { String::new() } else { format!(": {}", pause.why) };
                let until = match pause.until_ms {
                    Some(ms) => format!(" until {} UTC", units::date_time(ms)),
                    None => String::new(),
                };
                format!("▲ failovers are suspended by {}{until}{why}   → codisctl ha resume\n", pause.by)
            }
            None => String::new(),
        };
        match self.agents {
            0 => text.push_str(NOBODY),
            _ => text.push_str(&format!("{agents}, {leads}")),
        }
        if !self.changes.is_empty() {
            text.push_str(&format!("\n{}", self.grid().draw(look)));
        }
        for change in self.changes.iter().filter(|change| !change.waiting.is_empty()) {
            text.push_str(&format!(
                "\ngroup {}: {} was master and is not back   → codisctl group sync {}",
                change.group,
                change.waiting.join(", "),
                change.group
            ));
        }
        text
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
