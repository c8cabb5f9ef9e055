use codis_core::{Addr, GroupId, plan};

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Make a slave the master of its group
///
/// Our proxies hold the group's requests back until the slave has everything and is the master; clients wait for a
/// moment and see no error. The old master becomes its slave. With an agent running, the agent does it. A promotion that was
/// killed is completed by asking again, or by the next agent that leads.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl group promote 3 10.0.7.52:6383
  codisctl group promote 3 10.0.7.52:6383 --force

Exit status: 0 done · 1 the server is not listed · 4 refused: not a slave, slots of the group are moving, a
proxy cannot be asked, or it took too long and was given up · 5 store or server unreachable")]
pub(crate) struct PromoteArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
    /// The slave
    #[arg(value_name = "HOST:PORT")]
    server: Addr,
    /// The old master is dead: do not wait for it; what it had not sent is lost
    #[arg(long)]
    force: bool,
}

pub(super) async fn run(session: &Session, args: &PromoteArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let plan = plan::promote(&cluster, args.group, &args.server, args.force)?;
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        session.ui.next(&format!("codisctl group show {}", args.group));
    }
    cx.close().await;
    Ok(())
}
