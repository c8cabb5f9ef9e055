//! `migrate`: moving slots from group to group.

mod drain;
mod plan;
mod rebalance;
mod run;
mod start;
mod watch;
mod waves;

use codis_ops::Context;

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

/// True if there is an agent that leads: it works on the queue when nobody else does, if its settings let it.
async fn agent_leads(cx: &Context) -> bool {
    cx.product().leader().await.is_ok_and(|leader| leader.is_some())
}

/// Says that what was queued may begin to move by itself.
pub(super) async fn tell_of_agent(session: &Session, cx: &Context) {
    if agent_leads(cx).await {
        session
            .ui
            .say("an agent leads: it moves them when nobody else has for 30 s (duty.tasks in its settings)");
    }
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
