use codis_core::{Cluster, ProductName, Role};
use serde::Serialize;

use crate::{
    commands::damage,
    error::Done,
    render::{Counts, Fit, Grid, Look, SlotMap},
    session::Session,
    ui::Report,
};

/// Show what a product consists of, as the store has it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl product show feed
  codisctl --product feed product show --output json

Exit status: 0 done · 1 no such product, or a node cannot be read · 5 store unreachable")]
pub(crate) struct ShowArgs {
    /// Name of the product; else the one of --product
    #[arg(value_name = "NAME")]
    name: Option<ProductName>,
}

#[derive(Debug, Serialize)]
struct Shown {
    product: String,
    store: String,
    slots: Counts,
    groups: Vec<GroupLine>,
    proxies_online: usize,
    proxies: usize,
    tasks: usize,
}

#[derive(Debug, Serialize)]
struct GroupLine {
    group: u32,
    master: Option<String>,
    slaves: usize,
    offline: usize,
    slots: usize,
}

pub(super) async fn run(session: &Session, args: &ShowArgs) -> Done {
    let cx = session.connect_to(args.name.as_ref()).await?;
    let cluster = cx.load().await?;
    let store = cx.target().store.to_string();
    cx.close().await;
    session.ui.report(&Shown::new(&cluster, store))?;
    damage(&cluster)
}

impl Shown {
    fn new(cluster: &Cluster, store: String) -> Self {
        let groups = cluster.groups.values().map(|group| GroupLine {
            group: group.id.0,
            master: group.master().map(|master| master.addr.to_string()),
            slaves: group.slaves().count(),
            offline: group.servers.iter().filter(|server| server.role == Role::Offline).count(),
            slots: cluster.slots_using(group.id).count(),
        });
        Self {
            product: cluster.product.to_string(),
            store,
            slots: SlotMap::new(cluster).counts(),
            groups: groups.collect(),
            proxies_online: cluster.online_proxies().count(),
            proxies: cluster.proxies.len(),
            tasks: cluster.moves.len() + cluster.go_tasks.len(),
        }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("group", Fit::Right),
            ("master", Fit::Left),
            ("slaves", Fit::Right),
            ("offline", Fit::Right),
            ("slots", Fit::Right),
        ]);
        for line in &self.groups {
            grid.row([
                line.group.to_string(),
                line.master.clone().unwrap_or_else(|| "-".to_owned()),
                line.slaves.to_string(),
                line.offline.to_string(),
                line.slots.to_string(),
            ]);
        }
        grid
    }
}

impl Report for Shown {
    fn human(&self, look: &Look) -> String {
        let slots = self.slots.line();
        let mut text = format!("product   {}\nstore     {}\nslots     {slots}", self.product, self.store);
        text.push_str(&format!("\nproxies   {} online of {}", self.proxies_online, self.proxies));
        text.push_str(&format!("\ntasks     {}", self.tasks));
        if !self.groups.is_empty() {
            text.push_str(&format!("\n{}", self.grid().draw(look)));
        }
        text.push_str(&format!("\n{}", codis_core::plan::plural(self.groups.len(), "group", "groups")));
        text
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
