use clap::ValueEnum;
use codis_core::SlotSet;
use codis_ops::settle;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Put slots that are stuck in migrate online, if nothing is left behind
///
/// For slots that a mover has left in migrate and that no task moves any more. The server that they come from is looked through
/// first, all of it: with a key of theirs left, clients would not find it, and the slots stay as they are. Otherwise the slots go
/// online at the group that serves them, and the audit record says which server was found empty.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl slot set-state 82 online
  codisctl slot set-state 0-63 online --dry-run

Exit status: 0 done, or online already · 2 no such slot or state · 4 refused: keys are left, a mover is at work, or
the slot is not in migrate · 5 store or server unreachable")]
pub(crate) struct SetStateArgs {
    /// Slots and ranges, e.g. 0-511,600
    #[arg(value_name = "RANGES")]
    slots: SlotSet,
    /// The state: online
    #[arg(value_name = "STATE", hide_possible_values = true)]
    state: State,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Online,
}

pub(super) async fn run(session: &Session, args: &SetStateArgs) -> Done {
    let State::Online = args.state;
    let cx = session.connect().await?;
    let plan = settle::plan_online(&cx, &args.slots).await?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next("codisctl slot list");
    }
    cx.close().await;
    Ok(())
}
