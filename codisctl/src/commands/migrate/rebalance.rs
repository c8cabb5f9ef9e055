use codis_core::{SlotId, plan};
use codis_ops::{balance, observe};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Queue the moves that even out what the groups carry
///
/// As few slots as possible change hands. What a single slot holds is not known without a scan, so each slot of a
/// group counts as its average one. By maxmemory is what the dashboard of the Go tools does. Nothing moves yet: codisctl
/// migrate run works on the queue; so does an agent when nobody else has for 30 s (duty.tasks in its settings).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl migrate rebalance --dry-run
  codisctl migrate rebalance --by bytes
  codisctl migrate rebalance --by maxmemory --yes

Exit status: 0 done, or nothing has to move · 4 refused: a slot is not online, tasks are queued, a group has no
master, or a master has no maxmemory · 5 store or server unreachable")]
pub(crate) struct RebalanceArgs {
    /// What is evened out
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = By::Slots)]
    by: By,
}

/// What can be evened out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The number of slots
    Slots,
    /// The number of slots, in proportion to the maxmemory of the masters
    Maxmemory,
    /// The memory in use, in proportion to maxmemory if all masters have one
    Bytes,
    /// Operations in the last second
    Ops,
}

impl From<By> for balance::BalanceBy {
    fn from(by: By) -> Self {
        match by {
            By::Slots => Self::Slots,
            By::Maxmemory => Self::MaxMemory,
            By::Bytes => Self::Bytes,
            By::Ops => Self::Ops,
        }
    }
}

pub(super) async fn run(session: &Session, args: &RebalanceArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let by = balance::BalanceBy::from(args.by);
    let burdens = balance::burdens(&cx, &cluster, by, session.patience()).await?;
    let native = observe::native_sources(&cx, &cluster, &SlotId::all().collect(), session.patience()).await;
    // The request is as old as the picture it was decided on.
    let plan = plan::rebalance(&cluster, &by.to_string(), &burdens, &native, cluster.taken_ms)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next("codisctl migrate run");
        super::tell_of_agent(session, &cx).await;
    }
    cx.close().await;
    Ok(())
}
