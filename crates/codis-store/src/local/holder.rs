//! Who holds a lock of the kernel: for messages, so that a person knows which process to look at.
//!
//! Asked of `/proc/locks`, not by opening the file: closing it would release the locks that this process has on it.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The byte of the `-shm` file that SQLite locks to write.
const WRITE_LOCK: u64 = 120;

/// Why a lock could not be had in time.
#[derive(Debug, thiserror::Error)]
pub(super) struct Busy {
    what: &'static str,
    holder: Option<Holder>,
}

#[derive(Debug)]
struct Holder {
    pid: u32,
    name: String,
    stopped: bool,
}

impl Busy {
    /// Another process is in a transaction of this database.
    pub(super) fn writing(database: &Path) -> Self {
        let mut shared = database.as_os_str().to_owned();
        shared.push("-shm");
        Self { what: "write lock", holder: holder(&PathBuf::from(shared), "POSIX") }
    }

    /// Another process has the whole file locked.
    pub(super) fn preparing(file: &Path) -> Self {
        Self { what: "lock for opening it", holder: holder(file, "FLOCK") }
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Holder { pid, name, stopped }) = &self.holder else {
            return write!(f, "another process has the {}", self.what);
        };
        write!(f, "process {pid} ({name}) has the {}", self.what)?;
        match stopped {
            true => {
                write!(f, " and is stopped: let it go on (kill -CONT {pid}) or end it (kill -KILL {pid})")
            }
            false => f.write_str(" and does not let go of it"),
        }
    }
}

fn holder(file: &Path, kind: &str) -> Option<Holder> {
    let inode = file.metadata().ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| writer(line, kind, inode))?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let (name, state) = name_and_state(&status);
    Some(Holder { pid, name: name.to_owned(), stopped: matches!(state, 'T' | 't') })
}

/// The process in a line such as `1: POSIX  ADVISORY  WRITE 4242 fe:00:131 120 120`, if it is about that file.
fn writer(line: &str, kind: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, is, _, "WRITE", pid, file, start, end] = words.as_slice() else { return None };
    let whole = (*start, *end) == ("0", "EOF");
    let covers = || {
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        Some((start..=end).contains(&WRITE_LOCK))
    };
    let wanted = *is == kind && file.rsplit(':').next()?.parse() == Ok(inode);
    (wanted && (whole || covers() == Some(true))).then(|| pid.parse().ok().filter(|pid| *pid != 0))?
}

/// The second and the third word of `/proc/PID/stat`; the name is in brackets and may hold anything.
fn name_and_state(status: &str) -> (&str, char) {
    let name = status.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    let (name, rest) = name.unwrap_or(("its name cannot be read", ""));
    (name, rest.trim_start().chars().next().unwrap_or('?'))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FlockOperation, flock};

    use super::*;

    #[test]
    fn the_line_about_the_file_names_the_process() {
        let line = "12: POSIX  ADVISORY  WRITE 4242 fe:00:131 120 120";
        assert_eq!(writer(line, "POSIX", 131), Some(4242));
        assert_eq!(writer(line, "FLOCK", 131), None);
        assert_eq!(writer(line, "POSIX", 13), None);
        assert_eq!(
            writer("1: POSIX  ADVISORY  WRITE 7 fe:00:131 123 123", "POSIX", 131),
            None,
            "a reader's mark"
        );
        assert_eq!(writer("1: POSIX  ADVISORY  READ  7 fe:00:131 120 120", "POSIX", 131), None);
        assert_eq!(writer("1: FLOCK  ADVISORY  WRITE 7 fe:00:9 0 EOF", "FLOCK", 9), Some(7));
        assert_eq!(
            writer("1: -> POSIX  ADVISORY  WRITE 7 fe:00:131 120 120", "POSIX", 131),
            None,
            "it waits"
        );
        assert_eq!(
            writer("1: FLOCK  ADVISORY  WRITE 0 fe:00:9 0 EOF", "FLOCK", 9),
            None,
            "not one of ours to see"
        );
        assert_eq!(name_and_state("7 (a (b) c) T 1"), ("a (b) c", 'T'));
    }

    #[test]
    fn a_locked_file_says_who_has_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Busy::preparing(file.path()).to_string(), "another process has the lock for opening it");
        flock(file.as_file(), FlockOperation::NonBlockingLockExclusive).unwrap();
        let text = Busy::preparing(file.path()).to_string();
        assert!(text.starts_with(&format!("process {} (", std::process::id())), "{text}");
        assert!(text.ends_with("has the lock for opening it and does not let go of it"), "{text}");
    }
}
