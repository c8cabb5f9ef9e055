//! The temporary directory of one part: gone with it, kept when the test has failed.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

use crate::KitError;

/// A temporary directory that outlives a failed test.
///
/// Clones share the directory; it goes with the last one. If that one is dropped by a panicking thread,
/// the directory stays and its path is printed on stderr (past the capture of the test harness).
#[derive(Clone, Debug)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    label: String,
    path: PathBuf,
    dir: Mutex<Option<TempDir>>,
}

impl Sandbox {
    /// Creates a directory whose name starts with `codis-LABEL-`.
    ///
    /// # Errors
    /// When the system's temporary directory cannot be written.
    pub fn create(label: &str) -> Result<Self, KitError> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("codis-{label}-"))
            .tempdir()
            .map_err(|e| KitError::io(format!("cannot create a temporary directory for {label}"), e))?;
        let path = dir.path().to_path_buf();
        Ok(Self { inner: Arc::new(Inner { label: label.to_owned(), path, dir: Mutex::new(Some(dir)) }) })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Writes a file into it and returns the file's path.
    ///
    /// # Errors
    /// As for [`std::fs::write`].
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf, KitError> {
        let path = self.path().join(name);
        std::fs::write(&path, content)
            .map_err(|e| KitError::io(format!("cannot write {}", path.display()), e))?;
        Ok(path)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Some(dir) = self.dir.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let path = dir.keep();
            // Written directly: the harness shows captured output only after all tests.
            let _ = writeln!(std::io::stderr(), "kept after the failure: {}: {}", self.label, path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_the_test_unless_the_test_fails() {
        let kept = std::thread::spawn(|| {
            let sandbox = Sandbox::create("passing").unwrap();
            let path = sandbox.path().to_owned();
            sandbox.write("log", "x").unwrap();
            drop(sandbox);
            assert!(!path.exists());

            let sandbox = Sandbox::create("failing").unwrap();
            std::panic::panic_any(sandbox.path().to_owned())
        })
        .join()
        .unwrap_err();
        let path = kept.downcast::<PathBuf>().unwrap();
        assert!(path.exists());
        std::fs::remove_dir_all(*path).unwrap();
    }
}
