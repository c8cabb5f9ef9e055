use codis_core::plan;
use codis_ops::actions;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Delete old actions and what the proxies answered to them
///
/// Proxies look at the newest action only. Our programs delete old ones by themselves before there are a
/// thousand; this is for a product that Go tools have filled. Numbers go on where they were.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl action gc
  codisctl action gc --keep 50 --dry-run

Exit status: 0 done · 4 refused: somebody else changes the topology · 5 store unreachable")]
pub(crate) struct GcArgs {
    /// How many of the newest stay
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
}

pub(super) async fn run(session: &Session, args: &GcArgs) -> Done {
    let cx = session.connect().await?;
    let there = actions::recent(&cx, 0).await?.there;
    let plan = plan::collect_actions(there, args.keep as usize);
    session.carry_out(&cx, &plan, Sure::Yes).await?;
    cx.close().await;
    Ok(())
}
