//! `agent`: the programs that watch over masters.

mod list;
mod run;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Agent {
    Run(run::RunArgs),
    List(list::ListArgs),
}

/// What stands where there is no agent.
pub(super) const NOBODY: &str = "no agent watches over this product   → codisctl agent run";

/// Who leads the agents, for people.
pub(super) fn leads(leader: Option<&str>) -> String {
    leader.map_or_else(|| "nobody leads".to_owned(), |leader| format!("{leader} leads"))
}

pub(super) async fn run(session: &Session, verb: &Agent) -> Done {
    match verb {
        Agent::Run(args) => run::run(session, args).await,
        Agent::List(args) => list::run(session, args).await,
    }
}
