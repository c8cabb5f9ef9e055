mod view;

use std::time::Duration;

use codis_core::{GroupId, SlotSet, plan::plural};
use codis_ops::{
    Events, Failure, FailureKind,
    forecast::{Forecast, ForecastOptions, Mark, forecast},
};

use self::view::Planned;
use crate::{
    error::{Done, problems},
    render::progress,
    session::Session,
};

/// Show what moving slots to a group would do; writes nothing
///
/// Looks through the groups that hold them, on slaves where they are in step: what moves, in which waves, whether everything that
/// a move needs is there, what stands against single slots, the destination's memory afterwards, and about how long it takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl migrate plan --slots 939-959 --to 2
  codisctl migrate plan --slots 0-511 --to 2 --max-stall 2 --output json | jq .waves

Exit status: 0 can be done · 1 no such group · 2 no such slot · 3 some slots cannot move · 4 refused: nothing can move ·
5 store or server unreachable")]
pub(crate) struct PlanArgs {
    /// Slots and ranges, e.g. 939-959,970
    #[arg(long, value_name = "RANGES")]
    slots: SlotSet,
    /// The group that shall own them
    #[arg(long, value_name = "GROUP")]
    to: GroupId,
    /// Longest time that a batch of keys may keep a server busy, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    max_stall: u64,
    /// Move slots with keys that alone keep a server busy for longer; else they are blocked
    #[arg(long)]
    allow_stall: bool,
    /// Keys per second at most [no limit]
    #[arg(long, value_name = "KEYS", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

pub(super) async fn run(session: &Session, args: &PlanArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let options = ForecastOptions {
        slots: args.slots.clone(),
        to: args.to,
        max_stall: Duration::from_millis(args.max_stall),
        allow_stall: args.allow_stall,
        rate: args.rate,
        patience: session.patience(),
    };
    let (events, stream) = Events::channel();
    let interrupted = Failure::new(FailureKind::Interrupted, "interrupted", "", "nothing was written");
    let work = Box::pin(forecast(&cx, &cluster, &options, &events));
    let found = progress::follow(&session.ui, stream, work, interrupted.next(&session.line)).await?;
    cx.close().await;
    let planned = Planned::new(&found, args);
    session.ui.report(&planned)?;
    verdict(&found, &planned)
}

/// Exit status 4 if nothing can move, 3 if some slots cannot.
fn verdict(found: &Forecast, planned: &Planned) -> Done {
    if let Some(bad) = found.guards.iter().find(|guard| guard.mark == Mark::Bad) {
        let (place, why) = bad.text.split_once(": ").unwrap_or(("", &bad.text));
        let what = format!("slots {} cannot move to group {}", planned.slots, planned.to);
        return Err(Failure::new(FailureKind::Unsafe, what, place, why).next(&bad.next).into());
    }
    let Some(first) = planned.blocked.first() else { return Ok(()) };
    let count: usize = planned.blocked.iter().map(|blocked| blocked.count).sum();
    let what = plural(count, "slot cannot move", "slots cannot move");
    Err(problems(&what, &format!("slots {}: {}", first.slots, first.why)).next(&planned.next).into())
}
