use codis_core::plan::{self, Plan};
use codis_ops::locks;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Delete the locks, or the dashboard node, of programs that are gone
///
/// Only right when they are: two programs that change the topology at the same time can leave it
/// broken. The lock of a living session is never deleted, nor that of a process that runs on this host,
/// nor one that was taken after the plan was shown. While the node of a Go dashboard is there, no slot is
/// moved; that of one that died stays until it is deleted here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl lock show
  codisctl lock clear
  codisctl lock clear lock-0000000093
  codisctl lock clear dashboard

Exit status: 0 done · 1 no such lock, or another one by now · 4 refused: its owner lives ·
5 store unreachable")]
pub(crate) struct ClearArgs {
    /// The lock, or dashboard; else all locks that do not go by themselves
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) async fn run(session: &Session, args: &ClearArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan: Plan = match (args.name.as_deref(), &cluster.dashboard) {
        (Some("dashboard"), dashboard) => {
            let listens = match dashboard {
                Some(dashboard) => locks::listens(&dashboard.addr).await,
                None => false,
            };
            plan::clear_dashboard(&cluster, listens)?
        }
        (name, _) => plan::clear_locks(&cluster, name, locks::holder)?,
    };
    session.carry_out(&cx, &plan, Sure::TypeProduct).await?;
    cx.close().await;
    Ok(())
}
