use codis_ops::agent::{self, Status};
use serde::Serialize;

use crate::{
    error::Done,
    render::{Fit, Grid, Look},
    session::Session,
    ui::Report,
};

/// List the agents that live, and which one leads
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl agent list
  codisctl agent list --output json | jq '.agents[] | select(.leads)'

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct ListArgs {}

#[derive(Debug, Serialize)]
struct Agents {
    leader: Option<String>,
    agents: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    agent: String,
    leads: bool,
    observe_only: bool,
    /// Servers that do not answer it.
    silent: Vec<String>,
}

pub(super) async fn run(session: &Session, _args: &ListArgs) -> Done {
    let cx = session.connect().await?;
    let status = agent::status(&cx).await?;
    cx.close().await;
    session.ui.report(&Agents::new(&status))
}

impl Agents {
    fn new(status: &Status) -> Self {
        let leader = status.leader.as_ref().map(|leader| leader.owner.clone());
        let line = |agent: &codis_core::ha::AgentView| Line {
            agent: agent.id.clone(),
            leads: leader.as_ref() == Some(&agent.id),
            observe_only: agent.observe_only,
            silent: agent.silent.keys().map(ToString::to_string).collect(),
        };
        let mut agents: Vec<Line> = status.agents.iter().map(line).collect();
        agents.sort_by(|a, b| a.agent.cmp(&b.agent));
        Self { leader, agents }
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new(&[("agent", Fit::Left), ("", Fit::Left), ("does not reach", Fit::Text)]);
        for line in &self.agents {
            let word = match (line.leads, line.observe_only) {
                (true, _) => "leads",
                (false, true) => "observes only",
                (false, false) => "",
            };
            grid.row([line.agent.clone(), word.to_owned(), line.silent.join(" ")]);
        }
        grid
    }
}

impl Report for Agents {
    fn human(&self, look: &Look) -> String {
        if self.agents.is_empty() {
            return super::NOBODY.to_owned();
        }
        let count = codis_core::plan::plural(self.agents.len(), "agent", "agents");
        let leads = super::leads(self.leader.as_deref());
        format!("{}\n{count}, {leads}", self.grid().draw(look))
    }

    fn plain(&self) -> Vec<Vec<String>> {
        self.grid().into_rows()
    }
}
