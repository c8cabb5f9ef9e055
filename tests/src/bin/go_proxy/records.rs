//! The records of a Codis 2 product that a proxy reads and writes.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// What a proxy says of itself, its fields in the original's order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProxyInfo {
    pub(crate) id: String,
    pub(crate) addr: String,
    last_event: String,
    last_event_ts: i64,
    pub(crate) state: String,
    description: String,
    debug_var_addr: String,
    pub(crate) pid: i64,
    pub(crate) start_at: String,
}

impl ProxyInfo {
    pub(crate) fn new(id: &str, addr: &str, http_addr: &str) -> Self {
        let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
        Self {
            id: id.to_owned(),
            addr: addr.to_owned(),
            last_event: String::new(),
            last_event_ts: 0,
            state: "offline".to_owned(),
            description: String::new(),
            debug_var_addr: http_addr.to_owned(),
            pid: i64::from(std::process::id()),
            start_at: now.strftime("%Y-%m-%d %H:%M:%S.%9f +0000 UTC m=+0.047548512").to_string(),
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The same process: what the original compares.
    fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.pid == other.pid && self.start_at == other.start_at
    }
}

/// One action.
#[derive(Debug, Deserialize)]
pub(crate) struct Action {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) target: serde_json::Value,
    receivers: Option<Vec<String>>,
}

impl Action {
    /// Whether this proxy has to act and answer. An entry that is no record is an id of the oldest format, and
    /// ends the search.
    pub(crate) fn is_for(&self, me: &ProxyInfo) -> bool {
        for entry in self.receivers.iter().flatten() {
            match serde_json::from_str::<ProxyInfo>(entry) {
                Ok(receiver) if receiver.is(me) => return true,
                Ok(_) => {}
                Err(_) => return entry == &me.id,
            }
        }
        false
    }
}

/// The target of `multi_slot_changed`.
#[derive(Debug, Deserialize)]
pub(crate) struct Range {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) status: String,
}

/// A slot.
#[derive(Debug, Deserialize)]
pub(crate) struct Slot {
    pub(crate) group_id: i64,
    pub(crate) state: SlotState,
}

#[derive(Debug, Deserialize)]
pub(crate) struct SlotState {
    pub(crate) status: String,
    pub(crate) migrate_status: MigrateStatus,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MigrateStatus {
    pub(crate) from: i64,
}

/// A server of a group.
#[derive(Debug, Deserialize)]
pub(crate) struct Server {
    #[serde(rename = "type")]
    pub(crate) role: String,
    pub(crate) addr: String,
}
