use codis_core::plan;

use super::Chosen;
use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Put paused and failed tasks back in the queue
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl task resume 436 437
  codisctl task resume --state paused

Exit status: 0 done · 1 no such task · 2 no such state · 5 store unreachable")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn run(session: &Session, args: &ResumeArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::resume_tasks(&cluster, &args.chosen.numbers(&cluster))?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next(if cluster.mover.is_some() {
            "codisctl migrate watch"
        } else {
            "codisctl migrate run"
        });
    }
    cx.close().await;
    Ok(())
}
