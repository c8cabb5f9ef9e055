use codis_core::ProxyId;
use codis_ops::insight::{self, Differing};
use serde::Serialize;

use crate::{
    error::{Done, problems},
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// Compare where a proxy sends requests with what the store says
///
/// Works for Go proxies, too; of those it is not known whether they hold back requests for a slot in pre_migrate.
/// While slots move, a proxy may be behind for a moment: ask again before you worry.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy slots px-1
  codisctl proxy slots px-1 --output json | jq -r '.differing[].slots'

Exit status: 0 all slots agree · 1 no such proxy · 3 some differ · 5 store or proxy unreachable")]
pub(crate) struct SlotsArgs {
    /// The proxy
    #[arg(value_name = "ID")]
    proxy: ProxyId,
}

/// What a proxy routes unlike the store.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    product: String,
    proxy: String,
    agreeing: usize,
    pub(super) differing: Vec<Run>,
}

/// Consecutive slots that differ alike.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    /// As a range.
    pub(super) slots: String,
    pub(super) count: usize,
    pub(super) store: String,
    pub(super) proxy: String,
}

pub(super) async fn run(session: &Session, args: &SlotsArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    let proxy = insight::registered(&cluster, &args.proxy)?;
    let differing = insight::differing(&cluster, proxy, session.patience()).await?;
    let compared = Compared {
        product: cluster.product.to_string(),
        proxy: args.proxy.to_string(),
        agreeing: cluster.slots.len() - differing.len(),
        differing: Run::all(&differing),
    };
    session.ui.report(&compared)?;
    match compared.differing.first() {
        None => Ok(()),
        Some(first) => {
            let what = format!("{} slots differ", differing.len());
            let first =
                format!("slot {}: the store says {}, the proxy {}", first.slots, first.store, first.proxy);
            let next = format!("codisctl proxy show {}    and see again in a moment", args.proxy);
            Err(problems(&what, &first).next(next).into())
        }
    }
}

impl Run {
    /// The slots as runs.
    pub(super) fn all(differing: &[Differing]) -> Vec<Self> {
        let runs = differing.chunk_by(|a, b| {
            a.slot.get() + 1 == b.slot.get() && (&a.store, &a.proxy) == (&b.store, &b.proxy)
        });
        let run = |run: &[Differing]| {
            let (first, last) = (run[0].slot, run[run.len() - 1].slot);
            let slots = if first == last { first.to_string() } else { format!("{first}-{last}") };
            Self { slots, count: run.len(), store: run[0].store.clone(), proxy: run[0].proxy.clone() }
        };
        runs.map(run).collect()
    }

    /// Runs as a table.
    pub(super) fn grid(runs: &[Self]) -> Grid {
        let mut grid =
            Grid::new(&[("slots", Fit::Left), ("n", Fit::Right), ("store", Fit::Left), ("proxy", Fit::Left)]);
        for run in runs {
            grid.row([run.slots.clone(), run.count.to_string(), run.store.clone(), run.proxy.clone()]);
        }
        grid
    }
}

impl Report for Compared {
    fn human(&self, look: &Look) -> String {
        let agree = format!("{} slots agree", self.agreeing);
        if self.differing.is_empty() {
            return agree;
        }
        format!("{}\n{agree}", Run::grid(&self.differing).draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        Run::grid(&self.differing).into_rows()
    }
}
