//! Parts that a machine may lack: a reported skip, or a failure where they are required.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use crate::{network, smtp, zookeeper};

/// Leaves the test early, with a line on stderr, where one of the named parts is missing.
///
/// Names: `redis`, `zookeeper`, `tmux`, `haproxy`, `nutcracker`, `python-clients`, `node-clients`, `smtp`, `root`, `network` (namespaces may be made), and `files` (a process may open
/// 16,384 of them).
#[macro_export]
macro_rules! need {
    ($($part:expr),+ $(,)?) => {
        $(if !$crate::require($part) {
            return;
        })+
    };
}

/// Whether the part is there. If not, the skip is reported on stderr.
///
/// # Panics
/// When the part is missing and `CODIS_TEST_REQUIRE` is `all` or lists it, and for an unknown name.
#[track_caller]
#[must_use]
pub fn require(part: &str) -> bool {
    let (there, package) = match part {
        "redis" => (program("redis-server").is_some(), "redis-server"),
        "zookeeper" => (zookeeper::is_installed(), "zookeeper, default-jre-headless"),
        "tmux" => (program("tmux").is_some(), "tmux"),
        "haproxy" => (program("haproxy").is_some(), "haproxy"),
        "nutcracker" => (program("nutcracker").is_some(), "nutcracker"),
        "python-clients" => (python_client().is_some(), "redis-py in the target directory"),
        "node-clients" => (node_clients().is_some(), "nodejs, and its clients in the target directory"),
        "smtp" => (smtp::python().is_some(), "python3-aiosmtpd"),
        "network" => (network::is_possible(), "iproute2, and run as root"),
        "root" => (rustix::process::geteuid().is_root(), "run as root"),
        "files" => (may_open(MANY_FILES), "raise the hard limit of open files, ulimit -Hn"),
        other => panic!("codis-testkit does not know a part `{other}`"),
    };
    if there {
        return true;
    }
    let required = std::env::var("CODIS_TEST_REQUIRE").unwrap_or_default();
    if is_required(&required, part) {
        panic!("{part} is missing ({package}) and CODIS_TEST_REQUIRE={required}; next: cargo xtask setup");
    }
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // Past the harness, which shows nothing of a test that passes.
    let _ =
        writeln!(std::io::stderr(), "SKIPPED {test}: {part} is missing ({package}); next: cargo xtask setup");
    false
}

/// Files that a process must be allowed to open for tests with very many connections.
const MANY_FILES: u64 = 16_384;

fn may_open(files: u64) -> bool {
    getrlimit(Resource::Nofile).maximum.is_none_or(|hard| hard >= files)
}

fn is_required(list: &str, part: &str) -> bool {
    list.split(',').map(str::trim).any(|item| item == "all" || item == part)
}

/// The Python that has redis-py, if it has been installed.
#[must_use]
pub fn python_client() -> Option<PathBuf> {
    Some(clients()?.join("python/bin/python")).filter(|python| is_executable(python))
}

/// The directory from which Node finds `redis` and `ioredis`, if they have been installed.
#[must_use]
pub fn node_clients() -> Option<PathBuf> {
    program("node")?;
    Some(clients()?.join("node")).filter(|dir| {
        ["redis", "ioredis"].iter().all(|library| dir.join("node_modules").join(library).is_dir())
    })
}

/// Where `cargo xtask setup` installs client libraries; `None` unless it has done so.
fn clients() -> Option<PathBuf> {
    let exe = std::env::current_exe().ok()?;
    // target/PROFILE/deps/test-0123.
    exe.ancestors().skip(1).map(|dir| dir.join("clients")).find(|dir| dir.join("installed").is_file())
}

/// Finds a program on `PATH` or in the system directories that a user's `PATH` often lacks.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_or_all_requires() {
        assert!(is_required("all", "redis"));
        assert!(is_required("zookeeper, redis", "redis"));
        assert!(!is_required("zookeeper", "redis"));
        assert!(!is_required("", "redis"));
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(program("sh").is_some());
        assert!(program("no-such-program-here").is_none());
    }
}
