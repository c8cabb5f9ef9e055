//! `alert`: what people have been told of, and what they say to it. The agent tells; these verbs work without one.

mod ack;
mod list;
mod silence;
mod test;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Alert {
    List(list::ListArgs),
    Ack(ack::AckArgs),
    Silence(silence::SilenceArgs),
    Test(test::TestArgs),
}

pub(super) async fn run(session: &Session, verb: &Alert) -> Done {
    match verb {
        Alert::List(args) => list::run(session, args).await,
        Alert::Ack(args) => ack::run(session, args).await,
        Alert::Silence(args) => silence::run(session, args).await,
        Alert::Test(args) => test::run(session, args).await,
    }
}
