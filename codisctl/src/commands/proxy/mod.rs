//! `proxy`: who serves clients.

mod fence;
mod hotkeys;
mod list;
mod offline;
mod online;
mod show;
mod silent;
mod slots;
mod slowlog;
mod top;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Proxy {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Slots(slots::SlotsArgs),
    Top(top::TopArgs),
    Slowlog(slowlog::SlowlogArgs),
    Hotkeys(hotkeys::HotkeysArgs),
    Online(online::OnlineArgs),
    Offline(offline::OfflineArgs),
    /// What proxies leave behind when they end without saying so
    #[command(subcommand)]
    Fence(fence::Fence),
}

pub(super) async fn run(session: &Session, verb: &Proxy) -> Done {
    match verb {
        Proxy::List(args) => list::run(session, args).await,
        Proxy::Show(args) => show::run(session, args).await,
        Proxy::Slots(args) => slots::run(session, args).await,
        Proxy::Top(args) => top::run(session, args).await,
        Proxy::Slowlog(args) => slowlog::run(session, args).await,
        Proxy::Hotkeys(args) => hotkeys::run(session, args).await,
        Proxy::Online(args) => online::run(session, args).await,
        Proxy::Offline(args) => offline::run(session, args).await,
        Proxy::Fence(verb) => fence::run(session, verb).await,
    }
}
