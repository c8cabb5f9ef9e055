use codis_core::{GroupId, SlotSet, plan};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Give slots that nobody serves to a group
///
/// A slot that another group serves is refused: its keys would be lost sight of. Move it instead.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl slot assign 0-511 1
  codisctl slot assign 512-1022,1023 2 --dry-run

Exit status: 0 done · 2 no such slot · 4 refused: a slot is served or moving, or the group has no
master · 5 store unreachable")]
pub(crate) struct AssignArgs {
    /// Slots and ranges, e.g. 0-511,600
    #[arg(value_name = "RANGES")]
    slots: SlotSet,
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
}

pub(super) async fn run(session: &Session, args: &AssignArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::assign(&cluster, &args.slots, args.group)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next("codisctl slot map");
    }
    cx.close().await;
    Ok(())
}
