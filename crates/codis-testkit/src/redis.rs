//! `redis-server`, alone or as a slave.

use std::path::PathBuf;
use std::time::Duration;

use crate::{KitError, PortLease, Process, RespClient, Sandbox, must, program};

/// How long a server may take until it answers, also on a busy machine.
const READY: Duration = Duration::from_secs(20);
/// Time-out of one question of the readiness check.
const ASK: Duration = Duration::from_secs(2);

/// A `redis-server` of its own: no persistence, the distribution's service is left alone.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    options: RedisBuilder,
    lease: PortLease,
}

/// What a [`RedisServer`] is started with.
#[derive(Clone, Debug, Default)]
pub struct RedisBuilder {
    args: Vec<String>,
    password: Option<String>,
    master: Option<(u16, Option<String>)>,
    /// Another program than `redis-server`.
    program: Option<PathBuf>,
    /// The port that a slave tells its master, where a front listens for it.
    announced: Option<u16>,
    /// Its settings are in a file.
    in_file: bool,
}

impl RedisBuilder {
    /// Follows `master`; [`RedisBuilder::start`] returns when the first copy is complete and both
    /// sides count the link as up.
    #[must_use]
    pub fn slave_of(self, master: &RedisServer) -> Self {
        self.slave_of_port(master.port(), master.options.password.clone())
    }

    /// The same where the master is reached over `port`: a relay in front of it, say.
    #[must_use]
    pub fn slave_of_port(mut self, port: u16, password: Option<String>) -> Self {
        self.master = Some((port, password));
        self
    }

    /// Starts this program, which takes the arguments of a `redis-server`.
    pub(crate) fn program(mut self, path: PathBuf) -> Self {
        self.program = Some(path);
        self
    }

    /// Tells masters that it listens at this port.
    pub(crate) fn announce(mut self, port: u16) -> Self {
        self.announced = Some(port);
        self
    }

    /// Asks clients, and slaves, for this password.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// One more setting, as in `redis.conf`: `config("maxmemory", "64mb")`.
    #[must_use]
    pub fn config(mut self, name: &str, value: &str) -> Self {
        self.args.extend([format!("--{name}"), value.to_owned()]);
        self
    }

    /// Does not know this command, as a server from before it.
    #[must_use]
    pub fn without(mut self, command: &str) -> Self {
        self.args.extend(["--rename-command".into(), command.into(), format!("{command}-is-gone")]);
        self
    }

    /// What it has acknowledged survives a SIGKILL. Without `always` a server whose disk is slow answers before
    /// it has written.
    #[must_use]
    pub fn durable(self) -> Self {
        self.config("appendonly", "yes").config("appendfsync", "always")
    }

    /// Has its settings in a file, which `CONFIG REWRITE` changes: it comes back with what was written there last.
    #[must_use]
    pub fn in_file(mut self) -> Self {
        self.in_file = true;
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be started; see [`RedisBuilder::try_start`].
    #[track_caller]
    #[must_use]
    pub fn start(self) -> RedisServer {
        must(self.try_start())
    }

    /// [`RedisBuilder::start`] that returns the failure.
    ///
    /// # Errors
    /// When `redis-server` is missing, ends at once (a bad setting), or does not answer in 20 s.
    pub fn try_start(self) -> Result<RedisServer, KitError> {
        let lease = PortLease::take()?;
        let sandbox = Sandbox::create("redis")?;
        let process = self.launch(lease.port(), &sandbox)?;
        Ok(RedisServer { process, options: self, lease })
    }

    fn launch(&self, port: u16, sandbox: &Sandbox) -> Result<Process, KitError> {
        let server = self
            .program
            .clone()
            .or_else(|| program("redis-server"))
            .ok_or_else(|| KitError::new("redis-server is missing; next: cargo xtask setup"))?;
        let mut args: Vec<String> = vec!["--port".into(), port.to_string()];
        // Names that a 2.8 knows, too.
        let fixed = [
            ["--bind", "127.0.0.1"],
            ["--daemonize", "no"],
            ["--save", ""],
            ["--appendonly", "no"],
            ["--repl-diskless-sync-delay", "0"],
            ["--repl-ping-slave-period", "1"],
        ];
        args.extend(fixed.as_flattened().iter().map(ToString::to_string));
        if let Some(password) = &self.password {
            args.extend(["--requirepass".into(), password.clone()]);
        }
        if let Some((master, password)) = &self.master {
            args.extend(["--slaveof".into(), format!("127.0.0.1 {master}")]);
            if let Some(password) = password {
                args.extend(["--masterauth".into(), password.clone()]);
            }
        }
        if let Some(port) = self.announced {
            args.extend(["--replica-announce-port".into(), port.to_string()]);
        }
        args.extend(self.args.iter().cloned());
        if self.in_file {
            args = vec![keep(sandbox, &args)?];
        }
        let process = Process::start(&format!("redis-{port}"), &server, args, &[], sandbox)?;
        process.wait_ready(READY, || self.is_ready(port).unwrap_or(false))?;
        Ok(process)
    }

    fn is_ready(&self, port: u16) -> std::io::Result<bool> {
        let mut client = connect(port, self.password.as_deref())?;
        let ready = client.call(&["PING"])?.text() == "PONG";
        Ok(ready && self.is_linked(port, &mut client)?)
    }

    /// True when both sides say so: the master goes on for up to a second after the slave.
    fn is_linked(&self, port: u16, slave: &mut RespClient) -> std::io::Result<bool> {
        let Some((master, password)) = &self.master else { return Ok(true) };
        if !slave.call(&["INFO", "replication"])?.text().contains("master_link_status:up") {
            return Ok(false);
        }
        let known = connect(*master, password.as_deref())?.call(&["INFO", "replication"])?.text();
        Ok(known.contains(&format!("port={},state=online", self.announced.unwrap_or(port))))
    }
}

impl RedisServer {
    /// Starts a server with default settings.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Settings first.
    #[must_use]
    pub fn builder() -> RedisBuilder {
        RedisBuilder::default()
    }

    /// The port it listens on, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// `127.0.0.1:PORT`, as Codis writes addresses.
    #[must_use]
    pub fn addr(&self) -> String {
        self.lease.addr()
    }

    /// A connection, authenticated where the server has a password.
    ///
    /// # Panics
    /// When the server does not accept it.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> RespClient {
        must(
            connect(self.port(), self.options.password.as_deref())
                .map_err(|e| KitError::io(format!("cannot connect to redis-server {}", self.addr()), e)),
        )
    }

    /// The running program: signals, log, process id.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL, and waits for the end. The address stays reserved for [`RedisServer::restart`].
    pub fn kill(&self) {
        self.process.kill();
    }

    /// SIGSTOP: connections stay open and nothing answers.
    pub fn stop(&self) {
        self.process.stop();
    }

    /// SIGCONT after [`RedisServer::stop`].
    pub fn cont(&self) {
        self.process.cont();
    }

    /// Starts it again at the same address and with the same settings, empty unless it persists.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        let sandbox = self.process.sandbox().clone();
        self.process = must(self.options.launch(self.port(), &sandbox));
    }

    /// Starts it again as [`RedisServer::restart`] does, but waits for no master: it follows nobody, or whom its file names.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn restart_alone(&mut self) {
        self.options.master = None;
        self.restart();
    }
}

/// The file with these settings, unless it is there already.
fn keep(sandbox: &Sandbox, args: &[String]) -> Result<String, KitError> {
    let path = sandbox.path().join("redis.conf");
    if !path.exists() {
        let line = |pair: &[String]| match pair {
            [name, value] if value.is_empty() => format!("{} \"\"\n", name.trim_start_matches("--")),
            [name, value] => format!("{} {value}\n", name.trim_start_matches("--")),
            _ => String::new(),
        };
        let text: String = args.chunks(2).map(line).collect();
        std::fs::write(&path, text)
            .map_err(|error| KitError::io(format!("cannot write {}", path.display()), error))?;
    }
    Ok(path.display().to_string())
}

pub(crate) fn connect(port: u16, password: Option<&str>) -> std::io::Result<RespClient> {
    let mut client = RespClient::connect(port, ASK)?;
    if let Some(password) = password {
        let reply = client.call(&["AUTH", password])?;
        if reply.is_error() {
            return Err(std::io::Error::other(reply.text()));
        }
    }
    Ok(client)
}
