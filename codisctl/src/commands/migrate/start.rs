use codis_core::{GroupId, SlotSet, plan};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Queue slots to move to a group
///
/// Nothing moves yet: codisctl migrate run works on the queue.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl migrate start --slots 939-959 --to 2
  codisctl migrate start --slots 0-511 --to 2 --dry-run

Exit status: 0 done · 2 no such slot · 4 refused: a slot is not served, a group has no master, or Go
tools are at work · 5 store unreachable")]
pub(crate) struct StartArgs {
    /// Slots and ranges, e.g. 939-959,970
    #[arg(long, value_name = "RANGES")]
    slots: SlotSet,
    /// The group that shall own them
    #[arg(long, value_name = "GROUP")]
    to: GroupId,
}

pub(super) async fn run(session: &Session, args: &StartArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    // The request is as old as the picture it was decided on.
    let plan = plan::migrate(&cluster, &args.slots, args.to, cluster.taken_ms)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        let next = match cluster.mover {
            Some(_) => "codisctl migrate watch",
            None => "codisctl migrate run",
        };
        session.ui.next(next);
    }
    cx.close().await;
    Ok(())
}
