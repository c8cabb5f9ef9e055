//! Ports of the playground: a block of neighbours, so that people can guess them.

use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};

use codis_core::Addr;

use crate::{Failure, FailureKind};

/// Where the first block begins, unless told otherwise.
const FIRST: u16 = 21_001;
/// Blocks that are tried one after another, when others run on this machine.
const BLOCKS: u16 = 9;
/// Ports of a block: 100 for servers, 50 for proxies, 50 for admin pages and the store.
const SIZE: u16 = 200;
const PROXIES: u16 = 100;
const ADMIN: u16 = 150;

/// A block that no other playground of this user takes while this one lives.
#[derive(Debug)]
pub(super) struct Ports {
    base: u16,
    next_server: u16,
    next_proxy: u16,
    next_admin: u16,
    _lock: File,
}

impl Ports {
    /// Takes the block that begins at `base`, or the first free one.
    pub(super) fn take(base: Option<u16>) -> Result<Self, Failure> {
        let candidates = match base {
            Some(base) if (1024..=u16::MAX - SIZE).contains(&base) => vec![base],
            Some(base) => {
                let why =
                    format!("{SIZE} ports must fit between it and 65535, and it must not be below 1024");
                return Err(Failure::new(FailureKind::Usage, "cannot start the playground", base, why)
                    .next(format!("codisctl playground --port-base {FIRST}")));
            }
            None => (0..BLOCKS).map(|n| FIRST + n * SIZE).collect(),
        };
        for base in candidates {
            if let Some(lock) = lock(base)? {
                let (next_server, next_proxy, next_admin) = (base, base + PROXIES, base + ADMIN);
                return Ok(Self { base, next_server, next_proxy, next_admin, _lock: lock });
            }
        }
        Err(Failure::new(
            FailureKind::Failed,
            "cannot start the playground",
            base.map_or_else(|| format!("ports from {FIRST}"), |base| format!("ports from {base}")),
            "other playgrounds on this machine use them",
        )
        .next("codisctl playground --port-base PORT"))
    }

    pub(super) fn server(&mut self) -> Result<Addr, Failure> {
        free(&mut self.next_server, self.base + PROXIES)
    }

    pub(super) fn proxy(&mut self) -> Result<Addr, Failure> {
        free(&mut self.next_proxy, self.base + ADMIN)
    }

    /// For admin pages and the store.
    pub(super) fn admin(&mut self) -> Result<Addr, Failure> {
        free(&mut self.next_admin, self.base + SIZE)
    }
}

/// The kernel drops the lock with the process.
fn lock(base: u16) -> Result<Option<File>, Failure> {
    let user = rustix::process::getuid().as_raw();
    let path = std::env::temp_dir().join(format!("codis-playground-{user}-{base}.lock"));
    let failed = |error: std::io::Error| {
        Failure::new(FailureKind::Failed, "cannot reserve ports for the playground", path.display(), error)
    };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The next port of the range that nobody listens on.
fn free(next: &mut u16, end: u16) -> Result<Addr, Failure> {
    let start = *next;
    while *next < end {
        let port = *next;
        *next += 1;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && let Ok(addr) = format!("127.0.0.1:{port}").parse()
        {
            return Ok(addr);
        }
    }
    Err(Failure::new(
        FailureKind::Failed,
        "cannot start the playground",
        format!("ports {start} to {}", end - 1),
        "all of them are taken; a playground has at most 100 servers and 50 proxies",
    )
    .next("codisctl playground --port-base PORT    or fewer --groups, --slaves, --proxies"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_playgrounds_get_different_blocks_and_used_ports_are_passed_over() {
        let mut first = Ports::take(None).unwrap();
        let second = Ports::take(None).unwrap();
        assert_ne!(first.base, second.base);
        let taken = first.server().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, taken.port() + 1)).unwrap();
        let next = first.server().unwrap();
        assert!(next.port() > taken.port() + 1);
        drop(listener);
        let failure = Ports::take(Some(second.base)).unwrap_err();
        assert!(failure.why.contains("other playgrounds"), "{failure}");
    }

    #[test]
    fn a_base_without_room_is_a_usage_error() {
        assert_eq!(Ports::take(Some(65_500)).unwrap_err().kind, FailureKind::Usage);
        assert_eq!(Ports::take(Some(80)).unwrap_err().kind, FailureKind::Usage);
    }
}
