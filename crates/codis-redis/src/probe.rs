//! Control connections: what a server is, and changing what it replicates from.

use std::time::{Duration, Instant};

use codis_core::Addr;

use crate::{Conn, ConnectOptions, LiveRole, RedisCause, RedisError, Reply, ServerInfo, ServerKind};

/// Asks a server what it is: INFO, and whether it has the SLOTS* commands.
///
/// # Errors
/// With the address and the command that failed.
pub async fn probe(addr: &Addr, options: &ConnectOptions) -> Result<ServerInfo, RedisError> {
    Redis::connect(addr, options).await?.probe().await
}

/// Makes a server a slave of `master`, or a master (`None`), also after a restart, and waits until it says so itself.
///
/// Safe to repeat. Following is refused while the future master holds no key and this server does:
/// the first thing a slave does is to drop its own data.
///
/// # Errors
/// `Unsafe` for that refusal, for a server told to follow itself, and for a master that is a slave
/// itself; `Timeout` if the role does not change within the command time-out.
pub async fn replicaof(
    addr: &Addr,
    master: Option<&Addr>,
    options: &ConnectOptions,
) -> Result<(), RedisError> {
    let mut server = Redis::connect(addr, options).await?;
    if let Some(master) = master {
        let unsafe_because = |why: String| Err(RedisError::new(addr, "REPLICAOF", RedisCause::Unsafe(why)));
        if master == addr {
            return unsafe_because("a server cannot follow itself".into());
        }
        let theirs = probe(master, options).await?;
        let own = server.info().await?;
        if own.run_id == theirs.run_id {
            return unsafe_because(format!("{master} is this very server"));
        }
        if theirs.role != LiveRole::Master {
            return unsafe_because(format!("{master} is a slave itself"));
        }
        if theirs.keys == 0 && own.keys > 0 {
            return unsafe_because(format!(
                "{master} is empty and this server holds {} keys, which following would delete",
                own.keys
            ));
        }
    }
    server.take_role(master).await.map(drop)
}

/// A control connection.
#[derive(Debug)]
pub struct Redis {
    conn: Conn,
    timeout: Duration,
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    /// `Connect`, `Auth` or `Timeout`.
    pub async fn connect(addr: &Addr, options: &ConnectOptions) -> Result<Self, RedisError> {
        let options = match options.name.is_empty() {
            true => options.named("codis-control"),
            false => options.clone(),
        };
        Ok(Self { conn: Conn::open(addr, &options).await?, timeout: options.command_timeout })
    }

    /// One command from its words; an error answer is an `Err`.
    ///
    /// # Errors
    /// As [`Conn::query`].
    pub async fn query(&mut self, words: &[&str]) -> Result<Reply, RedisError> {
        self.conn.query(words).await
    }

    /// INFO as a value, without the kind.
    ///
    /// # Errors
    /// Also `Unexpected` with the field that is missing.
    pub async fn info(&mut self) -> Result<ServerInfo, RedisError> {
        let reply = self.conn.query(&["INFO"]).await?;
        let text = reply.text().ok_or_else(|| self.conn.unexpected("INFO", &reply))?;
        ServerInfo::parse(&text).map_err(|field| {
            RedisError::new(self.conn.addr(), "INFO", RedisCause::Unexpected(format!("no field {field}")))
        })
    }

    /// INFO and the kind.
    ///
    /// # Errors
    /// As [`Redis::info`].
    pub async fn probe(&mut self) -> Result<ServerInfo, RedisError> {
        let info = self.info().await?;
        let kind = Some(self.kind().await?);
        Ok(ServerInfo { kind, ..info })
    }

    /// Stock or native.
    ///
    /// # Errors
    /// With address and command.
    pub async fn kind(&mut self) -> Result<ServerKind, RedisError> {
        let reply = self.conn.query(&["COMMAND", "INFO", "slotsmgrttagone"]).await?;
        match &reply {
            Reply::Array(items) if matches!(items.first(), Some(Reply::Array(_))) => Ok(ServerKind::Native),
            Reply::Array(_) => Ok(ServerKind::Stock),
            _ => Err(self.conn.unexpected("COMMAND INFO", &reply)),
        }
    }

    /// PING, and how long the answer took.
    ///
    /// # Errors
    /// With address and command.
    pub async fn ping(&mut self) -> Result<Duration, RedisError> {
        let begun = Instant::now();
        self.conn.query(&["PING"]).await?;
        Ok(begun.elapsed())
    }

    /// Its role by ROLE, which is cheaper than INFO.
    ///
    /// # Errors
    /// With address and command.
    pub async fn role(&mut self) -> Result<LiveRole, RedisError> {
        let reply = self.conn.query(&["ROLE"]).await?;
        let role = match &reply {
            Reply::Array(items) => items.first().and_then(Reply::text),
            _ => None,
        };
        match role.as_deref() {
            Some("master") => Ok(LiveRole::Master),
            Some("slave") => Ok(LiveRole::Slave),
            _ => Err(self.conn.unexpected("ROLE", &reply)),
        }
    }

    /// Keys in database 0.
    ///
    /// # Errors
    /// With address and command.
    pub async fn dbsize(&mut self) -> Result<u64, RedisError> {
        let reply = self.conn.query(&["DBSIZE"]).await?;
        match reply.int() {
            Some(count) if count >= 0 => Ok(count as u64),
            _ => Err(self.conn.unexpected("DBSIZE", &reply)),
        }
    }

    /// Waits until all that was written so far has reached `slaves` slaves: a PUBLISH, which is a
    /// write of our own that makes no key, then WAIT. 0 slaves: nothing to do. `false` if fewer
    /// answered within `patience`.
    ///
    /// # Errors
    /// With address and command.
    pub async fn settle(&mut self, slaves: u32, patience: Duration) -> Result<bool, RedisError> {
        if slaves == 0 {
            return Ok(true);
        }
        let mut pipe = redis::Pipeline::new();
        pipe.cmd("PUBLISH").arg("codis:settle").arg("1");
        pipe.cmd("WAIT").arg(slaves).arg(patience.as_millis() as u64);
        let replies = self.conn.pipeline("WAIT", &pipe, patience).await?;
        match &replies[..] {
            [Reply::Int(_), Reply::Int(count)] => Ok(*count >= i64::from(slaves)),
            [Reply::Int(_), other] | [other, _] => Err(self.conn.unexpected("WAIT", other)),
            _ => Ok(false),
        }
    }

    /// How long it waits for a command.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }
}
