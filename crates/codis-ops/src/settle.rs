//! Proving that a slot in `migrate` has nothing left where it comes from.

use std::{collections::BTreeMap, time::Duration};

use codis_core::{
    Addr, Group, GroupId, SlotSet,
    plan::{self, Plan},
};
use codis_redis::{Redis, RedisError, SlotKeys, scan_slots};

use crate::{Context, Failure, FailureKind};

/// How long slaves may take to confirm that they have heard of every key that left.
const PATIENCE: Duration = Duration::from_secs(3);

/// The plan that puts slots online where they are served, made only after every master that they come from has been looked
/// through without finding a key of theirs, and its slaves have confirmed everything that it wrote.
///
/// # Errors
/// `Unsafe` with the number of keys and some of their names if there are any; what stands in the way otherwise.
pub async fn plan_online(cx: &Context, slots: &SlotSet) -> Result<Plan, Failure> {
    let what = format!("cannot put slots {slots} online");
    let cluster = cx.load().await?;
    let mut proved: BTreeMap<GroupId, Addr> = BTreeMap::new();
    for (from, slots) in plan::to_prove(&cluster, slots)? {
        let Some(master) = cluster.groups.get(&from).and_then(Group::master) else {
            let place = format!("servers/group_{from}");
            let why = "it does not have exactly one master, and some of the keys may be there";
            return Err(Failure::new(FailureKind::Unsafe, what, place, why)
                .next(format!("codisctl group show {from}")));
        };
        let addr = &master.addr;
        let left = look_through(cx, addr, &slots)
            .await
            .map_err(|error| Failure::redis(&what, &error).next(format!("codisctl server info {addr}")))?;
        let Some(left) = left else {
            let why =
                "its slaves have not confirmed that the keys are gone: one of them could bring them back";
            return Err(Failure::new(FailureKind::Unsafe, what, addr, why)
                .next(format!("codisctl group show {from}")));
        };
        if left.count > 0 {
            let some: Vec<String> = left.some.iter().map(|key| key.escape_ascii().to_string()).collect();
            let keys = plan::plural(usize::try_from(left.count).unwrap_or(usize::MAX), "key", "keys");
            let why = format!(
                "it still holds {keys} of slots {slots}, e.g. {}; clients would not find them",
                some.join(" ")
            );
            return Err(Failure::new(FailureKind::Unsafe, what, addr, why)
                .next("codisctl migrate run    moves them; or codisctl task cancel TASK    takes all back"));
        }
        proved.insert(from, addr.clone());
    }
    // What was looked through may not be the master any more.
    let cluster = cx.load().await?;
    Ok(plan::set_online(&cluster, slots, &proved)?)
}

/// The keys of the slots on a master; `None` if its slaves do not confirm what it has written.
async fn look_through(cx: &Context, addr: &Addr, slots: &SlotSet) -> Result<Option<SlotKeys>, RedisError> {
    let options = cx.redis.named("codis-settle");
    let left = scan_slots(addr, &options, slots).await?;
    let mut master = Redis::connect(addr, &options).await?;
    let info = master.info().await?;
    // Older ones have no WAIT.
    let slaves = if info.major() < 3 { 0 } else { info.slaves_online() };
    Ok(master.settle(slaves, PATIENCE).await?.then_some(left))
}
