//! The journal of a change of master, planned or not (`failover/group_G`).

use std::{fmt, str::FromStr};

use crate::{Addr, Extra, GroupId, ParseError, SwitchStep, ha::Facts};

/// Why the master changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SagaKind {
    /// Somebody wants it; the old master lives.
    Planned,
    /// The old master is lost.
    Failover,
}

impl SagaKind {
    /// The word in the node.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Failover => "failover",
        }
    }
}

impl FromStr for SagaKind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Planned, Self::Failover]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ParseError::new(text, "a kind of change (planned, failover)"))
    }
}

/// How far it is. Each is a place where whoever does it may die: the next one goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Asked for by somebody who does not lead; nothing has been done.
    Asked,
    /// Planned: proxies hold back, writes are stopped, the slave catches up. Nothing has changed.
    Hold,
    /// Failover: the candidate is chosen. Nothing has changed.
    Intent,
    /// The candidate becomes a master. The store still names the old one.
    Promote,
    /// The store names the new master; the proxies are told.
    Follow,
    /// The proxies have followed; the other servers are attached to the new master.
    Attach,
    /// Everything is done.
    Ended,
    /// Given up before the store named the new master: the old one stays.
    Aborted,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Asked,
        Self::Hold,
        Self::Intent,
        Self::Promote,
        Self::Follow,
        Self::Attach,
        Self::Ended,
        Self::Aborted,
    ];

    /// The word in the node.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Hold => "hold",
            Self::Intent => "intent",
            Self::Promote => "promote",
            Self::Follow => "follow",
            Self::Attach => "attach",
            Self::Ended => "ended",
            Self::Aborted => "aborted",
        }
    }

    /// True when nobody has to go on with it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Aborted)
    }

    /// True from when the store names the new master.
    pub fn is_stored(self) -> bool {
        matches!(self, Self::Follow | Self::Attach | Self::Ended)
    }
}

impl FromStr for Stage {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| ParseError::new(text, "a stage of a change of master"))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A server that was master and has not come back yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demoted {
    /// Where it listens.
    pub addr: Addr,
    /// The history that the new master took over from it; unknown with old servers.
    pub history: Option<String>,
    /// Up to which offset of it the new master has everything.
    pub offset: u64,
    /// A proxy that has not heard of the change may still be writing to it: what is lost is not known before it is back.
    pub open: bool,
    /// Somebody has asked for it to become a slave: it does, also where old masters wait for people.
    pub asked: bool,
    /// Bytes of its history that the new master never got; known when it is back, unless it has restarted.
    pub missed: Option<u64>,
    /// Where its data was kept before it became a slave.
    pub kept: Option<String>,
}

impl Demoted {
    /// One that is not back: the new master took over `history` from it, and has everything up to `offset`.
    pub fn new(addr: Addr, history: Option<String>, offset: u64) -> Self {
        Self { addr, history, offset, open: false, asked: false, missed: None, kept: None }
    }

    /// How far it had gone on in the history that the new master took over. `None`: it is in another one, or that cannot be known.
    pub fn went_on(&self, facts: &Facts) -> Option<u64> {
        let same = self.history.is_some() && facts.history == self.history;
        same.then(|| facts.offset.saturating_sub(self.offset))
    }
}

/// What was lost. Nothing, if both are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// At least so many bytes of the replication stream.
    pub bytes: u64,
    /// At most so many acknowledged writes. `None`: nobody has counted.
    pub writes: Option<u64>,
}

impl Loss {
    /// Nothing, and that is proved.
    pub const NONE: Self = Self { bytes: 0, writes: Some(0) };
}

/// What came of it; filled in step by step. Times are Unix milliseconds, 0 while it has not come to that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The last good answer of the old master.
    pub last_good_ms: u64,
    /// The decision.
    pub decided_ms: u64,
    /// The store named the new master.
    pub stored_ms: u64,
    /// The proxies had followed.
    pub followed_ms: u64,
    /// Everything was done.
    pub ended_ms: u64,
    /// What was lost; known from when the new master is made.
    pub lost: Option<Loss>,
    /// Proxies that did not confirm, by id, and fences without a proxy, by address.
    pub unconfirmed: Vec<String>,
    /// What was found of each server when the new master was chosen, for people.
    pub candidates: Vec<String>,
    /// Agents that saw the old master down, and how many there were.
    pub agents: (u64, u64),
    /// The same of proxies that were asked.
    pub proxies: (u64, u64),
    /// Proxies that have confirmed.
    pub confirmed: u64,
    /// How far the old master was seen to be, bytes, and in which history.
    pub old_offset: u64,
    /// See above.
    pub old_history: Option<String>,
}

/// The journal of one change of master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saga {
    /// Which group.
    pub group: GroupId,
    /// Why.
    pub kind: SagaKind,
    /// How far.
    pub stage: Stage,
    /// The master before.
    pub old: Addr,
    /// The master afterwards.
    pub new: Addr,
    /// Who does it.
    pub owner: String,
    /// Grows with every owner.
    pub epoch: u64,
    /// When it was begun, Unix milliseconds.
    pub begun_ms: u64,
    /// How long proxies hold back before they give it up by themselves, milliseconds.
    pub hold_ms: u64,
    /// `run_id` of the candidate when it was chosen: another one means that it has restarted since.
    pub run_id: String,
    /// Why it was begun, or given up, for people.
    pub why: String,
    /// What came of it.
    pub receipt: Receipt,
    /// Servers that were master before and are not back, those of earlier changes included.
    pub demoted: Vec<Demoted>,
    /// Unknown fields.
    pub extra: Extra,
}

impl Saga {
    /// What proxies go by: they hold the group's requests back in `hold` and `switching`. A failover never makes them.
    pub fn step(&self) -> SwitchStep {
        match (self.kind, self.stage) {
            (_, Stage::Aborted) => SwitchStep::Aborted,
            (SagaKind::Planned, Stage::Hold) => SwitchStep::Hold,
            (SagaKind::Planned, Stage::Promote) => SwitchStep::Switching,
            _ => SwitchStep::Done,
        }
    }

    /// Notes what an old master was found to have when it came back, and where that was kept. If it is the one of this change,
    /// what was lost is known exactly from now on.
    pub fn note_return(&mut self, server: &Addr, missed: Option<u64>, kept: Option<String>) {
        let Some(back) = self.demoted.iter_mut().find(|other| &other.addr == server) else { return };
        back.missed = missed;
        back.kept = kept.or_else(|| back.kept.take());
        if self.stage == Stage::Ended && &self.old == server {
            self.receipt.lost = self.lost_with(server).or(self.receipt.lost);
        }
    }

    /// What was lost with an old master that is back; `None` if nobody can tell.
    pub fn lost_with(&self, server: &Addr) -> Option<Loss> {
        let bytes = self.demoted.iter().find(|other| &other.addr == server)?.missed?;
        let counted = if &self.old == server { self.receipt.lost.and_then(|lost| lost.writes) } else { None };
        Some(Loss { bytes, writes: if bytes == 0 { Some(0) } else { counted } })
    }

    /// A receipt is open: what was lost is not known before a server is back.
    pub fn is_open(&self) -> bool {
        self.demoted.iter().any(|server| server.open)
    }
}
