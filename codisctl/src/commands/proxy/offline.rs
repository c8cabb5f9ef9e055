use codis_core::{ProxyId, plan};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Ask a proxy to finish its requests and end, and wait until it has
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl proxy offline px-1
  codisctl proxy offline px-1 --yes

Exit status: 0 done · 1 no such proxy, or it does not leave · 5 store unreachable")]
pub(crate) struct OfflineArgs {
    /// The proxy
    #[arg(value_name = "ID")]
    proxy: ProxyId,
}

pub(super) async fn run(session: &Session, args: &OfflineArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::offline(&cluster, &args.proxy)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next("codisctl proxy list");
    }
    cx.close().await;
    Ok(())
}
