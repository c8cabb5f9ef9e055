//! One error for every store call: what was tried, where, and what kind of failure it was.

use std::fmt;

/// A store call that failed.
///
/// `Display` names the operation, the place and the kind; the cause underneath is in `source`.
#[derive(Debug, thiserror::Error)]
#[error("{op} {path}: {kind}")]
pub struct StoreError {
    /// What was tried, as a verb: `read`, `create`, `connect to` ...
    pub op: &'static str,
    /// The node concerned, or the store's address for `connect to`.
    pub path: String,
    /// What went wrong, for decisions.
    pub kind: ErrorKind,
    /// For a transaction: index of the operation that was refused.
    pub failed_op: Option<usize>,
    /// The cause as the client library reported it.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What kind of failure a store call met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The node (or, for a create, its parent) does not exist.
    NoNode,
    /// The node exists already.
    NodeExists,
    /// Somebody changed the node after it was read.
    BadVersion,
    /// The node has children.
    NotEmpty,
    /// The parent is ephemeral and can have no children.
    EphemeralParent,
    /// The node's ACL forbids it.
    NoAuth,
    /// Nothing answers at the address, or the connection is down.
    Unreachable,
    /// The session is over and its ephemeral nodes are gone; see `Store::reopen`.
    Expired,
    /// A read, or a write that had certainly no effect, took longer than its deadline.
    Timeout,
    /// The connection broke, or the deadline passed, while a write was under way: it may have been done, or
    /// may still be. Read again before trying again.
    Ambiguous,
    /// The disk of a local store is full: nothing of the write was done.
    DiskFull,
    /// The content cannot be understood.
    Corrupt {
        /// Byte offset in the node's data at which reading stopped.
        offset: usize,
        /// What was found there.
        reason: String,
    },
    /// Anything else; `source` has the details.
    Other,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNode => "no such node",
            Self::NodeExists => "the node exists already",
            Self::BadVersion => "somebody else changed the node in the meantime",
            Self::NotEmpty => "the node has children",
            Self::EphemeralParent => "an ephemeral node can have no children",
            Self::NoAuth => "the access list of the node, or of the one above it, forbids it",
            Self::Unreachable => "the store cannot be reached",
            Self::Expired => "the session has expired",
            Self::Timeout => "the store did not answer in time",
            Self::Ambiguous => {
                "the connection was lost while writing; the write may or may not have been done"
            }
            Self::DiskFull => "the disk is full; nothing was written",
            Self::Corrupt { offset, reason } => {
                return write!(f, "cannot be understood at byte {offset}: {reason}");
            }
            Self::Other => "failed",
        })
    }
}

impl StoreError {
    /// An error without a deeper cause.
    pub(crate) fn new(op: &'static str, path: impl Into<String>, kind: ErrorKind) -> Self {
        Self { op, path: path.into(), kind, failed_op: None, source: None }
    }

    /// Adds the cause.
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds to a refusal by an access list which right on which node is missing.
    pub(crate) fn explained(self) -> Self {
        if self.kind != ErrorKind::NoAuth {
            return self;
        }
        let parent = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let parent = if parent.is_empty() { "/" } else { parent };
        let why = format!(
            "nodes below {parent} are made and deleted with the rights c and d on it, {} is rewritten with w; compare: getAcl {parent}",
            self.path
        );
        self.caused_by(why)
    }

    /// True for errors that another attempt can cure: the store was away, slow, or the write's fate is unknown.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Ambiguous)
    }
}
