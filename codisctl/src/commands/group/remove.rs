use codis_core::{GroupId, plan};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Delete a group that owns no slots
///
/// Its servers keep running with whatever data they hold; they are only no longer listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl group remove 3
  codisctl group remove 3 --dry-run

Exit status: 0 done · 1 no such group · 4 refused: it owns slots, or a task names it · 5 store
unreachable")]
pub(crate) struct RemoveArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
}

pub(super) async fn run(session: &Session, args: &RemoveArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::remove_group(&cluster, args.group)?;
    session.carry_out(&cx, &plan, Sure::TypeProduct).await?;
    cx.close().await;
    Ok(())
}
