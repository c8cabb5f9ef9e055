//! A standalone ZooKeeper from the distribution's jars.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::{KitError, PortLease, Process, Sandbox, must, program};

/// Its manifest names the other jars it needs.
const JAR: &str = "/usr/share/java/zookeeper.jar";
/// Log to stderr; without a binding slf4j drops everything.
const LOGGER: &str = "/usr/share/java/slf4j-simple.jar";
/// A Java start takes a second alone and several on a machine where all tests start at once.
const READY: Duration = Duration::from_secs(60);

pub(crate) fn is_installed() -> bool {
    program("java").is_some() && Path::new(JAR).exists()
}

/// A ZooKeeper server with an empty tree.
///
/// Its tick is 500 ms, so sessions may be negotiated from 1 s to 10 s.
#[derive(Debug)]
pub struct ZooKeeper {
    process: Process,
    lease: PortLease,
}

impl ZooKeeper {
    /// Starts a server and waits until it serves requests.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        must(Self::try_start())
    }

    /// [`ZooKeeper::start`] that returns the failure.
    ///
    /// # Errors
    /// When Java or the jars are missing, or the server does not answer in 60 s.
    pub fn try_start() -> Result<Self, KitError> {
        let lease = PortLease::take()?;
        let sandbox = Sandbox::create("zookeeper")?;
        let process = launch(lease.port(), &sandbox)?;
        Ok(Self { process, lease })
    }

    /// The client port, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> String {
        self.lease.addr()
    }

    /// The store address of its root: `zk://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("zk://{}", self.addr())
    }

    /// The running program: signals, log, process id.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL, and waits for the end. Data and address stay for [`ZooKeeper::restart`].
    pub fn kill(&self) {
        self.process.kill();
    }

    /// SIGSTOP: sessions are neither served nor expired.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// SIGCONT after [`ZooKeeper::stop`].
    pub fn cont(&self) {
        self.process.cont();
    }

    /// Starts it again at the same address with the data it had.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        let sandbox = self.process.sandbox().clone();
        self.process = must(launch(self.port(), &sandbox));
    }
}

fn launch(port: u16, sandbox: &Sandbox) -> Result<Process, KitError> {
    if !is_installed() {
        return Err(KitError::new(format!("java or {JAR} is missing; next: cargo xtask setup")));
    }
    let java = program("java").ok_or_else(|| KitError::new("java is missing; next: cargo xtask setup"))?;
    let data = sandbox.path().join("data");
    let config = sandbox.write(
        "zoo.cfg",
        &format!(
            "tickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=srvr,ruok,cons\n",
            data.display()
        ),
    )?;
    let classpath = format!("{JAR}:{LOGGER}");
    let mut args: Vec<String> = [
        "-Xmx256m",
        "-XX:+UseSerialGC",
        // The server lives for seconds; optimising its code costs more than it gives.
        "-XX:TieredStopAtLevel=1",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        // Every write would wait for the disk; the data is thrown away with the test.
        "-Dzookeeper.forceSync=no",
        "-cp",
    ]
    .map(String::from)
    .to_vec();
    args.push(classpath);
    args.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".into());
    args.push(config.display().to_string());
    let process = Process::start(&format!("zookeeper-{port}"), &java, args, &[], sandbox)?;
    process.wait_ready(READY, || answers(port).unwrap_or(false))?;
    Ok(process)
}

/// `srvr` is answered with its mode only once requests are served.
fn answers(port: u16) -> std::io::Result<bool> {
    let timeout = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.contains("Mode:"))
}
