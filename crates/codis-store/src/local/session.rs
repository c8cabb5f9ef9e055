//! Sessions of the local store: who is alive, and who goes when a process dies.
//!
//! A session is a row of the database and a file in `PATH.sessions/` named after it. Its process keeps the file
//! locked; the kernel drops the lock in the instant the process dies, however it dies, and closing the file
//! wakes whoever watches the folder. A process that hangs keeps its lock, so the file also holds a
//! heartbeat: the clock that runs on through suspend, written about once a second. Any other process that finds
//! the lock free, or the heartbeat older than the session's time-out, removes the row and the session's nodes in one
//! transaction. The row is what counts: a process that wakes up and finds its row gone has expired, even
//! though it still holds its lock.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};

use super::fault::OpenError;
use super::holder::Busy;

/// The folder of lock files beside a database.
#[derive(Clone, Debug)]
pub(super) struct SessionDir {
    path: PathBuf,
}

/// Our own lock file; the lock goes when it is dropped.
#[derive(Debug)]
pub(super) struct SessionFile {
    pub(super) id: i64,
    file: File,
}

impl SessionDir {
    /// The folder for this database, made when missing.
    pub(super) fn beside(database: &Path) -> io::Result<Self> {
        let mut name = database.as_os_str().to_owned();
        name.push(".sessions");
        let path = PathBuf::from(name);
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Self { path }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates and locks the file of a new session. Call it inside the transaction that adds the row, so that
    /// nobody sees the row before the lock.
    pub(super) fn open(&self, id: i64) -> io::Result<SessionFile> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.file(id))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let session = SessionFile { id, file };
        session.beat()?;
        Ok(session)
    }

    /// True when the session's process is gone, or has not moved for `timeout`.
    pub(super) fn is_dead(&self, id: i64, timeout: Duration) -> io::Result<bool> {
        let file = match File::open(self.file(id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(error),
        };
        // A shared lock, so that two processes that look at once do not take each other for the owner.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        let mut beat = [0; 8];
        file.read_exact_at(&mut beat, 0)?;
        let silent = boottime_ms().saturating_sub(u64::from_le_bytes(beat));
        Ok(u128::from(silent) > timeout.as_millis())
    }

    /// Removes a session's file. A missing one is fine.
    pub(super) fn remove(&self, id: i64) -> io::Result<()> {
        match std::fs::remove_file(self.file(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Session numbers of all files in the folder.
    pub(super) fn list(&self) -> io::Result<Vec<i64>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Keeps other processes from preparing the database at the same time. Held while the result lives.
    pub(super) fn preparing(&self, deadline: Instant) -> Result<File, OpenError> {
        let path = self.path.join("preparing");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        let mut pause = Duration::from_millis(1);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Busy::preparing(&path).into()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    fn file(&self, id: i64) -> PathBuf {
        self.path.join(id.to_string())
    }
}

impl SessionFile {
    /// Says that this process still moves.
    pub(super) fn beat(&self) -> io::Result<()> {
        self.file.write_all_at(&boottime_ms().to_le_bytes(), 0)
    }
}

/// Milliseconds since the machine started, sleep included.
fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// File systems on which locks or change notices do not reach every process that can see the file.
pub(super) fn network_file_system(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => "SMB",
        0x0102_1997 => "9P",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7461_636F => "OCFS2",
        0x4750_4653 => "GPFS",
        0x0116_1970 => "GFS2",
        0x6573_5546 => "FUSE",
        0x7375_7245 => "Coda",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_magic() {
        assert_eq!(network_file_system(0x6969), Some("NFS"));
        assert_eq!(network_file_system(0xFE53_4D42), Some("SMB"));
        for local in [0xEF53, 0x0102_1994, 0x5846_5342, 0x9123_683E, 0x794C_7630] {
            assert_eq!(network_file_system(local), None, "{local:#x}");
        }
    }

    #[test]
    fn a_session_is_dead_when_its_lock_is_free_or_its_heart_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = SessionDir::beside(&folder.path().join("db")).unwrap();
        let long = Duration::from_secs(60);
        let session = sessions.open(7).unwrap();
        assert!(!sessions.is_dead(7, long).unwrap());
        session.file.write_all_at(&boottime_ms().saturating_sub(61_000).to_le_bytes(), 0).unwrap();
        assert!(sessions.is_dead(7, long).unwrap(), "hung");
        session.beat().unwrap();
        assert!(!sessions.is_dead(7, long).unwrap());
        drop(session);
        assert!(sessions.is_dead(7, long).unwrap(), "gone");
        assert!(sessions.is_dead(8, long).unwrap(), "never there");
    }
}
