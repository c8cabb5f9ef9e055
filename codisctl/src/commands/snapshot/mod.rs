//! `snapshot`: saving the servers of a host one after another.

mod plan;
mod run;
mod undo;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Snapshot {
    Plan(plan::PlanArgs),
    Run(run::RunArgs),
    Undo(undo::UndoArgs),
}

pub(super) async fn run(session: &Session, verb: &Snapshot) -> Done {
    match verb {
        Snapshot::Plan(args) => plan::run(session, args).await,
        Snapshot::Run(args) => run::run(session, args).await,
        Snapshot::Undo(args) => undo::run(session, args).await,
    }
}
