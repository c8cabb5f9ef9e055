//! Is the master lost, and may something be done about it?

use std::{collections::BTreeMap, fmt};

use crate::{
    Addr, Group, Witness,
    ha::{AgentView, Pause, Policy, Saga, SagaKind, ServerView, Stage, Verdict, choose},
};

/// What a decision about one group is made from.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// The group as the store lists it.
    pub group: &'a Group,
    /// The servers as this agent sees them.
    pub servers: &'a BTreeMap<Addr, ServerView>,
    /// All live agents, this one included.
    pub agents: &'a [AgentView],
    /// What proxies see.
    pub witnesses: &'a [Witness],
    /// The group's journal.
    pub saga: Option<&'a Saga>,
    /// Slots move from or to the group.
    pub moving: bool,
    /// Failovers are suspended.
    pub paused: Option<&'a Pause>,
    /// The store has answered lately, so what is seen of it is true.
    pub session_healthy: bool,
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// That a master is lost, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// Agents that say so.
    pub say: usize,
    /// Agents that live.
    pub of: usize,
    /// Proxies whose connections to it fail.
    pub proxies_say: usize,
    /// Proxies that were asked.
    pub proxies_of: usize,
    /// How long this agent has had no good answer, milliseconds.
    pub silent_ms: u64,
    /// It answers, but has restarted without its keys: how many there were.
    pub emptied: Option<u64>,
}

/// A failover to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The lost master.
    pub old: Addr,
    /// The one that takes its place.
    pub new: Addr,
    /// Its `run_id` when it was chosen.
    pub run_id: String,
    /// Why the old one counts as lost.
    pub down: Down,
    /// What is held against the others.
    pub candidates: Vec<Verdict>,
}

/// Why nothing is done although the master does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotNow {
    /// Too few agents see it down.
    NoMajority {
        /// How many do.
        say: usize,
        /// How many live.
        of: usize,
    },
    /// There is a single agent, and the proxies reach the master.
    WitnessDisagrees {
        /// How many proxies have trouble with it, too.
        say: usize,
        /// How many were asked.
        of: usize,
    },
    /// There is a single agent, and its word alone shall not count.
    SingleObserver,
    /// No server can take its place.
    NobodyFit(Vec<Verdict>),
    /// The last failover is not long ago: milliseconds until the next may be.
    CooledDown {
        /// That many.
        left_ms: u64,
    },
    /// Somebody has suspended failovers.
    Paused(Pause),
    /// The store does not answer.
    SessionUnhealthy,
    /// The store lists no master, or several.
    NoMaster,
}

impl NotNow {
    /// A word for it, stable.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoMajority { .. } => "no_majority",
            Self::WitnessDisagrees { .. } => "witness_disagrees",
            Self::SingleObserver => "single_observer",
            Self::NobodyFit(_) => "nobody_fit",
            Self::CooledDown { .. } => "cooled_down",
            Self::Paused(_) => "paused",
            Self::SessionUnhealthy => "session_unhealthy",
            Self::NoMaster => "no_master",
        }
    }
}

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMajority { say, of } => write!(f, "only {say} of {of} agents see it down"),
            Self::WitnessDisagrees { say, of } => {
                write!(f, "a single agent sees it down, and only {say} of {of} proxies")
            }
            Self::SingleObserver => write!(f, "a single agent sees it down, and ha.single_observer is false"),
            Self::NobodyFit(verdicts) if verdicts.is_empty() => write!(f, "the group has no other server"),
            Self::NobodyFit(verdicts) => {
                let each: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
                write!(f, "no server can take its place ({})", each.join("; "))
            }
            Self::CooledDown { left_ms } => {
                write!(f, "there was a failover lately; the next may be in {} s", left_ms.div_ceil(1000))
            }
            Self::Paused(pause) => write!(f, "{} has suspended failovers: {}", pause.by, pause.why),
            Self::SessionUnhealthy => write!(f, "the store does not answer"),
            Self::NoMaster => write!(f, "the store does not name exactly one master"),
        }
    }
}

/// What the leader does about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The master is fine, or a change of it is under way and goes on.
    Nothing,
    /// Replace it.
    Failover(Choice),
    /// It is lost, and stays so for now.
    Refused {
        /// The master.
        master: Addr,
        /// Why.
        why: NotNow,
    },
}

/// Decides about one group. A change that is under way is not looked at here, but for one whose new master, already in
/// the store, is lost: then a new one takes its place.
pub fn decide(picture: &Picture<'_>, policy: &Policy) -> Decision {
    let open = picture.saga.filter(|saga| !saga.stage.is_over());
    if open.is_some_and(|saga| !saga.stage.is_stored()) {
        return Decision::Nothing;
    }
    let Some(master) = picture.group.master() else {
        // A group without any server is being made, or unmade.
        return Decision::Nothing;
    };
    let lost = &master.addr;
    let refused = |why| Decision::Refused { master: lost.clone(), why };
    let down = match master_down(picture, lost, policy) {
        Ok(Some(down)) => down,
        Ok(None) => return Decision::Nothing,
        Err(why) => return refused(why),
    };
    if !picture.session_healthy {
        return refused(NotNow::SessionUnhealthy);
    }
    if let Some(pause) = picture.paused.filter(|pause| pause.holds(picture.now_ms)) {
        return refused(NotNow::Paused(pause.clone()));
    }
    if let Some(left_ms) = cooling(picture, policy) {
        return refused(NotNow::CooledDown { left_ms });
    }
    let candidates =
        choose(picture.group, lost, picture.servers, policy, picture.moving, picture.saga, picture.now_ms);
    let Some(best) = candidates.iter().find(|verdict| verdict.chosen) else {
        return refused(NotNow::NobodyFit(candidates));
    };
    let facts = picture.servers.get(&best.addr).and_then(|view| view.facts.as_ref());
    let run_id = facts.map(|facts| facts.run_id.clone()).unwrap_or_default();
    Decision::Failover(Choice { old: lost.clone(), new: best.addr.clone(), run_id, down, candidates })
}

/// Whether the master is lost: `Ok(None)` if this agent itself does not think so.
///
/// # Errors
/// If this agent thinks so, and too few others do.
pub fn master_down(picture: &Picture<'_>, lost: &Addr, policy: &Policy) -> Result<Option<Down>, NotNow> {
    let Some(view) = picture.servers.get(lost) else { return Ok(None) };
    let silent_ms = view.silence.as_ref().map_or(0, |silence| silence.ms);
    let emptied = view.emptied.filter(|_| somebody_has_the_data(picture, lost));
    if silent_ms < policy.down_after_ms && emptied.is_none() {
        return Ok(None);
    }
    let of = picture.agents.len().max(1);
    let says = |agent: &&AgentView| agent.silent.get(lost).is_some_and(|seen| seen.down);
    let say = picture.agents.iter().filter(says).count();
    let (proxies_say, proxies_of) = witness(picture.witnesses, lost);
    let down = Down { say, of, proxies_say, proxies_of, silent_ms, emptied };
    if say * 2 <= of {
        return Err(NotNow::NoMajority { say, of });
    }
    if of == 1 && emptied.is_none() {
        if !policy.single_observer {
            return Err(NotNow::SingleObserver);
        }
        if proxies_of > 0 && (proxies_say == 0 || proxies_say * 2 < proxies_of) {
            return Err(NotNow::WitnessDisagrees { say: proxies_say, of: proxies_of });
        }
    }
    Ok(Some(down))
}

/// How many proxies have trouble with a server, of those that use it. One that fails on a single connection says so:
/// connections on which nothing is asked do not fail.
fn witness(witnesses: &[Witness], addr: &Addr) -> (usize, usize) {
    let sights = witnesses.iter().filter_map(|witness| witness.servers.get(addr));
    let sights = sights.filter(|sight| sight.connections > 0);
    sights.fold((0, 0), |(say, of), sight| (say + usize::from(sight.failing > 0), of + 1))
}

fn somebody_has_the_data(picture: &Picture<'_>, lost: &Addr) -> bool {
    let held = picture.servers.get(lost).and_then(|view| view.emptied).unwrap_or(0);
    picture.group.slaves().filter(|server| &server.addr != lost).any(|server| {
        let view = picture.servers.get(&server.addr);
        view.filter(|view| view.is_reachable())
            .and_then(|view| view.facts.as_ref())
            .is_some_and(|facts| facts.keys * 2 >= held && facts.keys > 0 && !facts.syncing)
    })
}

/// How long the group is still left alone after its last failover. One that is still open does not count: its new
/// master is lost before it had all its slaves.
pub(super) fn cooling(picture: &Picture<'_>, policy: &Policy) -> Option<u64> {
    let saga = picture.saga.filter(|saga| saga.kind == SagaKind::Failover && saga.stage == Stage::Ended)?;
    let over_ms = saga.receipt.ended_ms + policy.recovery_block_ms;
    over_ms.checked_sub(picture.now_ms).filter(|left| *left > 0)
}
