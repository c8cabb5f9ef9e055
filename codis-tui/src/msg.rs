//! What can happen to the dashboard, and what it asks for in return. Plain values: a session is a
//! list of them, and a test writes that list by hand.

use std::collections::BTreeMap;

use codis_core::{Addr, Cluster, ProxyId};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Msg {
    /// Time goes by.
    Tick {
        /// Unix milliseconds.
        now_ms: u64,
    },
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// A key was pressed.
    Key(Key),
    /// The store answered.
    Cluster(Box<Cluster>),
    /// The store did not answer.
    StoreLost {
        /// Whom we asked and what they said.
        why: String,
        /// When it is asked again, Unix milliseconds.
        next_try_ms: u64,
    },
    /// The store answers, but knows no such product (any more).
    NoProduct,
    /// What each server said when asked.
    Servers(Answers<Addr, ServerFacts>),
    /// What each proxy said when asked.
    Proxies(Answers<ProxyId, ProxyFacts>),
}

/// One answer, or the reason why there is none, per party asked.
pub type Answers<K, V> = BTreeMap<K, Result<V, String>>;

/// What the screen uses of a server's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerFacts {
    /// Keys in all databases.
    pub keys: u64,
    /// True if it accepts writes.
    pub is_master: bool,
}

/// What the screen uses of a proxy's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProxyFacts {
    /// Open client connections.
    pub clients: u64,
    /// Requests per second, over the last seconds.
    pub per_s: f64,
    /// 99 of 100 of them took no longer, milliseconds; `None` if there were none.
    pub p99_ms: Option<f64>,
    /// Errors per second.
    pub errors_per_s: f64,
}

/// A key, independent of the terminal library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character, as typed.
    Char(char),
    /// A character with Ctrl.
    Ctrl(char),
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Escape.
    Esc,
    /// Any other key, by name.
    Other(&'static str),
}

/// What the program around the model shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Draw at once: somebody pressed a key and waits.
    Draw,
    /// Draw when the last drawing is old enough: data changed.
    DrawSoon,
    /// Ask the store and everybody else now.
    PollNow,
    /// Leave.
    Quit,
}
