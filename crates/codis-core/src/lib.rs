//! What a Codis product is, and what may be done to it.
//!
//! Slots, groups, servers, proxies, actions and moves as values; the [`Cluster`] snapshot that
//! holds them; and the planners in [`plan`] that look at a snapshot and return either a list of
//! steps or a refusal with its reasons. Nothing in here does IO, reads a clock, logs or knows
//! JSON: a decision can be replayed from its inputs.

mod action;
mod cluster;
pub mod duty;
mod extra;
mod finding;
mod go_config;
mod group;
pub mod ha;
mod ids;
mod moves;
pub mod notice;
pub mod plan;
mod proxy;
mod slot;
mod switch;
mod traits;
mod typo;
mod witness;

pub use action::{Action, ActionKind};
pub use cluster::{Cluster, Dashboard, Gap, GoTask, LockEntry, MoverLease, Versioned};
pub use extra::Extra;
pub use finding::{Finding, Severity, findings};
pub use go_config::{BadGoConfig, GoConfig, GoSetting};
pub use group::{Group, Role, Server};
pub use ids::{Addr, GroupId, ParseError, ProductName, ProxyId};
pub use moves::{Move, MoveState};
pub use proxy::{Proxy, ProxyKind, ProxyState};
pub use slot::{PROBE_KEYS, SLOT_COUNT, Slot, SlotId, SlotSet, SlotStatus, hash_tag, slot_of_key};
pub use switch::{Switch, SwitchStep};
pub use traits::{Heat, ServerTraits};
pub use typo::nearest;
pub use witness::{Sight, Witness};
