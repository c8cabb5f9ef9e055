use codis_core::{ProxyId, ProxyKind};
use codis_ops::{BackendStats, CauseCount, FailedOp, Latency, ProxyStats, insight};
use serde::Serialize;

use super::slots::Run;
use crate::{
    commands::{cause, cell},
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// Show one proxy: what it does, its servers, what failed lately, and where it differs from the store
///
/// The first lines are what the store says, the others the proxy's own answer. Of a Go proxy only its node and its
/// routes are known.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy show px-1
  codisctl proxy show px-1 --last 50
  codisctl proxy show px-1 --output json | jq .failures

Exit status: 0 done, also if the proxy does not answer · 1 no such proxy · 5 store unreachable
See also: proxy slots, proxy top, proxy slowlog, proxy hotkeys")]
pub(crate) struct ShowArgs {
    /// The proxy
    #[arg(value_name = "ID")]
    proxy: ProxyId,
    /// How many of the newest failures
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: usize,
}

#[derive(Debug, Serialize)]
struct Shown {
    product: String,
    proxy: String,
    addr: String,
    admin_addr: String,
    state: &'static str,
    kind: String,
    pid: i64,
    fence: bool,
    /// Why the proxy does not tell the rest.
    error: Option<String>,
    live: Option<Live>,
    backends: Vec<Server>,
    failures: Vec<CauseCount>,
    errors: Vec<FailedOp>,
    /// `null` if it is not known.
    differing: Option<Vec<Run>>,
}

#[derive(Debug, Serialize)]
struct Live {
    ready: bool,
    uptime_s: u64,
    store_connected: bool,
    last_action: Option<u64>,
    clients: u64,
    requests: u64,
    requests_per_s: f64,
    errors_per_s: f64,
    /// Of the last seconds.
    #[serde(flatten)]
    latency: Latency,
    in_flight: u64,
    parked: u64,
    pinned: u64,
    slow: u64,
}

#[derive(Debug, Serialize)]
struct Server {
    addr: String,
    connections: u64,
    calls: u64,
    errors: u64,
    failures: u64,
    in_flight: u64,
    queued_bytes: u64,
    #[serde(flatten)]
    latency: Latency,
}

pub(super) async fn run(session: &Session, args: &ShowArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    let proxy = insight::registered(&cluster, &args.proxy)?;
    let (id, patience) = (Some(&args.proxy), session.patience());
    let (stats, failed, differing) = tokio::join!(
        insight::stats(&cluster, id, patience),
        insight::failures(&cluster, id, patience),
        insight::differing(&cluster, proxy, patience)
    );
    let error = stats.as_ref().err().map(|failure| cause(&failure.why).to_owned());
    let stats = stats.ok().and_then(|answers| answers.told.into_values().next());
    let failed = failed.ok().and_then(|answers| answers.told.into_values().next()).unwrap_or_default();
    session.ui.report(&Shown {
        product: cluster.product.to_string(),
        proxy: proxy.id.to_string(),
        addr: proxy.addr.to_string(),
        admin_addr: proxy.debug_var_addr.clone(),
        state: proxy.state.as_str(),
        kind: match proxy.kind() {
            ProxyKind::Ours(version) => format!("rs {version}"),
            ProxyKind::Go => "go".to_owned(),
        },
        pid: proxy.pid,
        fence: cluster.fences.contains(proxy.addr.as_str()),
        error,
        backends: stats.iter().flat_map(|stats| &stats.backends).map(Server::new).collect(),
        live: stats.as_ref().map(Live::new),
        failures: failed.counts,
        errors: failed.errors.into_iter().take(args.last).collect(),
        differing: differing.ok().map(|differing| Run::all(&differing)),
    })
}

impl Live {
    fn new(stats: &ProxyStats) -> Self {
        Self {
            ready: stats.ready,
            uptime_s: stats.uptime_s,
            store_connected: stats.store_connected,
            last_action: stats.last_action,
            clients: stats.clients,
            requests: stats.requests,
            requests_per_s: stats.recent.requests_per_s,
            errors_per_s: stats.recent.errors_per_s,
            latency: stats.recent.latency,
            in_flight: stats.in_flight,
            parked: stats.parked,
            pinned: stats.pinned,
            slow: stats.slow,
        }
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let ready = if self.ready { "serves clients" } else { "serves nobody yet" };
        let store = if self.store_connected { "answers" } else { "does not answer: the routes are old" };
        let Latency { p50_ms, p99_ms, max_ms } = self.latency;
        vec![
            ("up", format!("{}, {ready}", units::seconds(self.uptime_s))),
            ("store", format!("{store}; last action {}", cell(self.last_action))),
            ("clients", units::grouped(self.clients)),
            (
                "ops/s",
                format!(
                    "{}, of these failed {}",
                    units::rate(self.requests_per_s),
                    units::rate(self.errors_per_s)
                ),
            ),
            ("ms", format!("p50 {p50_ms:.2}   p99 {p99_ms:.2}   max {max_ms:.2}")),
            (
                "waiting",
                format!(
                    "{} for replies, {} for slots or keys",
                    units::grouped(self.in_flight),
                    units::grouped(self.parked)
                ),
            ),
            ("slow", format!("{} since the start", units::grouped(self.slow))),
        ]
    }
}

impl Server {
    fn new(stats: &BackendStats) -> Self {
        Self {
            addr: stats.addr.clone(),
            connections: stats.connections,
            calls: stats.calls,
            errors: stats.errors,
            failures: stats.failures,
            in_flight: stats.in_flight,
            queued_bytes: stats.queued_bytes,
            latency: stats.latency,
        }
    }
}

impl Shown {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let fence = if self.fence { "there" } else { "none" };
        let mut lines = vec![
            ("proxy", self.proxy.clone()),
            ("address", format!("{}   admin {}", self.addr, self.admin_addr)),
            ("state", format!("{}, fence {fence}, {}, pid {}", self.state, self.kind, self.pid)),
        ];
        match (&self.live, &self.error) {
            (Some(live), _) => lines.extend(live.lines()),
            (None, Some(error)) => lines.push(("answer", error.clone())),
            (None, None) => {}
        }
        let slots = match &self.differing {
            None => "not known".to_owned(),
            Some(runs) if runs.is_empty() => "all as in the store".to_owned(),
            Some(runs) => {
                let count: usize = runs.iter().map(|run| run.count).sum();
                format!("{} differ from the store", codis_core::plan::plural(count, "slot", "slots"))
            }
        };
        lines.push(("slots", slots));
        lines
    }

    fn servers(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("server", Fit::Left),
            ("conns", Fit::Right),
            ("calls", Fit::Right),
            ("p50 ms", Fit::Right),
            ("p99 ms", Fit::Right),
            ("max ms", Fit::Right),
            ("waiting", Fit::Right),
            ("errors", Fit::Right),
            ("lost", Fit::Right),
        ]);
        for server in &self.backends {
            let Latency { p50_ms, p99_ms, max_ms } = server.latency;
            grid.row([
                server.addr.clone(),
                server.connections.to_string(),
                units::count(server.calls),
                format!("{p50_ms:.2}"),
                format!("{p99_ms:.2}"),
                format!("{max_ms:.2}"),
                units::grouped(server.in_flight),
                units::grouped(server.errors),
                units::grouped(server.failures),
            ]);
        }
        grid
    }

    fn failed(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("failed (UTC)", Fit::Left),
            ("cause", Fit::Left),
            ("command", Fit::Left),
            ("key", Fit::Left),
            ("server", Fit::Left),
            ("client", Fit::Left),
            ("why", Fit::Text),
        ]);
        for op in &self.errors {
            grid.row([
                units::date_time(op.ts_ms),
                op.cause.clone(),
                cell(op.command.as_ref()),
                cell(op.key.as_ref()),
                cell(op.backend.as_ref()),
                cell(op.client.as_ref()),
                op.why.clone(),
            ]);
        }
        grid
    }
}

impl Report for Shown {
    fn human(&self, look: &Look) -> String {
        let line = |(name, value): &(&str, String)| format!("{name:<8}  {value}");
        let mut parts = vec![self.lines().iter().map(line).collect::<Vec<_>>().join("\n")];
        if let Some(runs) = self.differing.as_ref().filter(|runs| !runs.is_empty()) {
            parts.push(Run::grid(runs).draw(look));
        }
        if !self.backends.is_empty() {
            parts.push(self.servers().draw(look));
        }
        if !self.errors.is_empty() {
            parts.push(self.failed().draw(look));
        }
        if !self.failures.is_empty() {
            let one = |one: &CauseCount| format!("{} {}", one.cause, units::grouped(one.count));
            let counts: Vec<String> = self.failures.iter().map(one).collect();
            parts.push(format!("failed since the start: {}", counts.join("   ")));
        }
        parts.join("\n\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.lines().into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect()
    }
}
