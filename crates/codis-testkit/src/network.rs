//! A network of its own for one program, with two cables to this machine, one of which can be pulled.
//!
//! What is cut off gets no answer and no error: packets vanish, as where a switch has died. A [`Relay`](crate::Relay) cannot show
//! that, it still acknowledges what it keeps. Here the kernel carries everything: a namespace, a veth pair for each cable,
//! and 127.0.0.1 of the namespace is that of the machine, so that all addresses of a product are good on both sides.
//!
//! Nothing is left behind, however the test ends: the namespace lives as long as a process in it, which is killed with the
//! test, and its cables go with it.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::{KitError, PortLease, Process, Sandbox, must, program};

/// How long a namespace may take to be there.
const READY: Duration = Duration::from_secs(20);
/// Addresses for measurements within a machine (RFC 2544); eight for each lease.
const FIRST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Routing table of the second cable, in the namespace.
const TABLE: &str = "77";

/// True where namespaces and cables can be made.
pub(crate) fn is_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    let try_it = || {
        let (Some(unshare), Some(ip)) = (program("unshare"), program("ip")) else { return false };
        let writable = std::fs::File::options().write(true).open("/proc/sys/net/ipv4/conf/lo/route_localnet");
        let made = Command::new(unshare)
            .args(["--net", "--"])
            .arg(ip)
            .args(["link", "add", "one", "type", "veth", "peer", "name", "other"])
            .output();
        writable.is_ok() && program("nsenter").is_some() && made.is_ok_and(|made| made.status.success())
    };
    *POSSIBLE.get_or_init(try_it)
}

/// A network from which one port of this machine is reached over one cable, and all others over another.
#[derive(Debug)]
pub struct Network {
    /// Keeps the namespace alive.
    holder: Process,
    store: Cable,
    servers: Cable,
    /// Makes the addresses its own.
    _lease: PortLease,
}

#[derive(Debug)]
struct Cable {
    /// The end on this machine.
    name: String,
    /// The end in the namespace.
    inner: &'static str,
    outer_addr: Ipv4Addr,
    inner_addr: Ipv4Addr,
}

impl Network {
    /// A network whose `port` of 127.0.0.1 has a cable of its own: [`Network::pull`].
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    #[must_use]
    pub fn around(port: u16) -> Self {
        must(Self::try_around(port))
    }

    /// [`Network::around`] that returns the failure.
    ///
    /// # Errors
    /// Without the rights of root or the programs of iproute2 and util-linux.
    pub fn try_around(port: u16) -> Result<Self, KitError> {
        let lease = PortLease::take()?;
        let sandbox = Sandbox::create("network")?;
        let unshare = tool("unshare")?;
        let own = std::fs::read_link("/proc/self/ns/net").ok();
        let holder =
            Process::start("network", &unshare, ["--net", "--", "sleep", "infinity"], &[], &sandbox)?;
        let theirs = || std::fs::read_link(namespace(&holder)).ok();
        holder.wait_ready(READY, || theirs().is_some_and(|theirs| Some(theirs) != own))?;
        let pid = holder.pid();
        let base = FIRST.to_bits() + u32::from(lease.place()) * 8;
        let cable = |name, inner, base: u32| Cable {
            name,
            inner,
            outer_addr: Ipv4Addr::from_bits(base + 1),
            inner_addr: Ipv4Addr::from_bits(base + 2),
        };
        let servers = cable(format!("cn{pid}a"), "servers", base);
        let store = cable(format!("cn{pid}b"), "store", base + 4);
        let this = Self { holder, store, servers, _lease: lease };
        for cable in [&this.servers, &this.store] {
            this.lay(cable)?;
        }
        let port = port.to_string();
        this.inside(&["ip", "route", "add", "127.0.0.1", "via", &this.servers.via(), "dev", "servers"])?;
        let route = ["ip", "route", "add", "127.0.0.1", "via", &this.store.via(), "dev", "store"];
        this.inside(&[&route[..], &["src", &this.store.inner_addr.to_string(), "table", TABLE]].concat())?;
        this.inside(&["ip", "rule", "add", "ipproto", "tcp", "dport", &port, "lookup", TABLE])?;
        Ok(this)
    }

    /// Lays a cable: both ends have an address and are up, and 127.0.0.1 may pass.
    fn lay(&self, cable: &Cable) -> Result<(), KitError> {
        let pid = self.holder.pid().to_string();
        let Cable { name, inner, .. } = cable;
        let (outer_addr, inner_addr) =
            (format!("{}/30", cable.outer_addr), format!("{}/30", cable.inner_addr));
        outside(&["ip", "link", "add", name, "type", "veth", "peer", "name", inner, "netns", &pid])?;
        outside(&["ip", "addr", "add", &outer_addr, "dev", name])?;
        self.inside(&["ip", "addr", "add", &inner_addr, "dev", inner])?;
        let setting = |end: &str| format!("/proc/sys/net/ipv4/conf/{end}/route_localnet");
        allow(Path::new(&setting(name)))?;
        self.inside(&["sh", "-c", &format!("echo 1 > {}", setting(inner))])?;
        outside(&["ip", "link", "set", name, "up"])?;
        self.inside(&["ip", "link", "set", inner, "up"])
    }

    /// Starts a program in it, as [`Process::start`] does.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        &self,
        label: &str,
        program: &Path,
        args: &[String],
        env: &[(&str, &str)],
        sandbox: &Sandbox,
    ) -> Result<Process, KitError> {
        let within = [format!("--net={}", namespace(&self.holder).display()), "--".to_owned()];
        let all = within.into_iter().chain([program.display().to_string()]).chain(args.iter().cloned());
        Process::start(label, &tool("nsenter")?, all, env, sandbox)
    }

    /// Pulls the cable of the one port. Nothing passes, in either direction, and nobody is told.
    ///
    /// # Panics
    /// When the machine does not do it.
    #[track_caller]
    pub fn pull(&self) {
        must(outside(&["ip", "link", "set", &self.store.name, "down"]));
    }

    /// Plugs it in again.
    ///
    /// # Panics
    /// As [`Network::pull`].
    #[track_caller]
    pub fn plug(&self) {
        must(outside(&["ip", "link", "set", &self.store.name, "up"]));
    }

    /// The address that servers see: nobody else has it.
    #[must_use]
    pub fn addr(&self) -> String {
        self.servers.inner_addr.to_string()
    }

    fn inside(&self, words: &[&str]) -> Result<(), KitError> {
        let within = format!("--net={}", namespace(&self.holder).display());
        outside(&[&["nsenter", &within, "--"], words].concat())
    }
}

impl Cable {
    fn via(&self) -> String {
        self.outer_addr.to_string()
    }
}

fn namespace(holder: &Process) -> PathBuf {
    PathBuf::from(format!("/proc/{}/ns/net", holder.pid()))
}

fn allow(setting: &Path) -> Result<(), KitError> {
    let written =
        std::fs::File::options().write(true).open(setting).and_then(|mut file| file.write_all(b"1"));
    written.map_err(|error| KitError::io(format!("cannot write {}", setting.display()), error))
}

fn tool(name: &str) -> Result<PathBuf, KitError> {
    program(name).ok_or_else(|| KitError::new(format!("{name} is missing; next: cargo xtask setup")))
}

fn outside(words: &[&str]) -> Result<(), KitError> {
    let what = || words.join(" ");
    let [name, args @ ..] = words else { return Ok(()) };
    let output = Command::new(tool(name)?).args(args).output();
    let output = output.map_err(|error| KitError::io(format!("cannot run {}", what()), error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(KitError::new(format!("{}: {}", what(), said.trim())))
}
