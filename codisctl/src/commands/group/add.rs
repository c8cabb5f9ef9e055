use codis_core::{
    Addr, GroupId, Role, Server,
    plan::{self, Step},
};
use codis_ops::admit;

use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Create a group, with its master and slaves
///
/// The servers are looked at first, as by server add. Slaves are told to replicate from the master. Run
/// again after an interruption it does the rest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl group add 3 --master 10.0.7.51:6383 --slave 10.0.7.52:6383
  codisctl group add 4 --dry-run

Exit status: 0 done · 2 an address without a port · 4 refused: the group exists, or a server is not
fit for it · 5 store or server unreachable")]
pub(crate) struct AddArgs {
    /// Number of the group
    #[arg(value_name = "GROUP")]
    group: GroupId,
    /// Its master
    #[arg(long, value_name = "HOST:PORT")]
    master: Option<Addr>,
    /// A slave; can be given several times
    #[arg(long, value_name = "HOST:PORT")]
    slave: Vec<Addr>,
}

pub(super) async fn run(session: &Session, args: &AddArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let mut plan = plan::add_group(&cluster, args.group, args.master.as_ref(), &args.slave)?;
    let slaves = args.slave.iter().map(|addr| (addr, Role::Slave));
    // Each is looked at as if those before it were listed already.
    let mut model = cluster.clone();
    model.apply(&Step::CreateGroup(args.group));
    for (addr, role) in args.master.iter().map(|addr| (addr, Role::Master)).chain(slaves) {
        let notes = admit(&cx, &model, args.group, addr, role).await?;
        plan.notes.extend(notes.into_iter().map(|note| format!("{addr}: {note}")));
        if model.server(addr).is_none() {
            model.apply(&Step::AddServer(Server::new(addr.clone(), args.group, role)));
        }
    }
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        let next = match args.master {
            Some(_) => format!(
                "codisctl slot assign RANGES {0}    or: codisctl migrate start --slots RANGES --to {0}",
                args.group
            ),
            None => format!("codisctl server add {} HOST:PORT --role master", args.group),
        };
        session.ui.next(&next);
    }
    cx.close().await;
    Ok(())
}
