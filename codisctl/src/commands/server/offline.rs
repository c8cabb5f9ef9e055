use codis_core::{Addr, plan};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Take a slave out of use; it stays listed as offline
///
/// An offline server cannot be promoted. It keeps running and replicating, so that it can be looked
/// at, or stopped by whoever runs it. `server add` takes it back.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl server offline 10.0.7.54:6383
  codisctl server offline 10.0.7.54:6383 --dry-run

Exit status: 0 done · 1 no group lists it · 4 refused: it is the master · 5 store unreachable")]
pub(crate) struct OfflineArgs {
    /// The server
    #[arg(value_name = "HOST:PORT")]
    server: Addr,
}

pub(super) async fn run(session: &Session, args: &OfflineArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::offline_server(&cluster, &args.server)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some()
        && let Some(server) = cluster.server(&args.server)
    {
        session.ui.next(&format!("codisctl server add {} {}    takes it back", server.group, server.addr));
    }
    cx.close().await;
    Ok(())
}
