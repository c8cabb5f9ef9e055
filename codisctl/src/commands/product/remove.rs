use codis_core::ProductName;
use codis_ops::plan_removal;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Delete everything that the store has of a product
///
/// Its servers keep running with their data. Nobody may be at work with it: no proxy, no move, no
/// dashboard, no lock. Run again after an interruption it deletes the rest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl product remove feed
  codisctl --store zk://10.0.7.11:2181 product remove feed --dry-run

Exit status: 0 done · 1 no such product, or a node cannot be read · 4 refused: somebody is at work with
it · 5 store unreachable")]
pub(crate) struct RemoveArgs {
    /// Name of the product
    #[arg(value_name = "NAME")]
    name: ProductName,
}

pub(super) async fn run(session: &Session, args: &RemoveArgs) -> Done {
    let cx = session.connect_to(Some(&args.name)).await?;
    let plan = plan_removal(&cx).await?;
    session.carry_out(&cx, &plan, Sure::TypeProduct).await?;
    cx.close().await;
    Ok(())
}
