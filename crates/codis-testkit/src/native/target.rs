//! The connection over which a codis-server hands keys to another: one per address, kept for a while.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::resp::encode;

/// A connection that has been idle for longer is closed.
const IDLE: Duration = Duration::from_secs(15);
/// Bytes of one write, each with the time-out of its own.
const PIECE: usize = 64 * 1024;

const CONNECTING: &str = "-IOERR error or timeout connecting to the client\r\n";
const WRITING: &str = "-IOERR error or timeout writing to target\r\n";
const READING: &str = "-IOERR error or timeout reading from target\r\n";

/// An open connection to a target.
pub(super) struct Target {
    /// Nothing where the connection was refused: a codis-server notices that when it first writes.
    stream: Option<BufReader<TcpStream>>,
    authorised: bool,
    db: u32,
    used: Instant,
}

/// What is sent in one go.
pub(super) struct Batch<'a> {
    pub(super) password: Option<&'a str>,
    pub(super) db: u32,
    /// `SLOTSRESTORE key ttl payload ...`
    pub(super) restore: Vec<Vec<u8>>,
    pub(super) timeout: Duration,
}

impl Target {
    /// Connects.
    ///
    /// # Errors
    /// The error reply.
    pub(super) fn open(host: &str, port: u16, timeout: Duration) -> Result<Self, String> {
        let unknown = || format!("-ERR Can't connect to target node: {host}:{port}\r\n");
        let addr =
            (host, port).to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(unknown)?;
        let stream = match TcpStream::connect_timeout(&addr, timeout) {
            Ok(stream) => Some(BufReader::new(stream)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => None,
            Err(_) => return Err(CONNECTING.to_owned()),
        };
        Ok(Self { stream, authorised: false, db: 0, used: Instant::now() })
    }

    /// Whether it may still be used.
    pub(super) fn is_fresh(&self) -> bool {
        self.stream.is_some() && self.used.elapsed() < IDLE
    }

    /// Has the target take the keys.
    ///
    /// # Errors
    /// The error reply; the connection must be closed then, and what the target has done is unknown.
    pub(super) fn send(&mut self, batch: &Batch<'_>) -> Result<(), String> {
        let stream = self.stream.as_mut().ok_or(WRITING)?;
        let timeout = Some(batch.timeout);
        let limited =
            stream.get_ref().set_write_timeout(timeout).and(stream.get_ref().set_read_timeout(timeout));
        limited.map_err(|_| CONNECTING)?;
        let mut bytes = Vec::new();
        let mut steps = Vec::new();
        if let Some(password) = batch.password.filter(|_| !self.authorised) {
            bytes.extend(encode(&["AUTH", password]));
            steps.push("auth");
        }
        if self.db != batch.db {
            bytes.extend(encode(&["SELECT", &batch.db.to_string()]));
            steps.push("select");
        }
        bytes.extend(encode(&batch.restore));
        steps.push("migration");
        for piece in bytes.chunks(PIECE) {
            stream.get_mut().write_all(piece).map_err(|_| WRITING)?;
        }
        for step in steps {
            let mut line = String::new();
            stream.read_line(&mut line).map_err(|_| READING)?;
            if !line.ends_with('\n') {
                return Err(READING.to_owned());
            }
            if !line.starts_with('+') {
                return Err(format!("-ERR error on slotsrestore, {step} failed\r\n"));
            }
        }
        (self.authorised, self.db, self.used) = (true, batch.db, Instant::now());
        Ok(())
    }
}
