use codis_core::duty::snapshots::Turn;
use codis_ops::{
    Failure, FailureKind,
    snapshots::{self, HostPlan, SnapshotSettings},
};
use serde::Serialize;

use crate::{
    commands::{cause, damage},
    error::Done,
    render::{Fit, Grid, Look, units},
    session::Session,
    ui::Report,
};

/// Show in which order servers would be saved, and whether each child fits; writes nothing
///
/// Also shows the settings that would be taken over first, so that no server forks on its own. What there was before is
/// kept in the store; codisctl snapshot undo puts it back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl snapshot plan
  codisctl snapshot plan --host 10.0.7.53
  codisctl snapshot plan --output json | jq '.hosts[].turns[] | select(.fits | not)'

Exit status: 0 every child fits · 3 one does not, or a server does not answer · 5 store
unreachable")]
pub(crate) struct PlanArgs {
    /// This host only
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Plans {
    hosts: Vec<Plan>,
}

#[derive(Debug, Serialize)]
struct Plan {
    host: String,
    /// Who does it now, if anybody.
    governor: Option<String>,
    memory: Option<u64>,
    used: u64,
    turns: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    server: String,
    group: u32,
    role: &'static str,
    /// `BGSAVE`, `BGREWRITEAOF`; nothing: it is not saved.
    does: Option<&'static str>,
    due: bool,
    needs: u64,
    free: Option<u64>,
    fits: bool,
    /// Its settings are kept in the store.
    taken_over: bool,
    takes: Vec<Take>,
    /// Why nothing can be done for it.
    trouble: Option<String>,
}

#[derive(Debug, Serialize)]
struct Take {
    setting: String,
    now: String,
    then: String,
}

pub(super) async fn run(session: &Session, args: &PlanArgs) -> Done {
    let settings = SnapshotSettings::read(session.settings.file(), &session.settings.ha.0);
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plans = snapshots::plan(&cx, &cluster, args.host.as_deref(), &settings).await;
    cx.close().await;
    let plans = Plans::new(&plans?);
    session.ui.report(&plans)?;
    damage(&cluster)?;
    match plans.failure() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

impl Plans {
    pub(super) fn new(plans: &[HostPlan]) -> Self {
        let host = |plan: &HostPlan| Plan {
            host: plan.capacity.host.clone(),
            governor: plan.governor.clone(),
            memory: Some(plan.capacity.memory).filter(|memory| *memory > 0),
            used: plan.capacity.used,
            turns: plan.turns.iter().map(|turn| Line::new(turn, plan.taken.contains(&turn.addr))).collect(),
        };
        Self { hosts: plans.iter().map(host).collect() }
    }

    fn failure(&self) -> Option<Failure> {
        let bad = |line: &&Line| line.trouble.is_some() || line.does.is_some() && !line.fits;
        let (host, line) = self.hosts.iter().find_map(|host| Some((host, host.turns.iter().find(bad)?)))?;
        let server = &line.server;
        Some(match &line.trouble {
            Some(why) => Failure::new(FailureKind::Problems, "a server cannot be saved", server, cause(why))
                .next(format!("codisctl server info {server}")),
            None => {
                let why = match line.free {
                    Some(free) => format!(
                        "a child may need {}, {} are free",
                        units::bytes(line.needs),
                        units::bytes(free)
                    ),
                    None => "nobody knows how much memory its host has".to_owned(),
                };
                Failure::new(FailureKind::Problems, "a server cannot be saved now", server, why)
                    .next(format!("codisctl capacity --host {}", host.host))
            }
        })
    }
}

impl Line {
    fn new(turn: &Turn, taken_over: bool) -> Self {
        let take = |(setting, now, then): &(String, String, String)| Take {
            setting: setting.clone(),
            now: now.clone(),
            then: then.clone(),
        };
        Self {
            server: turn.addr.to_string(),
            group: turn.group.0,
            role: turn.role.as_str(),
            does: turn.does.map(codis_core::duty::snapshots::Does::as_str),
            due: turn.due,
            needs: turn.needs,
            free: turn.free,
            fits: turn.fits(),
            taken_over,
            takes: turn.takes.iter().map(take).collect(),
            trouble: turn.trouble.clone(),
        }
    }

    fn verdict(&self) -> String {
        match (&self.trouble, self.does) {
            (Some(why), _) => format!("✗ {}", cause(why)),
            (None, None) => "• not saved: its role's save points are empty".to_owned(),
            (None, Some(_)) if self.fits => "✓ fits".to_owned(),
            (None, Some(_)) => "✗ no room".to_owned(),
        }
    }
}

impl Plan {
    fn rows(&self, grid: &mut Grid) {
        for line in &self.turns {
            grid.row([
                self.host.clone(),
                line.server.clone(),
                line.role.to_owned(),
                line.does.unwrap_or("-").to_owned(),
                if line.due { "due" } else { "" }.to_owned(),
                units::bytes(line.needs),
                line.free.map_or_else(|| "-".to_owned(), units::bytes),
                line.verdict(),
            ]);
        }
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for line in &self.turns {
            let takes: Vec<String> = line
                .takes
                .iter()
                .map(|take| format!("{} \"{}\" → \"{}\"", take.setting, take.now, take.then))
                .collect();
            if !takes.is_empty() {
                remarks.push(format!("takes over  {}: {}", line.server, takes.join(", ")));
            }
        }
        if let Some(governor) = &self.governor {
            remarks.push(format!("governed    {} by {governor}", self.host));
        }
        remarks
    }
}

impl Plans {
    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[
            ("host", Fit::Left),
            ("server", Fit::Left),
            ("role", Fit::Left),
            ("child", Fit::Left),
            ("", Fit::Left),
            ("needs", Fit::Right),
            ("free", Fit::Right),
            ("verdict", Fit::Text),
        ]);
        self.hosts.iter().for_each(|host| host.rows(&mut grid));
        grid
    }
}

impl Report for Plans {
    fn human(&self, look: &Look) -> String {
        let remarks = self.hosts.iter().flat_map(Plan::remarks);
        [self.grid().draw(look)].into_iter().chain(remarks).collect::<Vec<_>>().join("\n")
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
