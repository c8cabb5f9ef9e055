//! A native server: a codis-server 2.8, which moves keys itself (`SLOTSMGRT*`).
//!
//! That program cannot be had from a package any more. So what tests start is a stand-in that cannot be
//! told from it over the wire: a real `redis-server` holds the data and answers, and a front passes
//! everything to it byte for byte, except for
//!
//! - the SLOTS* commands, which the front carries out on the server behind: a key leaves only after the
//!   target has taken it, all keys of a tag move together, what is on the target is overwritten, and time-outs
//!   and error texts are those of the original;
//! - commands, forms and subcommands that 2.8 does not have (UNLINK, WAIT, MEMORY, CLIENT ID, a variadic
//!   HSET or EXISTS...): refused with that version's words;
//! - INFO, COMMAND and CLIENT, which speak of the version 2.8.21 and of the front's own clients.
//!
//! A codis-server has one thread: the front lets one request in at a time, so a move that waits for its
//! target holds up everybody. Two things differ: keys whose tags only share a CRC-32 do not move together,
//! and a SLOTSRESTORE with a damaged payload has taken in what stood before it.
//!
//! Whoever has a codis-server sets `CODIS_SERVER=/path/to/codis-server`: tests start that program then.

mod clients;
mod commands;
mod front;
mod session;
mod slots;
mod target;

use std::path::PathBuf;

use crate::{KitError, PortLease, Process, RedisBuilder, RedisServer, RespClient, must};
use front::Front;

/// A codis-server 2.8, or what stands in for one; see `CODIS_SERVER` in the crate's documentation.
///
/// It needs `redis-server`: a test begins with `need!("redis")`.
#[derive(Debug)]
pub struct NativeServer {
    // Before the server: its sessions end first.
    front: Option<Front>,
    server: RedisServer,
    /// The front's port, where there is one.
    lease: Option<PortLease>,
    password: Option<String>,
}

/// What a [`NativeServer`] is started with.
#[derive(Clone, Debug, Default)]
pub struct NativeBuilder {
    server: RedisBuilder,
    password: Option<String>,
}

impl NativeBuilder {
    /// Follows `master`, which may be reached over its front only.
    #[must_use]
    pub fn slave_of(mut self, master: &NativeServer) -> Self {
        self.server = self.server.slave_of_port(master.port(), master.password.clone());
        self
    }

    /// Asks clients for this password, and gives it to the servers that it moves keys to.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.server = self.server.password(password);
        self.password = Some(password.to_owned());
        self
    }

    /// One more setting, as in `redis.conf`.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.server = self.server.config(name, value);
        self
    }

    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be started; see [`NativeBuilder::try_start`].
    #[track_caller]
    #[must_use]
    pub fn start(self) -> NativeServer {
        must(self.try_start())
    }

    /// [`NativeBuilder::start`] that returns the failure.
    ///
    /// # Errors
    /// When the program is missing, ends at once or does not answer in 20 s, or no port can be had.
    pub fn try_start(self) -> Result<NativeServer, KitError> {
        if let Some(program) = std::env::var_os("CODIS_SERVER") {
            let server = self.server.program(PathBuf::from(program)).try_start()?;
            return Ok(NativeServer { front: None, server, lease: None, password: self.password });
        }
        let lease = PortLease::take()?;
        let server = self.server.announce(lease.port()).try_start()?;
        let front = Front::start(lease.port(), server.port(), self.password.clone())?;
        Ok(NativeServer { front: Some(front), server, lease: Some(lease), password: self.password })
    }
}

impl NativeServer {
    /// Starts a server with default settings.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Settings first.
    #[must_use]
    pub fn builder() -> NativeBuilder {
        NativeBuilder::default()
    }

    /// The port that clients use, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.lease.as_ref().map_or_else(|| self.server.port(), PortLease::port)
    }

    /// `127.0.0.1:PORT`, as Codis writes addresses.
    #[must_use]
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// A connection, authenticated where the server has a password.
    ///
    /// # Panics
    /// When the server does not accept it.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> RespClient {
        must(
            crate::redis::connect(self.port(), self.password.as_deref())
                .map_err(|e| KitError::io(format!("cannot connect to the native server {}", self.addr()), e)),
        )
    }

    /// The program that holds the data: process id, log.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.server.process()
    }

    /// Dies as by SIGKILL: all connections close, the port refuses. The address stays reserved for
    /// [`NativeServer::restart`].
    pub fn kill(&mut self) {
        self.server.kill();
        if let Some(front) = &mut self.front {
            front.close();
        }
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn stop(&self) {
        self.server.stop();
    }

    /// SIGCONT after [`NativeServer::stop`].
    pub fn cont(&self) {
        self.server.cont();
    }

    /// Starts it again at the same address and with the same settings, empty unless it persists.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        self.server.restart();
        if let Some(lease) = &self.lease {
            self.front = Some(must(Front::start(lease.port(), self.server.port(), self.password.clone())));
        }
    }
}
