use codis_core::{GroupId, SlotSet};
use codis_ops::{Failure, FailureKind, observe};
use serde::Serialize;

use super::view::{GroupView, grid};
use crate::{commands::damage, error::Done, render::Look, session::Session, ui::Report};

/// Show one group: its slots, its servers, and what those say of themselves
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl group show 3
  codisctl group show 3 --output json | jq -r .slots

Exit status: 0 done · 1 no such group, or a node cannot be read · 5 store unreachable")]
pub(crate) struct ShowArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    group: GroupView,
    /// Slots it owns, as ranges.
    slots: String,
}

pub(super) async fn run(session: &Session, args: &ShowArgs) -> Done {
    let cx = session.connect().await?;
    let mut cluster = cx.load().await?;
    let Some(group) = cluster.groups.get(&args.group).cloned() else {
        let (what, why) = (format!("cannot show group {}", args.group), "the product has no such group");
        return Err(Failure::new(FailureKind::Failed, what, format!("servers/group_{}", args.group), why)
            .next("codisctl group list")
            .into());
    };
    // Only the servers of this group are asked.
    cluster.groups.retain(|id, _| *id == args.group);
    let live = observe::servers(&cx, &cluster, session.patience()).await;
    cx.close().await;
    let owned: SlotSet =
        cluster.known_slots().filter(|s| s.group == Some(args.group)).map(|s| s.id).collect();
    let group = GroupView::new(&cluster, &group, &live);
    session.ui.report(&Shown { group, slots: owned.to_string() })?;
    damage(&cluster)
}

impl Report for Shown {
    fn human(&self, look: &Look) -> String {
        let slots = if self.slots.is_empty() { "none" } else { &self.slots };
        let count = codis_core::plan::plural(self.group.slot_count, "slot", "slots");
        let mut text = format!("group     {}\nslots     {count}: {slots}", self.group.group);
        let moving = self.group.moving(look);
        if !moving.is_empty() {
            text.push_str(&format!("\nmoving    {moving}"));
        }
        let table = grid(std::slice::from_ref(&self.group), look, true).draw(look);
        text.push_str(&format!("\n{table}"));
        text
    }

    fn plain(&self) -> Vec<Vec<String>> {
        grid(std::slice::from_ref(&self.group), &Look::bare(), false).into_rows()
    }
}
