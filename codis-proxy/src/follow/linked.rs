//! Asks masters how many slaves follow them.
//!
//! A hand-over waits for the slaves that were linked when the slot began to move. The store only
//! lists slaves; whether they follow, the master knows.

use std::time::Duration;

use codis_core::Addr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::config::Secret;
use crate::stream::Stream;
use crate::tls::{self, BackendTls};

/// Time for the connection and the answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read, bytes.
const MAX_ANSWER: usize = 1 << 20;

/// How servers are reached.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// What they want to hear.
    pub(super) password: Option<Secret>,
    /// Whether with TLS, and whom to trust.
    pub(super) tls: Option<BackendTls>,
}

/// How many slaves are linked to the master, by its own account (`INFO replication`, `state=online`).
///
/// # Errors
/// Why it could not be asked, as text for the log.
pub(super) async fn linked_slaves(master: &Addr, access: &Access) -> Result<u32, String> {
    match tokio::time::timeout(TIMEOUT, ask(master, access)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
    }
}

async fn ask(master: &Addr, access: &Access) -> Result<u32, String> {
    count(&Asking::open(master, access).await?.info_replication().await?)
}

/// A connection to a server that is asked what it says of its replication.
pub(super) struct Asking {
    stream: Stream,
    answer: Vec<u8>,
}

impl Asking {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Why that did not work, as text for the log.
    pub(super) async fn open(server: &Addr, access: &Access) -> Result<Self, String> {
        let stream = tls::dial(server, access.tls.as_ref()).await.map_err(|e| e.to_string())?;
        let mut open = Self { stream, answer: Vec::new() };
        if let Some(password) = &access.password {
            open.call(&password.auth()).await?;
        }
        Ok(open)
    }

    /// What `INFO replication` says.
    ///
    /// # Errors
    /// Why there is no answer, as text for the log.
    pub(super) async fn info_replication(&mut self) -> Result<String, String> {
        self.call(&[&b"INFO"[..], b"replication"]).await
    }

    async fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Result<String, String> {
        let mut request = Vec::new();
        codis_resp::push_array_header(&mut request, words.len());
        words.iter().for_each(|word| codis_resp::push_bulk(&mut request, word.as_ref()));
        self.stream.write_all(&request).await.map_err(|e| e.to_string())?;
        self.stream.flush().await.map_err(|e| e.to_string())?;
        let end = reply(&mut self.stream, &mut self.answer).await?;
        let text = String::from_utf8_lossy(&self.answer[..end]).into_owned();
        self.answer.drain(..end);
        Ok(text)
    }
}

/// Reads until `answer` begins with a whole reply, and returns its length. An error reply is an error.
async fn reply(stream: &mut Stream, answer: &mut Vec<u8>) -> Result<usize, String> {
    let mut scanner = codis_resp::ReplyScanner::default();
    loop {
        if let codis_resp::Cut::Complete(len) = scanner.advance(answer).map_err(|e| e.to_string())? {
            if answer.first() == Some(&b'-') {
                return Err(String::from_utf8_lossy(&answer[1..len]).trim_end().to_owned());
            }
            return Ok(len);
        }
        if answer.len() > MAX_ANSWER {
            return Err("the answer is too long".to_owned());
        }
        if stream.read_buf(answer).await.map_err(|e| e.to_string())? == 0 {
            return Err("the server closed the connection".to_owned());
        }
    }
}

fn count(info: &str) -> Result<u32, String> {
    if !info.lines().any(|line| line.trim_end() == "role:master") {
        return Err("it is not a master".to_owned());
    }
    let slave = |line: &&str| {
        let name = line.split(':').next().unwrap_or("");
        name.strip_prefix("slave").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    let linked = info.lines().filter(slave).filter(|line| line.contains(",state=online,"));
    Ok(u32::try_from(linked.count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use codis_testkit::{RedisServer, eventually, need};

    use super::*;

    #[test]
    fn only_linked_slaves_count() {
        let info = "# Replication\r\nrole:master\r\nconnected_slaves:3\r\n\
            slave0:ip=10.0.0.1,port=1,state=online,offset=1,lag=0\r\n\
            slave1:ip=10.0.0.2,port=1,state=wait_bgsave,offset=0,lag=0\r\n\
            slave10:ip=10.0.0.3,port=1,state=online,offset=1,lag=1\r\nslave_repl_offset:5\r\n";
        assert_eq!(count(info), Ok(2));
        assert!(count("# Replication\r\nrole:slave\r\n").is_err());
    }

    #[test]
    fn a_master_is_asked() {
        need!("redis");
        let master = RedisServer::builder().password("secret").start();
        let slave = RedisServer::builder().password("secret").slave_of(&master).start();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = |server: &RedisServer, password: Option<&str>| {
            let addr = server.addr().parse().unwrap();
            runtime.block_on(linked_slaves(&addr, &Access { password: password.map(Secret::new), tls: None }))
        };
        eventually(Duration::from_secs(20), || ask(&master, Some("secret")) == Ok(1));
        assert!(ask(&slave, Some("secret")).unwrap_err().contains("not a master"));
        assert!(ask(&master, None).unwrap_err().starts_with("NOAUTH"));
        assert!(ask(&master, Some("wrong")).unwrap_err().starts_with("WRONGPASS"));
    }
}
