use codis_core::Addr;
use codis_ops::insight::{self, ServerSlow};
use serde::Serialize;

use crate::{
    commands::cell,
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// List the slow commands of a redis-server, newest first
///
/// What SLOWLOG GET of the server says: how long each command ran there, without waiting and network.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl server slowlog 10.0.7.51:6383
  codisctl server slowlog 10.0.7.51:6383 --last 100 --output json | jq '.entries[].usecs'

Exit status: 0 done · 2 an address without a port · 5 store or server unreachable
See also: proxy slowlog, which shows what clients waited for")]
pub(crate) struct SlowlogArgs {
    /// The server; it need not be listed
    #[arg(value_name = "HOST:PORT")]
    server: Addr,
    /// How many commands
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
}

#[derive(Debug, Serialize)]
struct Slowlog {
    addr: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: i64,
    ts_ms: u64,
    usecs: i64,
    args: Vec<String>,
    client: Option<String>,
    name: Option<String>,
}

pub(super) async fn run(session: &Session, args: &SlowlogArgs) -> Done {
    let cx = session.connect().await?;
    let entries = insight::server_slowlog(&cx, &args.server, args.last).await?;
    cx.close().await;
    let entries = entries.into_iter().map(Entry::from).collect();
    session.ui.report(&Slowlog { addr: args.server.to_string(), entries })
}

impl From<ServerSlow> for Entry {
    fn from(slow: ServerSlow) -> Self {
        let ServerSlow { id, time_s, usecs, args, client, name } = slow;
        Self { id, ts_ms: u64::try_from(time_s).unwrap_or(0) * 1000, usecs, args, client, name }
    }
}

impl Slowlog {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("when (UTC)", Fit::Left),
            ("ms", Fit::Right),
            ("client", Fit::Left),
            ("request", Fit::Text),
        ]);
        for entry in &self.entries {
            grid.row([
                units::date_time(entry.ts_ms),
                format!("{:.1}", entry.usecs as f64 / 1000.0),
                cell(entry.client.as_ref()),
                entry.args.join(" "),
            ]);
        }
        grid
    }
}

impl Report for Slowlog {
    fn human(&self, look: &Look) -> String {
        let count = codis_core::plan::plural(self.entries.len(), "slow command", "slow commands");
        if self.entries.is_empty() {
            return count;
        }
        format!("{}\n{count}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |entry: &Entry| {
            let head = [entry.ts_ms.to_string(), entry.usecs.to_string(), cell(entry.client.as_ref())];
            head.into_iter().chain([entry.args.join(" ")]).collect()
        };
        self.entries.iter().map(row).collect()
    }
}
