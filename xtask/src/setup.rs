//! Debian packages of the real parts, installed where they are missing, and the client libraries for tests.
//!
//! Only the programs are used. The services that some packages bring are not started, and the kit never
//! talks to a service that already runs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use codis_testkit::program;

use crate::shell;

/// A part of the outside world that a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Redis,
    ZooKeeper,
    Java,
    Haproxy,
    Twemproxy,
    Tmux,
    Python,
    Node,
    Npm,
    Smtp,
    Network,
}

/// All parts.
pub(crate) const ALL: [Part; 11] = [
    Part::Redis,
    Part::ZooKeeper,
    Part::Java,
    Part::Tmux,
    Part::Python,
    Part::Node,
    Part::Npm,
    Part::Haproxy,
    Part::Twemproxy,
    Part::Smtp,
    Part::Network,
];

impl Part {
    /// The Debian package that brings it.
    fn package(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::ZooKeeper => "zookeeper",
            Self::Java => "default-jre-headless",
            Self::Haproxy => "haproxy",
            Self::Twemproxy => "nutcracker",
            Self::Tmux => "tmux",
            Self::Python => "python3-venv",
            Self::Node => "nodejs",
            Self::Npm => "npm",
            Self::Smtp => "python3-aiosmtpd",
            Self::Network => "iproute2",
        }
    }

    fn is_there(self) -> bool {
        match self {
            Self::Redis => program("redis-server").is_some() && program("redis-benchmark").is_some(),
            Self::ZooKeeper => ["/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar"]
                .iter()
                .all(|jar| Path::new(jar).exists()),
            Self::Java => program("java").is_some(),
            Self::Haproxy => program("haproxy").is_some(),
            Self::Twemproxy => program("nutcracker").is_some(),
            Self::Tmux => program("tmux").is_some(),
            // Debian has the module venv without what it needs in another package.
            Self::Python => program("python3").is_some_and(|python| {
                let import = Command::new(python).args(["-c", "import venv, ensurepip"]).output();
                import.is_ok_and(|output| output.status.success())
            }),
            Self::Node => program("node").is_some(),
            Self::Npm => program("npm").is_some(),
            Self::Network => program("ip").is_some(),
            // The package serves the distribution's Python, which need not be the first one on the path.
            Self::Smtp => Path::new("/usr/lib/python3/dist-packages/aiosmtpd").is_dir(),
        }
    }
}

/// Installs what is missing of `parts`, and says which packages.
///
/// # Errors
/// When something is missing and this is not Debian, or neither root nor sudo is to be had.
pub(crate) fn ensure(parts: &[Part]) -> anyhow::Result<()> {
    let missing: Vec<&str> = parts.iter().filter(|p| !p.is_there()).map(|p| p.package()).collect();
    if missing.is_empty() {
        println!("setup: nothing to install");
        return Ok(());
    }
    let list = missing.join(" ");
    if program("apt-get").is_none() {
        bail!(
            "missing: {list} (names of Debian packages), and there is no apt-get here; install them by hand"
        );
    }
    println!("setup: installing the Debian packages {list} (their services are not started)");
    let services = HeldServices::hold()?;
    let result = apt(&["update", "-qq"])
        .and_then(|()| {
            let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
            args.extend(&missing);
            apt(&args)
        })
        .with_context(|| format!("cannot install {list}"));
    drop(services);
    result?;
    if let Some(part) = parts.iter().find(|p| !p.is_there()) {
        bail!("{} is installed, but its program is not found", part.package());
    }
    Ok(())
}

fn apt(args: &[&str]) -> anyhow::Result<()> {
    let quiet = ["-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"];
    let mut argv = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"];
    argv.extend(quiet);
    argv.extend(args);
    shell::run(&mut as_root(&argv)?)
}

/// A command with the rights of root.
fn as_root(argv: &[&str]) -> anyhow::Result<Command> {
    let (first, rest) = match argv {
        [first, rest @ ..] => (*first, rest),
        [] => bail!("no command"),
    };
    if rustix::process::geteuid().is_root() {
        let mut command = Command::new(first);
        command.args(rest);
        return Ok(command);
    }
    let sudo =
        program("sudo").context("installing packages needs root: run this as root, or install sudo")?;
    let mut command = Command::new(sudo);
    command.args(argv);
    Ok(command)
}

/// Keeps Debian from starting services while packages are installed, by its own switch for that.
struct HeldServices {
    ours: bool,
}

/// Asked by the install scripts before they start a service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl HeldServices {
    fn hold() -> anyhow::Result<Self> {
        if Path::new(POLICY).exists() {
            // The machine has a policy of its own (containers do).
            return Ok(Self { ours: false });
        }
        let script = format!("printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}");
        shell::run(&mut as_root(&["sh", "-c", &script])?)?;
        Ok(Self { ours: true })
    }
}

impl Drop for HeldServices {
    fn drop(&mut self) {
        if self.ours {
            let removed = as_root(&["rm", "-f", POLICY]).and_then(|mut command| shell::run(&mut command));
            if let Err(error) = removed {
                shell::complain(&format!("warning: {POLICY} is left behind: {error:#}"));
            }
        }
    }
}
