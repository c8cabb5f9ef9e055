//! The one error that people see.

use std::{error::Error, fmt};

use codis_core::plan::{Refusal, RefusalKind};
use codis_redis::RedisError;
use codis_store::{ErrorKind, StoreError};

/// What sort of failure it is; decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It was tried and went wrong, or what it names does not exist.
    Failed,
    /// The request makes no sense, or the configuration is wrong.
    Usage,
    /// A check found problems.
    Problems,
    /// Refused as unsafe.
    Unsafe,
    /// The store or a server does not answer.
    Unreachable,
    /// Stopped by the user, at a safe point.
    Interrupted,
}

impl FailureKind {
    /// The exit status that programs end with.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Problems => 3,
            Self::Unsafe => 4,
            Self::Unreachable => 5,
            Self::Interrupted => 130,
        }
    }
}

/// Something did not work out: what, where, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} ({place}: {why})")]
pub struct Failure {
    /// What sort of failure it is.
    pub kind: FailureKind,
    /// What was not done, e.g. `cannot read product feed`.
    pub what: String,
    /// The node, address or file concerned.
    pub place: String,
    /// The reason, causes included.
    pub why: String,
    /// The command to go on with; may be empty.
    pub next: String,
    /// True if what was decided on may not be true any more: the store was away, or somebody changed what had been
    /// read. Looking again may be all it takes.
    pub stale: bool,
}

impl Failure {
    /// A failure without advice.
    pub fn new(
        kind: FailureKind,
        what: impl fmt::Display,
        place: impl fmt::Display,
        why: impl fmt::Display,
    ) -> Self {
        let [what, place, why] = [what.to_string(), place.to_string(), why.to_string()];
        Self { kind, what, place, why, next: String::new(), stale: false }
    }

    /// The same with the command to go on with.
    #[must_use]
    pub fn next(mut self, next: impl fmt::Display) -> Self {
        self.next = next.to_string();
        self
    }

    /// The same, of something that looking again may settle.
    #[must_use]
    pub(crate) fn stale(mut self) -> Self {
        self.stale = true;
        self
    }

    /// A store call failed while doing `what`.
    pub fn store(what: impl fmt::Display, error: &StoreError) -> Self {
        let (kind, next) = match error.kind {
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Expired => (
                FailureKind::Unreachable,
                "codisctl store ls --timeout 30s    meanwhile the proxies keep serving with the routes they have",
            ),
            ErrorKind::BadVersion => {
                (FailureKind::Failed, "run the same command again: it looks at the new state before it acts")
            }
            ErrorKind::Ambiguous => {
                (FailureKind::Failed, "run the same command again: it looks first at what was done")
            }
            ErrorKind::DiskFull => (
                FailureKind::Failed,
                "df -h    free some space where the store lies, then run the same command again",
            ),
            ErrorKind::NoAuth => return Self::no_access(what, error),
            _ => (FailureKind::Failed, "codisctl status"),
        };
        Self::new(kind, what, &error.path, causes(error, &format!("{} {}: ", error.op, error.path)))
            .next(next)
            .stale()
    }

    /// Creating and deleting is allowed or forbidden by the node above.
    fn no_access(what: impl fmt::Display, error: &StoreError) -> Self {
        let above = error.path.rsplit_once('/').map_or("/", |(above, _)| above);
        let why = format!(
            "the access list of the node or of {above} forbids it; 19, which the Go tools give to nodes \
             without children, lets nobody create or delete below"
        );
        Self::new(FailureKind::Failed, what, &error.path, why).next(format!(
            "codisctl store get {above}    shows the list; with a client of ZooKeeper: \
             setAcl {above} world:anyone:cdrwa"
        ))
    }

    /// A server did not do what it should while doing `what`.
    pub fn redis(what: impl fmt::Display, error: &RedisError) -> Self {
        let place = format!("{} {}", error.addr, error.command);
        Self::new(FailureKind::Unreachable, what, place, &error.cause)
            .next(format!("codisctl server info {}", error.addr))
    }
}

/// The error's own words and those of everything underneath it, without the leading place.
fn causes(error: &dyn Error, place: &str) -> String {
    let own = error.to_string();
    let mut text = own.strip_prefix(place).unwrap_or(&own).to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind {
            RefusalKind::Unsafe => FailureKind::Unsafe,
            RefusalKind::Missing => FailureKind::Failed,
            RefusalKind::Usage => FailureKind::Usage,
        };
        Self::new(kind, refusal.what, refusal.place, refusal.why).next(refusal.next)
    }
}
