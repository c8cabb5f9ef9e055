use codis_core::{Addr, GroupId, plan};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Take a slave or an offline server out of its group
///
/// The server keeps running; it is only no longer listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl server remove 3 10.0.7.54:6383

Exit status: 0 done · 1 it is not listed there · 4 refused: it is the master · 5 store unreachable")]
pub(crate) struct RemoveArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
    /// The server
    #[arg(value_name = "HOST:PORT")]
    server: Addr,
}

pub(super) async fn run(session: &Session, args: &RemoveArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::remove_server(&cluster, args.group, &args.server)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next(&format!("codisctl group show {}", args.group));
    }
    cx.close().await;
    Ok(())
}
