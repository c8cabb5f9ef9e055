//! The journal of a planned change of a group's master (`failover/group_G`), and what it means to proxies.

use std::{fmt, str::FromStr};

use crate::{Addr, Extra, GroupId, ParseError};

/// How far a planned switch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SwitchStep {
    /// Proxies hold back the group's requests. Anybody may give the switch up.
    Hold,
    /// The new master is being made: from here on it only goes forward. Requests are still held back.
    Switching,
    /// The store names the new master; requests go on.
    Done,
    /// Given up before anything changed; requests go on at the old master.
    Aborted,
}

impl SwitchStep {
    const ALL: [Self; 4] = [Self::Hold, Self::Switching, Self::Done, Self::Aborted];

    /// The word in the node.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Switching => "switching",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }

    /// True while proxies hold back the group's requests.
    pub fn holds(self) -> bool {
        matches!(self, Self::Hold | Self::Switching)
    }

    /// True if a journal in this step may be set to `next`.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Hold => matches!(next, Self::Switching | Self::Aborted),
            // Given up only while the store still names the old master, which whoever does it makes sure of.
            Self::Switching => matches!(next, Self::Done | Self::Aborted),
            Self::Done | Self::Aborted => next == Self::Hold,
        }
    }
}

impl FromStr for SwitchStep {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|step| step.as_str() == text)
            .ok_or_else(|| ParseError::new(text, "a step of a switch (hold, switching, done, aborted)"))
    }
}

impl fmt::Display for SwitchStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A planned switch of a group's master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// Which group.
    pub group: GroupId,
    /// How far it is.
    pub step: SwitchStep,
    /// The master before.
    pub from: Addr,
    /// The master afterwards.
    pub to: Addr,
    /// Who does it: `user@host`, or an agent.
    pub owner: String,
    /// Grows with each owner.
    pub epoch: u64,
    /// When it was begun, Unix milliseconds.
    pub begun_ms: u64,
    /// How long proxies hold back before they give it up by themselves, milliseconds.
    pub hold_ms: u64,
    /// Fields that this version does not know.
    pub extra: Extra,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_goes_forward_or_is_given_up_before_it_changes_anything() {
        use SwitchStep::{Aborted, Done, Hold, Switching};
        let allowed: Vec<_> = SwitchStep::ALL
            .into_iter()
            .flat_map(|from| SwitchStep::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.may_become(*to))
            .collect();
        let expected = [
            (Hold, Switching),
            (Hold, Aborted),
            (Switching, Done),
            (Switching, Aborted),
            (Done, Hold),
            (Aborted, Hold),
        ];
        assert_eq!(allowed, expected);
        for step in SwitchStep::ALL {
            assert_eq!(step.as_str().parse(), Ok(step));
        }
        assert!("paused".parse::<SwitchStep>().is_err());
    }
}
