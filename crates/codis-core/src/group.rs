//! Groups: one master and its slaves.

use std::{fmt, str::FromStr};

use crate::{Addr, Extra, GroupId, ParseError, Versioned};

/// What a server is in its group, as the store says (the server itself may differ).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Serves the group's slots.
    Master,
    /// Replicates from the master.
    Slave,
    /// Listed, not used.
    Offline,
}

impl Role {
    /// The word in the node: `master`, `slave` or `offline`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Slave => "slave",
            Self::Offline => "offline",
        }
    }
}

impl FromStr for Role {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Master, Self::Slave, Self::Offline]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| ParseError::new(text, "a role (master, slave, offline)"))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A redis-server of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it listens; also the name of its node.
    pub addr: Addr,
    /// The group it belongs to.
    pub group: GroupId,
    /// Its role.
    pub role: Role,
    /// Unknown fields.
    pub extra: Extra,
}

impl Server {
    /// A server without unknown fields.
    pub fn new(addr: Addr, group: GroupId, role: Role) -> Self {
        Self { addr, group, role, extra: Extra::default() }
    }
}

/// A group and the servers listed in it, in the order of their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// Its servers with the version of each node.
    pub servers: Vec<Versioned<Server>>,
}

impl Group {
    /// The server listed as master. `None` if there is none, or more than one.
    pub fn master(&self) -> Option<&Versioned<Server>> {
        let mut masters = self.masters();
        let first = masters.next();
        if masters.next().is_some() { None } else { first }
    }

    /// All servers listed as master; a healthy group has one.
    pub fn masters(&self) -> impl Iterator<Item = &Versioned<Server>> {
        self.servers.iter().filter(|server| server.role == Role::Master)
    }

    /// All servers listed as slave.
    pub fn slaves(&self) -> impl Iterator<Item = &Versioned<Server>> {
        self.servers.iter().filter(|server| server.role == Role::Slave)
    }

    /// The server at this address.
    pub fn server(&self, addr: &Addr) -> Option<&Versioned<Server>> {
        self.servers.iter().find(|server| &server.addr == addr)
    }
}
