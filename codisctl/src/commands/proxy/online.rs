use codis_core::{ProxyId, plan};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Let a registered proxy serve clients
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy online px-1

Exit status: 0 done · 1 no such proxy · 4 refused: a slot has no group · 5 store unreachable")]
pub(crate) struct OnlineArgs {
    /// The proxy
    #[arg(value_name = "ID")]
    proxy: ProxyId,
}

pub(super) async fn run(session: &Session, args: &OnlineArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::online(&cluster, &args.proxy)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next("codisctl proxy list");
    }
    cx.close().await;
    Ok(())
}
