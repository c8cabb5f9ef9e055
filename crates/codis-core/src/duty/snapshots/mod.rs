//! Children of a host's servers, one at a time.
//!
//! A server that saves forks, and what is written while the child lives is copied: in the worst case as much again as the
//! server uses. Servers that do so whenever they like may all do so at once, so only half of a host can be used. Where at
//! most one child lives on a host, room for the largest server is enough, and of n equal servers' host (n-1)/n can be used.
//!
//! [`Governor::next`] says what is to be done on a host, from what its servers say: take their own reasons to fork
//! away, keep slaves that want a whole copy waiting, and let one server after another fork. [`capacity()`] says how
//! full a host may be.

mod capacity;
mod governor;
mod preview;
mod rules;

#[cfg(test)]
mod cases;
#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;

pub use self::capacity::{Capacity, capacity};
pub use self::governor::{Decision, Governor, Order, Plight};
pub use self::preview::{Turn, preview};
pub use self::rules::{HOLD_S, NAMES, wanted};
use crate::{Addr, Extra, GroupId, Role};

/// When servers are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotsPolicy {
    /// Each server so often, if anything was written, milliseconds.
    pub interval_ms: u64,
    /// Bytes of a host that are kept free besides what a child may need.
    pub reserve: u64,
    /// Masters are saved. Nothing: as their own settings said.
    pub masters: Option<bool>,
    /// The same for slaves.
    pub slaves: Option<bool>,
}

impl Default for SnapshotsPolicy {
    fn default() -> Self {
        Self { interval_ms: 3_600_000, reserve: 0, masters: None, slaves: None }
    }
}

/// A host and its listed servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// What precedes the port in its servers' addresses.
    pub name: String,
    /// Bytes that there are for them; 0 if nobody knows.
    pub memory: u64,
    /// Its servers.
    pub instances: Vec<Instance>,
}

/// One server of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Where.
    pub addr: Addr,
    /// Its group.
    pub group: GroupId,
    /// What the store says it is.
    pub role: Role,
    /// What it says of itself.
    pub said: Result<Said, Unheard>,
    /// What was taken over from it.
    pub kept: Option<Kept>,
}

/// Why a server says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard {
    /// Nobody listens there: there is no process, and so no child of it.
    pub refused: bool,
    /// What was met instead.
    pub why: String,
}

/// What a server says of its memory and its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that the operating system has given it.
    pub rss: u64,
    /// Bytes it may use; 0: no limit.
    pub max: u64,
    /// Bytes that its host has; 0 if it does not say.
    pub host: u64,
    /// A child of it lives.
    pub child: Option<Child>,
    /// It begins another one as soon as it can.
    pub scheduled: bool,
    /// It reads its data.
    pub loading: bool,
    /// It is a slave that gets a whole copy, or asks for one.
    pub copying: bool,
    /// Slaves that wait for a whole copy or are getting one.
    pub waiting: u64,
    /// It has an append-only file.
    pub aof: bool,
    /// Bytes in that file.
    pub aof_size: u64,
    /// Bytes in it when it was last rewritten.
    pub aof_base: u64,
    /// Writes since it was last saved.
    pub changes: u64,
    /// How long ago that was, or its start, milliseconds.
    pub saved_ago_ms: u64,
    /// The last save failed.
    pub save_failed: bool,
    /// The last rewrite failed.
    pub rewrite_failed: bool,
    /// Its settings that make it fork, by name; nothing if it does not tell, and cannot be told either.
    pub settings: Option<Settings>,
}

/// Names and values of settings, as a server writes them.
pub type Settings = BTreeMap<String, String>;

/// A process that a server has forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// What it does.
    pub does: Does,
    /// For how long, milliseconds.
    pub for_ms: u64,
}

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Does {
    /// Writes a snapshot, to disk or to slaves.
    Save,
    /// Rewrites the append-only file.
    Rewrite,
    /// Something of a module's.
    Module,
}

impl Does {
    /// The command that makes it, or a word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Save => "BGSAVE",
            Self::Rewrite => "BGREWRITEAOF",
            Self::Module => "module",
        }
    }
}

/// Settings that a server had before it was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The server.
    pub addr: Addr,
    /// By name.
    pub settings: Settings,
    /// It stays taken over, because agents look after it. False: whoever did it puts the settings back at the end.
    pub standing: bool,
    /// Who did it.
    pub by: String,
    /// When, Unix milliseconds.
    pub ts_ms: u64,
    /// Fields of the record that are not known.
    pub extra: Extra,
}

impl Instance {
    /// What it says, if it does.
    pub fn heard(&self) -> Option<&Said> {
        self.said.as_ref().ok()
    }
}

impl Host {
    /// Bytes that its servers have.
    pub fn used(&self) -> u64 {
        self.instances.iter().filter_map(Instance::heard).map(Said::size).sum()
    }

    /// Bytes that no server has, less the reserve. `None` if nobody knows what the host has.
    pub fn free(&self, policy: &SnapshotsPolicy) -> Option<u64> {
        let left = self.memory.saturating_sub(self.used()).saturating_sub(policy.reserve);
        (self.memory > 0).then_some(left)
    }
}

impl Said {
    /// Bytes that it takes of its host.
    pub fn size(&self) -> u64 {
        self.used.max(self.rss)
    }

    /// Bytes that a child of it may need: everything is written to while it lives.
    pub fn needs(&self) -> u64 {
        self.size()
    }
}
