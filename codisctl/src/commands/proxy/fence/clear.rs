use codis_core::plan;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Delete the fences that no online proxy stands behind
///
/// Only right when those processes are gone: one that still runs serves clients by old routes, and
/// what it writes can be lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy fence list
  codisctl proxy fence clear

Exit status: 0 done · 4 refused: the proxy of a fence is registered · 5 store unreachable")]
pub(crate) struct ClearArgs {}

pub(super) async fn run(session: &Session, _args: &ClearArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::clear_fences(&cluster)?;
    session.carry_out(&cx, &plan, Sure::TypeProduct).await?;
    cx.close().await;
    Ok(())
}
