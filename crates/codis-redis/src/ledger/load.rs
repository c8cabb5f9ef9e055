//! Many keys at once: written in pipelines, and all of them read back.

use std::time::{Duration, Instant};

use codis_core::Addr;
use futures::future::try_join_all;

use super::client::Client;
use crate::{ConnectOptions, Password, RedisCause, RedisError, Reply};

/// Requests in one pipeline.
const PIPELINE: u64 = 200;
/// Connections to each proxy.
const CONNECTIONS: usize = 2;
/// Keys named in a report.
const NAMED: usize = 10;

/// What [`load`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// Keys written.
    pub keys: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Keys asked for.
    pub keys: u64,
    /// Keys with the right value.
    pub right: u64,
    /// Keys that do not exist.
    pub missing: u64,
    /// Keys with another value.
    pub wrong: u64,
    /// The first ten that are missing or wrong.
    pub named: Vec<String>,
    /// How long it took.
    pub elapsed: Duration,
}

impl VerifyReport {
    /// True if every key has its value.
    pub fn holds(&self) -> bool {
        self.right == self.keys
    }
}

/// Writes the keys `PREFIX:0` to `PREFIX:(count-1)`, each with a value that follows from its number.
///
/// # Errors
/// The first request that was refused, by which proxy and in which words.
pub async fn load(
    proxies: &[Addr],
    password: &Password,
    prefix: &str,
    count: u64,
) -> Result<LoadReport, RedisError> {
    let begun = Instant::now();
    let parts = shares(proxies, password, count).map(|(mut client, share)| async move {
        for numbers in chunks(share) {
            let mut pipe = redis::Pipeline::with_capacity(PIPELINE as usize);
            for n in numbers {
                pipe.cmd("SET").arg(key(prefix, n)).arg(value(n));
            }
            for reply in client.pipeline(&pipe).await? {
                if let Reply::Error(text) = reply {
                    return Err(RedisError::new(client.addr(), "SET", RedisCause::Refused(text)));
                }
            }
        }
        Ok(())
    });
    try_join_all(parts).await?;
    Ok(LoadReport { keys: count, elapsed: begun.elapsed() })
}

/// Reads the keys that [`load`] wrote.
///
/// # Errors
/// The first request that was refused, by which proxy and in which words.
pub async fn verify(
    proxies: &[Addr],
    password: &Password,
    prefix: &str,
    count: u64,
) -> Result<VerifyReport, RedisError> {
    let begun = Instant::now();
    let parts = shares(proxies, password, count).map(|(mut client, share)| async move {
        let mut report = VerifyReport::default();
        for numbers in chunks(share) {
            let mut pipe = redis::Pipeline::with_capacity(PIPELINE as usize);
            for n in numbers.clone() {
                pipe.cmd("GET").arg(key(prefix, n));
            }
            for (n, reply) in numbers.zip(client.pipeline(&pipe).await?) {
                match reply {
                    Reply::Bulk(found) if found == value(n).as_bytes() => {
                        report.right += 1;
                        continue;
                    }
                    Reply::Nil => report.missing += 1,
                    Reply::Error(text) => {
                        return Err(RedisError::new(client.addr(), "GET", RedisCause::Refused(text)));
                    }
                    _ => report.wrong += 1,
                }
                if report.named.len() < NAMED {
                    report.named.push(key(prefix, n));
                }
            }
        }
        Ok(report)
    });
    let mut total = VerifyReport { keys: count, ..VerifyReport::default() };
    for part in try_join_all(parts).await? {
        total.right += part.right;
        total.missing += part.missing;
        total.wrong += part.wrong;
        total.named.extend(part.named);
    }
    total.named.truncate(NAMED);
    total.elapsed = begun.elapsed();
    Ok(total)
}

/// A client and its share of the numbers, for each connection.
fn shares(
    proxies: &[Addr],
    password: &Password,
    count: u64,
) -> impl Iterator<Item = (Client, std::ops::Range<u64>)> {
    let options = ConnectOptions::with_password(password);
    let clients: Vec<Client> = (0..CONNECTIONS)
        .flat_map(|_| proxies.iter())
        .map(|addr| Client::new(addr.clone(), options.clone()))
        .collect();
    let parts = clients.len() as u64;
    clients.into_iter().zip(0..).map(move |(client, n)| (client, count * n / parts..count * (n + 1) / parts))
}

fn chunks(range: std::ops::Range<u64>) -> impl Iterator<Item = std::ops::Range<u64>> {
    let end = range.end;
    range.step_by(PIPELINE as usize).map(move |start| start..(start + PIPELINE).min(end))
}

fn key(prefix: &str, n: u64) -> String {
    format!("{prefix}:{n}")
}

/// 64 bytes that follow from the number.
fn value(n: u64) -> String {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{n:016x}{mixed:016x}{:016x}{:016x}", mixed.rotate_left(17), !mixed)
}
