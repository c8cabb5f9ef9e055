//! Who holds `LOCK` or keeps the dashboard node, and whether its owner still lives.

use std::{net::ToSocketAddrs as _, time::Duration};

use codis_core::{LockEntry, plan::Holder};
use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

use crate::context::{self, hostname};

/// What is known of a lock's owner from here.
///
/// A lock of ours lives as long as its session. One of the Go tools stays, so its process is looked for,
/// if it was on this host; a process with its number that is younger than the lock is another one.
pub fn holder(lock: &LockEntry) -> Holder {
    if lock.ephemeral {
        return Holder::Session;
    }
    if lock.hostname != hostname() {
        return Holder::Elsewhere;
    }
    let Some(pid) = i32::try_from(lock.pid).ok().and_then(Pid::from_raw) else { return Holder::Elsewhere };
    match test_kill_process(pid) {
        Err(Errno::SRCH) => Holder::Gone,
        // It may be somebody else's process; it runs all the same.
        _ if began_ms(lock.pid).is_some_and(|began| began > lock.created_ms) => Holder::Gone,
        _ => Holder::Runs(name(lock.pid)),
    }
}

fn name(pid: i64) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "its name cannot be read".to_owned() } else { name.to_owned() }
}

/// When a process began, Unix milliseconds: the 22nd word of its `stat`, ticks since the machine began.
fn began_ms(pid: i64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second word is the program's name in brackets, and may hold anything.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let up_s: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    let began_s = ticks / rustix::param::clock_ticks_per_second();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds are enough")]
    let ago_s = (up_s as u64).saturating_sub(began_s);
    // To the second, and the store's clock may differ by some.
    Some(context::now_ms().saturating_sub(ago_s * 1000).saturating_sub(SLACK_MS))
}

/// Whether something accepts connections at a dashboard's address. What cannot be resolved does not.
pub async fn listens(addr: &str) -> bool {
    let addr = addr.to_owned();
    let knock = tokio::task::spawn_blocking(move || {
        let mut found = addr.to_socket_addrs().into_iter().flatten();
        found.any(|addr| std::net::TcpStream::connect_timeout(&addr, KNOCK).is_ok())
    });
    // A knock that takes long is no proof of death.
    tokio::time::timeout(2 * KNOCK, knock).await.is_ok_and(|knocked| knocked.unwrap_or(true))
}

/// How long a dashboard may take to accept a connection; the Go tools wait as long.
const KNOCK: Duration = Duration::from_secs(3);
/// How far a process must be younger than a lock to be called another one.
const SLACK_MS: u64 = 5000;

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(pid: u32, hostname: &str, created_ms: u64) -> LockEntry {
        LockEntry {
            name: "lock-0000000000".to_owned(),
            desc: String::new(),
            hostname: hostname.to_owned(),
            pid: pid.into(),
            created_ms,
            ephemeral: false,
        }
    }

    #[test]
    fn the_owner_is_looked_for_on_its_own_host_only() {
        let (here, now) = (hostname(), context::now_ms());
        assert!(matches!(holder(&lock(std::process::id(), &here, now)), Holder::Runs(_)));
        assert_eq!(holder(&lock(std::process::id(), "elsewhere.invalid", now)), Holder::Elsewhere);
        let ours = LockEntry { ephemeral: true, ..lock(1, &here, now) };
        assert_eq!(holder(&ours), Holder::Session);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(holder(&lock(pid, &here, now)), Holder::Gone);
    }

    #[test]
    fn a_process_that_is_younger_than_the_lock_is_another_one() {
        let long_ago = 1_000_000_000_000;
        assert_eq!(holder(&lock(std::process::id(), &hostname(), long_ago)), Holder::Gone);
    }
}
