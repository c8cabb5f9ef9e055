//! One connection to a server, used by one hand-over at a time.
//!
//! It knows its client id and the server's run id from the start, so that it can be killed on the
//! server when an answer does not come: a command left in the queue of a slow server would run
//! after the key has gone elsewhere.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use codis_core::Addr;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::Settings;
use super::reply::{Commands, Reply, take};
use super::server::Server;
use crate::stream::Stream;
use crate::tls;

/// Buffers grown beyond this by a large value are given back.
const KEPT_BUFFER: usize = 256 * 1024;

/// Why a server did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    /// No connection, or it broke.
    #[error("{addr}: {what}")]
    Broken {
        /// Which server.
        addr: Addr,
        /// What happened.
        what: String,
    },
    /// No answer in time.
    #[error("{addr}: no answer within {after:?}")]
    TimedOut {
        /// Which server.
        addr: Addr,
        /// How long it was waited for.
        after: Duration,
    },
    /// It answered something that a hand-over cannot go on with.
    #[error("{addr}: {command} was answered with {reply}")]
    Answer {
        /// Which server.
        addr: Addr,
        /// The command.
        command: &'static str,
        /// Its reply.
        reply: String,
    },
}

/// What identifies a connection on its server, also after we have lost it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Handle {
    /// The server's `CLIENT ID` for it.
    pub(crate) client: i64,
    /// The process that gave the id. Another process has other clients under the same numbers.
    pub(crate) run_id: String,
}

/// An open, named connection whose replies are all read.
#[derive(Debug)]
pub(crate) struct Link {
    addr: Addr,
    stream: Stream,
    buf: BytesMut,
    handle: Handle,
    server: Server,
    used: Instant,
}

impl Link {
    /// Connects to a master, says the password, sets the name, and learns its id. Bounded in time.
    ///
    /// # Errors
    /// When the server cannot be reached, does not answer in time, refuses, or is not a master.
    pub(crate) async fn open(addr: &Addr, settings: &Settings) -> Result<Self, LinkError> {
        let (link, role) = Self::greeted(addr, settings).await?;
        if role == "master" {
            return Ok(link);
        }
        let reply = format!("\"{role}\", and keys move between masters only");
        Err(LinkError::Answer { addr: addr.clone(), command: "ROLE", reply })
    }

    /// The same with a server of any role: for killing connections on it.
    ///
    /// # Errors
    /// When the server cannot be reached, does not answer in time, or refuses.
    pub(crate) async fn open_any_role(addr: &Addr, settings: &Settings) -> Result<Self, LinkError> {
        Self::greeted(addr, settings).await.map(|(link, _)| link)
    }

    async fn greeted(addr: &Addr, settings: &Settings) -> Result<(Self, String), LinkError> {
        let after = settings.command_timeout;
        let opened = timeout(after, Self::greet(addr, settings)).await;
        opened.unwrap_or_else(|_| Err(LinkError::TimedOut { addr: addr.clone(), after }))
    }

    async fn greet(addr: &Addr, settings: &Settings) -> Result<(Self, String), LinkError> {
        let broken = |e: std::io::Error| LinkError::Broken { addr: addr.clone(), what: e.to_string() };
        let after = settings.connect_timeout;
        let connecting = timeout(after, tls::dial(addr, settings.tls.as_ref())).await;
        let connected = connecting.map_err(|_| LinkError::TimedOut { addr: addr.clone(), after })?;
        let stream = connected.map_err(broken)?;
        SockRef::from(stream.tcp())
            .set_tcp_user_timeout(Some(settings.command_timeout * 2))
            .map_err(broken)?;
        let handle = Handle { client: 0, run_id: String::new() };
        let (buf, server, used) = (BytesMut::new(), Server::default(), Instant::now());
        let mut link = Self { addr: addr.clone(), stream, buf, handle, server, used };
        // A name that no other connection has: a server that tells no ids lists it by this.
        let name = format!("{}-{:08x}", settings.name, rand::random::<u32>());

        let mut hello = Commands::default();
        if let Some(password) = &settings.password {
            hello.push(&password.auth());
        }
        hello.push(&[b"CLIENT", b"SETNAME", name.as_bytes()]);
        hello.push(&[b"CLIENT", b"ID"]);
        hello.push(&[b"INFO"]);
        hello.push(&[b"COMMAND", b"INFO", b"SLOTSMGRTTAGONE"]);
        hello.push(&[b"ROLE"]);
        let mut replies = link.call(&hello, settings.command_timeout).await?.into_iter();
        let mut next = || replies.next().unwrap_or(Reply::Array(None));

        if settings.password.is_some() {
            let reply = next();
            if !is_open(&reply) {
                link.expect_ok("AUTH", &reply)?;
            }
        }
        link.expect_ok("CLIENT SETNAME", &next())?;
        let id = next();
        let (info, command, role) = (next(), next(), next());
        link.server = Server::read(&info, &command).ok_or_else(|| link.odd("INFO", &info))?;
        link.handle.run_id.clone_from(&link.server.run_id);
        link.handle.client = match id {
            Reply::Int(id) => id,
            // Only from version 5 on.
            _ => link.listed_id(&name, settings).await?,
        };
        match role.first() {
            Some(Reply::Bulk(Some(word))) => Ok((link, String::from_utf8_lossy(word).into_owned())),
            _ => Err(link.odd("ROLE", &role)),
        }
    }

    /// The id of this connection in the server's list of clients.
    async fn listed_id(&mut self, name: &str, settings: &Settings) -> Result<i64, LinkError> {
        let mut list = Commands::default();
        list.push(&[b"CLIENT", b"LIST"]);
        let replies = self.call(&list, settings.command_timeout).await?;
        let text = match replies.as_slice() {
            [Reply::Bulk(Some(text))] => String::from_utf8_lossy(text).into_owned(),
            other => return Err(self.odd("CLIENT LIST", other.first().unwrap_or(&Reply::Array(None)))),
        };
        let field =
            |line: &str, name: &str| line.split(' ').find_map(|w| w.strip_prefix(name)).map(str::to_owned);
        let mut own = text.lines().filter(|line| field(line, "name=").as_deref() == Some(name));
        let id = own.next().and_then(|line| field(line, "id=")?.parse().ok());
        id.ok_or_else(|| LinkError::Answer {
            addr: self.addr.clone(),
            command: "CLIENT LIST",
            reply: "no id for this connection, which a server older than 2.8.12 does not tell".to_owned(),
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    fn expect_ok(&self, command: &'static str, reply: &Reply) -> Result<(), LinkError> {
        if matches!(reply, Reply::Simple(_)) { Ok(()) } else { Err(self.odd(command, reply)) }
    }

    /// Sends the commands in one write and reads all their replies. After an error the connection
    /// must not be used again.
    ///
    /// # Errors
    /// [`LinkError::Broken`] or [`LinkError::TimedOut`]; error replies of the server are not errors here.
    pub(crate) async fn call(
        &mut self,
        commands: &Commands,
        after: Duration,
    ) -> Result<Vec<Reply>, LinkError> {
        let mut replies = Vec::with_capacity(commands.count());
        self.send(commands, &mut replies, commands.count(), after).await?;
        self.settled(replies)
    }

    /// The same where the last command is a `WAIT`, which may take `wait` longer than the others.
    ///
    /// # Errors
    /// As for [`Link::call`].
    pub(crate) async fn call_wait(
        &mut self,
        commands: &Commands,
        after: Duration,
        wait: Duration,
    ) -> Result<Vec<Reply>, LinkError> {
        let mut replies = Vec::with_capacity(commands.count());
        self.send(commands, &mut replies, commands.count() - 1, after).await?;
        self.receive(&mut replies, commands.count(), after + wait).await?;
        self.settled(replies)
    }

    async fn send(
        &mut self,
        commands: &Commands,
        replies: &mut Vec<Reply>,
        wanted: usize,
        after: Duration,
    ) -> Result<(), LinkError> {
        let sent = tokio::time::Instant::now();
        match timeout(after, self.write(commands.bytes())).await {
            Ok(Ok(())) => self.receive(replies, wanted, after.saturating_sub(sent.elapsed())).await,
            Ok(Err(e)) => Err(self.broken(e.to_string())),
            Err(_) => Err(LinkError::TimedOut { addr: self.addr.clone(), after }),
        }
    }

    /// Reads until there are `wanted` replies.
    async fn receive(
        &mut self,
        replies: &mut Vec<Reply>,
        wanted: usize,
        after: Duration,
    ) -> Result<(), LinkError> {
        let read = async {
            while replies.len() < wanted {
                match take(&mut self.buf)? {
                    Some(reply) => replies.push(reply),
                    None if self.stream.read_buf(&mut self.buf).await.map_err(|e| e.to_string())? == 0 => {
                        return Err("the server closed the connection".to_owned());
                    }
                    None => {}
                }
            }
            Ok(())
        };
        match timeout(after, read).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(what)) => Err(self.broken(what)),
            Err(_) => Err(LinkError::TimedOut { addr: self.addr.clone(), after }),
        }
    }

    /// Leaves the connection as it has to be between two calls.
    fn settled(&mut self, replies: Vec<Reply>) -> Result<Vec<Reply>, LinkError> {
        if !self.buf.is_empty() {
            return Err(self.broken("the server sent a reply too many".to_owned()));
        }
        self.used = Instant::now();
        if self.buf.capacity() > KEPT_BUFFER {
            self.buf = BytesMut::new();
        }
        Ok(replies)
    }

    fn broken(&self, what: String) -> LinkError {
        LinkError::Broken { addr: self.addr.clone(), what }
    }

    /// Whether the server still knows the connection: asked only when it has been idle for a while,
    /// because servers close idle clients and a hand-over must not fail for that.
    ///
    /// # Errors
    /// When the server does not answer in time. A closed connection is not an error but `false`.
    pub(crate) async fn is_alive(&mut self, settings: &Settings) -> Result<bool, LinkError> {
        if self.used.elapsed() < settings.fresh {
            return Ok(true);
        }
        let mut ping = Commands::default();
        ping.push(&[b"PING"]);
        match self.call(&ping, settings.command_timeout).await {
            Ok(_) => Ok(true),
            Err(LinkError::Broken { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// What it said about itself when the connection was opened.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// What identifies it on the server.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The error for a reply that cannot be gone on with.
    pub(crate) fn odd(&self, command: &'static str, reply: &Reply) -> LinkError {
        LinkError::Answer { addr: self.addr.clone(), command, reply: format!("\"{}\"", reply.describe()) }
    }
}

/// Whether the server asks for no password: giving it one does no harm, as on the data path.
fn is_open(reply: &Reply) -> bool {
    let Reply::Error(text) = reply else { return false };
    let text = String::from_utf8_lossy(text);
    text.contains("no password is set") || text.contains("without any password configured")
}
