//! `server`: members of a group.

mod add;
mod info;
mod offline;
mod ping;
mod remove;
mod slowlog;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Server {
    Add(add::AddArgs),
    Remove(remove::RemoveArgs),
    Offline(offline::OfflineArgs),
    Info(info::InfoArgs),
    Ping(ping::PingArgs),
    Slowlog(slowlog::SlowlogArgs),
}

pub(super) async fn run(session: &Session, verb: &Server) -> Done {
    match verb {
        Server::Add(args) => add::run(session, args).await,
        Server::Remove(args) => remove::run(session, args).await,
        Server::Offline(args) => offline::run(session, args).await,
        Server::Info(args) => info::run(session, args).await,
        Server::Ping(args) => ping::run(session, args).await,
        Server::Slowlog(args) => slowlog::run(session, args).await,
    }
}
