//! Actions: how proxies are told that something changed.

use crate::{GroupId, Server, Slot, SlotId, SlotSet, SlotStatus};

/// What changed. The node of the slot or group is written first; a proxy re-reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionKind {
    /// `slot_changed`: a slot went online or offline.
    SlotChanged(Slot),
    /// `slot_premigrate`: hold the slot's requests back, let those in flight finish.
    SlotPreMigrate(Slot),
    /// `slot_migrate`: the slot is served by its new group, keys fetched on demand.
    SlotMigrate(Slot),
    /// `multi_slot_changed`: a range of slots was assigned.
    MultiSlotChanged {
        /// First slot.
        from: SlotId,
        /// Last slot, included.
        to: SlotId,
        /// New status, online or offline.
        status: SlotStatus,
        /// New group.
        group: Option<GroupId>,
    },
    /// `group_changed`: a group's master changed, or it was created.
    GroupChanged {
        /// Which group.
        group: GroupId,
        /// Its servers; `None` is written where the originals write `null`.
        servers: Option<Vec<Server>>,
    },
    /// `group_remove`: a group is gone.
    GroupRemove(GroupId),
    /// `slots_changed`, ours: several slots changed state together. Only published when every
    /// online proxy is ours; a Go proxy exits on a type that it does not know.
    Wave {
        /// The slots to re-read.
        slots: SlotSet,
        /// The state they went to, for people who read the node.
        status: SlotStatus,
    },
    /// A type this version does not know.
    Unknown(String),
}

impl ActionKind {
    /// The type as written in the node.
    pub fn type_name(&self) -> &str {
        match self {
            Self::SlotChanged(_) => "slot_changed",
            Self::SlotPreMigrate(_) => "slot_premigrate",
            Self::SlotMigrate(_) => "slot_migrate",
            Self::MultiSlotChanged { .. } => "multi_slot_changed",
            Self::GroupChanged { .. } => "group_changed",
            Self::GroupRemove(_) => "group_remove",
            Self::Wave { .. } => "slots_changed",
            Self::Unknown(name) => name,
        }
    }
}

/// A published action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// Its place in the order of actions; `None` before it is published.
    pub seq: Option<u64>,
    /// What changed.
    pub kind: ActionKind,
    /// When it was published, Unix seconds.
    pub ts: u64,
    /// Who must act on it: each entry is the JSON text of a proxy's node, as stored.
    pub receivers: Vec<String>,
}
