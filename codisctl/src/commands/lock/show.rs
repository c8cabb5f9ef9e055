use codis_core::{Cluster, Dashboard, LockEntry, plan::Holder};
use codis_ops::locks;
use serde::Serialize;

use crate::{
    commands::damage,
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// Show who holds the lock, since when, and whether its owner still lives; and the dashboard node
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl lock show
  codisctl lock show --output json | jq '.locks[] | select(.owner == \"gone\")'

Exit status: 0 done · 1 a node cannot be read · 5 store unreachable")]
pub(crate) struct ShowArgs {}

#[derive(Debug, Serialize)]
struct Locks {
    product: String,
    locks: Vec<LockLine>,
    dashboard: Option<DashboardLine>,
}

/// Whoever may move slots: a Go dashboard, or our mover, which keeps one from starting.
#[derive(Debug, Serialize)]
struct DashboardLine {
    addr: String,
    pid: i64,
    session: bool,
    owner: &'static str,
}

#[derive(Debug, Serialize)]
struct LockLine {
    lock: String,
    /// The first one holds it, the others wait.
    holds: bool,
    desc: String,
    hostname: String,
    pid: i64,
    age_ms: u64,
    /// Whether it goes with a session: ours do.
    session: bool,
    owner: &'static str,
    #[serde(skip)]
    of: String,
    #[serde(skip)]
    verdict: String,
}

pub(super) async fn run(session: &Session, _args: &ShowArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    cx.close().await;
    let dashboard = match &cluster.dashboard {
        Some(dashboard) => Some(DashboardLine::new(dashboard).await),
        None => None,
    };
    session.ui.report(&Locks::new(&cluster, dashboard))?;
    damage(&cluster)
}

impl Locks {
    fn new(cluster: &Cluster, dashboard: Option<DashboardLine>) -> Self {
        let locks = cluster.locks.iter().enumerate();
        let line = |(n, lock)| LockLine::new(lock, n == 0, cluster.taken_ms);
        Self { product: cluster.product.to_string(), locks: locks.map(line).collect(), dashboard }
    }

    fn holders(&self, look: &Look) -> String {
        if self.locks.is_empty() {
            return "nobody holds the lock".to_owned();
        }
        let count = codis_core::plan::plural(self.locks.len(), "lock", "locks");
        let of = |owner| self.locks.iter().filter(|line| line.owner == owner).count();
        let summary = match (of("gone"), of("unknown")) {
            (0, 0) => format!("{count}, none stale"),
            (0, n) => {
                format!(
                    "{count}, {n} to be looked after   → if those processes are gone: codisctl lock clear"
                )
            }
            (n, _) => format!("{count}, {n} stale   → codisctl lock clear"),
        };
        format!("{}\n{summary}", self.grid().draw(look))
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("lock", Fit::Left),
            ("owner", Fit::Left),
            ("age", Fit::Right),
            ("verdict", Fit::Left),
            ("what it does", Fit::Text),
        ]);
        for line in &self.locks {
            let age = units::seconds(line.age_ms / 1000);
            grid.row([line.lock.clone(), line.of.clone(), age, line.verdict.clone(), line.desc.clone()]);
        }
        grid
    }
}

impl LockLine {
    fn new(lock: &LockEntry, holds: bool, now_ms: u64) -> Self {
        let (owner, verdict) = match locks::holder(lock) {
            Holder::Session => ("alive", "ours: goes with its session".to_owned()),
            Holder::Runs(program) => ("alive", format!("of Go tools: {program} runs")),
            Holder::Gone => ("gone", "✗ stale: its process is gone".to_owned()),
            Holder::Elsewhere => ("unknown", "▲ of Go tools: look on that host".to_owned()),
        };
        Self {
            lock: lock.name.clone(),
            holds,
            desc: lock.desc.clone(),
            hostname: lock.hostname.clone(),
            pid: lock.pid,
            age_ms: now_ms.saturating_sub(lock.created_ms),
            session: lock.ephemeral,
            owner,
            of: lock.owner(),
            verdict: if holds { verdict } else { format!("waits; {verdict}") },
        }
    }
}

impl DashboardLine {
    async fn new(dashboard: &Dashboard) -> Self {
        let alive = dashboard.ephemeral || locks::listens(&dashboard.addr).await;
        Self {
            addr: dashboard.addr.clone(),
            pid: dashboard.pid,
            session: dashboard.ephemeral,
            owner: if alive { "alive" } else { "gone" },
        }
    }

    fn line(&self) -> String {
        let verdict = match (self.session, self.owner) {
            (true, _) => "ours: a mover is at work",
            (false, "alive") => "of Go tools: it lives, so nothing can be moved from here",
            _ => "✗ stale: nothing listens there   → codisctl lock clear dashboard",
        };
        format!("dashboard at {} (pid {}), {verdict}", self.addr, self.pid)
    }
}

impl Report for Locks {
    fn human(&self, look: &Look) -> String {
        let locks = self.holders(look);
        match &self.dashboard {
            Some(dashboard) => format!("{locks}\n{}", dashboard.line()),
            None => locks,
        }
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
