use codis_core::Cluster;
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// List the fences, and the proxy that stands behind each
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy fence list
  codisctl proxy fence list --output json | jq '.fences[] | select(.stale)'

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct ListArgs {}

#[derive(Debug, Serialize)]
struct Fences {
    product: String,
    fences: Vec<FenceLine>,
}

#[derive(Debug, Serialize)]
struct FenceLine {
    addr: String,
    proxy: Option<String>,
    state: Option<&'static str>,
    stale: bool,
}

pub(super) async fn run(session: &Session, _args: &ListArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    session.ui.report(&Fences::new(&cluster))
}

impl Fences {
    fn new(cluster: &Cluster) -> Self {
        let stale = cluster.stale_fences();
        let fences = cluster.fences.iter().map(|addr| {
            let proxy = cluster.proxies.values().find(|proxy| proxy.addr.as_str() == addr);
            FenceLine {
                addr: addr.clone(),
                proxy: proxy.map(|proxy| proxy.id.to_string()),
                state: proxy.map(|proxy| proxy.state.as_str()),
                stale: stale.contains(&addr.as_str()),
            }
        });
        Self { product: cluster.product.to_string(), fences: fences.collect() }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("fence", Fit::Left),
            ("proxy", Fit::Left),
            ("state", Fit::Left),
            ("verdict", Fit::Text),
        ]);
        for fence in &self.fences {
            let verdict = if fence.stale { "✗ stale: it may still serve old routes" } else { "✓" };
            grid.row([
                fence.addr.clone(),
                fence.proxy.clone().unwrap_or_else(|| "-".to_owned()),
                fence.state.unwrap_or("-").to_owned(),
                verdict.to_owned(),
            ]);
        }
        grid
    }
}

impl Report for Fences {
    fn human(&self, look: &Look) -> String {
        let stale = self.fences.iter().filter(|fence| fence.stale).count();
        let count = codis_core::plan::plural(self.fences.len(), "fence", "fences");
        let summary = match stale {
            0 => format!("{count}, none stale"),
            _ => format!(
                "{count}, {stale} stale   → when those processes are gone: codisctl proxy fence clear"
            ),
        };
        if self.fences.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
