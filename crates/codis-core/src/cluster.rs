//! The snapshot that planners decide on.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
};

use crate::{
    Addr, Extra, Group, GroupId, Move, ProductName, Proxy, ProxyId, ProxyKind, ProxyState, SLOT_COUNT,
    Server, Slot, SlotId, SlotStatus, ha::Saga,
};

/// A record with the version of the node it was read from. Every write names that version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub value: T,
    /// Data version of its node.
    pub version: i32,
}

impl<T> Versioned<T> {
    /// A record read at this version.
    pub fn new(value: T, version: i32) -> Self {
        Self { value, version }
    }
}

impl<T> Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// Something that could not be read, and why. The rest of the snapshot stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Path of the node.
    pub path: String,
    /// What is wrong with it, with the byte where JSON stops making sense.
    pub why: String,
}

/// The `dashboard` node: a Go dashboard, or a mover of ours that keeps one from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dashboard {
    /// Address it serves, as stored.
    pub addr: String,
    /// Its process id.
    pub pid: i64,
    /// True for ours: it goes with our session.
    pub ephemeral: bool,
}

/// An entry of the Go queue `migrate_tasks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoTask {
    /// Name of the node. Means nothing before it is queued.
    pub name: String,
    /// Which slot.
    pub slot: SlotId,
    /// The group that shall own it.
    pub to: GroupId,
    /// Pause between two keys, milliseconds.
    pub delay_ms: u64,
    /// When it was asked for, Unix seconds.
    pub created: u64,
    /// Status as stored: `pending`, `migrating`, `error`, or whatever a Go tool wrote.
    pub status: String,
    /// Unknown fields.
    pub extra: Extra,
}

/// A node under `LOCK`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockEntry {
    /// Name of the node.
    pub name: String,
    /// What its owner does, as stored.
    pub desc: String,
    /// Host of the owner.
    pub hostname: String,
    /// Process of the owner.
    pub pid: i64,
    /// When it was taken, Unix milliseconds.
    pub created_ms: u64,
    /// True for ours: it goes with its owner's session. Those of the Go tools stay.
    pub ephemeral: bool,
}

impl LockEntry {
    /// `pid 5512 on bastion-2`, as far as the node says.
    pub fn owner(&self) -> String {
        match self.hostname.as_str() {
            "" => "an unknown owner".to_owned(),
            host => format!("pid {} on {host}", self.pid),
        }
    }
}

/// Who moves slots now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoverLease {
    /// `user@host`, for people.
    pub owner: String,
    /// Its process id.
    pub pid: i64,
    /// Grows with every mover; part of its connections' names.
    pub epoch: u64,
}

/// One product as the store described it: assembled from many reads, old from the moment it was
/// taken, possibly with gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Which product.
    pub product: ProductName,
    /// 1024 entries; `None` where the node is missing or unreadable.
    pub slots: Vec<Option<Versioned<Slot>>>,
    /// Groups by number.
    pub groups: BTreeMap<GroupId, Group>,
    /// Registered proxies by id.
    pub proxies: BTreeMap<ProxyId, Versioned<Proxy>>,
    /// Addresses that have a fence, as stored.
    pub fences: BTreeSet<String>,
    /// Ids of proxies that a Go dashboard has told to stop because they did not answer in time, as stored.
    pub suspended: BTreeSet<String>,
    /// Our queue, in order.
    pub moves: Vec<Versioned<Move>>,
    /// The Go queue, in order.
    pub go_tasks: Vec<Versioned<GoTask>>,
    /// The dashboard node.
    pub dashboard: Option<Dashboard>,
    /// Holders of and waiters for `LOCK`, in order.
    pub locks: Vec<LockEntry>,
    /// The mover at work.
    pub mover: Option<MoverLease>,
    /// The last change of each group's master, those that are under way among them.
    pub sagas: BTreeMap<GroupId, Versioned<Saga>>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// When it was taken, Unix milliseconds.
    pub taken_ms: u64,
    /// How long reading took, milliseconds.
    pub read_ms: u64,
}

impl Cluster {
    /// A product with nothing in it.
    pub fn empty(product: ProductName) -> Self {
        Self {
            product,
            slots: vec![None; usize::from(SLOT_COUNT)],
            groups: BTreeMap::new(),
            proxies: BTreeMap::new(),
            fences: BTreeSet::new(),
            suspended: BTreeSet::new(),
            moves: Vec::new(),
            go_tasks: Vec::new(),
            dashboard: None,
            locks: Vec::new(),
            mover: None,
            sagas: BTreeMap::new(),
            gaps: Vec::new(),
            taken_ms: 0,
            read_ms: 0,
        }
    }

    /// The slot, or `None` if its node is missing or unreadable.
    pub fn slot(&self, id: SlotId) -> Option<&Versioned<Slot>> {
        self.slots[id.index()].as_ref()
    }

    /// All slots that could be read.
    pub fn known_slots(&self) -> impl Iterator<Item = &Versioned<Slot>> {
        self.slots.iter().flatten()
    }

    /// How many slots are in this state.
    pub fn count(&self, status: SlotStatus) -> usize {
        self.known_slots().filter(|slot| slot.status == status).count()
    }

    /// The group and the server listed at this address, whatever its role.
    pub fn server(&self, addr: &Addr) -> Option<&Versioned<Server>> {
        self.groups.values().find_map(|group| group.server(addr))
    }

    /// Proxies that serve clients and must acknowledge.
    pub fn online_proxies(&self) -> impl Iterator<Item = &Versioned<Proxy>> {
        self.proxies.values().filter(|proxy| proxy.state == ProxyState::Online)
    }

    /// True if every online proxy is one of ours.
    pub fn all_ours(&self) -> bool {
        self.online_proxies().all(|proxy| proxy.kind() != ProxyKind::Go)
    }

    /// Fences that no online proxy stands behind: a proxy that may still serve old routes. While
    /// there is one, nothing that needs confirmation may be sent.
    pub fn stale_fences(&self) -> Vec<&str> {
        let online: BTreeSet<&str> = self.online_proxies().map(|proxy| proxy.addr.as_str()).collect();
        self.fences.iter().map(String::as_str).filter(|addr| !online.contains(addr)).collect()
    }

    /// The task in our queue for this slot.
    pub fn move_of(&self, slot: SlotId) -> Option<&Versioned<Move>> {
        self.moves.iter().find(|entry| entry.slot == slot)
    }

    /// Slots that the group serves or still holds keys of, ascending.
    pub fn slots_using(&self, group: GroupId) -> impl Iterator<Item = &Versioned<Slot>> {
        self.known_slots().filter(move |slot| slot.uses(group))
    }
}
