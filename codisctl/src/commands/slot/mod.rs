//! `slot`: the 1024 parts of the key space.

mod assign;
mod init;
mod key;
mod list;
mod map;
mod set_state;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Slot {
    Map(map::MapArgs),
    List(list::ListArgs),
    Init(init::InitArgs),
    Assign(assign::AssignArgs),
    SetState(set_state::SetStateArgs),
    Key(key::KeyArgs),
}

pub(super) async fn run(session: &Session, verb: &Slot) -> Done {
    match verb {
        Slot::Map(args) => map::run(session, args).await,
        Slot::List(args) => list::run(session, args).await,
        Slot::Init(args) => init::run(session, args).await,
        Slot::Assign(args) => assign::run(session, args).await,
        Slot::SetState(args) => set_state::run(session, args).await,
        Slot::Key(args) => key::run(session, args).await,
    }
}
