//! `migrate`: moving slots from group to group.

mod drain;
mod plan;
mod rebalance;
mod run;
mod start;
mod watch;
mod waves;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Migrate {
    Plan(plan::PlanArgs),
    Start(start::StartArgs),
    Run(run::RunArgs),
    Watch(watch::WatchArgs),
    Rebalance(rebalance::RebalanceArgs),
    Drain(drain::DrainArgs),
}

/// Whose queue, and whose way of moving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// The Go tools': one slot at a time, keys moved by the servers themselves.
    #[value(name = "codis2")]
    Codis2,
}

pub(super) async fn run(session: &Session, verb: &Migrate) -> Done {
    match verb {
        Migrate::Plan(args) => plan::run(session, args).await,
        Migrate::Start(args) => start::run(session, args).await,
        Migrate::Run(args) => run::run(session, args).await,
        Migrate::Watch(args) => watch::run(session, args).await,
        Migrate::Rebalance(args) => rebalance::run(session, args).await,
        Migrate::Drain(args) => drain::run(session, args).await,
    }
}
