use codis_core::{Addr, GroupId, Role, plan};
use codis_ops::admit;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// List a server in a group
///
/// The server is looked at first: it must answer, have its data loaded, not be listed under another
/// address or by another product, and be able to read its master's data. A slave is told to replicate
/// from the group's master. A server that is listed as offline comes back as a slave.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl server add 3 10.0.7.54:6383
  codisctl server add 3 10.0.7.51:6383 --role master

Exit status: 0 done · 1 no such group · 2 an address without a port · 4 refused: the group has no
master, or has one already, or the server is not fit for it · 5 store or server unreachable")]
pub(crate) struct AddArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
    /// The server
    #[arg(value_name = "HOST:PORT")]
    server: Addr,
    /// master or slave
    #[arg(long, value_name = "ROLE", default_value = "slave")]
    role: Role,
}

pub(super) async fn run(session: &Session, args: &AddArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let mut plan = plan::add_server(&cluster, args.group, &args.server, args.role)?;
    plan.notes.extend(admit(&cx, &cluster, args.group, &args.server, args.role).await?);
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next(&format!("codisctl group show {}", args.group));
    }
    cx.close().await;
    Ok(())
}
