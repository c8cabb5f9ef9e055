//! Connections of our own on a server, found by name and closed for good.
//!
//! A connection that timed out may still hold commands that the server has not run. They must not
//! run later, so the connection is killed by the server, and that is answered, before anybody acts.

use std::time::{Duration, Instant};

use codis_core::Addr;

use crate::{Conn, ConnectOptions, RedisCause, RedisError};

/// Kills every connection whose name begins with `prefix`, and returns how many there were once the
/// server lists none of them any more.
///
/// # Errors
/// No connection, no answer, or a server that still lists one after the command time-out.
pub async fn kill_by_name(addr: &Addr, options: &ConnectOptions, prefix: &str) -> Result<u64, RedisError> {
    kill(addr, options, prefix, |name| name.starts_with(prefix)).await
}

/// The same for those whose name is `prefix`, a number smaller than `number`, and a dash: what successors have opened stays.
///
/// # Errors
/// As [`kill_by_name`].
pub async fn kill_older(
    addr: &Addr,
    options: &ConnectOptions,
    prefix: &str,
    number: u64,
) -> Result<u64, RedisError> {
    kill(addr, options, prefix, |name| number_in(name, prefix).is_some_and(|other| other < number)).await
}

async fn kill(
    addr: &Addr,
    options: &ConnectOptions,
    prefix: &str,
    is_meant: impl Fn(&str) -> bool,
) -> Result<u64, RedisError> {
    let mut conn = Conn::open(addr, &options.named("codis-killer")).await?;
    let deadline = Instant::now() + options.command_timeout;
    let mut killed = 0;
    loop {
        let ids = ids_of(&mut conn, &is_meant).await?;
        if ids.is_empty() {
            return Ok(killed);
        }
        if Instant::now() > deadline {
            let cause = RedisCause::Unexpected(format!("still lists connections named {prefix}*"));
            return Err(RedisError::new(addr, "CLIENT KILL", cause));
        }
        for id in ids {
            let reply = conn.raw(redis::cmd("CLIENT").arg("KILL").arg("ID").arg(id)).await?;
            match reply.int() {
                Some(count) => killed += count.max(0) as u64,
                None => return Err(conn.unexpected("CLIENT KILL", &reply)),
            }
        }
        // A killed connection may be listed until the server's next turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn ids_of(conn: &mut Conn, is_meant: impl Fn(&str) -> bool) -> Result<Vec<u64>, RedisError> {
    let reply = conn.query(&["CLIENT", "LIST"]).await?;
    match reply.text() {
        Some(list) => Ok(parse_ids(&list, is_meant)),
        None => Err(conn.unexpected("CLIENT LIST", &reply)),
    }
}

/// Ids of the connections that are meant, by their names, from the text of CLIENT LIST.
fn parse_ids(list: &str, is_meant: impl Fn(&str) -> bool) -> Vec<u64> {
    list.lines()
        .filter_map(|line| {
            let field =
                |name: &str| line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            field("name").filter(|name| is_meant(name))?;
            field("id")?.parse().ok()
        })
        .collect()
}

/// 7 in `codis-lead-7-`.
fn number_in(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_the_prefix_are_found() {
        let list = "id=3 addr=127.0.0.1:1 name=codis-mover-7-0 age=1\n\
            id=4 addr=127.0.0.1:2 name= age=1\nid=5 addr=127.0.0.1:3 name=other-codis-mover-7 age=1\n\
            id=6 addr=127.0.0.1:4 name=codis-mover-70-1 age=2\n";
        let named = |prefix: &'static str| move |name: &str| name.starts_with(prefix);
        assert_eq!(parse_ids(list, named("codis-mover-")), [3, 6]);
        assert_eq!(parse_ids(list, named("codis-mover-7-")), [3]);
    }

    #[test]
    fn older_is_a_smaller_number() {
        let older = |name, than| number_in(name, "codis-lead-").is_some_and(|number| number < than);
        assert!(older("codis-lead-9-", 10) && older("codis-lead-9-0", 10));
        assert!(!older("codis-lead-10-", 10) && !older("codis-lead-11-", 10), "itself and its successors");
        assert!(!older("codis-lead-x-", 10) && !older("codis-look-1-", 10), "others");
    }
}
