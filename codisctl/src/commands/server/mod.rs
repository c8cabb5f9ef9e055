//! `server`: members of a group.

mod add;
mod info;
mod remove;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Server {
    Add(add::AddArgs),
    Remove(remove::RemoveArgs),
    Info(info::InfoArgs),
}

pub(super) async fn run(session: &Session, verb: &Server) -> Done {
    match verb {
        Server::Add(args) => add::run(session, args).await,
        Server::Remove(args) => remove::run(session, args).await,
        Server::Info(args) => info::run(session, args).await,
    }
}
