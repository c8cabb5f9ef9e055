//! What can go wrong with a command: always which server, which command, and why.

use std::time::Duration;

use codis_core::Addr;

/// A command that did not do what it should. The password is never part of it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{command} on {addr} failed")]
pub struct RedisError {
    /// The server.
    pub addr: Addr,
    /// The command without values, e.g. `REPLICAOF`.
    pub command: String,
    /// Why.
    #[source]
    pub cause: RedisCause,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisCause {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The server wants another password, or none.
    #[error("the password was refused: {0}")]
    Auth(String),
    /// No answer in time. The command may have run, or may run later.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The connection broke. The command may have run.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server answered with an error.
    #[error("the server said: {0}")]
    Refused(String),
    /// The answer makes no sense for this command.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// Refused by us, before anything was sent: the reason.
    #[error("not sent: {0}")]
    Unsafe(String),
}

impl RedisError {
    pub(crate) fn new(addr: &Addr, command: impl Into<String>, cause: RedisCause) -> Self {
        Self { addr: addr.clone(), command: command.into(), cause }
    }

    /// True if the command may have run, or may still run, although it failed.
    pub fn is_unknown(&self) -> bool {
        matches!(self.cause, RedisCause::Timeout(_) | RedisCause::Broken(_))
    }

    /// The code that the server's error began with, e.g. `BUSYKEY`.
    pub fn code(&self) -> Option<&str> {
        match &self.cause {
            RedisCause::Refused(text) => text.split(' ').next(),
            _ => None,
        }
    }
}
