//! `ha`: what would be done about a lost master, and suspending that.

mod explain;
mod pause;
mod resume;
mod status;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Ha {
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Pause(pause::PauseArgs),
    Resume(resume::ResumeArgs),
}

pub(super) async fn run(session: &Session, verb: &Ha) -> Done {
    match verb {
        Ha::Status(args) => status::run(session, args).await,
        Ha::Explain(args) => explain::run(session, args).await,
        Ha::Pause(args) => pause::run(session, args).await,
        Ha::Resume(args) => resume::run(session, args).await,
    }
}
