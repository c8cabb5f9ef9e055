//! Which slave becomes the master.

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use crate::{
    Addr, Group, Role,
    ha::{Facts, Policy, Saga, ServerView},
};

/// A link that is up hears from its master at least this often, seconds: the master's ping.
const HEARTBEAT_S: u64 = 10;
/// Servers say seconds without their fraction.
const ROUNDING_S: u64 = 1;
/// While slots move a slave must have been linked to the end; this much is measured, not missed, seconds.
const LINKED_TO_THE_END_S: u64 = 1;

/// Why a server is not made the master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It does not answer, or not to us; what was met.
    Unreachable(String),
    /// It reads its data from disk.
    Loading,
    /// Its copy of the master's data is not complete.
    Syncing,
    /// Its link to the master was down before the master was lost: for how long, and what is allowed, seconds.
    Behind {
        /// How long.
        s: u64,
        /// What is allowed.
        limit_s: u64,
    },
    /// It has never had the master's data.
    NeverLinked,
    /// Its `replica-priority` is 0.
    Never,
    /// It is offline, and does not replicate from the lost master.
    Offline,
    /// It follows another server than the master.
    FollowsAnother(Addr),
    /// It follows nobody, and it was not we who have detached it: what it holds may be of any age.
    MasterItself,
    /// Its link was down while slots moved: it may lack the removal of keys that have moved away.
    SlotsMoving,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "not reachable: {why}"),
            Self::Loading => write!(f, "loads its data from disk"),
            Self::Syncing => write!(f, "its copy is not complete"),
            Self::Behind { s, limit_s } => write!(f, "{s} s behind, limit max_lag_s {limit_s}"),
            Self::NeverLinked => write!(f, "never had the master's data"),
            Self::Never => write!(f, "its replica-priority is 0"),
            Self::Offline => write!(f, "offline, and not a copy of the lost master"),
            Self::FollowsAnother(addr) => write!(f, "replicates from {addr}"),
            Self::MasterItself => write!(f, "is a master itself, and nobody knows since when"),
            Self::SlotsMoving => write!(f, "was not linked while slots moved"),
        }
    }
}

/// What is held against a server, or for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The server.
    pub addr: Addr,
    /// As the store lists it.
    pub role: Role,
    /// Why it cannot be.
    pub unfit: Option<Unfit>,
    /// It is in the history of the lost master.
    pub same_history: bool,
    /// How far it is, bytes.
    pub offset: u64,
    /// `replica-priority`.
    pub priority: u32,
    /// How long it had been without its master before that was lost, seconds.
    pub behind_s: Option<u64>,
    /// It is the one.
    pub chosen: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.unfit, self.chosen, self.same_history) {
            (Some(why), ..) => write!(f, "{}: {why}", self.addr),
            (None, true, true) => {
                write!(f, "{}: chosen, offset {} is the highest", self.addr, self.offset)
            }
            (None, true, false) => write!(f, "{}: chosen, nobody has the master's history", self.addr),
            (None, false, true) => {
                write!(f, "{}: offset {}, priority {}", self.addr, self.offset, self.priority)
            }
            (None, false, false) => write!(f, "{}: another history, its offset means nothing", self.addr),
        }
    }
}

/// What the group's journal says of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Nothing,
    /// The old master of a change that has not ended: it may be the only one left that has the data.
    Former,
    /// The candidate of a change that did not come to the store: it may have been detached, and it was fit then.
    Detached,
}

fn mark(saga: Option<&Saga>, addr: &Addr) -> Mark {
    match saga {
        Some(saga) if !saga.stage.is_stored() && &saga.new == addr => Mark::Detached,
        Some(saga) if saga.stage.is_stored() && !saga.stage.is_over() && &saga.old == addr => Mark::Former,
        _ => Mark::Nothing,
    }
}

/// The server that a slave still follows because a change that is not over has not come to it: whoever was master before.
/// And for how long that has been silent, milliseconds.
fn left_behind(
    saga: Option<&Saga>,
    facts: &Facts,
    servers: &BTreeMap<Addr, ServerView>,
    now_ms: u64,
) -> Option<(Addr, u64)> {
    let saga = saga.filter(|saga| !saga.stage.is_over())?;
    let master = facts.master.as_ref()?;
    let is_old = saga.stage.is_stored() && &saga.old == master;
    if !is_old && !saga.demoted.iter().any(|server| &server.addr == master) {
        return None;
    }
    let seen_ms = servers.get(master).and_then(|view| view.silence.as_ref()).map_or(0, |silence| silence.ms);
    // An agent that has begun later has not seen all of it.
    let known_ms = match saga.receipt.last_good_ms {
        last_good_ms if is_old && last_good_ms > 0 => now_ms.saturating_sub(last_good_ms),
        _ => 0,
    };
    Some((master.clone(), seen_ms.max(known_ms)))
}

/// All servers of a group but the lost master, the chosen one first.
///
/// Slaves first; if none is fit, those that are listed as offline and replicate from the lost master all the same.
pub fn choose(
    group: &Group,
    lost: &Addr,
    servers: &BTreeMap<Addr, ServerView>,
    policy: &Policy,
    moving: bool,
    saga: Option<&Saga>,
    now_ms: u64,
) -> Vec<Verdict> {
    let unknown = ServerView::default();
    let view = |addr: &Addr| servers.get(addr).unwrap_or(&unknown);
    let master = view(lost);
    let silent_ms = master.silence.as_ref().map_or(0, |silence| silence.ms);
    let others: Vec<_> = group.servers.iter().filter(|server| &server.addr != lost).collect();
    let history = master.furthest.as_ref().and_then(|(history, _)| history.clone());
    let history = history.or_else(|| common_history(others.iter().map(|server| view(&server.addr))));
    let mut verdicts: Vec<Verdict> = others
        .iter()
        .map(|server| {
            let view = view(&server.addr);
            let facts = view.facts.clone().unwrap_or_default();
            let left = left_behind(saga, &facts, servers, now_ms);
            let (whom, silent_ms) = left.unwrap_or_else(|| (lost.clone(), silent_ms));
            let behind_s = behind_s(&facts, view.facts_age_ms, silent_ms);
            let mark = mark(saga, &server.addr);
            let follows = facts.master.as_ref() == Some(lost);
            let unfit = match server.role {
                Role::Offline if mark != Mark::Former && !follows => Some(Unfit::Offline),
                _ => unfit(view, &facts, &whom, behind_s, policy, moving, mark),
            };
            Verdict {
                addr: server.addr.clone(),
                role: server.role,
                unfit,
                same_history: is_in(&facts, history.as_deref()),
                offset: facts.offset,
                priority: facts.priority,
                behind_s,
                chosen: false,
            }
        })
        .collect();
    verdicts.sort_by_key(|verdict| {
        let rank = (verdict.unfit.is_some(), verdict.role == Role::Offline, !verdict.same_history);
        (rank, Reverse(verdict.offset), verdict.priority, verdict.addr.clone())
    });
    if let Some(first) = verdicts.first_mut() {
        first.chosen = first.unfit.is_none();
    }
    verdicts
}

/// Whether a server that was chosen can still be made the master: it answers, has not restarted (`run_id`), and does not
/// load or copy anything.
pub fn is_fit(view: &ServerView, run_id: &str) -> Result<(), String> {
    if !view.is_reachable() {
        let why = view.silence.as_ref().map(|silence| silence.why.clone()).or(view.refusal.clone());
        return Err(format!("does not answer: {}", why.unwrap_or_default()));
    }
    match &view.facts {
        Some(facts) if facts.run_id != run_id => Err("has restarted since it was chosen".to_owned()),
        Some(facts) if facts.loading => Err(Unfit::Loading.to_string()),
        Some(facts) if facts.syncing => Err(Unfit::Syncing.to_string()),
        _ => Ok(()),
    }
}

fn unfit(
    view: &ServerView,
    facts: &Facts,
    whom: &Addr,
    behind_s: Option<u64>,
    policy: &Policy,
    moving: bool,
    mark: Mark,
) -> Option<Unfit> {
    if !view.is_reachable() {
        let silence = view.silence.as_ref().map(|silence| silence.why.clone());
        let why = silence.or(view.refusal.clone()).unwrap_or_else(|| "not asked yet".to_owned());
        return Some(Unfit::Unreachable(why));
    }
    if facts.loading {
        return Some(Unfit::Loading);
    }
    if facts.syncing {
        return Some(Unfit::Syncing);
    }
    if facts.priority == 0 {
        return Some(Unfit::Never);
    }
    match &facts.master {
        // What it was before a change that has not ended; nobody wrote to it since.
        _ if mark == Mark::Former => return None,
        Some(master) if master != whom => return Some(Unfit::FollowsAnother(master.clone())),
        None if mark == Mark::Detached && facts.is_master => return None,
        None if facts.is_master => return Some(Unfit::MasterItself),
        _ => {}
    }
    match behind_s {
        None => Some(Unfit::NeverLinked),
        Some(s) if s > policy.max_lag_s => Some(Unfit::Behind { s, limit_s: policy.max_lag_s }),
        Some(s) if moving && s > LINKED_TO_THE_END_S => Some(Unfit::SlotsMoving),
        Some(_) => None,
    }
}

/// How long a slave had been without its master when that fell silent, seconds.
fn behind_s(facts: &Facts, age_ms: u64, silent_ms: u64) -> Option<u64> {
    let silent_then_s = silent_ms.saturating_sub(age_ms) / 1000;
    let (without_s, usual_s) = match facts.link_up {
        true => (facts.last_io_s.unwrap_or(0), HEARTBEAT_S),
        false => (facts.link_down_s?, 0),
    };
    Some(without_s.saturating_sub(silent_then_s + usual_s + ROUNDING_S))
}

/// The history that most of the slaves which have keys are in, for a master that was never seen alive.
fn common_history<'a>(views: impl Iterator<Item = &'a ServerView>) -> Option<String> {
    let mut counts: BTreeMap<&String, (usize, u64)> = BTreeMap::new();
    for facts in views.filter_map(|view| view.facts.as_ref()).filter(|facts| facts.keys > 0) {
        if let Some(history) = &facts.history {
            let (count, offset) = counts.entry(history).or_default();
            (*count, *offset) = (*count + 1, facts.offset.max(*offset));
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(history, _)| history.clone())
}

/// A server that says nothing of histories is taken to be in the right one if it has data.
fn is_in(facts: &Facts, history: Option<&str>) -> bool {
    let Some(own) = &facts.history else { return facts.keys > 0 || history.is_none() };
    match history {
        None => true,
        Some(history) => own == history || facts.former.as_ref().is_some_and(|(former, _)| former == history),
    }
}
