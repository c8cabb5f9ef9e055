//! The tree both stores keep: nodes with versions, as ZooKeeper has them.

use std::time::Duration;

use crate::error::{ErrorKind, StoreError};

/// A node as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Content.
    pub data: Vec<u8>,
    /// How often the content has been rewritten; what a compare-and-set is made against.
    pub version: i32,
    /// True when the node goes away with the session that made it.
    pub ephemeral: bool,
    /// Session that owns an ephemeral node, 0 for the others. Compare with `Store::session_id`.
    pub owner: i64,
    /// When it was created, milliseconds since 1970 by the store's clock.
    pub created_ms: i64,
    /// When its content was last written, milliseconds since 1970 by the store's clock.
    pub modified_ms: i64,
}

/// What is known of a node without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStat {
    /// How often the content has been rewritten.
    pub version: i32,
    /// Session that owns an ephemeral node, 0 for the others.
    pub owner: i64,
    /// When it was created, milliseconds since 1970 by the store's clock.
    pub created_ms: i64,
    /// When its content was last written, milliseconds since 1970 by the store's clock.
    pub modified_ms: i64,
    /// Length of the content, bytes.
    pub bytes: u64,
    /// How many children it has.
    pub children: u64,
    /// Permission bits for everybody (see [`Acl::bits`]); `None` when its access list is another one.
    pub acl: Option<i32>,
}

/// How long a created node lives and who completes its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// Stays until deleted.
    Persistent,
    /// Stays until deleted; the store appends ten digits to the name, rising with each create below the parent.
    PersistentSequential,
    /// Goes with the session.
    Ephemeral,
    /// Goes with the session, and has ten digits appended.
    EphemeralSequential,
}

impl CreateMode {
    /// True for the two that end with the session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// True for the two whose name the store completes.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential)
    }
}

/// The two access lists of a Codis tree, both for everybody (`world:anyone`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acl {
    /// 31: everything. For nodes that have children.
    Dir,
    /// 19: read, write, administer; no children.
    File,
}

impl Acl {
    /// The permission bits as ZooKeeper counts them.
    pub fn bits(self) -> i32 {
        match self {
            Self::Dir => 31,
            Self::File => 19,
        }
    }
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Goes through only while the node is at this version.
    Check {
        /// The node.
        path: String,
        /// The version that was read.
        version: i32,
    },
    /// Makes a node.
    Create {
        /// Its path; for the sequential modes the beginning of it.
        path: String,
        /// Content.
        data: Vec<u8>,
        /// Life time and naming.
        mode: CreateMode,
        /// Access list.
        acl: Acl,
    },
    /// Rewrites a node.
    Set {
        /// The node.
        path: String,
        /// New content.
        data: Vec<u8>,
        /// The version that was read.
        version: i32,
    },
    /// Removes a node.
    Delete {
        /// The node.
        path: String,
        /// The version that was read; `None` removes whatever is there, for nodes that only we write.
        version: Option<i32>,
    },
}

impl Op {
    /// Refuses a path that is none.
    pub(crate) fn check_path(&self, op: &'static str) -> Result<(), StoreError> {
        let open_end = matches!(self, Self::Create { mode, .. } if mode.is_sequential());
        check_path(op, self.path(), open_end)
    }

    /// Refuses what no server would take.
    pub(crate) fn check_size(ops: &[Self], op: &'static str) -> Result<(), StoreError> {
        let content = |step: &Self| match step {
            Self::Create { data, .. } | Self::Set { data, .. } => data.len(),
            Self::Check { .. } | Self::Delete { .. } => 0,
        };
        let size = ops.iter().map(|step| content(step) + step.path().len() + STEP_BYTES).sum();
        check_size(op, ops.iter().max_by_key(|step| content(step)).map_or("/", Self::path), size)
    }

    /// The path the step is about.
    pub fn path(&self) -> &str {
        match self {
            Self::Check { path, .. }
            | Self::Create { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. } => path,
        }
    }
}

/// What a step of a transaction gave, in the order of the steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpDone {
    /// The version was right.
    Checked,
    /// Created; the full path, with the digits of a sequential node.
    Created(String),
    /// Rewritten; the new version.
    Set(i32),
    /// Removed.
    Deleted,
}

/// State of the session with the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Calls are answered.
    Connected,
    /// The connection is down; it is being re-established and the session still holds.
    Disconnected,
    /// The session is over: ephemeral nodes and watches are gone. `Store::reopen` begins a new one.
    Expired,
    /// Closed by us.
    Closed,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// After how long without contact the store ends the session.
    pub session_timeout: Duration,
    /// Longest wait for the connection.
    pub connect_timeout: Duration,
    /// Longest wait for the answer to one call (a pipelined read of many nodes counts as one).
    pub op_timeout: Duration,
    /// Local store only: make the file when it is missing. Without it a wrong path is an error, not a new, empty store.
    pub create_local: bool,
}

impl ConnectOptions {
    /// For commands and the mover: a session of 10 s, so that what they hold is soon free after a crash.
    pub fn control() -> Self {
        Self {
            session_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            op_timeout: Duration::from_secs(5),
            create_local: false,
        }
    }

    /// For proxies: a session of 30 s, the original's default, so that a short outage unregisters nobody.
    pub fn proxy() -> Self {
        Self { session_timeout: Duration::from_secs(30), ..Self::control() }
    }

    /// The same, but a missing local store is created.
    #[must_use]
    pub fn create_local(mut self) -> Self {
        self.create_local = true;
        self
    }
}

/// Most bytes of one request: a ZooKeeper server closes the connection on a larger one.
const REQUEST_LIMIT: usize = 1_000_000;
/// Bytes of a step beside path and content: lengths, access list, version.
const STEP_BYTES: usize = 64;

/// Refuses a write of too many bytes; `path` is the node to blame.
pub(crate) fn check_size(op: &'static str, path: &str, size: usize) -> Result<(), StoreError> {
    if size <= REQUEST_LIMIT {
        return Ok(());
    }
    let why = format!("{size} bytes are too many for one write, at most {REQUEST_LIMIT} are taken");
    Err(StoreError::new(op, path, ErrorKind::Other).caused_by(why))
}

/// Paths begin with a slash and have no empty, `.` or `..` part; that of a sequential node may end with a slash.
pub(crate) fn check_path(op: &'static str, path: &str, open_end: bool) -> Result<(), StoreError> {
    let names = path.strip_prefix('/').map(|rest| if open_end { rest.trim_end_matches('/') } else { rest });
    let fine = |names: &str| names.split('/').all(|name| !matches!(name, "" | "." | ".."));
    if !path.contains('\0') && (path == "/" || names.is_some_and(fine)) {
        return Ok(());
    }
    let why = "a path begins with a slash and has no empty, . or .. part";
    Err(StoreError::new(op, path, ErrorKind::Other).caused_by(why))
}
