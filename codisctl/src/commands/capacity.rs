use codis_core::{duty::snapshots::Capacity, plan::plural};
use codis_ops::{
    Failure, FailureKind,
    snapshots::{self, SnapshotSettings},
};
use serde::Serialize;

use crate::{
    commands::damage,
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// How full hosts are, and may be
///
/// A server that saves forks, and its child may need as much memory as it has itself. Where at most one child lives on a
/// host at a time (codisctl snapshot), a host of n servers can be filled to (n-1)/n. What a host has is what its servers
/// say, or what duty.snapshots.host_memory says.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl capacity
  codisctl capacity --host 10.0.7.53
  codisctl capacity --output json | jq '.hosts[] | select(.over)'

Exit status: 0 every host has room · 3 a host is over, or nobody knows what it has ·
5 store unreachable")]
pub(crate) struct CapacityArgs {
    /// This host only
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

#[derive(Debug, Serialize)]
struct Hosts {
    hosts: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    host: String,
    /// Bytes; nothing: nobody knows.
    memory: Option<u64>,
    instances: u64,
    /// Servers that do not answer.
    silent: Vec<String>,
    used: u64,
    /// What the servers may use together; nothing: one has no limit.
    max: Option<u64>,
    fork_needs: u64,
    largest: Option<String>,
    fill: Option<u64>,
    over: bool,
}

pub(super) async fn run(session: &Session, args: &CapacityArgs) -> Done {
    let settings = SnapshotSettings::read(session.settings.file(), &session.settings.ha.0);
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plans = snapshots::plan(&cx, &cluster, args.host.as_deref(), &settings).await;
    cx.close().await;
    let hosts = Hosts { hosts: plans?.into_iter().map(|plan| Line::new(&plan.capacity)).collect() };
    session.ui.report(&hosts)?;
    damage(&cluster)?;
    match hosts.hosts.iter().find_map(Line::failure) {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

impl Line {
    fn new(capacity: &Capacity) -> Self {
        let known = capacity.memory > 0;
        Self {
            host: capacity.host.clone(),
            memory: known.then_some(capacity.memory),
            instances: capacity.instances,
            silent: capacity.silent.iter().map(ToString::to_string).collect(),
            used: capacity.used,
            max: capacity.max,
            fork_needs: capacity.needs,
            largest: capacity.largest.as_ref().map(ToString::to_string),
            fill: known.then_some(capacity.fill),
            over: capacity.over,
        }
    }

    fn failure(&self) -> Option<Failure> {
        let Some(memory) = self.memory else {
            let why = "its servers do not say how much memory it has";
            let next = format!("write \"{}\" = \"64gb\" into [duty.snapshots.host_memory]", self.host);
            let what = "a host's capacity is not known";
            return Some(Failure::new(FailureKind::Problems, what, &self.host, why).next(next));
        };
        let largest = self.largest.as_ref().filter(|_| self.over)?;
        let why = format!(
            "{} in use, and a child of {largest} may need {} more, of {}",
            units::bytes(self.used),
            units::bytes(self.fork_needs),
            units::bytes(memory)
        );
        let next = format!("codisctl snapshot plan --host {}    or: codisctl migrate drain GROUP", self.host);
        Some(Failure::new(FailureKind::Problems, "a host is too full", &self.host, why).next(next))
    }

    /// What a table says beside it.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let (Some(max), Some(memory)) = (self.max, self.memory)
            && max > memory
        {
            let servers = plural(self.instances as usize, "instance", "instances");
            let max = units::bytes(max);
            remarks.push(format!("maxmemory of {servers} ({max}) is more than the host has"));
        }
        if self.max.is_none() && (self.silent.len() as u64) < self.instances {
            remarks.push("a server without maxmemory may fill it at any time".to_owned());
        }
        if !self.silent.is_empty() {
            remarks.push(format!("not counted, as they do not answer: {}", self.silent.join(", ")));
        }
        remarks.into_iter().map(|remark| format!("{}: {remark}", self.host)).collect()
    }
}

impl Hosts {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("host", Fit::Left),
            ("memory", Fit::Right),
            ("instances", Fit::Right),
            ("used", Fit::Right),
            ("max", Fit::Right),
            ("fork needs", Fit::Right),
            ("may be filled to", Fit::Text),
        ]);
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), units::bytes);
        for line in &self.hosts {
            let fill = match line.fill {
                None => "✗ not known".to_owned(),
                Some(fill) if line.over => format!("✗ {}: now over", units::bytes(fill)),
                Some(fill) => format!("{} (one at a time)", units::bytes(fill)),
            };
            grid.row([
                line.host.clone(),
                size(line.memory),
                line.instances.to_string(),
                units::bytes(line.used),
                size(line.max),
                units::bytes(line.fork_needs),
                fill,
            ]);
        }
        grid
    }
}

impl Report for Hosts {
    fn human(&self, look: &Look) -> String {
        let remarks = self.hosts.iter().flat_map(Line::remarks);
        [self.grid().draw(look)].into_iter().chain(remarks).collect::<Vec<_>>().join("\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
