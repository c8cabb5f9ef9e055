use codis_core::plan;
use codis_ops::locks;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Delete the locks of programs that are gone
///
/// Only right when they are: two programs that change the topology at the same time can leave it
/// broken. The lock of a living session is never deleted, nor that of a process that runs on this host,
/// nor one that was taken after the plan was shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl lock show
  codisctl lock clear
  codisctl lock clear lock-0000000093

Exit status: 0 done · 1 no such lock, or another one by now · 4 refused: its owner lives ·
5 store unreachable")]
pub(crate) struct ClearArgs {
    /// The lock; else all that do not go by themselves
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) async fn run(session: &Session, args: &ClearArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::clear_locks(&cluster, args.name.as_deref(), locks::holder)?;
    session.carry_out(&cx, &plan, Sure::TypeProduct).await?;
    cx.close().await;
    Ok(())
}
