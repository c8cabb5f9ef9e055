use codis_core::{Cluster, plan};

use super::{Chosen, change};
use crate::{error::Done, session::Session};

/// Leave tasks alone until they are resumed
///
/// A mover that works on one stops with it at the next safe point. A slot that is in migrate stays there: every key is
/// reachable, but requests may have to fetch theirs from the source first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl task pause 436 437
  codisctl task pause --state pending

Exit status: 0 done · 1 no such task · 2 no such state · 5 store unreachable")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn run(session: &Session, args: &PauseArgs) -> Done {
    let next = |_: &Cluster| "codisctl task list    then: codisctl task resume TASK";
    change(session, &args.chosen, plan::pause_tasks, next).await
}
