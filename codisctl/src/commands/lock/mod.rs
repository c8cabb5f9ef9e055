//! `lock`: one change of the topology at a time. A lock of ours goes with its session; one of the Go
//! tools stays when its program dies, and stops every change until somebody clears it.

mod clear;
mod show;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Lock {
    Show(show::ShowArgs),
    Clear(clear::ClearArgs),
}

pub(super) async fn run(session: &Session, verb: &Lock) -> Done {
    match verb {
        Lock::Show(args) => show::run(session, args).await,
        Lock::Clear(args) => clear::run(session, args).await,
    }
}
