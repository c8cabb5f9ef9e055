use codis_ops::agent;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Let failovers be made again
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl ha resume

Exit status: 0 done · 5 store unreachable")]
pub(crate) struct ResumeArgs {}

pub(super) async fn run(session: &Session, _args: &ResumeArgs) -> Done {
    let cx = session.connect().await?;
    if session.settings.dry_run {
        session.ui.say("would let failovers be made again; dry run, nothing was written");
        return Ok(());
    }
    let consent = session.consent(&cx, "let failovers be made again", Sure::Yes).await?;
    agent::set_pause(&cx, None, None, consent).await?;
    cx.close().await;
    session.ui.say("done      failovers are made again");
    Ok(())
}
