//! The playground's directory: marked as ours, and removed with it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::{Failure, FailureKind};

/// Held locked by the running playground; tells its directory from any other one.
const MARK: &str = "playground.lock";

/// A directory of our own. Dropping it removes it with everything in it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held as long as the playground lives; the kernel releases it, whatever happens to us.
    _mark: File,
}

impl Directory {
    /// Takes `path`: a new directory, an empty one, or what a playground that was killed has left.
    ///
    /// # Errors
    /// `Unsafe` if it holds anything else or a playground runs in it.
    pub(super) fn take(path: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(FailureKind::Failed, "cannot start the playground", path.display(), error)
                .next("codisctl playground --dir DIR    another place")
        };
        let refused = |why: &str| {
            Failure::new(FailureKind::Unsafe, "cannot start the playground", path.display(), why)
                .next("codisctl playground --dir DIR    another place")
        };
        std::fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let mark = path.join(MARK);
        let is_empty = std::fs::read_dir(&path).map_err(failed)?.next().is_none();
        if !is_empty && !mark.exists() {
            return Err(refused("the directory is not empty, and no playground has made it"));
        }
        let lock = File::options().create(true).truncate(false).write(true).open(&mark).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refused("another playground runs in it")),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // From here on the directory is ours, also to remove.
        let this = Self { path, _mark: lock };
        this.empty().map_err(failed)?;
        Ok(this)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what an earlier playground has left, all but the mark.
    fn empty(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() == MARK {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A program that dies this very moment may still write a file into a directory being removed.
        for _ in 0..3 {
            if std::fs::remove_dir_all(&self.path).is_ok() || !self.path.exists() {
                return;
            }
        }
        tracing::warn!(path = %self.path.display(), "the playground's directory could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_other_peoples_files_is_refused_and_left_alone() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("thesis.txt"), "x").unwrap();
        let failure = Directory::take(home.path()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unsafe);
        assert!(failure.why.contains("no playground has made it"), "{failure}");
        assert!(home.path().join("thesis.txt").exists());
    }

    #[test]
    fn it_is_taken_once_and_removed() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("playground");
        let first = Directory::take(&path).unwrap();
        let failure = Directory::take(&path).unwrap_err();
        assert!(failure.why.contains("another playground runs"), "{failure}");
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_playground_left_is_cleared() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("playground");
        std::fs::create_dir_all(path.join("redis-21001")).unwrap();
        std::fs::write(path.join(MARK), "").unwrap();
        let taken = Directory::take(&path).unwrap();
        assert!(!path.join("redis-21001").exists());
        drop(taken);
        assert!(!path.exists());
    }
}
