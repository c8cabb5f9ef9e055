//! What is to be done next on a host.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{HOLD_S, chores, overdue};
use super::{Does, Host, Instance, Said, SnapshotsPolicy};
use crate::Addr;

/// A server that nobody listens at may have left a child for so long, milliseconds.
const ORPHAN_MS: u64 = 60_000;
/// Slaves that were let go on and do not are made to wait again after so long, milliseconds.
const ADMITTED_MS: u64 = 15_000;
/// Slaves are kept waiting for room no longer than this, milliseconds: from then on a group without a slave is worse.
const PATIENCE_MS: u64 = 600_000;
/// What did not work out is not tried again before this, milliseconds.
const AGAIN_MS: u64 = 60_000;
/// A child that lives longer is told, milliseconds; or than the interval.
const LONG_MS: u64 = 600_000;
/// A server is to be taken over so often before it is left alone for a while.
const ATTEMPTS: u32 = 5;
/// Nothing saved for so many intervals is told.
const LATE: u64 = 3;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Keep a server's settings and take its own reasons to fork away.
    TakeOver(Addr),
    /// Let slaves wait so many seconds, counted from when they came.
    Delay(Addr, u64),
    /// Let the waiting slaves go on: the server forks.
    Admit(Addr),
    /// Have it fork for this.
    Fork(Addr, Does),
}

impl Order {
    /// It makes a child.
    pub fn forks(&self) -> bool {
        matches!(self, Self::Admit(_) | Self::Fork(..))
    }
}

/// What is the matter with saving a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plight {
    /// There is no room for a child.
    NoRoom {
        /// Bytes that it may need.
        needs: u64,
        /// Bytes there are; `None` if nobody knows what the host has.
        free: Option<u64>,
        /// Slaves wait for it.
        sync: bool,
    },
    /// The last save or rewrite failed.
    Failed(Does),
    /// A child lives for so long, milliseconds.
    Slow(Does, u64),
    /// Nothing was saved for so long, milliseconds.
    Late(u64),
    /// Its settings cannot be changed, so that it may fork at any time.
    Unruly,
}

/// What is to be done, and what people should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// In this order; at most one makes a child, and then it is the only one.
    pub orders: Vec<Order>,
    /// What is the matter, with whom.
    pub plights: Vec<(Addr, Plight)>,
    /// Why nobody forks now though somebody is to.
    pub waits: Option<String>,
}

/// Slaves that wait at a master.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// Since when they are known to.
    since_ms: u64,
    /// How long they may have waited before, seconds.
    before_s: u64,
}

/// What is remembered of a host.
#[derive(Debug, Clone, Default)]
pub struct Governor {
    waiting: BTreeMap<Addr, Waiting>,
    admitted: BTreeMap<Addr, u64>,
    tried: BTreeMap<(Addr, Does), u64>,
    gone: BTreeMap<Addr, u64>,
    asked: BTreeSet<(Addr, Does)>,
    /// Since when a server is known: what was not saved before that is nobody's fault here.
    known: BTreeMap<Addr, u64>,
    /// How often a server was to be taken over in vain, and when last.
    taking: BTreeMap<Addr, (u32, u64)>,
    /// Whose slaves went on last, if nobody has been saved since.
    last: Option<Addr>,
    now_ms: u64,
}

impl Governor {
    /// Somebody wants every server to be saved once now, due or not.
    pub fn ask(&mut self, host: &Host, policy: &SnapshotsPolicy) {
        for instance in &host.instances {
            let Some(said) = instance.heard() else { continue };
            let chores = chores(instance, said, policy).into_iter();
            self.asked.extend(chores.map(|does| (instance.addr.clone(), does)));
        }
        self.tried.clear();
    }

    /// What was asked for and has not been begun.
    pub fn asked(&self) -> impl Iterator<Item = &(Addr, Does)> {
        self.asked.iter()
    }

    /// What is to be done now. What is returned is remembered as done: orders that fail are given again later.
    pub fn next(&mut self, host: &Host, policy: &SnapshotsPolicy, now_ms: u64) -> Decision {
        self.now_ms = now_ms;
        self.note(host, now_ms);
        let mut decision = Decision { plights: self.plights(host, policy), ..Decision::default() };
        for instance in &host.instances {
            match self.take(instance, now_ms) {
                Take::Done => {}
                Take::Now => decision.orders.push(Order::TakeOver(instance.addr.clone())),
                Take::Refused => decision.plights.push((instance.addr.clone(), Plight::Unruly)),
            }
        }
        if !decision.orders.is_empty() {
            return decision;
        }
        let blocker = host.instances.iter().find_map(|one| self.blocks(one));
        let mut turns = self.turns(host, policy, now_ms);
        let first = turns.iter().position(|turn| turn.fits || turn.sync && turn.waited_ms >= PATIENCE_MS);
        let chosen = first.map(|at| turns.swap_remove(at));
        decision.plights.extend(turns.iter().filter(|turn| !turn.fits).map(|turn| turn.plight(host, policy)));
        let admitted = chosen.as_ref().filter(|turn| turn.sync && blocker.is_none());
        decision.orders = self.doors(host, admitted.map(|turn| &turn.addr), now_ms);
        if !decision.orders.is_empty() {
            decision.waits = chosen.map(|_| "slaves of other servers are made to wait first".to_owned());
            return decision;
        }
        let Some(turn) = chosen else { return decision };
        if let Some(blocker) = blocker {
            decision.waits = Some(blocker);
            return decision;
        }
        if !turn.fits {
            decision.plights.push(turn.plight(host, policy));
        }
        let order = if turn.sync {
            self.admitted.insert(turn.addr.clone(), now_ms);
            self.last = Some(turn.addr.clone());
            Order::Admit(turn.addr)
        } else {
            self.last = None;
            self.tried.insert((turn.addr.clone(), turn.does), now_ms);
            self.asked.remove(&(turn.addr.clone(), turn.does));
            Order::Fork(turn.addr, turn.does)
        };
        decision.orders.push(order);
        decision
    }

    /// Whether it forks on its own, or its settings have not been kept. One that refuses is left alone for a while, so that
    /// the others are not kept waiting for good.
    fn take(&mut self, instance: &Instance, now_ms: u64) -> Take {
        let Some(said) = instance.heard().filter(|said| said.settings.is_some() && !said.loading) else {
            return Take::Done;
        };
        if instance.kept.is_some() && said.own_reasons().is_empty() {
            self.taking.remove(&instance.addr);
            return Take::Done;
        }
        let (times, at) = self.taking.entry(instance.addr.clone()).or_default();
        if *times >= ATTEMPTS && now_ms.saturating_sub(*at) < AGAIN_MS {
            return Take::Refused;
        }
        (*times, *at) = (times.saturating_add(1), now_ms);
        Take::Now
    }

    fn note(&mut self, host: &Host, now_ms: u64) {
        let known = |addr: &Addr| host.instances.iter().any(|one| &one.addr == addr);
        self.gone.retain(|addr, _| known(addr));
        self.waiting.retain(|addr, _| known(addr));
        self.admitted.retain(|addr, _| known(addr));
        self.tried.retain(|(addr, _), _| known(addr));
        self.taking.retain(|addr, _| known(addr));
        self.known.retain(|addr, _| known(addr));
        for instance in &host.instances {
            let addr = &instance.addr;
            self.known.entry(addr.clone()).or_insert(now_ms);
            match &instance.said {
                Err(unheard) if unheard.refused => {
                    self.gone.entry(addr.clone()).or_insert(now_ms);
                }
                Err(_) => {
                    self.gone.remove(addr);
                }
                Ok(said) => {
                    self.gone.remove(addr);
                    self.note_slaves(addr, said, now_ms);
                }
            }
        }
        // Who is not there cannot be saved when asked to.
        self.asked.retain(|(addr, _)| host.instances.iter().any(|one| &one.addr == addr && one.said.is_ok()));
    }

    fn note_slaves(&mut self, addr: &Addr, said: &Said, now_ms: u64) {
        if said.waiting > 0 && said.child.is_none() {
            let before_s = said.delay().unwrap_or_default();
            self.waiting.entry(addr.clone()).or_insert(Waiting { since_ms: now_ms, before_s });
        } else {
            self.waiting.remove(addr);
            self.admitted.remove(addr);
        }
    }

    /// Why no child may be made on the host because of this server.
    fn blocks(&self, instance: &Instance) -> Option<String> {
        let addr = &instance.addr;
        let said = match &instance.said {
            Ok(said) => said,
            Err(unheard) if unheard.refused => {
                let gone = self.gone.get(addr).map_or(0, |since| self.now_ms.saturating_sub(*since));
                return (gone < ORPHAN_MS).then(|| format!("{addr} has gone a moment ago: {}", unheard.why));
            }
            Err(unheard) => {
                return Some(format!("{addr} does not say whether it has a child: {}", unheard.why));
            }
        };
        if let Some(child) = &said.child {
            return Some(format!("{addr} has a child ({}, {} s)", child.does.as_str(), child.for_ms / 1000));
        }
        let why = match said {
            _ if said.scheduled => "is about to rewrite its append-only file",
            _ if said.loading => "loads its data",
            _ if said.copying && said.aof => "gets a whole copy, and rewrites its append-only file after it",
            _ if said.is_open() => "may begin a copy for a slave at any moment",
            _ => return None,
        };
        Some(format!("{addr} {why}"))
    }

    fn plights(&self, host: &Host, policy: &SnapshotsPolicy) -> Vec<(Addr, Plight)> {
        let mut found = Vec::new();
        for instance in &host.instances {
            let Some(said) = instance.heard() else { continue };
            let mut add = |plight| found.push((instance.addr.clone(), plight));
            if said.settings.is_none() {
                add(Plight::Unruly);
            }
            if let Some(child) = said.child.filter(|child| child.for_ms > policy.interval_ms.max(LONG_MS)) {
                add(Plight::Slow(child.does, child.for_ms));
            }
            let chores = chores(instance, said, policy);
            let saves = chores.contains(&Does::Save);
            if saves && said.save_failed {
                add(Plight::Failed(Does::Save));
            } else if said.aof && said.rewrite_failed {
                add(Plight::Failed(Does::Rewrite));
            } else if saves && said.changes > 0 {
                let known = self.known.get(&instance.addr).map_or(0, |at| self.now_ms.saturating_sub(*at));
                let late = policy.interval_ms.saturating_mul(LATE);
                if said.saved_ago_ms.min(known) > late {
                    add(Plight::Late(said.saved_ago_ms));
                }
            }
        }
        found
    }

    /// Who is to fork, the most urgent first: slaves before snapshots, because a group without a slave is worse off
    /// than one with an old snapshot. But a master whose slaves come again and again lets one of the others go in between,
    /// and of these whoever has had no turn for the longest time goes first, then whoever is the most overdue.
    fn turns(&self, host: &Host, policy: &SnapshotsPolicy, now_ms: u64) -> Vec<Wish> {
        let free = host.free(policy);
        let mut wishes = Vec::new();
        for instance in &host.instances {
            let Some(said) = instance.heard() else { continue };
            let fits = free.is_some_and(|free| said.needs() <= free);
            let wish = |does, since_ms, overdue, sync, waited_ms| Wish {
                addr: instance.addr.clone(),
                does,
                since_ms,
                overdue,
                sync,
                waited_ms,
                fits,
                needs: said.needs(),
            };
            // One whose slaves go on already is seen as a child in a moment.
            if let Some(waiting) = self.waiting.get(&instance.addr).filter(|_| !said.is_open()) {
                let waited = now_ms.saturating_sub(waiting.since_ms);
                wishes.push(wish(Does::Save, waiting.since_ms, 0, true, waited));
            }
            for does in chores(instance, said, policy) {
                let asked = self.asked.contains(&(instance.addr.clone(), does));
                let overdue = overdue(does, instance, said, policy);
                let tried = self.tried.get(&(instance.addr.clone(), does));
                let pause = AGAIN_MS.min(policy.interval_ms);
                let rests = tried.is_some_and(|at| now_ms.saturating_sub(*at) < pause);
                if asked || overdue >= 1000 && !rests {
                    wishes.push(wish(does, tried.copied().unwrap_or_default(), overdue, false, 0));
                }
            }
        }
        let again = |wish: &Wish| wish.sync && self.last.as_ref() == Some(&wish.addr);
        let rank = |wish: &Wish| (again(wish), !wish.sync, wish.since_ms, u64::MAX - wish.overdue);
        wishes.sort_by(|a, b| (rank(a), &a.addr).cmp(&(rank(b), &b.addr)));
        wishes
    }

    /// Delays that must change: where slaves wait that are not to go on, and where none does.
    fn doors(&self, host: &Host, admitted: Option<&Addr>, now_ms: u64) -> Vec<Order> {
        let mut orders = Vec::new();
        for instance in &host.instances {
            let Some(delay) = instance.heard().and_then(Said::delay) else { continue };
            let waiting = self.waiting.get(&instance.addr);
            let needed = match (waiting, self.admitted.get(&instance.addr)) {
                (Some(_), _) if admitted == Some(&instance.addr) => continue,
                (Some(_), Some(at)) if delay == 0 && now_ms.saturating_sub(*at) < ADMITTED_MS => continue,
                (Some(waiting), _) => {
                    let waited = waiting.before_s + now_ms.saturating_sub(waiting.since_ms) / 1000;
                    // Enough of it is left.
                    if delay >= waited + HOLD_S / 2 {
                        continue;
                    }
                    waited + HOLD_S
                }
                (None, _) => HOLD_S,
            };
            if delay != needed {
                orders.push(Order::Delay(instance.addr.clone(), needed));
            }
        }
        orders
    }
}

/// Somebody is to fork.
#[derive(Debug, Clone)]
struct Wish {
    addr: Addr,
    does: Does,
    /// Since when its slaves wait, or when it last had a turn of this kind, milliseconds; 0 if that is not known.
    since_ms: u64,
    overdue: u64,
    sync: bool,
    waited_ms: u64,
    fits: bool,
    needs: u64,
}

impl Wish {
    fn plight(&self, host: &Host, policy: &SnapshotsPolicy) -> (Addr, Plight) {
        let plight = Plight::NoRoom { needs: self.needs, free: host.free(policy), sync: self.sync };
        (self.addr.clone(), plight)
    }
}

/// What is to be done about a server's settings.
enum Take {
    /// Nothing.
    Done,
    /// They are to be changed.
    Now,
    /// They cannot be changed.
    Refused,
}
