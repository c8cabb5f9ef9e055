//! `/slowlog`: requests that took long, and where their time went.

use serde::{Deserialize, Serialize};

/// `/slowlog`: the newest slow requests, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlowPage {
    /// Requests that took at least so long are kept, microseconds.
    pub slower_than_us: u64,
    /// How many are kept; 0: none.
    pub max_len: usize,
    /// Slow requests since the start, those that are no longer kept included.
    pub total: u64,
    /// The newest ones.
    pub entries: Vec<SlowOp>,
}

/// A slow request. The four parts add up to the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlowOp {
    /// Counts the entries since the start.
    pub id: u64,
    /// When it was over, Unix milliseconds.
    pub ts_ms: u64,
    /// Address of the client; nothing if it had gone before.
    pub client: Option<String>,
    /// What the client calls itself.
    pub name: Option<String>,
    /// The command in upper case.
    pub command: String,
    /// The first key, shortened, bytes that are not printable escaped; nothing if it has none.
    pub key: Option<String>,
    /// Slot of that key.
    pub slot: Option<u16>,
    /// The server that answered; nothing if there were several.
    pub backend: Option<String>,
    /// From the request to the last byte of its reply, microseconds.
    pub took_us: u64,
    /// Of this, until it was sent to the server.
    pub queue_us: u64,
    /// Of this, waiting for a slot that was switching, or for keys to be handed over.
    pub migration_wait_us: u64,
    /// Of this, until the server's reply was in.
    pub backend_us: u64,
    /// Of this, until the client had taken the reply.
    pub flush_us: u64,
}
