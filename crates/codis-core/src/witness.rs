//! What a proxy sees of the servers (`witness/PROXY`): a second opinion for whoever thinks that one is dead.

use std::collections::BTreeMap;

use crate::{Addr, ProxyId};

/// What a proxy's connections to a server are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sight {
    /// Connections that it keeps, or tries to.
    pub connections: u32,
    /// Those of them that cannot be opened, or on which a request has waited for long.
    pub failing: u32,
}

/// What a proxy sees of all servers that it uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Whose view it is.
    pub proxy: ProxyId,
    /// When it was written, Unix milliseconds.
    pub ts_ms: u64,
    /// The servers.
    pub servers: BTreeMap<Addr, Sight>,
}
