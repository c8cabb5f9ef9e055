//! What is written in the nodes, one file per record.
//!
//! Records of the original are written byte for byte as its programs write them, ours in the same manner.

mod action;
mod json;
mod moves;
mod proxy;
mod server;
mod slot;
mod small;

pub(crate) use action::{action_from, action_json};
pub(crate) use json::WireError;
pub(crate) use moves::{move_from, move_json};
pub(crate) use proxy::{proxy_from, proxy_json};
pub(crate) use server::{server_from, server_json};
pub(crate) use slot::{slot_from, slot_json};
pub use small::AuditRecord;
pub(crate) use small::{
    audit_from, audit_json, dashboard_from, dashboard_json, go_task_from, lock_from, lock_json, mover_from,
    mover_json,
};
