//! Proxies as they register themselves.

use std::{fmt, str::FromStr};

use crate::{Addr, Extra, ParseError, ProxyId};

/// State of a proxy, in the words of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyState {
    /// Registered, serves nobody yet.
    Offline,
    /// Serves clients and must acknowledge actions.
    Online,
    /// Asked to leave.
    MarkOffline,
}

impl ProxyState {
    /// The word in the node: `offline`, `online` or `mark_offline`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Online => "online",
            Self::MarkOffline => "mark_offline",
        }
    }
}

impl FromStr for ProxyState {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Offline, Self::Online, Self::MarkOffline]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| ParseError::new(text, "a proxy state (offline, online, mark_offline)"))
    }
}

impl fmt::Display for ProxyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which program a proxy is; decides how actions are published to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyKind {
    /// Our codis-proxy, with its version: handles every action, and waves.
    Ours(String),
    /// A Go proxy: handles the newest action only, and exits on an unknown one.
    Go,
}

/// What marks one of our proxies in `start_at`. Readers of that field, the Go tools among them,
/// compare it as opaque text, so it is the one place that can carry a mark through a rewrite by
/// them: they drop fields that they do not know.
const OURS: &str = " rs/";

/// A proxy as its node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its id, also the name of its node.
    pub id: ProxyId,
    /// Where clients reach it; also the name of its fence.
    pub addr: Addr,
    /// Its state.
    pub state: ProxyState,
    /// Where its admin pages are, `host:port`; as stored, may be empty.
    pub debug_var_addr: String,
    /// Its process id.
    pub pid: i64,
    /// When it started, as free text; with id and pid it identifies the process.
    pub start_at: String,
    /// The other fields, `last_event` and the like included.
    pub extra: Extra,
}

impl Proxy {
    /// The text that a proxy of ours puts into `start_at`.
    ///
    /// ```
    /// let mark = codis_core::Proxy::start_mark("2026-11-22 08:00:59.1 +0000 UTC", "0.1.0");
    /// assert_eq!(mark, "2026-11-22 08:00:59.1 +0000 UTC rs/0.1.0");
    /// ```
    pub fn start_mark(time: &str, version: &str) -> String {
        format!("{time}{OURS}{version}")
    }

    /// Which program this is.
    pub fn kind(&self) -> ProxyKind {
        match self.start_at.rsplit_once(OURS) {
            Some((_, version)) => ProxyKind::Ours(version.to_owned()),
            None => ProxyKind::Go,
        }
    }
}
