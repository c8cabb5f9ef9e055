//! `agent`: the programs that watch over masters.

mod list;
mod run;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Agent {
    Run(run::RunArgs),
    List(list::ListArgs),
}

pub(super) async fn run(session: &Session, verb: &Agent) -> Done {
    match verb {
        Agent::Run(args) => run::run(session, args).await,
        Agent::List(args) => list::run(session, args).await,
    }
}
