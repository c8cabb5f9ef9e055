use codis_core::{Cluster, GroupId, SlotId, SlotSet, SlotStatus, plan::plural};
use serde::Serialize;

use crate::{
    commands::{cell, damage},
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// List the slots, runs of the same state and owner together
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl slot list
  codisctl slot list --state migrate --output json | jq -r '.runs[].slots'
  codisctl slot list --slots 0-63 --group 1

Exit status: 0 done · 1 a node cannot be read; the others are shown · 2 no such slot or state ·
5 store unreachable")]
pub(crate) struct ListArgs {
    /// Only these, e.g. 0-511,600
    #[arg(long, value_name = "RANGES")]
    slots: Option<SlotSet>,
    /// Only those that this group owns, or that move from or to it
    #[arg(long, value_name = "GROUP")]
    group: Option<GroupId>,
    /// Only those in this state: offline, online, pre_migrate, migrate
    #[arg(long, value_name = "STATE")]
    state: Option<SlotStatus>,
}

#[derive(Debug, Serialize)]
struct Slots {
    product: String,
    runs: Vec<Run>,
}

/// Consecutive slots that agree in everything.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Run {
    /// As a range, e.g. `0-511`.
    slots: String,
    count: usize,
    /// The word of the node; `unreadable` or `missing` where there is none.
    state: &'static str,
    group: Option<u32>,
    from: Option<u32>,
    to: Option<u32>,
    note: Option<String>,
}

pub(super) async fn run(session: &Session, args: &ListArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    let wanted = |id: &SlotId| {
        let named = args.slots.as_ref().is_none_or(|slots| slots.contains(*id));
        let fits = cluster.slot(*id).is_none_or(|slot| {
            args.group.is_none_or(|group| slot.uses(group))
                && args.state.is_none_or(|state| slot.status == state)
        });
        named && fits
    };
    let slots: SlotSet = SlotId::all().filter(wanted).collect();
    session.ui.report(&Slots { product: cluster.product.to_string(), runs: Run::all(&cluster, &slots) })?;
    damage(&cluster)
}

impl Run {
    /// The slots of the set as runs.
    pub(super) fn all(cluster: &Cluster, slots: &SlotSet) -> Vec<Self> {
        let mut runs: Vec<(SlotId, SlotId, Self)> = Vec::new();
        for id in slots.iter() {
            let one = Self::of(cluster, id);
            match runs.last_mut() {
                Some((_, last, run)) if last.get() + 1 == id.get() && *run == one => *last = id,
                _ => runs.push((id, id, one)),
            }
        }
        let named = |(first, last, run): (SlotId, SlotId, Self)| {
            let slots = if first == last { first.to_string() } else { format!("{first}-{last}") };
            Self { slots, count: usize::from(last.get() - first.get()) + 1, ..run }
        };
        runs.into_iter().map(named).collect()
    }

    /// One slot, without its number.
    fn of(cluster: &Cluster, id: SlotId) -> Self {
        let empty = Self {
            slots: String::new(),
            count: 0,
            state: "missing",
            group: None,
            from: None,
            to: None,
            note: None,
        };
        let number = |group: GroupId| group.0;
        match cluster.slot(id) {
            Some(slot) => {
                let moving = slot.moving();
                Self {
                    state: slot.status.as_str(),
                    group: slot.group.map(number),
                    from: moving.map(|(from, _)| number(from)),
                    to: moving.map(|(_, to)| number(to)),
                    ..empty
                }
            }
            None => match cluster.gaps.iter().find(|gap| gap.path.ends_with(&format!("/slots/slot_{id}"))) {
                Some(gap) => Self { state: "unreadable", note: Some(gap.why.clone()), ..empty },
                None => empty,
            },
        }
    }

    pub(super) fn grid(runs: &[Self]) -> Grid {
        let mut grid = Grid::new(&[
            ("slots", Fit::Left),
            ("n", Fit::Right),
            ("state", Fit::Left),
            ("group", Fit::Right),
            ("move", Fit::Left),
            ("note", Fit::Text),
        ]);
        for run in runs {
            let moving = run.from.zip(run.to).map(|(from, to)| format!("{from} → {to}"));
            grid.row([
                run.slots.clone(),
                run.count.to_string(),
                run.state.to_owned(),
                cell(run.group),
                cell(moving),
                cell(run.note.as_ref()),
            ]);
        }
        grid
    }
}

impl Report for Slots {
    fn human(&self, look: &Look) -> String {
        let count: usize = self.runs.iter().map(|run| run.count).sum();
        let count = plural(count, "slot", "slots");
        if self.runs.is_empty() {
            return count;
        }
        format!("{}\n{count}", Run::grid(&self.runs).draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        Run::grid(&self.runs).into_rows()
    }
}
