//! `group`: one master and its slaves.

mod add;
mod list;
mod promote;
mod remove;
mod show;
mod sync;
mod view;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Group {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Add(add::AddArgs),
    Remove(remove::RemoveArgs),
    Promote(promote::PromoteArgs),
    Sync(sync::SyncArgs),
}

pub(super) async fn run(session: &Session, verb: &Group) -> Done {
    match verb {
        Group::List(args) => list::run(session, args).await,
        Group::Show(args) => show::run(session, args).await,
        Group::Add(args) => add::run(session, args).await,
        Group::Remove(args) => remove::run(session, args).await,
        Group::Promote(args) => promote::run(session, args).await,
        Group::Sync(args) => sync::run(session, args).await,
    }
}
