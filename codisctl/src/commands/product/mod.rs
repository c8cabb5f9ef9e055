//! `product`: what a store holds.

mod init;
mod list;
mod remove;
mod show;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Product {
    Init(init::InitArgs),
    List(list::ListArgs),
    Show(show::ShowArgs),
    Remove(remove::RemoveArgs),
}

pub(super) async fn run(session: &Session, verb: &Product) -> Done {
    match verb {
        Product::Init(args) => init::run(session, args).await,
        Product::List(args) => list::run(session, args).await,
        Product::Show(args) => show::run(session, args).await,
        Product::Remove(args) => remove::run(session, args).await,
    }
}

pub(super) use init::initialise;
