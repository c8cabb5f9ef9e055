//! `/errors`: operations that failed, each with its cause.

use serde::{Deserialize, Serialize};

/// `/errors`: the newest failed operations, newest first.
///
/// An error that a server answered with (`-WRONGTYPE` and the like) is a reply, not a failed operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorsPage {
    /// Failed operations since the start, by cause; those that are not listed included.
    pub counts: Vec<CauseCount>,
    /// Of these, how many were not written down because there were too many at once.
    pub left_out: u64,
    /// The newest ones.
    pub errors: Vec<FailedOp>,
}

/// How often something was the cause of a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CauseCount {
    /// The cause, as in [`FailedOp::cause`].
    pub cause: String,
    /// How often.
    pub count: u64,
}

/// An operation that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedOp {
    /// When, Unix milliseconds.
    pub ts_ms: u64,
    /// Address of the client; nothing if it had gone before.
    pub client: Option<String>,
    /// The command in upper case; nothing for what was no request.
    pub command: Option<String>,
    /// The first key, shortened, bytes that are not printable escaped; nothing if it has or is known to have none.
    pub key: Option<String>,
    /// Slot of that key.
    pub slot: Option<u16>,
    /// The server that it was for.
    pub backend: Option<String>,
    /// What kind of failure, in one word.
    pub cause: String,
    /// What the client was told, or would have been.
    pub why: String,
    /// True if the server may have carried it out all the same.
    pub sent: bool,
    /// Time from the request to the failure, microseconds.
    pub took_us: u64,
}
