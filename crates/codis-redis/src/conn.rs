//! One connection to one server, used by one task at a time, with time-outs of our own.

use std::{
    fmt,
    time::{Duration, Instant},
};

use codis_core::Addr;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, aio::MultiplexedConnection, io::tcp::TcpSettings,
};

use crate::{RedisCause, RedisError, Reply};

/// The password of the product's servers (or proxies). Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(Option<String>);

impl Password {
    /// A password; the empty text means none.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Some(text.into()).filter(|text: &String| !text.is_empty()))
    }

    /// No password: AUTH is not sent.
    pub fn none() -> Self {
        Self(None)
    }

    /// The text, for the one who has to send it.
    pub fn expose(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Password(set)" } else { "Password(none)" })
    }
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// AUTH before anything else.
    pub password: Password,
    /// CLIENT SETNAME, if not empty. No spaces.
    pub name: String,
    /// For the connection itself, AUTH and SETNAME included.
    pub connect_timeout: Duration,
    /// For each command or pipeline.
    pub command_timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            password: Password::none(),
            name: String::new(),
            connect_timeout: Duration::from_secs(2),
            command_timeout: Duration::from_secs(5),
        }
    }
}

impl ConnectOptions {
    /// The defaults with this password.
    pub fn with_password(password: &Password) -> Self {
        Self { password: password.clone(), ..Self::default() }
    }

    /// The same with this connection name.
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }
}

/// Commands of ours that change something on a server; a WAIT goes with the write it waits for.
const WRITES: [&str; 12] = [
    "BGREWRITEAOF",
    "BGSAVE",
    "CLIENT KILL",
    "CLIENT PAUSE",
    "CONFIG REWRITE",
    "CONFIG SET",
    "DEL",
    "RESTORE",
    "SET",
    "SLAVEOF",
    "SLOTSMGRTTAGSLOT",
    "UNLINK",
];

/// A connection. After a time-out or a break it answers every further call with the same error:
/// what was sent may still run on the server, so nobody should go on without knowing.
pub struct Conn {
    addr: Addr,
    inner: MultiplexedConnection,
    timeout: Duration,
    dead: Option<RedisCause>,
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("addr", &self.addr).field("dead", &self.dead).finish()
    }
}

impl Conn {
    /// Connects, authenticates and names the connection.
    ///
    /// # Errors
    /// `Connect`, `Auth` or `Timeout`, all within `connect_timeout`.
    pub async fn open(addr: &Addr, options: &ConnectOptions) -> Result<Self, RedisError> {
        let failed = |cause| RedisError::new(addr, "connect", cause);
        let opening = Self::open_unbounded(addr, options);
        match tokio::time::timeout(options.connect_timeout, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(failed(RedisCause::Timeout(options.connect_timeout))),
        }
    }

    async fn open_unbounded(addr: &Addr, options: &ConnectOptions) -> Result<Self, RedisError> {
        let failed = |error: redis::RedisError| RedisError::new(addr, "connect", connect_cause(&error));
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(password) = options.password.expose() {
            settings = settings.set_password(password);
        }
        // What a crashed process leaves unsent must not reach the server much later.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(options.command_timeout * 2);
        let info = ConnectionAddr::Tcp(addr.host().to_owned(), addr.port())
            .into_connection_info()
            .map_err(failed)?
            .set_redis_settings(settings)
            .set_tcp_settings(tcp);
        // The library's own time-outs are off: it would forget an answer that is still to come.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let client = Client::open(info).map_err(failed)?;
        let inner = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
        let mut conn = Self { addr: addr.clone(), inner, timeout: options.command_timeout, dead: None };
        if !options.name.is_empty() {
            conn.call(redis::cmd("CLIENT").arg("SETNAME").arg(&options.name)).await?;
        }
        Ok(conn)
    }

    /// The server's address.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }

    /// True after a time-out or a break.
    pub fn is_dead(&self) -> bool {
        self.dead.is_some()
    }

    /// One command from its words; an error answer is an `Err`.
    ///
    /// # Errors
    /// `Refused` with the server's words; `Timeout` and `Broken` leave the connection dead.
    pub async fn query(&mut self, words: &[&str]) -> Result<Reply, RedisError> {
        let mut cmd = Cmd::new();
        for word in words {
            cmd.arg(*word);
        }
        self.call(&cmd).await
    }

    pub(crate) async fn call(&mut self, cmd: &Cmd) -> Result<Reply, RedisError> {
        match self.raw(cmd).await? {
            Reply::Error(text) => Err(RedisError::new(&self.addr, name_of(cmd), refusal(text))),
            reply => Ok(reply),
        }
    }

    /// One command; an error answer is a [`Reply::Error`].
    pub(crate) async fn raw(&mut self, cmd: &Cmd) -> Result<Reply, RedisError> {
        self.alive(|| name_of(cmd))?;
        self.crash_point(&name_of(cmd));
        let answer = tokio::time::timeout(self.timeout, self.inner.send_packed_command(cmd)).await;
        let cause = match answer {
            Ok(Ok(value)) => return Ok(value.into()),
            Ok(Err(error)) => RedisCause::Broken(error.to_string()),
            Err(_) => RedisCause::Timeout(self.timeout),
        };
        Err(self.die(name_of(cmd), cause))
    }

    /// A pipeline, sent in one go; one answer per command, error answers as [`Reply::Error`].
    /// `extra` is added to the time-out: commands that wait, or large values.
    pub(crate) async fn pipeline(
        &mut self,
        what: &str,
        pipe: &Pipeline,
        extra: Duration,
    ) -> Result<Vec<Reply>, RedisError> {
        self.alive(|| what.to_owned())?;
        self.crash_point(what);
        let timeout = self.timeout + extra;
        let sending = self.inner.send_packed_commands(pipe, 0, pipe.len());
        let cause = match tokio::time::timeout(timeout, sending).await {
            Ok(Ok(values)) if values.len() == pipe.len() => {
                return Ok(values.into_iter().map(Reply::from).collect());
            }
            Ok(Ok(values)) => RedisCause::Broken(format!("{} answers to {}", values.len(), pipe.len())),
            Ok(Err(error)) => RedisCause::Broken(error.to_string()),
            Err(_) => RedisCause::Timeout(timeout),
        };
        Err(self.die(what.to_owned(), cause))
    }

    /// The same, and how long it took.
    pub(crate) async fn timed(
        &mut self,
        what: &str,
        pipe: &Pipeline,
        extra: Duration,
    ) -> Result<(Vec<Reply>, Duration), RedisError> {
        let begun = Instant::now();
        let replies = self.pipeline(what, pipe, extra).await?;
        Ok((replies, begun.elapsed()))
    }

    /// An error about an answer of this server.
    pub(crate) fn unexpected(&self, command: &str, reply: &Reply) -> RedisError {
        let cause = match reply {
            Reply::Error(text) => refusal(text.clone()),
            other => RedisCause::Unexpected(other.what()),
        };
        RedisError::new(&self.addr, command, cause)
    }

    fn alive(&self, command: impl FnOnce() -> String) -> Result<(), RedisError> {
        match &self.dead {
            Some(cause) => Err(RedisError::new(&self.addr, command(), cause.clone())),
            None => Ok(()),
        }
    }

    /// Where a test may end the process: before anything that changes a server.
    fn crash_point(&self, command: &str) {
        if WRITES.contains(&command) {
            codis_crash::point(|| format!("server {} {command}", self.addr));
        }
    }

    fn die(&mut self, command: String, cause: RedisCause) -> RedisError {
        self.dead = Some(cause.clone());
        RedisError::new(&self.addr, command, cause)
    }
}

fn connect_cause(error: &redis::RedisError) -> RedisCause {
    let text = error.to_string();
    let auth = error.kind() == redis::ErrorKind::AuthenticationFailed || speaks_of_auth(&text);
    if auth { RedisCause::Auth(text) } else { RedisCause::Connect(text) }
}

fn refusal(text: String) -> RedisCause {
    if speaks_of_auth(&text) { RedisCause::Auth(text) } else { RedisCause::Refused(text) }
}

/// Servers of all versions, with their different words.
fn speaks_of_auth(text: &str) -> bool {
    ["NOAUTH", "WRONGPASS", "invalid password"].iter().any(|word| text.contains(word))
}

/// The command's name, in capitals, without its arguments: they may be data.
fn name_of(cmd: &Cmd) -> String {
    let mut words = cmd.args_iter().filter_map(|arg| match arg {
        redis::Arg::Simple(bytes) => Some(String::from_utf8_lossy(bytes).to_uppercase()),
        _ => None,
    });
    let first = words.next().unwrap_or_default();
    match (first.as_str(), words.next()) {
        ("CLIENT" | "CONFIG" | "COMMAND" | "MEMORY" | "OBJECT", Some(second)) => format!("{first} {second}"),
        _ => first,
    }
}
