use codis_core::plan::plural;
use codis_ops::observe;
use serde::Serialize;

use super::view::{GroupView, grid, summary};
use crate::{commands::damage, error::Done, render::Look, session::Session, ui::Report};

/// List the groups with their servers, and what those say of themselves
///
/// Group, server and role are what the store says; the other columns are what the server answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl group list
  codisctl group list --output json | jq '.groups[].servers[].addr'

Exit status: 0 done, also if a server does not answer · 1 a node cannot be read · 5 store unreachable")]
pub(crate) struct ListArgs {}

#[derive(Debug, Serialize)]
struct Groups {
    product: String,
    groups: Vec<GroupView>,
}

pub(super) async fn run(session: &Session, _args: &ListArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let live = observe::servers(&cx, &cluster, session.patience()).await;
    cx.close().await;
    let groups = cluster.groups.values().map(|group| GroupView::new(&cluster, group, &live));
    session.ui.report(&Groups { product: cluster.product.to_string(), groups: groups.collect() })?;
    damage(&cluster)
}

impl Report for Groups {
    fn human(&self, look: &Look) -> String {
        if self.groups.is_empty() {
            return plural(0, "group", "groups");
        }
        format!("{}\n{}", grid(&self.groups, look, true).draw(look), summary(&self.groups))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        grid(&self.groups, &Look::bare(), false).into_rows()
    }
}
