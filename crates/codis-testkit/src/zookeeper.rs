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

    /// Ends a session as its time-out would, while its owner is alive and connected: the next thing the owner hears is
    /// that the session has expired.
    ///
    /// A session may be resumed from another connection by its number and its password, and ended there. The server makes
    /// the password from the number, in a way that anybody can repeat.
    ///
    /// # Panics
    /// When the server does not do it.
    #[track_caller]
    pub fn expire(&self, session_id: i64) {
        // Its owner resumes it, too, and may come in between.
        crate::eventually(READY, || {
            must(end_session(self.port(), session_id).map_err(|e| KitError::io("cannot end a session", e)))
        });
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

/// Resumes a session and closes it; true when the server does not know it any more. The frames are those of ZooKeeper's client protocol: a length, then big-endian fields.
fn end_session(port: u16, session_id: i64) -> std::io::Result<bool> {
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut connect = Vec::new();
    connect.extend(0i32.to_be_bytes()); // protocol version
    connect.extend(0i64.to_be_bytes()); // last transaction seen
    connect.extend(10_000i32.to_be_bytes()); // session time-out, ms
    connect.extend(session_id.to_be_bytes());
    connect.extend(16i32.to_be_bytes());
    connect.extend(session_password(session_id));
    connect.push(0); // not read-only
    // Without an answer the owner has taken the session back.
    let Ok(answer) = exchange(&mut stream, &connect) else { return Ok(false) };
    if answer.get(8..16) != Some(&session_id.to_be_bytes()[..]) {
        return Ok(true);
    }
    let (xid, close) = (1i32, -11i32);
    let _ = exchange(&mut stream, &[xid.to_be_bytes(), close.to_be_bytes()].concat());
    Ok(false)
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let length = i32::try_from(request.len()).map_err(std::io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length).min(1 << 20);
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// 16 bytes of `java.util.Random`, seeded with the session's number and a constant of the server.
fn session_password(session_id: i64) -> [u8; 16] {
    const SERVER_SECRET: i64 = 0xB341_5C00;
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut seed = ((session_id ^ SERVER_SECRET).cast_unsigned() ^ MULTIPLIER) & MASK;
    let mut password = [0; 16];
    for word in password.chunks_exact_mut(4) {
        seed = (seed.wrapping_mul(MULTIPLIER) + 0xB) & MASK;
        word.copy_from_slice(&((seed >> 16) as u32).to_le_bytes());
    }
    password
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
