//! Changing what a server is, so that it stays so when it restarts, and keeping its clients back meanwhile.

use std::time::{Duration, Instant};

use codis_core::{Addr, ha::Facts};

use crate::{Redis, RedisCause, RedisError, Reply, facts};

/// How often a server is asked whether it has followed an order.
const ASK: Duration = Duration::from_millis(2);

impl Redis {
    /// INFO as what decisions about masters go by.
    ///
    /// # Errors
    /// Also `Unexpected` with the field that is missing.
    pub async fn facts(&mut self) -> Result<Facts, RedisError> {
        let reply = self.conn().query(&["INFO"]).await?;
        let text = reply.text().ok_or_else(|| self.conn().unexpected("INFO", &reply))?;
        facts(&text).map_err(|field| {
            RedisError::new(self.conn().addr(), "INFO", RedisCause::Unexpected(format!("no field {field}")))
        })
    }

    /// Makes it a slave of `master`, or a master (`None`), and writes that into its configuration file in the same
    /// transaction: a server that came back in its old role would undo the change. Returns once it says so itself;
    /// `false` if it has no configuration file, or knows no CONFIG.
    ///
    /// # Errors
    /// With address and command; `Unexpected` if the role does not change in time.
    pub async fn take_role(&mut self, master: Option<&Addr>) -> Result<bool, RedisError> {
        let (host, port) = match master {
            Some(addr) => (addr.host().to_owned(), addr.port().to_string()),
            None => ("NO".to_owned(), "ONE".to_owned()),
        };
        let mut pipe = redis::Pipeline::new();
        pipe.cmd("MULTI").cmd("SLAVEOF").arg(&host).arg(&port).cmd("CONFIG").arg("REWRITE").cmd("EXEC");
        let replies = self.conn().pipeline("SLAVEOF", &pipe, Duration::ZERO).await?;
        let kept = match &replies[..] {
            [_, _, _, Reply::Array(done)] => {
                if let Some(error @ Reply::Error(_)) = done.first() {
                    return Err(self.conn().unexpected("SLAVEOF", error));
                }
                !matches!(done.get(1), Some(Reply::Error(_)))
            }
            // A server without CONFIG has refused the transaction as a whole.
            [_, Reply::Status(_), Reply::Error(_), _] => {
                self.conn().query(&["SLAVEOF", &host, &port]).await?;
                false
            }
            [.., last] => return Err(self.conn().unexpected("SLAVEOF", last)),
            [] => false,
        };
        let deadline = Instant::now() + self.timeout();
        loop {
            let facts = self.facts().await?;
            if facts.is_master == master.is_none() && facts.master.as_ref() == master {
                return Ok(kept);
            }
            if Instant::now() > deadline {
                let cause = RedisCause::Unexpected("its role does not change".to_owned());
                return Err(RedisError::new(self.conn().addr(), "SLAVEOF", cause));
            }
            tokio::time::sleep(ASK).await;
        }
    }

    /// Holds clients' writes back for at most `limit`, where the server can (6.2 and later). What is held back runs when
    /// that ends, so it never stands alone: see the write stop. `false` if the server cannot.
    ///
    /// # Errors
    /// With address and command.
    pub async fn pause_writes(&mut self, limit: Duration) -> Result<bool, RedisError> {
        let ms = limit.as_millis().to_string();
        match self.conn().query(&["CLIENT", "PAUSE", &ms, "WRITE"]).await {
            Ok(_) => Ok(true),
            // One that knows no WRITE would pause everything, us included; it refuses the word.
            Err(error) if matches!(error.cause, RedisCause::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Ends a pause. A server that knows none is fine.
    ///
    /// # Errors
    /// With address and command.
    pub async fn unpause(&mut self) -> Result<(), RedisError> {
        match self.conn().query(&["CLIENT", "UNPAUSE"]).await {
            Err(error) if matches!(error.cause, RedisCause::Refused(_)) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Closes the connections of all clients but this one, what they wait for unexecuted.
    ///
    /// # Errors
    /// With address and command.
    pub async fn close_clients(&mut self) -> Result<(), RedisError> {
        self.conn().query(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.map(drop)
    }
}
