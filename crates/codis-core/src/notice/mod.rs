//! Alerts, and when people are told about them.
//!
//! Duties say in every round what is not well ([`Alert`]); people must hear of it when it begins, again while it
//! lasts, and once when it is over. [`step`] decides that from what is remembered ([`Record`]) and what was found
//! ([`Round`]), so that it can be replayed, and any agent can go on where another one stopped.

mod fact;
mod kinds;
mod step;

use std::{fmt, str::FromStr};

pub use self::fact::{Trouble, Unsaved};
pub use self::kinds::{Facts, Kind};
pub use self::step::{
    Ack, Notice, NoticeKind, Policy, Record, Records, Round, Silence, Standing, standing, step,
};
use crate::{ParseError, Severity};

/// Something that people should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Whom it is about: an address, a proxy's id, a group.
    pub subject: String,
    /// How much it matters.
    pub severity: Severity,
    /// Since when it is so, Unix milliseconds.
    pub since_ms: u64,
    /// The kind, and what crossed which line.
    pub facts: Facts,
}

impl Alert {
    /// An alert of the severity that its kind usually has.
    pub fn new(subject: impl fmt::Display, since_ms: u64, facts: Facts) -> Self {
        let severity = facts.kind().severity();
        Self { subject: subject.to_string(), severity, since_ms, facts }
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        self.facts.kind()
    }

    /// What makes it the same alert in the next round.
    pub fn id(&self) -> AlertId {
        AlertId { kind: self.kind(), subject: self.subject.clone() }
    }
}

/// Identity of an alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId {
    /// What it is about.
    pub kind: Kind,
    /// Whom.
    pub subject: String,
}

impl AlertId {
    /// The identity of these two.
    pub fn new(kind: Kind, subject: impl fmt::Display) -> Self {
        Self { kind, subject: subject.to_string() }
    }
}

impl fmt::Display for AlertId {
    /// `kind:subject`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.subject)
    }
}

impl FromStr for AlertId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.split_once(':') {
            Some((kind, subject)) if !subject.is_empty() => Ok(Self::new(kind.parse()?, subject)),
            _ => Err(ParseError::new(text, "an alert (kind:subject)")),
        }
    }
}
