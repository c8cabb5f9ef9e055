use codis_core::{Cluster, Move, MoveState, plan::plural};
use serde::Serialize;

use crate::{
    commands::{cell, damage},
    error::Done,
    render::{Fit, Grid, Look, short, units},
    session::Session,
    ui::Report,
};

/// List the queue: ours, and that of the Go tools
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl task list
  codisctl task list --state error
  codisctl task list --output json | jq '.tasks | length'

Exit status: 0 done · 1 a node cannot be read · 2 no such state · 5 store unreachable")]
pub(crate) struct ListArgs {
    /// Only those in this state: pending, migrating, error, paused
    #[arg(long, value_name = "STATE")]
    state: Option<MoveState>,
}

#[derive(Debug, Serialize)]
struct Tasks {
    product: String,
    tasks: Vec<TaskLine>,
    go_tasks: Vec<GoLine>,
}

#[derive(Debug, Serialize)]
struct TaskLine {
    task: u64,
    slot: u16,
    from: u32,
    to: u32,
    status: &'static str,
    percent: u8,
    keys_total: Option<u64>,
    keys_moved: u64,
    wave: u64,
    note: String,
}

#[derive(Debug, Serialize)]
struct GoLine {
    task: String,
    slot: u16,
    to: u32,
    status: String,
}

pub(super) async fn run(session: &Session, args: &ListArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    session.ui.report(&Tasks::new(&cluster, args.state))?;
    damage(&cluster)
}

impl Tasks {
    fn new(cluster: &Cluster, state: Option<MoveState>) -> Self {
        let wanted = cluster.moves.iter().filter(|task| state.is_none_or(|state| task.state == state));
        let go =
            cluster.go_tasks.iter().filter(|task| state.is_none_or(|state| task.status == state.as_str()));
        Self {
            product: cluster.product.to_string(),
            tasks: wanted.map(|task| TaskLine::new(&task.value)).collect(),
            go_tasks: go
                .map(|task| GoLine {
                    task: task.name.clone(),
                    slot: task.slot.get(),
                    to: task.to.0,
                    status: task.status.clone(),
                })
                .collect(),
        }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("task", Fit::Right),
            ("slot", Fit::Right),
            ("move", Fit::Left),
            ("status", Fit::Left),
            ("percent", Fit::Right),
            ("keys left / est", Fit::Right),
            ("wave", Fit::Right),
            ("note", Fit::Text),
        ]);
        for task in &self.tasks {
            let keys = task.keys_total.map(|total| {
                format!("{} / {}", units::count(total.saturating_sub(task.keys_moved)), units::count(total))
            });
            grid.row([
                task.task.to_string(),
                task.slot.to_string(),
                format!("{} → {}", task.from, task.to),
                task.status.to_owned(),
                task.percent.to_string(),
                cell(keys),
                short(task.wave),
                task.note.clone(),
            ]);
        }
        for task in &self.go_tasks {
            grid.row([
                task.task.clone(),
                task.slot.to_string(),
                format!("→ {}", task.to),
                task.status.clone(),
                String::new(),
                String::new(),
                "go".to_owned(),
                "queue of the Go tools".to_owned(),
            ]);
        }
        grid
    }

    fn in_state(&self, state: MoveState) -> usize {
        self.tasks.iter().filter(|task| task.status == state.as_str()).count()
    }
}

impl TaskLine {
    fn new(task: &Move) -> Self {
        Self {
            task: task.task,
            slot: task.slot.get(),
            from: task.from.0,
            to: task.to.0,
            status: task.state.as_str(),
            percent: task.percent(),
            keys_total: task.keys_total,
            keys_moved: task.keys_moved,
            wave: task.wave,
            note: task.note.clone(),
        }
    }
}

impl Report for Tasks {
    fn human(&self, look: &Look) -> String {
        let states = [MoveState::Migrating, MoveState::Pending, MoveState::Error, MoveState::Paused];
        let counts = states.map(|state| (self.in_state(state), state.as_str()));
        let counts =
            counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
        let counts: Vec<String> = counts.collect();
        let mut summary = plural(self.tasks.len(), "task", "tasks");
        if !counts.is_empty() {
            summary.push_str(&format!(": {}", counts.join(", ")));
        }
        if !self.go_tasks.is_empty() {
            summary.push_str(&format!("; {} of the Go tools", self.go_tasks.len()));
        }
        if self.tasks.is_empty() && self.go_tasks.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
