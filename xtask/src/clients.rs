//! Client libraries in their own languages, for the tests that put real clients in front of the proxy.
//!
//! They lie in the target directory, in the versions named here, and are installed by the package
//! managers of their languages; nothing of the system is changed.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use crate::shell;

/// Of Python, as pip names them.
const PYTHON: &[&str] = &["redis==8.1.0"];
/// Of Node, as npm names them: the newest that Node 18 runs, which Debian 12 has.
const NODE: &[&str] = &["redis@5.12.1", "ioredis@5.11.1"];

/// Installs the libraries in these versions, unless they are there.
///
/// # Errors
/// When pip or npm cannot be run, or cannot get a library.
pub(crate) fn ensure() -> anyhow::Result<()> {
    let dir = shell::target_dir()?.join("clients");
    let wanted = [PYTHON, NODE].concat().join("\n");
    let installed = dir.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    println!("setup: installing client libraries for tests in {}", dir.display());
    let (python, node) = (dir.join("python"), dir.join("node"));
    for old in [&python, &node] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    fs::create_dir_all(&node).with_context(|| format!("cannot create {}", node.display()))?;
    shell::run(Command::new("python3").args(["-m", "venv"]).arg(&python))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    shell::run(Command::new(python.join("bin/python")).args(pip).args(PYTHON))?;
    let npm = [
        "install",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--ignore-scripts",
        "--loglevel=error",
        "--prefix",
    ];
    shell::run(Command::new("npm").args(npm).arg(&node).args(NODE))?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}
