use std::collections::BTreeMap;

use codis_core::{Cluster, Proxy, ProxyKind, ProxyState};
use codis_ops::{ProxyStats, observe};
use serde::Serialize;

use crate::{
    commands::{cause, cell, damage},
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// List the proxies, and what those say of themselves
///
/// Proxy, address, state and kind are what the store says; the other columns are the proxy's answer.
/// Under routes, a proxy that routes some slot unlike most others is marked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy list
  codisctl proxy list --output plain | cut -f 2

Exit status: 0 done, also if a proxy does not answer · 1 a node cannot be read · 5 store unreachable")]
pub(crate) struct ListArgs {}

#[derive(Debug, Serialize)]
struct Proxies {
    product: String,
    proxies: Vec<ProxyLine>,
    fences: usize,
    stale_fences: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ProxyLine {
    proxy: String,
    addr: String,
    state: &'static str,
    /// `rs VERSION` for ours, `go` for the others.
    kind: String,
    clients: Option<u64>,
    requests_per_s: Option<f64>,
    errors_per_s: Option<f64>,
    p99_ms: Option<f64>,
    routes_agree: Option<bool>,
    last_action: Option<u64>,
    error: Option<String>,
}

pub(super) async fn run(session: &Session, _args: &ListArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let live = observe::proxies(&cluster, session.patience()).await;
    cx.close().await;
    let stats: Vec<&ProxyStats> = live.values().filter_map(|answer| answer.as_ref().ok()).collect();
    let usual = usual_digest(&stats);
    let lines = cluster.proxies.values().map(|proxy| ProxyLine::new(proxy, live.get(&proxy.id), usual));
    session.ui.report(&Proxies::new(&cluster, lines.collect()))?;
    damage(&cluster)
}

/// What most online proxies route by.
fn usual_digest<'a>(stats: &[&'a ProxyStats]) -> Option<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for proxy in stats.iter().filter(|proxy| proxy.ready) {
        *counts.entry(&proxy.slots_digest).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(digest, _)| digest)
}

impl ProxyLine {
    fn new(proxy: &Proxy, answer: Option<&Result<ProxyStats, String>>, usual: Option<&str>) -> Self {
        let stats = answer.and_then(|answer| answer.as_ref().ok());
        let ready = stats.filter(|stats| stats.ready);
        Self {
            proxy: proxy.id.to_string(),
            addr: proxy.addr.to_string(),
            state: proxy.state.as_str(),
            kind: match proxy.kind() {
                ProxyKind::Ours(version) => format!("rs {version}"),
                ProxyKind::Go => "go".to_owned(),
            },
            clients: stats.map(|stats| stats.clients),
            requests_per_s: stats.map(|stats| stats.recent.requests_per_s),
            errors_per_s: stats.map(|stats| stats.recent.errors_per_s),
            p99_ms: stats.map(|stats| stats.recent.latency.p99_ms),
            routes_agree: ready.zip(usual).map(|(stats, usual)| stats.slots_digest == usual),
            last_action: stats.and_then(|stats| stats.last_action),
            error: answer.and_then(|answer| answer.as_ref().err()).map(|error| cause(error).to_owned()),
        }
    }
}

impl Proxies {
    fn new(cluster: &Cluster, proxies: Vec<ProxyLine>) -> Self {
        let stale = cluster.stale_fences().into_iter().map(str::to_owned).collect();
        Self {
            product: cluster.product.to_string(),
            proxies,
            fences: cluster.fences.len(),
            stale_fences: stale,
        }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("proxy", Fit::Left),
            ("address", Fit::Left),
            ("state", Fit::Left),
            ("conns", Fit::Right),
            ("ops/s", Fit::Right),
            ("fails/s", Fit::Right),
            ("p99 ms", Fit::Right),
            ("routes", Fit::Left),
            ("last ack", Fit::Right),
            ("kind", Fit::Left),
            ("note", Fit::Text),
        ]);
        for line in &self.proxies {
            let routes = line.routes_agree.map(|agree| if agree { "agree" } else { "✗ differ" });
            grid.row([
                line.proxy.clone(),
                line.addr.clone(),
                line.state.to_owned(),
                cell(line.clients.map(units::grouped)),
                cell(line.requests_per_s.map(units::rate)),
                cell(line.errors_per_s.map(units::rate)),
                cell(line.p99_ms.map(|ms| format!("{ms:.2}"))),
                cell(routes),
                cell(line.last_action),
                line.kind.clone(),
                cell(line.error.as_ref()),
            ]);
        }
        grid
    }

    fn in_state(&self, state: ProxyState) -> usize {
        self.proxies.iter().filter(|line| line.state == state.as_str()).count()
    }
}

impl Report for Proxies {
    fn human(&self, look: &Look) -> String {
        let mut summary = format!("{} online", self.in_state(ProxyState::Online));
        for (state, word) in [(ProxyState::Offline, "offline"), (ProxyState::MarkOffline, "leaving")] {
            if self.in_state(state) > 0 {
                summary.push_str(&format!(", {} {word}", self.in_state(state)));
            }
        }
        let stale = self.stale_fences.len();
        match stale {
            0 => summary.push_str(&format!("; fences {}, all of online proxies", self.fences)),
            _ => summary.push_str(&format!(
                "; {stale} of {} fences stale   → codisctl proxy fence list",
                self.fences
            )),
        }
        if self.proxies.is_empty() {
            return summary;
        }
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
