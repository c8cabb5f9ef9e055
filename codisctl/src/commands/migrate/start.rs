use std::time::Duration;

use codis_core::{GroupId, SlotSet, plan};
use codis_ops::observe;

use super::Way;
use crate::{
    error::Done,
    session::{Session, Sure},
};

/// Queue slots to move to a group
///
/// Nothing moves yet: codisctl migrate run works on the queue; so does an agent when nobody else has for 30 s
/// (duty.tasks in its settings). With --as codis2 they go into the queue of the Go tools, from where codisctl migrate
/// run --as codis2 moves them one slot at a time; that is for codis-servers 2.8 only. A Go dashboard that is started before they have moved would move them, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl migrate start --slots 939-959 --to 2
  codisctl migrate start --slots 0-511 --to 2 --dry-run
  codisctl migrate start --slots 7 --to 2 --as codis2 --delay 10ms

Exit status: 0 done · 2 no such slot · 4 refused: a slot is not served, a group has no master, or Go
tools are at work · 5 store unreachable")]
pub(crate) struct StartArgs {
    /// Slots and ranges, e.g. 939-959,970
    #[arg(long, value_name = "RANGES")]
    slots: SlotSet,
    /// The group that shall own them
    #[arg(long, value_name = "GROUP")]
    to: GroupId,
    /// Whose queue and way of moving: codis2 is that of the Go tools; else ours
    #[arg(long = "as", value_name = "WAY", hide_possible_values = true)]
    way: Option<Way>,
    /// Pause between two keys, kept in the task, e.g. 10ms; else none
    #[arg(long, value_name = "TIME", requires = "way", value_parser = crate::config::duration)]
    delay: Option<Duration>,
}

pub(super) async fn run(session: &Session, args: &StartArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let native = observe::native_sources(&cx, &cluster, &args.slots, session.patience()).await;
    // The request is as old as the picture it was decided on.
    let now = cluster.taken_ms;
    let plan = match args.way {
        None => plan::migrate(&cluster, &args.slots, args.to, &native, now)?,
        Some(Way::Codis2) => {
            let delay = args.delay.unwrap_or_default().as_millis() as u64;
            plan::migrate_codis2(&cluster, &args.slots, args.to, delay, &native, now / 1000)?
        }
    };
    if session.carry_out(&cx, &plan, Sure::Yes).await?.is_some() {
        let next = match (args.way, &cluster.mover) {
            (Some(Way::Codis2), _) => "codisctl migrate run --as codis2",
            (None, Some(_)) => "codisctl migrate watch",
            (None, None) => "codisctl migrate run",
        };
        session.ui.next(next);
        if args.way.is_none() {
            super::tell_of_agent(session, &cx).await;
        }
    }
    cx.close().await;
    Ok(())
}
