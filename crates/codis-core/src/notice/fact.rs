//! The values of an alert as text, for whoever keeps them: the store knows no types of ours.

use crate::{Addr, GroupId, Role, ha::Loss};

/// A value that survives as text.
pub(super) trait Fact: Sized {
    fn text(&self) -> String;
    /// `None` if the text is of another type.
    fn read(text: &str) -> Option<Self>;
    /// Some value, to try texts with.
    fn example() -> Self;
}

/// Values whose text is what they print.
macro_rules! printed {
    ($($type:ty = $example:expr),+ $(,)?) => {
        $(impl Fact for $type {
            fn text(&self) -> String {
                self.to_string()
            }

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn example() -> Self {
                $example
            }
        })+
    };
}

printed!(
    u64 = 1,
    bool = true,
    String = "x".to_owned(),
    Addr = Addr::example(),
    GroupId = GroupId(1),
    Role = Role::Master,
);

impl<T: Fact> Fact for Option<T> {
    /// Nothing is the empty text.
    fn text(&self) -> String {
        self.as_ref().map_or_else(String::new, Fact::text)
    }

    fn read(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::read(text).map(Some) }
    }

    fn example() -> Self {
        Some(T::example())
    }
}

impl Fact for Vec<String> {
    /// A line for each.
    fn text(&self) -> String {
        self.join("\n")
    }

    fn read(text: &str) -> Option<Self> {
        Some(text.lines().map(str::to_owned).collect())
    }

    fn example() -> Self {
        vec!["x".to_owned()]
    }
}

impl Fact for Loss {
    /// `BYTES,WRITES`, or `none`.
    fn text(&self) -> String {
        match *self {
            Self::NONE => "none".to_owned(),
            Self { bytes, writes } => format!("{bytes},{}", writes.text()),
        }
    }

    fn read(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::NONE);
        }
        let (bytes, writes) = text.split_once(',')?;
        Some(Self { bytes: u64::read(bytes)?, writes: Fact::read(writes)? })
    }

    fn example() -> Self {
        Self { bytes: 1, writes: Some(1) }
    }
}

/// What is the matter with saving a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsaved {
    /// Its host has no room for a child.
    NoRoom,
    /// The same, and slaves wait for that child.
    NoRoomForCopy,
    /// Nobody knows how much memory its host has.
    UnknownHost,
    /// The last child failed.
    Failed,
    /// A child lives for too long.
    Slow,
    /// It has not been saved for too long.
    Late,
    /// It does not let its settings be changed, so that it may fork at any time.
    Unruly,
}

impl Unsaved {
    const ALL: [(Self, &str); 7] = [
        (Self::NoRoom, "no_room"),
        (Self::NoRoomForCopy, "no_room_for_copy"),
        (Self::UnknownHost, "unknown_host"),
        (Self::Failed, "failed"),
        (Self::Slow, "slow"),
        (Self::Late, "late"),
        (Self::Unruly, "unruly"),
    ];
}

impl Fact for Unsaved {
    fn text(&self) -> String {
        Self::ALL.iter().find(|(one, _)| one == self).map_or("", |(_, word)| word).to_owned()
    }

    fn read(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, word)| *word == text).map(|(one, _)| *one)
    }

    fn example() -> Self {
        Self::NoRoom
    }
}

/// What is the matter with a slave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It does not replicate: no connection to its master.
    LinkDown,
    /// It is behind by more than the line.
    Behind,
    /// It has copied its master's whole data set again and again.
    Resyncs(u64),
    /// It replicates from another server than its group's master.
    Follows(Addr),
    /// It says that it is a master itself.
    Master,
}

impl Fact for Trouble {
    fn text(&self) -> String {
        match self {
            Self::LinkDown => "link_down".to_owned(),
            Self::Behind => "behind".to_owned(),
            Self::Resyncs(times) => format!("resyncs {times}"),
            Self::Follows(addr) => format!("follows {addr}"),
            Self::Master => "master".to_owned(),
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            Some(("resyncs", times)) => u64::read(times).map(Self::Resyncs),
            Some(("follows", addr)) => Addr::read(addr).map(Self::Follows),
            Some(_) => None,
            None => match text {
                "link_down" => Some(Self::LinkDown),
                "behind" => Some(Self::Behind),
                "master" => Some(Self::Master),
                _ => None,
            },
        }
    }

    fn example() -> Self {
        Self::Behind
    }
}
