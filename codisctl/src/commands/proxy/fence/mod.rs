//! `proxy fence`: a proxy that serves clients leaves a mark. While there is one without its proxy,
//! nothing that needs the proxies' confirmation may be done.

mod clear;
mod list;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Fence {
    List(list::ListArgs),
    Clear(clear::ClearArgs),
}

pub(super) async fn run(session: &Session, verb: &Fence) -> Done {
    match verb {
        Fence::List(args) => list::run(session, args).await,
        Fence::Clear(args) => clear::run(session, args).await,
    }
}
