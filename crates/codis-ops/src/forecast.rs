//! What moving slots would do, found out beforehand. Nothing is written, neither to the store nor to a server.
//!
//! What must be true before a move is asked in the same words as the mover asks it: the planner of the queue decides what the store
//! alone can tell, [`crate::mover`]'s judgement of servers and [`crate::check`]'s of slots the rest. What only a write can prove,
//! that a key really gets from one server to the other, is left to the mover's pre-flight.

mod guards;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use codis_core::{
    Addr, Cluster, Group, GroupId, Move, SlotSet, SlotStatus,
    plan::{self, Plan, Step},
};
use codis_redis::{BigKey, ServerInfo};

use crate::{
    Context, Events, Failure, FailureKind,
    check::{CheckOptions, Checked, GroupCheck, Verdict, check_slots},
    mover, observe,
};

pub use guards::{Guard, Mark};

/// What two servers of a few years' age hand over in a second, slaves on both sides: well below what a quiet machine does.
const KEYS_PER_S: f64 = 60_000.0;
const BYTES_PER_S: f64 = 100e6;
/// Keys that a server tells about in a second when it is looked through, before a wave and after it.
const LOOKED_PER_S: f64 = 400_000.0;
/// The switches of a wave: four changes of the store that all proxies follow.
const SWITCHES: Duration = Duration::from_millis(200);
/// Time of a server that a small key takes, and what counts as one more small key.
const PER_KEY: Duration = Duration::from_micros(8);
const SMALL: u64 = 1024;
/// The mover's batches grow to half the budget and to so many keys.
const LARGEST_BATCH: u64 = 4096;

/// What shall move, and how.
#[derive(Debug, Clone)]
pub struct ForecastOptions {
    /// The slots.
    pub slots: SlotSet,
    /// The group that shall own them.
    pub to: GroupId,
    /// How long a batch of keys may keep a server busy.
    pub max_stall: Duration,
    /// Move slots with keys that alone keep a server busy for longer.
    pub allow_stall: bool,
    /// Keys per second at most.
    pub rate: Option<u32>,
    /// Longest wait for a server or proxy that is asked what it is.
    pub patience: Duration,
}

/// Slots that would move together.
#[derive(Debug, Clone)]
pub struct WaveForecast {
    /// Group that gives.
    pub from: GroupId,
    /// The slots.
    pub slots: SlotSet,
    /// Their keys.
    pub keys: u64,
    /// Memory that these take.
    pub bytes: u64,
}

/// Memory of the destination, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// In use now.
    pub used: u64,
    /// In use when the slots have arrived.
    pub after: u64,
    /// Its limit; 0 is none.
    pub max: u64,
}

/// What a move would do.
#[derive(Debug, Clone)]
pub struct Forecast {
    /// What `migrate start` would write.
    pub plan: Plan,
    /// The waves in which the slots would move, blocked ones included.
    pub waves: Vec<WaveForecast>,
    /// What must be true, and whether it is.
    pub guards: Vec<Guard>,
    /// What was found in the slots, by group that owns them.
    pub checks: Vec<GroupCheck>,
    /// The destination's memory.
    pub room: Room,
    /// Keys that a batch would have, about.
    pub batch_keys: u64,
    /// How long it would take, about.
    pub takes: Duration,
}

impl Forecast {
    /// Nothing can move: then what the slots hold has not been looked at.
    pub fn is_refused(&self) -> bool {
        self.guards.iter().any(|guard| guard.mark == Mark::Bad)
    }

    /// All keys that would move.
    pub fn keys(&self) -> u64 {
        self.waves.iter().map(|wave| wave.keys).sum()
    }

    /// Memory that they take.
    pub fn bytes(&self) -> u64 {
        self.waves.iter().map(|wave| wave.bytes).sum()
    }

    /// Keys of these slots that alone keep a server busy for too long, the worst first.
    pub fn big(&self) -> Vec<&BigKey> {
        let of = |check: &GroupCheck| check.slots.iter().map(|slot| slot.slot).collect::<SlotSet>();
        let mut big: Vec<&BigKey> = Vec::new();
        for check in &self.checks {
            let slots = of(check);
            big.extend(check.survey.big.iter().filter(|key| slots.contains(key.slot)));
        }
        big.sort_by_key(|key| std::cmp::Reverse(key.one_shot.longest()));
        big
    }

    /// The slots that cannot move as asked, and why.
    pub fn blocked(&self) -> BTreeMap<String, SlotSet> {
        let mut blocked: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for slot in self.checks.iter().flat_map(|check| &check.slots) {
            if let Verdict::Blocked(why) = &slot.verdict {
                blocked.entry(why.clone()).or_default().push(slot.slot);
            }
        }
        blocked.into_iter().map(|(why, slots)| (why, slots.into_iter().collect())).collect()
    }
}

/// Looks at everything that a move depends on.
///
/// # Errors
/// What the planner refuses, `migrate start` in other words; `Unreachable` if a server that the keys are on, or would go to, does not
/// answer. That a guard is bad is no error here.
pub async fn forecast(
    cx: &Context,
    cluster: &Cluster,
    options: &ForecastOptions,
    events: &Events,
) -> Result<Forecast, Failure> {
    let ForecastOptions { slots, to, patience, .. } = options;
    let native = observe::native_sources(cx, cluster, slots, *patience).await;
    let plan = plan::migrate(cluster, slots, *to, &native, cluster.taken_ms)?;
    let moves = queued(&plan);
    let mut found = Forecast {
        waves: waves(cluster, &moves),
        plan,
        guards: Vec::new(),
        checks: Vec::new(),
        room: Room::default(),
        batch_keys: 0,
        takes: Duration::ZERO,
    };
    if found.waves.is_empty() {
        return Ok(found);
    }
    let ends = Ends {
        cluster,
        sources: found.waves.iter().map(|wave| wave.from).collect(),
        to: *to,
        servers: observe::servers(cx, cluster, *patience).await,
    };
    let destination = ends.master(*to)?.1;
    for from in &ends.sources {
        ends.master(*from)?;
    }
    found.guards = guards::of_servers(&ends)?;
    if found.is_refused() {
        return Ok(found);
    }
    let check = CheckOptions {
        slots: moves.iter().map(|task| task.slot).collect(),
        to: Some(*to),
        max_stall: options.max_stall,
        allow_stall: options.allow_stall,
        fast: true,
        masters: false,
        patience: *patience,
    };
    let mut checked = check_slots(cx, cluster, &check, events).await?;
    forgive(cluster, &native, &mut checked);
    for wave in &mut found.waves {
        let of = checked.groups.iter().filter(|check| check.group == wave.from);
        for slot in of.flat_map(|check| &check.slots).filter(|slot| wave.slots.contains(slot.slot)) {
            wave.keys += slot.size.keys;
            wave.bytes += slot.size.bytes;
        }
    }
    let (used, max) = (destination.used_memory, destination.maxmemory);
    found.room = Room { used, after: used + found.bytes(), max };
    found.guards.extend(guards::of_the_rest(cx, &ends, &checked, &found.room, options).await?);
    found.takes = takes(&found.waves, &checked.groups, destination, options.rate);
    found.batch_keys = batch_keys(&found.waves, options.max_stall);
    found.checks = checked.groups;
    Ok(found)
}

/// The tasks that a plan queues.
fn queued(plan: &Plan) -> Vec<Move> {
    let of = |step: &Step| match step {
        Step::QueueMoves(moves) => moves.clone(),
        _ => Vec::new(),
    };
    plan.steps.iter().flat_map(of).collect()
}

/// The waves in which the mover would take them: slots with the same source, one at a time beside a Go proxy.
fn waves(cluster: &Cluster, moves: &[Move]) -> Vec<WaveForecast> {
    let most = if cluster.all_ours() { mover::RunOptions::default().wave_slots } else { 1 };
    let mut by_source: BTreeMap<GroupId, Vec<_>> = BTreeMap::new();
    for task in moves {
        by_source.entry(task.from).or_default().push(task.slot);
    }
    let wave = |(from, slots): (GroupId, Vec<_>)| {
        let chunks: Vec<SlotSet> = slots.chunks(most).map(|chunk| chunk.iter().copied().collect()).collect();
        chunks.into_iter().map(move |slots| WaveForecast { from, slots, keys: 0, bytes: 0 })
    };
    by_source.into_iter().flat_map(wave).collect()
}

/// The groups that slots would go from and to, and what their servers say of themselves.
struct Ends<'a> {
    cluster: &'a Cluster,
    sources: BTreeSet<GroupId>,
    to: GroupId,
    servers: BTreeMap<Addr, Result<ServerInfo, String>>,
}

impl Ends<'_> {
    /// A group's master, and what it says.
    fn master(&self, group: GroupId) -> Result<(&Addr, &ServerInfo), Failure> {
        let what = format!("cannot plan a move of slots to group {}", self.to);
        let Some(master) = self.cluster.groups.get(&group).and_then(Group::master) else {
            let place = format!("servers/group_{group}");
            return Err(Failure::new(
                FailureKind::Unsafe,
                what,
                place,
                "it does not have exactly one master",
            )
            .next(format!("codisctl group show {group}")));
        };
        match self.servers.get(&master.addr) {
            Some(Ok(info)) => Ok((&master.addr, info)),
            other => {
                let why = match other {
                    Some(Err(why)) => why.as_str(),
                    _ => "it was not asked",
                };
                Err(Failure::new(FailureKind::Unreachable, what, &master.addr, why)
                    .next(format!("codisctl server info {}", master.addr)))
            }
        }
    }
}

/// A mover goes on with slots that are on their way whatever they hold, and a native server's own command asks for no sizes.
fn forgive(cluster: &Cluster, native: &BTreeSet<GroupId>, checked: &mut Checked) {
    for check in &mut checked.groups {
        let sizes_do_not_matter = native.contains(&check.group) && !check.survey.sized;
        for slot in &mut check.slots {
            let status = cluster.slot(slot.slot).map(|slot| slot.status);
            let goes_on = matches!(status, Some(SlotStatus::Migrate | SlotStatus::PreMigrate));
            if goes_on || sizes_do_not_matter && !checked.held.contains(slot.slot) {
                slot.verdict = Verdict::Ok;
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn takes(
    waves: &[WaveForecast],
    checks: &[GroupCheck],
    destination: &ServerInfo,
    rate: Option<u32>,
) -> Duration {
    let keys = waves.iter().map(|wave| wave.keys).sum::<u64>() as f64;
    let bytes = waves.iter().map(|wave| wave.bytes).sum::<u64>() as f64;
    let per_s = rate.map_or(KEYS_PER_S, f64::from).min(KEYS_PER_S);
    let on = |check: &GroupCheck| check.survey.by_slot.iter().map(|slot| slot.keys).sum::<u64>() as f64;
    // Each wave looks through its source for big keys and through the destination for strays.
    let looked: f64 = waves
        .iter()
        .filter_map(|wave| checks.iter().find(|check| check.group == wave.from))
        .map(|check| on(check) + destination.keys as f64)
        .sum();
    let moving = (keys / per_s).max(bytes / BYTES_PER_S);
    Duration::from_secs_f64(moving + looked / LOOKED_PER_S)
        + SWITCHES * u32::try_from(waves.len()).unwrap_or(1)
}

/// A batch grows until half the budget is used; a larger key counts as several.
fn batch_keys(waves: &[WaveForecast], budget: Duration) -> u64 {
    let keys = waves.iter().map(|wave| wave.keys).sum::<u64>().max(1);
    let weight = 1 + waves.iter().map(|wave| wave.bytes).sum::<u64>() / keys / SMALL;
    let fits = budget.as_micros() as u64 / 2 / PER_KEY.as_micros() as u64;
    (fits / weight).clamp(1, LARGEST_BATCH)
}
