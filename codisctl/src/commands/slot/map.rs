use codis_core::{Cluster, SlotSet};
use serde::Serialize;

use crate::{
    commands::{damage, slot::list::Run},
    error::Done,
    render::{Counts, Glyphs, Look, SlotMap},
    session::Session,
    ui::Report,
};

/// Draw who owns which slot, and which slots are not online
///
/// A cell is one slot. The first slot of a run of one owner shows the group, the others a dot.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl slot map
  codisctl slot map --wide --ascii

Exit status: 0 done · 1 a node cannot be read; its slot is shown as ? · 5 store unreachable")]
pub(crate) struct MapArgs {
    /// 32 rows of 32 slots with group numbers, and tenths of the keys moved
    #[arg(long)]
    wide: bool,
    /// Only ASCII signs
    #[arg(long)]
    ascii: bool,
}

#[derive(Debug, Serialize)]
struct Map {
    product: String,
    counts: Counts,
    runs: Vec<Run>,
    #[serde(skip)]
    picture: SlotMap,
    #[serde(skip)]
    wide: bool,
    #[serde(skip)]
    ascii: bool,
}

pub(super) async fn run(session: &Session, args: &MapArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    session.ui.report(&Map::new(&cluster, args))?;
    damage(&cluster)
}

impl Map {
    fn new(cluster: &Cluster, args: &MapArgs) -> Self {
        let picture = SlotMap::new(cluster);
        let all: SlotSet = codis_core::SlotId::all().collect();
        Self {
            product: cluster.product.to_string(),
            counts: picture.counts(),
            runs: Run::all(cluster, &all),
            picture,
            wide: args.wide,
            ascii: args.ascii,
        }
    }
}

impl Report for Map {
    fn human(&self, look: &Look) -> String {
        let glyphs = Glyphs::new(self.ascii || look.ascii);
        let map = match self.wide {
            true => self.picture.wide(glyphs, look.colour),
            false => self.picture.narrow(glyphs, look.colour),
        };
        format!("{map}\n{}", self.picture.legend(glyphs, self.wide))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        Run::grid(&self.runs).into_rows()
    }
}
