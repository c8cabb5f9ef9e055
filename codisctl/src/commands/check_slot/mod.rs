mod view;

use std::time::Duration;

use codis_core::{Cluster, GroupId, SlotId, SlotSet};
use codis_ops::{
    Events, Failure, FailureKind,
    check::{CheckOptions, GroupCheck, Verdict, check_slots},
};

use self::view::Checked;
use crate::{
    error::{Done, problems},
    render::progress,
    session::Session,
};

/// Check whether slots can move, before moving them
///
/// Looks through the groups that hold them, on a slave that is in step if there is one: keys and bytes of each slot, keys so
/// big that moving them in one piece would hold a server up, and keys that do not belong there. It only reads, with a tenth of a
/// core of each server, so it takes about a minute for a million keys; --fast takes what the servers give. How long a key would
/// hold a server up is predicted from its type, size and elements, and from how fast the server dumps smaller keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  codisctl check-slot 939-959 --to 2
  codisctl check-slot --group 3
  codisctl check-slot --all --max-stall 2ms --output json

Exit status: 0 all can move · 3 some cannot · 1 no such group · 2 usage · 4 a slot is served by nobody · 5 store or
server unreachable")]
pub(crate) struct CheckSlotArgs {
    /// Slots and ranges, e.g. 939-959,970
    #[arg(value_name = "RANGES", required_unless_present_any = ["group", "all"])]
    slots: Option<SlotSet>,
    /// All slots of this group
    #[arg(long, value_name = "GROUP", conflicts_with = "slots")]
    group: Option<GroupId>,
    /// All slots of all groups
    #[arg(long, conflicts_with_all = ["slots", "group"])]
    all: bool,
    /// Where they shall go: then that group's keys and room are looked at, too
    #[arg(long, value_name = "GROUP")]
    to: Option<GroupId>,
    /// Longest time that one key may hold a server up
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = crate::config::duration)]
    max_stall: Duration,
    /// Bigger keys may move all the same
    #[arg(long)]
    allow_stall: bool,
    /// As fast as the servers answer
    #[arg(long)]
    fast: bool,
    /// Look through the masters even where a slave is in step
    #[arg(long)]
    masters: bool,
    /// Big keys that are shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
}

pub(super) async fn run(session: &Session, args: &CheckSlotArgs) -> Done {
    let cx = session.connect().await?;
    let cluster = cx.load().await?;
    let slots = asked(&cluster, args)?;
    let options = CheckOptions {
        slots,
        to: args.to,
        max_stall: args.max_stall,
        allow_stall: args.allow_stall,
        fast: args.fast,
        masters: args.masters,
        patience: session.patience(),
    };
    let (events, stream) = Events::channel();
    let interrupted = Failure::new(FailureKind::Interrupted, "interrupted", "", "nothing was written");
    let work = check_slots(&cx, &cluster, &options, &events);
    let checked = progress::follow(&session.ui, stream, work, interrupted.next(&session.line)).await?;
    cx.close().await;
    session.ui.report(&Checked::new(&checked.groups, &options, args.top))?;
    verdict(&checked.groups)
}

/// The slots that are meant.
fn asked(cluster: &Cluster, args: &CheckSlotArgs) -> Result<SlotSet, Failure> {
    if let Some(group) = args.group
        && !cluster.groups.contains_key(&group)
    {
        let (what, why) = (format!("cannot check group {group}"), "the product has no such group");
        return Err(Failure::new(FailureKind::Failed, what, format!("servers/group_{group}"), why)
            .next("codisctl group list"));
    }
    let of_group = |id: &SlotId| {
        let group = cluster.slot(*id).and_then(|slot| slot.group);
        args.group.is_none_or(|wanted| group == Some(wanted))
    };
    Ok(args.slots.clone().unwrap_or_else(|| SlotId::all().filter(of_group).collect()))
}

/// Exit status 3 if a slot cannot move.
fn verdict(checks: &[GroupCheck]) -> Done {
    let blocked: SlotSet = checks
        .iter()
        .flat_map(|check| &check.slots)
        .filter(|slot| matches!(slot.verdict, Verdict::Blocked(_)))
        .map(|slot| slot.slot)
        .collect();
    if blocked.is_empty() {
        return Ok(());
    }
    let count = codis_core::plan::plural(blocked.len(), "slot cannot move", "slots cannot move");
    let all = checks.iter().flat_map(|check| &check.slots);
    let next = match all.into_iter().any(|slot| slot.big > 0 && blocked.contains(slot.slot)) {
        true => "split or delete the big keys, or let them hold servers up: --allow-stall",
        false => "codisctl slot list",
    };
    Err(problems(&count, &format!("slots {blocked}: the table says why")).next(next).into())
}
