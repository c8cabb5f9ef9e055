//! `config`: what is in force for this run.

mod show;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Config {
    Show(show::ShowArgs),
}

pub(super) fn run(session: &Session, verb: &Config) -> Done {
    match verb {
        Config::Show(args) => show::run(session, args),
    }
}
