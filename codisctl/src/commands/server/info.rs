use codis_core::{Addr, Cluster, Group, GroupId, Role, Server, Versioned};
use codis_ops::{Failure, FailureKind, LiveRole, ServerInfo, observe};
use serde::Serialize;

use crate::{
    commands::cause,
    error::Done,
    render::{Look, units},
    session::Session,
    ui::Report,
};

/// Ask a server what it is
///
/// The first lines are what the store says, the others what the server answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl server info 10.0.7.51:6383
  codisctl server info 10.0.7.51:6383 --output json | jq .used_memory

Exit status: 0 done · 2 an address without a port · 5 store or server unreachable")]
pub(crate) struct InfoArgs {
    /// The server; it need not be listed
    #[arg(value_name = "HOST:PORT")]
    server: Addr,
}

#[derive(Debug, Serialize)]
struct Shown {
    addr: String,
    group: Option<u32>,
    listed_role: Option<&'static str>,
    role: &'static str,
    version: String,
    run_id: String,
    master: Option<String>,
    link_up: Option<bool>,
    offset: u64,
    slaves: Vec<String>,
    used_memory: u64,
    maxmemory: u64,
    policy: String,
    keys: u64,
    ops_per_s: u64,
    clients: u64,
    uptime_s: u64,
    loading: bool,
}

pub(super) async fn run(session: &Session, args: &InfoArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let listed = cluster.server(&args.server).map(|server| server.value.clone());
    let mut answers = observe::servers(&cx, &alone(&cluster, &args.server), session.settings.timeout).await;
    cx.close().await;
    let fail = |why: String| {
        Failure::new(FailureKind::Unreachable, "the server does not answer", &args.server, cause(&why))
            .next("look whether it runs; its password goes into CODIS_PASSWORD or password_file")
    };
    let answer = answers.remove(&args.server).unwrap_or_else(|| Err("it was not asked".to_owned()));
    session.ui.report(&Shown::new(&args.server, listed.as_ref(), &answer.map_err(fail)?))
}

/// A snapshot with this server alone, listed or not, so that no other one is asked.
fn alone(cluster: &Cluster, addr: &Addr) -> Cluster {
    let mut alone = Cluster::empty(cluster.product.clone());
    let id = GroupId(0);
    let servers = vec![Versioned::new(Server::new(addr.clone(), id, Role::Offline), 0)];
    alone.groups.insert(id, Group { id, servers });
    alone
}

impl Shown {
    fn new(addr: &Addr, listed: Option<&Server>, info: &ServerInfo) -> Self {
        Self {
            addr: addr.to_string(),
            group: listed.map(|server| server.group.0),
            listed_role: listed.map(|server| server.role.as_str()),
            role: match info.role {
                LiveRole::Master => "master",
                LiveRole::Slave => "slave",
            },
            version: info.version.clone(),
            run_id: info.run_id.clone(),
            master: info.master.as_ref().map(ToString::to_string),
            link_up: info.link_up,
            offset: info.offset,
            slaves: info.slaves.iter().map(|slave| slave.addr.clone()).collect(),
            used_memory: info.used_memory,
            maxmemory: info.maxmemory,
            policy: info.policy.clone(),
            keys: info.keys,
            ops_per_s: info.ops_per_s,
            clients: info.clients,
            uptime_s: info.uptime_s,
            loading: info.loading,
        }
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let listed = match (self.group, self.listed_role) {
            (Some(group), Some(role)) => format!("in group {group} as {role}"),
            _ => "in no group".to_owned(),
        };
        let link = self.link_up.map_or("", |up| if up { ", link up" } else { ", link down" });
        let role = match &self.master {
            Some(master) if self.role == "slave" => format!("{} of {master}{link}", self.role),
            _ => self.role.to_owned(),
        };
        let memory = match self.maxmemory {
            0 => format!("{}, no limit", units::bytes(self.used_memory)),
            max => format!("{} of {}, {}", units::bytes(self.used_memory), units::bytes(max), self.policy),
        };
        let slaves = if self.slaves.is_empty() { "none".to_owned() } else { self.slaves.join(" ") };
        let loading = if self.loading { ", loading its data" } else { "" };
        vec![
            ("server", self.addr.clone()),
            ("listed", listed),
            ("role", role),
            ("version", self.version.clone()),
            ("up", format!("{}{loading}", units::seconds(self.uptime_s))),
            ("memory", memory),
            ("keys", units::grouped(self.keys)),
            ("ops/s", units::grouped(self.ops_per_s)),
            ("clients", units::grouped(self.clients)),
            ("slaves", slaves),
            ("offset", units::grouped(self.offset)),
            ("run id", self.run_id.clone()),
        ]
    }
}

impl Report for Shown {
    fn human(&self, _look: &Look) -> String {
        let line = |(name, value): &(&str, String)| format!("{name:<8}  {value}");
        self.lines().iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.lines().into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect()
    }
}
