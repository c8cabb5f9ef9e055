//! A client of one proxy that connects again after a failure.

use std::time::{Duration, Instant};

use codis_core::Addr;
use redis::Cmd;

use crate::{Conn, ConnectOptions, RedisError, Reply};

/// Pause after a failed connection attempt, so that a proxy that is down is not hammered.
const PAUSE: Duration = Duration::from_millis(50);

/// One client connection.
pub(crate) struct Client {
    addr: Addr,
    options: ConnectOptions,
    conn: Option<Conn>,
}

impl Client {
    pub(crate) fn new(addr: Addr, options: ConnectOptions) -> Self {
        Self { addr, options, conn: None }
    }

    pub(crate) fn addr(&self) -> &Addr {
        &self.addr
    }

    /// One command; an error answer is an `Err`. `Ok` comes with how long it took.
    pub(crate) async fn call(&mut self, cmd: &Cmd) -> Result<(Reply, Duration), RedisError> {
        let conn = self.connected().await?;
        let begun = Instant::now();
        let reply = conn.call(cmd).await;
        self.forget_if_dead();
        reply.map(|reply| (reply, begun.elapsed()))
    }

    /// A pipeline; one answer per command.
    pub(crate) async fn pipeline(&mut self, pipe: &redis::Pipeline) -> Result<Vec<Reply>, RedisError> {
        let conn = self.connected().await?;
        let replies = conn.pipeline("pipeline", pipe, Duration::ZERO).await;
        self.forget_if_dead();
        replies
    }

    async fn connected(&mut self) -> Result<&mut Conn, RedisError> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => match Box::pin(Conn::open(&self.addr, &self.options)).await {
                Ok(conn) => conn,
                Err(error) => {
                    tokio::time::sleep(PAUSE).await;
                    return Err(error);
                }
            },
        };
        Ok(self.conn.insert(conn))
    }

    fn forget_if_dead(&mut self) {
        self.conn.take_if(|conn| conn.is_dead());
    }
}
