use codis_core::{Cluster, plan};

use super::{Chosen, change};
use crate::{error::Done, session::Session};

/// Put paused and failed tasks back in the queue
///
/// codisctl migrate run works on it; so does an agent when nobody else has for 30 s (duty.tasks in its settings).
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
    let next = |cluster: &Cluster| {
        if cluster.mover.is_some() { "codisctl migrate watch" } else { "codisctl migrate run" }
    };
    change(session, &args.chosen, plan::resume_tasks, next).await
}
