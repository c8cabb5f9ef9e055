//! Slaves that do not follow their master as they should.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Seen, ServerFacts, ServerSeen, Since};
use crate::notice::{Alert, Facts, Kind, Round, Trouble};
use crate::{Addr, GroupId, Role};

/// Lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicationPolicy {
    /// How far behind a slave may be, milliseconds.
    pub lag_ms: u64,
    /// The same in bytes.
    pub lag_bytes: u64,
    /// A link that is down, or a wrong master, counts after so long, milliseconds.
    pub grace_ms: u64,
    /// Full copies within an hour that are too many.
    pub resyncs: u64,
}

impl Default for ReplicationPolicy {
    fn default() -> Self {
        Self { lag_ms: 30_000, lag_bytes: 256 << 20, grace_ms: 10_000, resyncs: 3 }
    }
}

/// Offsets of a master that are remembered, one a second at most.
const OFFSETS: usize = 900;
const HOUR_MS: u64 = 3_600_000;

/// The duty.
#[derive(Debug, Clone, Default)]
pub struct Replication {
    since: Since,
    masters: BTreeMap<Addr, Master>,
}

/// What is remembered of a master.
#[derive(Debug, Clone, Default)]
struct Master {
    history: Option<String>,
    /// When it was how far.
    offsets: VecDeque<(u64, u64)>,
    /// Full copies sent when it was first seen, and whenever there were more.
    copies: VecDeque<(u64, u64)>,
}

impl Replication {
    /// Looks at all slaves.
    pub fn check(&mut self, seen: &Seen, policy: &ReplicationPolicy, round: &mut Round) {
        let mut alerts = Vec::new();
        let slaves = || seen.servers.iter().filter(|server| server.role == Role::Slave);
        let known: BTreeSet<&str> = slaves().map(|slave| slave.addr.as_str()).collect();
        self.since.keep(|subject| known.contains(subject));
        let listed = seen.addrs();
        self.masters.retain(|addr, _| listed.contains(addr));
        let groups = Groups::of(seen);
        for server in seen.servers.iter().filter(|server| server.role == Role::Master) {
            if let Some(facts) = &server.facts {
                self.masters.entry(server.addr.clone()).or_default().note(facts, seen.now_ms);
            }
        }
        for slave in slaves() {
            let (Some(master), Some(facts)) = (groups.master(slave.group), &slave.facts) else {
                round.blind(Kind::Replication, &slave.addr);
                continue;
            };
            let slaves = groups.slaves(slave.group);
            let trouble = self.trouble((slave, facts), master, slaves, policy, seen.now_ms);
            alerts.extend(trouble);
        }
        round.looked_for([Kind::Replication], alerts);
    }

    fn trouble(
        &mut self,
        (slave, facts): (&ServerSeen, &ServerFacts),
        master: &ServerSeen,
        slaves: u64,
        policy: &ReplicationPolicy,
        now_ms: u64,
    ) -> Option<Alert> {
        let subject = slave.addr.as_str();
        let broken = match &facts.follows {
            _ if facts.is_master => Some(Trouble::Master),
            Some(other) if other != &master.addr => Some(Trouble::Follows(other.clone())),
            _ if !facts.link_up => Some(Trouble::LinkDown),
            _ => None,
        };
        let alert = |since_ms: u64, trouble: Trouble, lag_ms: Option<u64>, lag_bytes: Option<u64>| {
            let facts = Facts::Replication {
                group: slave.group,
                slave: slave.addr.clone(),
                master: master.addr.clone(),
                trouble,
                lag_ms,
                lag_bytes,
                line_ms: policy.lag_ms,
            };
            Some(Alert::new(subject, since_ms, facts))
        };
        if let Some(trouble) = broken {
            let since = self.since.note(subject, now_ms);
            let lasts = now_ms - since >= policy.grace_ms;
            let down = (trouble == Trouble::LinkDown)
                .then(|| facts.link_down_ms.unwrap_or(0).max(now_ms - since))
                .filter(|ms| *ms > 0);
            return lasts.then(|| alert(since, trouble, down, None)).flatten();
        }
        self.since.clear(subject);
        let known = self.masters.get(&master.addr)?;
        let (lag_ms, lag_bytes) = known.ahead_of(facts, now_ms);
        if lag_ms >= policy.lag_ms || lag_bytes >= policy.lag_bytes {
            let since = now_ms.saturating_sub(lag_ms);
            return alert(since, Trouble::Behind, Some(lag_ms), Some(lag_bytes));
        }
        let copies = known.copies_in_last_hour();
        let each = copies / slaves.max(1);
        (each >= policy.resyncs).then(|| alert(now_ms, Trouble::Resyncs(copies), None, None)).flatten()
    }
}

/// The masters of each group, and how many slaves.
struct Groups<'a>(BTreeMap<GroupId, (Vec<&'a ServerSeen>, u64)>);

impl<'a> Groups<'a> {
    fn of(seen: &'a Seen) -> Self {
        let mut groups: BTreeMap<GroupId, (Vec<&ServerSeen>, u64)> = BTreeMap::new();
        for server in &seen.servers {
            let (masters, slaves) = groups.entry(server.group).or_default();
            match server.role {
                Role::Master => masters.push(server),
                Role::Slave => *slaves += 1,
                Role::Offline => {}
            }
        }
        Self(groups)
    }

    /// The one master of a group.
    fn master(&self, group: GroupId) -> Option<&'a ServerSeen> {
        match self.0.get(&group)?.0.as_slice() {
            [master] => Some(master),
            _ => None,
        }
    }

    fn slaves(&self, group: GroupId) -> u64 {
        self.0.get(&group).map_or(0, |(_, slaves)| *slaves)
    }
}

impl Master {
    fn note(&mut self, facts: &ServerFacts, now_ms: u64) {
        let reset = self.history != facts.history
            || self.offsets.back().is_some_and(|(at, offset)| *at > now_ms || *offset > facts.offset);
        if reset {
            self.offsets.clear();
            self.history.clone_from(&facts.history);
        }
        if self.offsets.back().is_none_or(|(at, _)| now_ms - at >= 1000) {
            if self.offsets.len() >= OFFSETS {
                self.offsets.pop_front();
            }
            self.offsets.push_back((now_ms, facts.offset));
        }
        match self.copies.back() {
            Some((_, count)) if *count == facts.full_syncs => {}
            // It has restarted.
            Some((_, count)) if *count > facts.full_syncs => {
                self.copies = [(now_ms, facts.full_syncs)].into()
            }
            _ => self.copies.push_back((now_ms, facts.full_syncs)),
        }
        // What was there an hour ago is what the last hour is counted from.
        while self.copies.get(1).is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= HOUR_MS) {
            self.copies.pop_front();
        }
    }

    fn copies_in_last_hour(&self) -> u64 {
        let count = |entry: Option<&(u64, u64)>| entry.map_or(0, |(_, count)| *count);
        count(self.copies.back()).saturating_sub(count(self.copies.front()))
    }

    /// How far a slave is behind, milliseconds and bytes.
    fn ahead_of(&self, slave: &ServerFacts, now_ms: u64) -> (u64, u64) {
        let Some((_, newest)) = self.offsets.back() else { return (0, 0) };
        if slave.history != self.history || slave.offset >= *newest {
            return (0, 0);
        }
        let reached = self.offsets.iter().rev().find(|(_, offset)| *offset <= slave.offset);
        let at = reached.or(self.offsets.front()).map_or(now_ms, |(at, _)| *at);
        (now_ms.saturating_sub(at), newest - slave.offset)
    }
}
