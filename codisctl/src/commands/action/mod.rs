//! `action`: what was announced to the proxies. The Go tools keep every action for ever.

mod gc;
mod list;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Action {
    List(list::ListArgs),
    Gc(gc::GcArgs),
}

pub(super) async fn run(session: &Session, verb: &Action) -> Done {
    match verb {
        Action::List(args) => list::run(session, args).await,
        Action::Gc(args) => gc::run(session, args).await,
    }
}
