use codis_core::ProxyId;
use codis_ops::{CommandTimes, insight};
use serde::Serialize;

use super::silent::{self, Silent};
use crate::{
    error::Done,
    render::{Fit, Grid, Look, gauge, units},
    session::Session,
    ui::Report,
};

/// List the commands that take the most time, since the proxies started
///
/// Time is from the request to its reply, as clients see it: waiting for servers and for moving slots included.
/// Percentiles of several proxies are those of all their requests together.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy top
  codisctl proxy top px-1 --limit 5
  codisctl proxy top --output json | jq '.commands[] | select(.errors > 0)'

Exit status: 0 done, also if some proxy does not answer · 1 no such proxy · 5 store unreachable, or no proxy answers")]
pub(crate) struct TopArgs {
    /// The proxy; without it all of the product together
    #[arg(value_name = "ID")]
    proxy: Option<ProxyId>,
    /// How many commands
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Serialize)]
struct Top {
    product: String,
    proxies: Vec<String>,
    silent: Vec<Silent>,
    commands: Vec<Line>,
    #[serde(skip)]
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct Line {
    command: String,
    calls: u64,
    errors: u64,
    /// Of all time.
    share: f64,
    mean_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

pub(super) async fn run(session: &Session, args: &TopArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    let answers = insight::commands(&cluster, args.proxy.as_ref(), session.patience()).await?;
    let sums = insight::add_commands(answers.told.values());
    let total: u64 = sums.iter().map(|sum| sum.usecs).sum();
    let left_out = sums.len().saturating_sub(args.limit);
    session.ui.report(&Top {
        product: cluster.product.to_string(),
        proxies: answers.told.keys().map(ToString::to_string).collect(),
        silent: silent::list(&answers),
        commands: sums.iter().take(args.limit).map(|sum| Line::new(sum, total)).collect(),
        left_out,
    })
}

impl Line {
    fn new(sum: &CommandTimes, total: u64) -> Self {
        let latency = sum.latency();
        Self {
            command: sum.command.clone(),
            calls: sum.calls,
            errors: sum.errors,
            share: if total == 0 { 0.0 } else { sum.usecs as f64 / total as f64 },
            mean_ms: if sum.calls == 0 { 0.0 } else { sum.usecs as f64 / sum.calls as f64 / 1000.0 },
            p50_ms: latency.p50_ms,
            p99_ms: latency.p99_ms,
            max_ms: latency.max_ms,
        }
    }
}

impl Top {
    fn grid(&self, look: &Look) -> Grid {
        let mut grid = Grid::new(&[
            ("command", Fit::Left),
            ("calls", Fit::Right),
            ("mean ms", Fit::Right),
            ("p50 ms", Fit::Right),
            ("p99 ms", Fit::Right),
            ("max ms", Fit::Right),
            ("fails", Fit::Right),
            ("share of time", Fit::Left),
        ]);
        let ms = |ms: f64| format!("{ms:.2}");
        for line in &self.commands {
            grid.row([
                line.command.clone(),
                units::count(line.calls),
                ms(line.mean_ms),
                ms(line.p50_ms),
                ms(line.p99_ms),
                ms(line.max_ms),
                units::grouped(line.errors),
                format!("{} {:.1} %", gauge(line.share, 10, look.ascii), line.share * 100.0),
            ]);
        }
        grid
    }
}

impl Report for Top {
    fn human(&self, look: &Look) -> String {
        let proxies = codis_core::plan::plural(self.proxies.len(), "proxy", "proxies");
        let commands = codis_core::plan::plural(self.commands.len(), "command", "commands");
        let more =
            if self.left_out > 0 { format!(", {} more not shown", self.left_out) } else { String::new() };
        let summary = format!("{proxies}: {commands}{more}{}", silent::note(&self.silent));
        if self.commands.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", self.grid(look).draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |line: &Line| {
            vec![
                line.command.clone(),
                line.calls.to_string(),
                line.errors.to_string(),
                format!("{:.4}", line.share),
                line.mean_ms.to_string(),
                line.p50_ms.to_string(),
                line.p99_ms.to_string(),
                line.max_ms.to_string(),
            ]
        };
        self.commands.iter().map(row).collect()
    }
}
