//! `task`: slots that shall move, one task each.

mod delete;
mod list;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Task {
    List(list::ListArgs),
    Delete(delete::DeleteArgs),
}

pub(super) async fn run(session: &Session, verb: &Task) -> Done {
    match verb {
        Task::List(args) => list::run(session, args).await,
        Task::Delete(args) => delete::run(session, args).await,
    }
}
