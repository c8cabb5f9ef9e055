//! Where this workspace's own programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::own_settings;
use crate::{KitError, must};

/// Path of one of our programs, built in the same profile as the running test.
///
/// Cargo builds only the programs of the package under test; the others are there after
/// `cargo build --workspace --bins`, which `cargo xtask test` does first.
///
/// # Panics
/// When the program has not been built; the message says what to run.
#[track_caller]
#[must_use]
pub fn bin(name: &str) -> PathBuf {
    must(try_bin(name))
}

/// A command of one of our programs, without the settings in the developer's environment.
///
/// # Panics
/// As for [`bin`].
#[track_caller]
#[must_use]
pub fn command(name: &str) -> Command {
    let mut command = Command::new(bin(name));
    for (name, _) in own_settings() {
        command.env_remove(name);
    }
    command
}

/// [`bin`] that returns the failure.
///
/// # Errors
/// When the program has not been built.
pub fn try_bin(name: &str) -> Result<PathBuf, KitError> {
    let exe = std::env::current_exe().map_err(|e| KitError::io("cannot tell the path of this program", e))?;
    beside(&exe, name)
}

fn beside(exe: &Path, name: &str) -> Result<PathBuf, KitError> {
    // target/PROFILE/deps/test-0123 for tests, target/PROFILE/examples/.. for examples, target/PROFILE/.. else.
    let dir = exe.parent().unwrap_or(Path::new("."));
    let dir = match dir.file_name().and_then(|n| n.to_str()) {
        Some("deps" | "examples") => dir.parent().unwrap_or(dir),
        _ => dir,
    };
    let path = dir.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(KitError::new(format!(
        "{} has not been built; next: cargo xtask test, or cargo build --workspace --bins before cargo test -p",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_lie_beside_the_test_or_the_message_says_what_to_run() {
        let sandbox = crate::Sandbox::create("bin").unwrap();
        std::fs::create_dir(sandbox.path().join("deps")).unwrap();
        let exe = sandbox.path().join("deps/story-0123");
        let error = beside(&exe, "codisctl").unwrap_err().to_string();
        assert!(error.contains("codisctl has not been built"), "{error}");
        assert!(error.contains("cargo xtask test"), "{error}");
        let built = sandbox.write("codisctl", "").unwrap();
        assert_eq!(beside(&exe, "codisctl").unwrap(), built);
    }
}
