mod watched;

use codis_core::{Cluster, MoveState, ProxyState, Role, Severity, findings, plan::plural};
use codis_ops::{Context, agent, alerts, observe};
use serde::Serialize;
use watched::{Agents, Alerts};

use crate::{
    commands::damage,
    error::Done,
    render::{Counts, Look, SlotMap, left_right, units},
    session::Session,
    ui::Report,
};

/// Show where a product stands, and what is wrong with it
///
/// Only the store is read, so that it is quick also when servers and proxies are dead. With --live
/// they are asked, too, at most a second.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl status
  codisctl status --live
  codisctl status --output json | jq '.findings[] | select(.severity == \"critical\")'

Exit status: 0 done, whatever was found · 1 a node cannot be read; the rest is shown · 5 store
unreachable")]
pub(crate) struct StatusArgs {
    /// Ask the servers and proxies, too: traffic, keys, memory
    #[arg(long)]
    live: bool,
}

/// So many findings are printed for people.
const SHOWN: usize = 20;

#[derive(Debug, Serialize)]
struct Status {
    product: String,
    store: String,
    taken_ms: u64,
    read_ms: u64,
    findings: Vec<FindingLine>,
    slots: Counts,
    groups: usize,
    servers: Servers,
    proxies: Proxies,
    agents: Agents,
    alerts: Alerts,
    tasks: Tasks,
    mover: Option<String>,
    live: Option<Live>,
}

#[derive(Debug, Serialize)]
struct FindingLine {
    severity: &'static str,
    what: String,
    place: String,
    fix: String,
}

#[derive(Debug, Serialize)]
struct Servers {
    master: usize,
    slave: usize,
    offline: usize,
}

#[derive(Debug, Serialize)]
struct Proxies {
    online: usize,
    offline: usize,
    mark_offline: usize,
    fences: usize,
    stale_fences: usize,
}

#[derive(Debug, Serialize)]
struct Tasks {
    pending: usize,
    migrating: usize,
    error: usize,
    paused: usize,
    go: usize,
}

/// What servers and proxies said.
#[derive(Debug, Default, Serialize)]
struct Live {
    requests_per_s: f64,
    errors_per_s: f64,
    /// Of the slowest proxy.
    p99_ms: f64,
    clients: u64,
    silent_proxies: usize,
    keys: u64,
    used_memory: u64,
    maxmemory: u64,
    silent_servers: usize,
}

pub(super) async fn run(session: &Session, args: &StatusArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let live = match args.live {
        true => Some(ask(session, &cx, &cluster).await),
        false => None,
    };
    let watched = (Agents::new(&agent::status(&cx).await?), Alerts::new(&alerts::list(&cx).await?));
    let store = cx.target().store.to_string();
    session.ui.report(&Status::new(&cluster, store, watched, live))?;
    cx.close().await;
    damage(&cluster)
}

async fn ask(session: &Session, cx: &Context, cluster: &Cluster) -> Live {
    let patience = session.patience();
    let (servers, proxies) =
        tokio::join!(observe::servers(cx, cluster, patience), observe::proxies(cluster, patience));
    let mut live = Live::default();
    for group in cluster.groups.values() {
        for server in &group.servers {
            match servers.get(&server.addr) {
                Some(Ok(info)) if server.role == Role::Master => {
                    live.keys += info.keys;
                    live.used_memory += info.used_memory;
                    live.maxmemory += info.maxmemory;
                }
                Some(Ok(_)) => {}
                _ => live.silent_servers += 1,
            }
        }
    }
    for answer in proxies.values() {
        match answer {
            Ok(stats) => {
                live.requests_per_s += stats.recent.requests_per_s;
                live.errors_per_s += stats.recent.errors_per_s;
                live.p99_ms = live.p99_ms.max(stats.recent.latency.p99_ms);
                live.clients += stats.clients;
            }
            Err(_) => live.silent_proxies += 1,
        }
    }
    live
}

impl Status {
    fn new(cluster: &Cluster, store: String, (agents, alerts): (Agents, Alerts), live: Option<Live>) -> Self {
        let servers = || cluster.groups.values().flat_map(|group| &group.servers);
        let role = |role| servers().filter(|server| server.role == role).count();
        let state = |state| cluster.proxies.values().filter(|proxy| proxy.state == state).count();
        let task = |state| cluster.moves.iter().filter(|task| task.state == state).count();
        let finding = |finding: codis_core::Finding| FindingLine {
            severity: finding.severity.as_str(),
            what: finding.what,
            place: finding.place,
            fix: finding.fix,
        };
        Self {
            product: cluster.product.to_string(),
            store,
            taken_ms: cluster.taken_ms,
            read_ms: cluster.read_ms,
            findings: findings(cluster).into_iter().map(finding).collect(),
            slots: SlotMap::new(cluster).counts(),
            groups: cluster.groups.len(),
            servers: Servers {
                master: role(Role::Master),
                slave: role(Role::Slave),
                offline: role(Role::Offline),
            },
            proxies: Proxies {
                online: state(ProxyState::Online),
                offline: state(ProxyState::Offline),
                mark_offline: state(ProxyState::MarkOffline),
                fences: cluster.fences.len(),
                stale_fences: cluster.stale_fences().len(),
            },
            agents,
            alerts,
            tasks: Tasks {
                pending: task(MoveState::Pending),
                migrating: task(MoveState::Migrating),
                error: task(MoveState::Error),
                paused: task(MoveState::Paused),
                go: cluster.go_tasks.len(),
            },
            mover: cluster.mover.as_ref().map(|mover| format!("{} pid {}", mover.owner, mover.pid)),
            live,
        }
    }

    fn found(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity.as_str()).count()
    }

    fn health(&self) -> String {
        let counts = [
            (self.found(Severity::Critical), "✗", "critical", "critical"),
            (self.found(Severity::Warning), "▲", "warning", "warnings"),
            (self.found(Severity::Info), "•", "remark", "remarks"),
        ];
        let parts = counts.into_iter().filter(|(count, ..)| *count > 0);
        let parts: Vec<String> =
            parts.map(|(n, sign, one, many)| format!("{sign} {}", plural(n, one, many))).collect();
        if parts.is_empty() { "✓ nothing found".to_owned() } else { parts.join("  ") }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let Servers { master, slave, offline } = &self.servers;
        let servers = master + slave + offline;
        let mut rows = vec![
            ("health", self.health()),
            ("slots", self.slots.line()),
            (
                "groups",
                format!(
                    "{}   servers {servers}: {master} master, {slave} slave, {offline} offline",
                    self.groups
                ),
            ),
            ("proxies", format!("{}      {}", self.proxies.line(), self.agents.line())),
            ("tasks", self.tasks_line()),
        ];
        if let Some(alerts) = self.alerts.line() {
            rows.insert(1, ("alerts", alerts));
        }
        match &self.live {
            Some(live) => rows.extend(live.rows()),
            None => rows.push(("traffic", "not asked   → codisctl status --live".to_owned())),
        }
        rows
    }

    fn tasks_line(&self) -> String {
        let Tasks { pending, migrating, error, paused, go } = &self.tasks;
        let total = pending + migrating + error + paused;
        let mut line = match total {
            0 => "none".to_owned(),
            _ => format!("{total}: {migrating} migrating, {pending} pending, {error} error"),
        };
        if *paused > 0 {
            line.push_str(&format!(", {paused} paused"));
        }
        if let Some(mover) = &self.mover {
            line.push_str(&format!("; moved by {mover}   → codisctl migrate watch"));
        }
        if *go > 0 {
            line.push_str(&format!("; {go} of the Go tools"));
        }
        line
    }
}

impl Proxies {
    fn line(&self) -> String {
        let mut line = format!("{} online  {} offline", self.online, self.offline);
        if self.mark_offline > 0 {
            line.push_str(&format!("  {} leaving", self.mark_offline));
        }
        match self.stale_fences {
            0 => line.push_str("; fences clean"),
            stale => line.push_str(&format!("; {}", plural(stale, "stale fence", "stale fences"))),
        }
        line
    }
}

impl Live {
    fn rows(&self) -> [(&'static str, String); 2] {
        let traffic = format!(
            "{} ops/s   p99 {:.2} ms   {} fails/s   {} clients{}",
            units::rate(self.requests_per_s),
            self.p99_ms,
            units::rate(self.errors_per_s),
            units::grouped(self.clients),
            silent(self.silent_proxies, "proxy", "proxies")
        );
        let limit = match self.maxmemory {
            0 => String::new(),
            max => format!(" of {}", units::bytes(max)),
        };
        let data = format!(
            "{} keys   {}{limit}{}",
            units::count(self.keys),
            units::bytes(self.used_memory),
            silent(self.silent_servers, "server", "servers")
        );
        [("traffic", traffic), ("data", data)]
    }
}

fn silent(count: usize, one: &str, many: &str) -> String {
    if count == 0 { String::new() } else { format!("   ▲ {} without an answer", plural(count, one, many)) }
}

impl Report for Status {
    fn human(&self, look: &Look) -> String {
        let read = format!("{} UTC, read in {} ms", units::date_time(self.taken_ms), self.read_ms);
        let mut lines = vec![left_right(&format!("{:<8}  {}", self.product, self.store), &read, look.width)];
        lines.extend(self.rows().into_iter().map(|(name, value)| format!("{name:<8}  {value}")));
        for finding in self.findings.iter().take(SHOWN) {
            let sign = match finding.severity {
                "critical" => "✗",
                "warning" => "▲",
                _ => "•",
            };
            lines.push(left_right(&format!("{sign} {}", finding.what), &finding.place, look.width));
            if !finding.fix.is_empty() {
                lines.push(format!("  fix   {}", finding.fix));
            }
        }
        if self.findings.len() > SHOWN {
            lines.push(format!("and {} more: codisctl status --output json", self.findings.len() - SHOWN));
        }
        lines.join("\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        let row = |(name, value): (&str, String)| vec![name.to_owned(), value];
        let finding = |line: &FindingLine| {
            vec![line.severity.to_owned(), line.what.clone(), line.place.clone(), line.fix.clone()]
        };
        self.rows().into_iter().map(row).chain(self.findings.iter().map(finding)).collect()
    }
}
