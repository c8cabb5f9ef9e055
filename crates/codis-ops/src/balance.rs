//! What the groups carry now and what they can carry, measured for the rebalance planners.

use std::{collections::BTreeMap, fmt, time::Duration};

use codis_core::{Cluster, Group, GroupId, plan::Burden};
use codis_redis::ServerInfo;

use crate::{Context, Failure, FailureKind, observe};

/// What is evened out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BalanceBy {
    /// The number of slots; every group counts the same.
    Slots,
    /// The number of slots, in proportion to the memory limits of the masters, as the Go tools do it.
    MaxMemory,
    /// The memory in use, in proportion to the memory limits, or equally if not all masters have one.
    Bytes,
    /// Commands in the last second.
    Ops,
}

impl fmt::Display for BalanceBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slots => "slots",
            Self::MaxMemory => "slots by memory limit",
            Self::Bytes => "memory in use",
            Self::Ops => "operations",
        })
    }
}

/// Asks the masters of all groups that have one, none longer than `patience`. A group without servers takes no part.
///
/// # Errors
/// If a master that must be asked does not answer, or has no memory limit where that decides.
pub async fn burdens(
    cx: &Context,
    cluster: &Cluster,
    by: BalanceBy,
    patience: Duration,
) -> Result<BTreeMap<GroupId, Burden>, Failure> {
    let groups = cluster.groups.values().filter(|group| !group.servers.is_empty());
    if by == BalanceBy::Slots {
        return Ok(groups
            .map(|group| (group.id, Burden { load: slots(cluster, group), capacity: 1.0 }))
            .collect());
    }
    let servers = observe::servers(cx, cluster, patience).await;
    let mut masters: Vec<(&Group, &ServerInfo)> = Vec::new();
    for group in groups {
        // The planner says what is wrong with a group without a master.
        let Some(master) = group.master() else { continue };
        match servers.get(&master.addr) {
            Some(Ok(info)) => masters.push((group, info)),
            other => {
                let why = match other {
                    Some(Err(why)) => why.as_str(),
                    _ => "it was not asked",
                };
                let what = format!("cannot measure what group {} carries", group.id);
                return Err(Failure::new(FailureKind::Unreachable, what, &master.addr, why)
                    .next(format!("codisctl server info {}", master.addr)));
            }
        }
    }
    let unlimited = masters.iter().find(|(_, info)| info.maxmemory == 0);
    if let (BalanceBy::MaxMemory, Some((group, _))) = (by, unlimited) {
        let place = group.master().map_or_else(String::new, |master| master.addr.to_string());
        let why = "its maxmemory is not set, so its share is not known";
        return Err(Failure::new(FailureKind::Unsafe, "cannot rebalance by maxmemory", place, why)
            .next("set maxmemory on every master    or: codisctl migrate rebalance --by slots"));
    }
    let limited = unlimited.is_none();
    #[expect(clippy::cast_precision_loss, reason = "ratios")]
    let one = |(group, info): &(&Group, &ServerInfo)| {
        let limit = info.maxmemory as f64;
        let burden = match by {
            BalanceBy::MaxMemory => Burden { load: slots(cluster, group), capacity: limit },
            BalanceBy::Bytes => {
                Burden { load: info.used_memory as f64, capacity: if limited { limit } else { 1.0 } }
            }
            BalanceBy::Slots | BalanceBy::Ops => Burden { load: info.ops_per_s as f64, capacity: 1.0 },
        };
        (group.id, burden)
    };
    Ok(masters.iter().map(one).collect())
}

/// How many slots a group owns.
#[expect(clippy::cast_precision_loss, reason = "at most 1024")]
fn slots(cluster: &Cluster, group: &Group) -> f64 {
    cluster.known_slots().filter(|slot| slot.group == Some(group.id)).count() as f64
}
