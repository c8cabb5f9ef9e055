//! Ports that no two tests of this machine use at the same time.
//!
//! Asking the kernel for port 0 and closing the socket again is a race: two processes may be given the
//! same port, and outgoing connections take ports of the same range. So ports come from below the
//! kernel's ephemeral range, and each is owned by whoever holds an exclusive lock on its lock file. The
//! kernel drops the lock with its holder, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::KitError;

/// First leased port; `codisctl playground` uses the ones just below.
const FIRST: u16 = 23_000;
/// One past the last: Linux hands out ports from 32768 on to outgoing connections.
const END: u16 = 32_000;

/// A TCP port of 127.0.0.1 that is ours until this value is dropped.
///
/// The port is free to bind when it is leased, and stays leased while its server is down, so a test can
/// kill a server and start it again at the same address.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    _lock: File,
}

impl PortLease {
    /// Leases a free port.
    ///
    /// # Errors
    /// When the lock directory cannot be written, or no port of the range is free.
    pub fn take() -> Result<Self, KitError> {
        let dir = lock_dir();
        std::fs::create_dir_all(&dir)
            .map_err(|e| KitError::io(format!("cannot create the port registry {}", dir.display()), e))?;
        let span = u32::from(END - FIRST);
        let start = first_candidate();
        for step in 0..span {
            let offset = u16::try_from((start + step) % span).unwrap_or(0);
            let port = FIRST + offset;
            let path = dir.join(port.to_string());
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|e| KitError::io(format!("cannot open the port lock {}", path.display()), e))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(e)) => {
                    return Err(KitError::io(format!("cannot lock {}", path.display()), e));
                }
            }
            // Someone outside the registry may listen there.
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(Self { port, _lock: file });
            }
        }
        Err(KitError::new(format!("no free port in {FIRST}..{END}; locks are in {}", dir.display())))
    }

    /// The port number.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its place among all ports that can be leased: a number that no other test has.
    pub(crate) fn place(&self) -> u16 {
        self.port - FIRST
    }
}

fn lock_dir() -> PathBuf {
    // One registry per user: a directory of another user could not be written.
    let user = rustix::process::getuid().as_raw();
    std::env::temp_dir().join(format!("codis-testkit-ports-{user}"))
}

/// Spreads processes over the range, so that they do not queue up at the same locks.
fn first_candidate() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id().wrapping_mul(37);
    own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % u32::from(END - FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leased_port_is_not_leased_twice() {
        let leases: Vec<_> = (0..50).map(|_| PortLease::take().unwrap()).collect();
        let mut ports: Vec<_> = leases.iter().map(PortLease::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|p| (FIRST..END).contains(p)));
    }

    #[test]
    fn a_port_that_someone_listens_on_is_passed_over() {
        let lease = PortLease::take().unwrap();
        let port = lease.port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        drop(lease);
        let others: Vec<_> = (0..50).map(|_| PortLease::take().unwrap()).collect();
        assert!(others.iter().all(|l| l.port() != port));
        drop(listener);
    }
}
