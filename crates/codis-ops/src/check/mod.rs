//! Before a move: what slots hold, which of them can move without anybody noticing, and why the others cannot.
//!
//! It only reads. A group is looked through on a slave that is in step with its master, so that clients feel nothing;
//! keys that do not belong to the group are told, never touched.

mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use codis_core::{Addr, Cluster, Group, GroupId, SlotId, SlotSet};
use codis_redis::{LiveRole, ServerInfo, Survey, SurveyOptions, count_by_slot, survey};
use futures::{StreamExt as _, TryStreamExt as _, stream};

pub use verdict::{SlotVerdict, Stray, Verdict};

use crate::{Context, Event, Events, Failure, FailureKind, observe};

/// Groups that are looked through at the same time.
const AT_ONCE: usize = 16;
/// Share of a core of each server that is used.
pub(crate) const DUTY: f64 = 0.1;
/// Keys between two reports of progress.
const REPORT_EVERY: u64 = 10_000;

/// What is to be looked at, and for what.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The slots.
    pub slots: SlotSet,
    /// Where they shall go, if that is known already.
    pub to: Option<GroupId>,
    /// Longest time that a server may do nothing else because of one key.
    pub max_stall: Duration,
    /// Keys above that may move all the same.
    pub allow_stall: bool,
    /// As fast as the servers answer, instead of with a tenth of a core.
    pub fast: bool,
    /// Look at the masters even where a slave is in step.
    pub masters: bool,
    /// Longest wait for a server that is asked what it is.
    pub patience: Duration,
}

/// What one group holds of the slots.
#[derive(Debug, Clone)]
pub struct GroupCheck {
    /// The group that owns them.
    pub group: GroupId,
    /// The server that was looked through, and what it is.
    pub server: Addr,
    /// Master or slave.
    pub role: LiveRole,
    /// What it holds, all of its slots.
    pub survey: Survey,
    /// The slots that were asked for.
    pub slots: Vec<SlotVerdict>,
    /// Keys of slots that belong to other groups.
    pub strays: Vec<Stray>,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// By group.
    pub groups: Vec<GroupCheck>,
    /// Of the slots that were asked for, those of which the destination holds keys already.
    pub held: SlotSet,
}

/// Looks at the slots, group by group of those that own them.
///
/// # Errors
/// If a server does not answer; if a slot cannot be read or nobody owns it; if the destination does not exist.
pub async fn check_slots(
    cx: &Context,
    cluster: &Cluster,
    options: &CheckOptions,
    events: &Events,
) -> Result<Checked, Failure> {
    let owned = by_owner(cluster, &options.slots)?;
    let servers = observe::servers(cx, cluster, options.patience).await;
    let destination = match options.to {
        Some(to) => Some(Destination::look(cx, cluster, to, &servers).await?),
        None => None,
    };
    let how = SurveyOptions {
        only: None,
        duty: (!options.fast).then_some(DUTY),
        budget: options.max_stall,
        largest: 0,
    };
    let groups: Vec<GroupId> = owned.keys().copied().collect();
    let looks = look_through(cx, cluster, &groups, &servers, &how, options.masters, events).await?;
    let mut checks = Vec::new();
    for Look { group, server, role, survey } in looks {
        let slots = &owned[&group];
        let mut verdicts = verdict::judge(cluster, slots, &survey, options);
        if let Some(destination) = &destination {
            destination.refuse(&mut verdicts);
        }
        let strays = verdict::strays(cluster, group, &survey);
        checks.push(GroupCheck { group, server, role, survey, slots: verdicts, strays });
    }
    let held = destination.map(|destination| destination.held).unwrap_or_default();
    let held = options.slots.iter().filter(|slot| held.contains(slot)).collect();
    Ok(Checked { groups: checks, held })
}

/// What was found on the server of a group.
pub(crate) struct Look {
    pub(crate) group: GroupId,
    pub(crate) server: Addr,
    pub(crate) role: LiveRole,
    pub(crate) survey: Survey,
}

/// Looks through these groups, each on a slave that is in step if there is one, several at the same time. Sorted by group.
pub(crate) async fn look_through(
    cx: &Context,
    cluster: &Cluster,
    groups: &[GroupId],
    servers: &BTreeMap<Addr, Result<ServerInfo, String>>,
    how: &SurveyOptions<'_>,
    masters: bool,
    events: &Events,
) -> Result<Vec<Look>, Failure> {
    let total: u64 = groups.iter().map(|id| &cluster.groups[id]).filter_map(|g| keys(g, servers)).sum();
    let counted = std::cell::Cell::new(0);
    let looks = groups.iter().map(|id| {
        let counted = &counted;
        async move {
            let (server, role) = choose(cluster, *id, servers, masters)?;
            let mut before = 0;
            let progress = |seen: u64| {
                counted.set(counted.get() + seen - before);
                if seen / REPORT_EVERY > before / REPORT_EVERY {
                    events.emit(Event::Looked { keys: counted.get(), of: total });
                }
                before = seen;
            };
            let redis = cx.redis.named("codis-check");
            let survey = survey(&server, &redis, how, progress).await.map_err(|error| {
                Failure::redis(format!("cannot look through group {id}"), &error)
                    .next(format!("codisctl server info {server}"))
            })?;
            Ok::<_, Failure>(Look { group: *id, server, role, survey })
        }
    });
    let mut found: Vec<Look> = stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
    found.sort_by_key(|look| look.group);
    Ok(found)
}

/// The slots by the group that holds their keys.
fn by_owner(cluster: &Cluster, slots: &SlotSet) -> Result<BTreeMap<GroupId, Vec<SlotId>>, Failure> {
    let mut owned: BTreeMap<GroupId, Vec<SlotId>> = BTreeMap::new();
    for id in slots.iter() {
        let slot = cluster.slot(id);
        let holder = slot.and_then(|slot| slot.moving().map(|(from, _)| from).or(slot.group));
        match holder.filter(|group| cluster.groups.contains_key(group)) {
            Some(group) => owned.entry(group).or_default().push(id),
            None => {
                let why = match slot {
                    Some(_) => "no group serves it",
                    None => "its node is missing or cannot be read",
                };
                let what = format!("cannot check slots {slots}");
                return Err(Failure::new(FailureKind::Unsafe, what, format!("slots/slot_{id}"), why)
                    .next("codisctl slot list"));
            }
        }
    }
    Ok(owned)
}

/// The server that a group is looked through on.
fn choose(
    cluster: &Cluster,
    id: GroupId,
    servers: &BTreeMap<Addr, Result<ServerInfo, String>>,
    masters: bool,
) -> Result<(Addr, LiveRole), Failure> {
    let what = format!("cannot look through group {id}");
    let group = &cluster.groups[&id];
    let Some(master) = group.master() else {
        let place = format!("servers/group_{id}");
        return Err(Failure::new(FailureKind::Unsafe, what, place, "it does not have exactly one master")
            .next(format!("codisctl group show {id}")));
    };
    let in_step = |addr: &Addr| {
        let info = servers.get(addr)?.as_ref().ok()?;
        let follows = info.master.as_ref() == Some(&master.addr);
        (follows && info.link_up == Some(true) && !info.loading).then(|| addr.clone())
    };
    let slave = group.slaves().filter(|_| !masters).find_map(|slave| in_step(&slave.addr));
    Ok(match slave {
        Some(slave) => (slave, LiveRole::Slave),
        None => (master.addr.clone(), LiveRole::Master),
    })
}

/// How many keys a group has, as its master says.
fn keys(group: &Group, servers: &BTreeMap<Addr, Result<ServerInfo, String>>) -> Option<u64> {
    servers.get(&group.master()?.addr)?.as_ref().ok().map(|info| info.keys)
}

/// What stands against slots at the group that they shall go to.
struct Destination {
    group: GroupId,
    addr: Addr,
    /// Slots of which it holds keys.
    held: BTreeSet<SlotId>,
    /// Bytes that it can still take; `None`: as many as its host has.
    room: Option<u64>,
}

impl Destination {
    async fn look(
        cx: &Context,
        cluster: &Cluster,
        to: GroupId,
        servers: &BTreeMap<Addr, Result<ServerInfo, String>>,
    ) -> Result<Self, Failure> {
        let what = format!("cannot check a move to group {to}");
        let place = format!("servers/group_{to}");
        let Some(group) = cluster.groups.get(&to) else {
            return Err(Failure::new(FailureKind::Failed, what, place, "there is no such group")
                .next("codisctl group list"));
        };
        let Some(master) = group.master() else {
            return Err(Failure::new(
                FailureKind::Unsafe,
                what,
                place,
                "it does not have exactly one master",
            )
            .next(format!("codisctl group show {to}")));
        };
        let info = match servers.get(&master.addr) {
            Some(Ok(info)) => info,
            Some(Err(why)) => {
                return Err(Failure::new(FailureKind::Unreachable, what, &master.addr, why)
                    .next(format!("codisctl server info {}", master.addr)));
            }
            None => return Err(Failure::new(FailureKind::Failed, what, &master.addr, "it was not asked")),
        };
        let counts = count_by_slot(&master.addr, &cx.redis.named("codis-check")).await;
        let counts = counts.map_err(|error| Failure::redis(&what, &error))?;
        let held = SlotId::all().filter(|slot| counts[slot.index()] > 0).collect();
        let room = (info.maxmemory > 0).then(|| info.maxmemory.saturating_sub(info.used_memory));
        Ok(Self { group: to, addr: master.addr.clone(), held, room })
    }

    /// Blocks the slots that cannot go there. Those that come first get the room that there is.
    fn refuse(&self, verdicts: &mut [SlotVerdict]) {
        let mut room = self.room;
        for slot in verdicts.iter_mut().filter(|slot| !matches!(slot.verdict, Verdict::Blocked(_))) {
            if self.held.contains(&slot.slot) {
                let why = format!("{} holds keys of it already", self.addr);
                slot.verdict = Verdict::Blocked(why);
                continue;
            }
            match room.map(|room| room.checked_sub(slot.size.bytes)) {
                Some(Some(left)) => room = Some(left),
                Some(None) => slot.verdict = Verdict::Blocked(format!("group {} has no room", self.group)),
                None => {}
            }
        }
    }
}
