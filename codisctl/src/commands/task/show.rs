use codis_core::{
    Cluster, GoTask, Move, MoveState, SlotId, Versioned,
    plan::{self, Plan, Refusal},
};
use codis_ops::{Failure, FailureKind};
use serde::Serialize;

use crate::{
    commands::migrate::Way,
    error::Done,
    render::{Look, short, units},
    session::Session,
    ui::Report,
};

/// Show one task: how far it is, how its slot stands, and what can be done with it now
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl task show 436
  codisctl task show 436 --output json | jq '.can[] | select(.possible).command'
  codisctl task show --as codis2 3

Exit status: 0 done · 1 no such task · 5 store unreachable")]
pub(crate) struct ShowArgs {
    /// Number of the task
    #[arg(value_name = "TASK")]
    task: u64,
    /// Whose queue: codis2 is that of the Go tools; else ours
    #[arg(long = "as", value_name = "WAY", hide_possible_values = true)]
    way: Option<Way>,
}

#[derive(Debug, Serialize)]
struct Shown {
    product: String,
    task: u64,
    /// `ours`, or `go`: that of the Go tools.
    queue: &'static str,
    slot: u16,
    from: Option<u32>,
    to: u32,
    status: String,
    wave: Option<u64>,
    created_ms: u64,
    percent: Option<u8>,
    keys_total: Option<u64>,
    keys_moved: u64,
    note: String,
    /// How the slot stands.
    state: String,
    /// The slot's group.
    group: Option<u32>,
    /// Its keys go back to where they came from.
    turns_back: bool,
    /// Who moves slots now.
    mover: Option<String>,
    can: Vec<Can>,
}

/// Something that can be done, or why it cannot.
#[derive(Debug, Serialize)]
struct Can {
    command: String,
    possible: bool,
    why: String,
}

pub(super) async fn run(session: &Session, args: &ShowArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    let shown = match args.way {
        None => cluster.moves.iter().find(|task| task.task == args.task).map(|task| ours(&cluster, task)),
        Some(Way::Codis2) => {
            let named = |task: &&Versioned<GoTask>| task.name.parse() == Ok(args.task);
            cluster.go_tasks.iter().find(named).map(|task| of_go(&cluster, task, args.task))
        }
    };
    let Some(shown) = shown else { return Err(missing(&cluster, args).into()) };
    session.ui.report(&shown)
}

fn missing(cluster: &Cluster, args: &ShowArgs) -> Failure {
    let what = format!("cannot show task {}", args.task);
    let (place, why, next) = match args.way {
        None if cluster.go_tasks.iter().any(|task| task.name.parse() == Ok(args.task)) => (
            "moves",
            "our queue has no such task; that of the Go tools has one",
            format!("codisctl task show --as codis2 {}", args.task),
        ),
        None => ("moves", "no such task; one that is done is deleted", "codisctl task list".to_owned()),
        Some(Way::Codis2) => ("migrate_tasks", "no such task", "codisctl task list".to_owned()),
    };
    Failure::new(FailureKind::Failed, what, format!("{place}/{:010}", args.task), why).next(next)
}

fn ours(cluster: &Cluster, task: &Move) -> Shown {
    let slot = cluster.slot(task.slot);
    let number = task.task;
    let asked: [(&str, Result<Plan, Refusal>); 4] = [
        ("pause", plan::pause_tasks(cluster, &[number])),
        ("resume", plan::resume_tasks(cluster, &[number])),
        ("cancel", plan::cancel_tasks(cluster, &[number])),
        ("delete", plan::delete_tasks(cluster, &[number])),
    ];
    let mut can: Vec<Can> = asked
        .into_iter()
        .filter_map(|(verb, planned)| Can::new(format!("codisctl task {verb} {number}"), planned))
        .collect();
    if cluster.mover.is_none() && matches!(task.state, MoveState::Pending | MoveState::Migrating) {
        let why = "nobody moves slots now; this goes on where it was left".to_owned();
        can.insert(0, Can { command: "codisctl migrate run".to_owned(), possible: true, why });
    }
    Shown {
        product: cluster.product.to_string(),
        task: number,
        queue: "ours",
        slot: task.slot.get(),
        from: Some(task.from.0),
        to: task.to.0,
        status: task.state.as_str().to_owned(),
        wave: Some(task.wave),
        created_ms: task.created * 1000,
        percent: Some(task.percent()),
        keys_total: task.keys_total,
        keys_moved: task.keys_moved,
        note: task.note.clone(),
        state: state(cluster, task.slot),
        group: slot.and_then(|slot| slot.group).map(|group| group.0),
        turns_back: slot.is_some_and(|slot| task.turns_back(slot)),
        mover: cluster.mover.as_ref().map(|mover| format!("{} (pid {})", mover.owner, mover.pid)),
        can,
    }
}

fn of_go(cluster: &Cluster, task: &GoTask, number: u64) -> Shown {
    let slot = cluster.slot(task.slot);
    let delete = plan::delete_go_tasks(cluster, &[number]);
    Shown {
        product: cluster.product.to_string(),
        task: number,
        queue: "go",
        slot: task.slot.get(),
        from: slot.and_then(|slot| slot.moving().map(|(from, _)| from).or(slot.group)).map(|group| group.0),
        to: task.to.0,
        status: task.status.clone(),
        wave: None,
        created_ms: task.created * 1000,
        percent: None,
        keys_total: None,
        keys_moved: 0,
        note: String::new(),
        state: state(cluster, task.slot),
        group: slot.and_then(|slot| slot.group).map(|group| group.0),
        turns_back: false,
        mover: cluster.mover.as_ref().map(|mover| format!("{} (pid {})", mover.owner, mover.pid)),
        can: Can::new(format!("codisctl task delete --as codis2 {number}"), delete).into_iter().collect(),
    }
}

fn state(cluster: &Cluster, slot: SlotId) -> String {
    cluster.slot(slot).map_or_else(|| "unreadable".to_owned(), |slot| slot.status.to_string())
}

impl Can {
    /// What came of planning it; nothing if it would change nothing.
    fn new(command: String, planned: Result<Plan, Refusal>) -> Option<Self> {
        match planned {
            Ok(plan) if plan.steps.is_empty() => None,
            Ok(plan) => Some(Self { command, possible: true, why: plan.notes.join("; ") }),
            Err(refusal) => Some(Self { command, possible: false, why: refusal.why }),
        }
    }
}

impl Shown {
    fn keys(&self) -> Option<String> {
        let total = self.keys_total?;
        let left = units::grouped(total.saturating_sub(self.keys_moved));
        Some(format!(
            "{} of {} moved, {left} left; {} %",
            units::grouped(self.keys_moved),
            units::grouped(total),
            self.percent.unwrap_or_default()
        ))
    }

    fn rows(&self, look: &Look) -> Vec<(&'static str, String)> {
        let arrow = if look.ascii { "->" } else { "→" };
        let queue = if self.queue == "go" { ", in the queue of the Go tools" } else { "" };
        let from = self.from.map_or_else(|| "?".to_owned(), |from| from.to_string());
        let wave = self.wave.map_or_else(String::new, |wave| format!(", wave {}", short(wave)));
        let back = if self.turns_back { "; to be taken back" } else { "" };
        let owner = self.group.map_or_else(|| "of no group".to_owned(), |group| format!("at group {group}"));
        let mut rows = vec![
            ("task", format!("{}{queue}", self.task)),
            ("move", format!("slot {}, {from} {arrow} {}{wave}", self.slot, self.to)),
            ("asked", format!("{} (UTC)", units::date_time(self.created_ms))),
            ("status", self.status.clone()),
            ("slot", format!("{} {owner}{back}", self.state)),
        ];
        rows.extend(self.keys().map(|keys| ("keys", keys)));
        if !self.note.is_empty() {
            rows.push(("note", self.note.clone()));
        }
        rows.push(("mover", self.mover.clone().unwrap_or_else(|| "nobody moves slots now".to_owned())));
        for can in &self.can {
            let why = if can.why.is_empty() { String::new() } else { format!("    {}", can.why) };
            rows.push((if can.possible { "can" } else { "cannot" }, format!("{}{why}", can.command)));
        }
        rows
    }
}

impl Report for Shown {
    fn human(&self, look: &Look) -> String {
        let lines: Vec<String> =
            self.rows(look).into_iter().map(|(label, text)| format!("{label:<8}  {text}")).collect();
        lines.join("\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.rows(&Look::bare()).into_iter().map(|(label, text)| vec![label.to_owned(), text]).collect()
    }
}
