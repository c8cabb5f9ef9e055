//! `proxy`: who serves clients.

mod fence;
mod list;
mod offline;
mod online;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Proxy {
    List(list::ListArgs),
    Online(online::OnlineArgs),
    Offline(offline::OfflineArgs),
    /// What proxies leave behind when they end without saying so
    #[command(subcommand)]
    Fence(fence::Fence),
}

pub(super) async fn run(session: &Session, verb: &Proxy) -> Done {
    match verb {
        Proxy::List(args) => list::run(session, args).await,
        Proxy::Online(args) => online::run(session, args).await,
        Proxy::Offline(args) => offline::run(session, args).await,
        Proxy::Fence(verb) => fence::run(session, verb).await,
    }
}
