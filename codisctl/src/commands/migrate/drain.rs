use codis_core::{
    GroupId, SlotId,
    plan::{self, Burden},
};
use codis_ops::{
    balance::{self, BalanceBy},
    observe,
};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Queue the moves that leave a group without slots
///
/// Its slots go to the groups that have the fewest, or to those named with --to; no other group gives anything. Nothing
/// moves yet: codisctl migrate run works on the queue; so does an agent when nobody else has for 30 s (duty.tasks in its
/// settings). Once it is empty the group can be removed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl migrate drain 3 --dry-run
  codisctl migrate drain 3 --to 1,2
  codisctl migrate drain 3 --yes

Exit status: 0 done, or it has no slots · 1 no such group · 4 refused: no other group can take them, a slot is not
online, or tasks are queued · 5 store unreachable")]
pub(crate) struct DrainArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
    /// Groups that take its slots; else all others
    #[arg(long, value_name = "GROUPS", value_delimiter = ',')]
    to: Vec<GroupId>,
}

pub(super) async fn run(session: &Session, args: &DrainArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let mut burdens = balance::burdens(&cx, &cluster, BalanceBy::Slots, session.patience()).await?;
    if !args.to.is_empty() {
        burdens.retain(|id, _| *id == args.group || args.to.contains(id));
    }
    for named in args.to.iter().chain([&args.group]) {
        // A group that cannot take part is refused by the planner, with the reason.
        burdens.entry(*named).or_insert(Burden { load: 0.0, capacity: 1.0 });
    }
    let native = observe::native_sources(&cx, &cluster, &SlotId::all().collect(), session.patience()).await;
    let plan = plan::drain(&cluster, args.group, &burdens, &native, cluster.taken_ms)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next(&format!("codisctl migrate run    then: codisctl group remove {}", args.group));
        super::tell_of_agent(session, &cx).await;
    }
    cx.close().await;
    Ok(())
}
