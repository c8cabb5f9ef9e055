use codis_core::ProxyId;
use codis_ops::{SlowOp, insight};
use serde::Serialize;

use super::silent::{self, Silent};
use crate::{
    commands::cell,
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// List requests that took long, newest first, and where their time went
///
/// queue: until it was sent to the server. move: held back because its slot or key was moving. server: until the
/// reply was in. flush: until the client had taken it. All in milliseconds. What is slow, and how many are kept,
/// says each proxy's slowlog_slower_than and slowlog_max_len.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy slowlog
  codisctl proxy slowlog px-1 --last 100
  codisctl proxy slowlog --output json | jq '.entries[] | select(.migration_wait_us > 0)'

Exit status: 0 done, also if some proxy does not answer · 1 no such proxy · 5 store unreachable, or no proxy answers
See also: server slowlog, which asks a redis-server")]
pub(crate) struct SlowlogArgs {
    /// The proxy; without it all of the product together
    #[arg(value_name = "ID")]
    proxy: Option<ProxyId>,
    /// How many requests
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
}

#[derive(Debug, Serialize)]
struct Slowlog {
    product: String,
    proxies: Vec<String>,
    silent: Vec<Silent>,
    entries: Vec<Entry>,
    /// How many there were since the start.
    total: u64,
}

#[derive(Debug, Serialize)]
struct Entry {
    proxy: String,
    #[serde(flatten)]
    op: SlowOp,
}

pub(super) async fn run(session: &Session, args: &SlowlogArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    let answers = insight::slowlogs(&cluster, args.proxy.as_ref(), session.patience()).await?;
    let silent = silent::list(&answers);
    let proxies = answers.told.keys().map(ToString::to_string).collect();
    let total = answers.told.values().map(|page| page.total).sum();
    let of = |(id, page): (ProxyId, codis_ops::SlowPage)| {
        page.entries.into_iter().map(move |op| Entry { proxy: id.to_string(), op })
    };
    let mut entries: Vec<Entry> = answers.told.into_iter().flat_map(of).collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.op.ts_ms));
    entries.truncate(args.last);
    session.ui.report(&Slowlog { product: cluster.product.to_string(), proxies, silent, entries, total })
}

impl Slowlog {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("when (UTC)", Fit::Left),
            ("proxy", Fit::Left),
            ("command", Fit::Left),
            ("key", Fit::Text),
            ("ms", Fit::Right),
            ("queue", Fit::Right),
            ("move", Fit::Right),
            ("server", Fit::Right),
            ("flush", Fit::Right),
            ("from", Fit::Left),
        ]);
        let ms = |usecs: u64| format!("{:.1}", usecs as f64 / 1000.0);
        for Entry { proxy, op } in &self.entries {
            grid.row([
                units::date_time(op.ts_ms),
                proxy.clone(),
                op.command.clone(),
                cell(op.key.as_ref()),
                ms(op.took_us),
                ms(op.queue_us),
                ms(op.migration_wait_us),
                ms(op.backend_us),
                ms(op.flush_us),
                cell(op.backend.as_ref()),
            ]);
        }
        grid
    }
}

impl Report for Slowlog {
    fn human(&self, look: &Look) -> String {
        let proxies = codis_core::plan::plural(self.proxies.len(), "proxy", "proxies");
        let total = codis_core::plan::plural(self.total as usize, "slow request", "slow requests");
        let summary = format!("{proxies}: {total} since the start{}", silent::note(&self.silent));
        if self.entries.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |Entry { proxy, op }: &Entry| {
            let times = [op.took_us, op.queue_us, op.migration_wait_us, op.backend_us, op.flush_us];
            let head = [op.ts_ms.to_string(), proxy.clone(), op.command.clone(), cell(op.key.as_ref())];
            head.into_iter()
                .chain(times.map(|usecs| usecs.to_string()))
                .chain([cell(op.backend.as_ref())])
                .collect()
        };
        self.entries.iter().map(row).collect()
    }
}
