use codis_core::{Cluster, plan};

use super::{Chosen, change};
use crate::{error::Done, session::Session};

/// Take moves back
///
/// A slot that has not begun to move stays where it is and its task is deleted. Where keys have moved the task is turned round,
/// and codisctl migrate run takes them back to the group that they came from; every key stays reachable meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl task cancel 436 437
  codisctl task cancel --state pending

Exit status: 0 done · 1 no such task · 4 refused: its slot is about to change, or has arrived · 5 store unreachable")]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    chosen: Chosen,
}

pub(super) async fn run(session: &Session, args: &CancelArgs) -> Done {
    let next = |cluster: &Cluster| {
        if cluster.mover.is_some() {
            "codisctl migrate watch"
        } else {
            "codisctl task list    what has moved goes back with: codisctl migrate run"
        }
    };
    change(session, &args.chosen, plan::cancel_tasks, next).await
}
