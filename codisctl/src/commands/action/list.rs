use codis_core::{ActionKind, Role, Slot};
use codis_ops::actions::{self, Followed};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// List what was announced to the proxies, newest first, and who has followed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl action list
  codisctl action list -n 5 --output json | jq '.actions[] | select(.missing != [])'

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct ListArgs {
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    last: usize,
}

#[derive(Debug, Serialize)]
struct Actions {
    product: String,
    there: usize,
    actions: Vec<ActionLine>,
    unreadable: Vec<String>,
    #[serde(skip)]
    now_ms: u64,
}

#[derive(Debug, Serialize)]
struct ActionLine {
    action: u64,
    ts_ms: u64,
    #[serde(rename = "type")]
    kind: String,
    what: String,
    receivers: Vec<String>,
    missing: Vec<String>,
}

pub(super) async fn run(session: &Session, args: &ListArgs) -> Done {
    let cx = session.connect().await?;
    let recent = actions::recent(&cx, args.last).await?;
    let product = cx.product_name().to_string();
    cx.close().await;
    let actions = recent.newest.found.iter().map(ActionLine::new).collect();
    let unreadable = recent.newest.gaps.into_iter().map(|gap| format!("{}: {}", gap.path, gap.why)).collect();
    let now_ms = units::now_ms();
    session.ui.report(&Actions { product, there: recent.there, actions, unreadable, now_ms })
}

impl ActionLine {
    fn new(followed: &Followed) -> Self {
        let Followed { action, receivers, acked } = followed;
        Self {
            action: action.seq.unwrap_or_default(),
            ts_ms: action.ts * 1000,
            kind: action.kind.type_name().to_owned(),
            what: describe(&action.kind),
            missing: receivers.iter().filter(|id| !acked.contains(id)).cloned().collect(),
            receivers: receivers.clone(),
        }
    }

    fn followed(&self) -> String {
        let of = self.receivers.len();
        match self.missing.len() {
            _ if of == 0 => "no proxy was online".to_owned(),
            0 => format!("✓ {of} of {of}"),
            n => format!("✗ {} of {of}, missing {}", of - n, self.missing.join(" ")),
        }
    }
}

/// The target in words.
fn describe(kind: &ActionKind) -> String {
    let place = |slot: &Slot| match (slot.moving(), slot.group) {
        (Some((from, to)), _) => format!("slot {}, {from} → {to}", slot.id),
        (None, Some(group)) => format!("slot {}, {} at group {group}", slot.id, slot.status),
        (None, None) => format!("slot {}, {}, no group", slot.id, slot.status),
    };
    match kind {
        ActionKind::SlotChanged(slot) | ActionKind::SlotPreMigrate(slot) | ActionKind::SlotMigrate(slot) => {
            place(slot)
        }
        ActionKind::MultiSlotChanged { from, to, status, group } => {
            let group = group.map_or_else(|| "no group".to_owned(), |group| format!("group {group}"));
            format!("slots {from}-{to}, {status} at {group}")
        }
        ActionKind::GroupChanged { group, servers } => {
            let master = servers.iter().flatten().find(|server| server.role == Role::Master);
            let master = master.map_or_else(String::new, |server| format!(", master {}", server.addr));
            format!("group {group}{master}")
        }
        ActionKind::GroupRemove(group) => format!("group {group}"),
        ActionKind::Wave { slots, status } => format!("slots {slots}, {status}"),
        ActionKind::Unknown(_) => "not known to this version".to_owned(),
    }
}

impl Actions {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("action", Fit::Right),
            ("age", Fit::Right),
            ("type", Fit::Left),
            ("what", Fit::Text),
            ("followed", Fit::Left),
        ]);
        for line in &self.actions {
            let age = units::seconds(self.now_ms.saturating_sub(line.ts_ms) / 1000);
            grid.row([line.action.to_string(), age, line.kind.clone(), line.what.clone(), line.followed()]);
        }
        grid
    }
}

impl Report for Actions {
    fn human(&self, look: &Look) -> String {
        let mut summary = codis_core::plan::plural(self.there, "action", "actions");
        if self.actions.len() < self.there {
            summary = format!("the newest {} of {summary}", self.actions.len());
        }
        for gap in &self.unreadable {
            summary = format!("cannot be read: {gap}\n{summary}");
        }
        if self.actions.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
