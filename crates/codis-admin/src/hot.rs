//! `/hotkeys`: what clients ask for most, and the biggest replies.

use serde::{Deserialize, Serialize};

/// `/hotkeys`: the keys and slots that were asked for most in the last half to whole minute, estimated from a
/// sample of the requests, and the biggest replies of the last minutes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HotPage {
    /// False if `statistics` is switched off; then there is nothing else here.
    pub enabled: bool,
    /// Length of the time looked at, seconds.
    pub seconds: f64,
    /// Requests that were looked at.
    pub sampled: u64,
    /// Keys that all requests of that time had, estimated.
    pub requests: u64,
    /// Keys, most requests first.
    pub keys: Vec<HotKey>,
    /// Slots, most requests first.
    pub slots: Vec<HotSlot>,
    /// Replies of servers, biggest first.
    pub big_replies: Vec<BigReply>,
}

/// A key that is asked for often.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HotKey {
    /// The key, shortened, bytes that are not printable escaped.
    pub key: String,
    /// Its slot.
    pub slot: u16,
    /// How often, estimated.
    pub requests: u64,
    /// By so much it may be less.
    pub error: u64,
    /// The same by command, most first.
    pub commands: Vec<CommandCount>,
}

/// How often a command was used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandCount {
    /// Its name in upper case.
    pub command: String,
    /// How often.
    pub requests: u64,
}

/// A slot that is asked for often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HotSlot {
    /// Its number.
    pub slot: u16,
    /// How often, estimated.
    pub requests: u64,
}

/// A big reply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BigReply {
    /// Its size.
    pub bytes: u64,
    /// When it was met last, Unix milliseconds.
    pub ts_ms: u64,
    /// The command in upper case.
    pub command: String,
    /// The first key, shortened, bytes that are not printable escaped; nothing if there is none.
    pub key: Option<String>,
    /// Slot of that key.
    pub slot: Option<u16>,
    /// The server that sent it.
    pub backend: String,
    /// How often a reply to this command and key was among the biggest.
    pub times: u64,
}
