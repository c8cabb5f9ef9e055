//! The values of an alert as text, for whoever keeps them: the store knows no types of ours.

use crate::{Addr, GroupId, Role};

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

/// Writes of clients that a failover has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The offsets prove that there were none.
    None,
    /// The new master had not received this much; at most so many writes were acknowledged meanwhile.
    Some {
        /// Bytes of the replication stream, at least.
        bytes: u64,
        /// Writes that proxies of ours had acknowledged, at most.
        writes: Option<u64>,
    },
    /// Nobody could tell what the old master had.
    Unknown,
}

impl Fact for Loss {
    fn text(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Unknown => "unknown".to_owned(),
            Self::Some { bytes, writes } => format!("{bytes},{}", writes.text()),
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "unknown" => Some(Self::Unknown),
            _ => {
                let (bytes, writes) = text.split_once(',')?;
                Some(Self::Some { bytes: u64::read(bytes)?, writes: Fact::read(writes)? })
            }
        }
    }

    fn example() -> Self {
        Self::Some { bytes: 1, writes: Some(1) }
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
