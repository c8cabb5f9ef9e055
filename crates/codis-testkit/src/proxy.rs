//! `codis-proxy`, following a store or serving a fixed slot map.

use std::path::PathBuf;
use std::time::Duration;

use crate::{KitError, PortLease, Process, RespClient, Sandbox, must, try_bin};

/// How long a proxy may take until it answers `PING`.
const READY: Duration = Duration::from_secs(20);
/// Number of slots of a product.
const SLOTS: usize = 1024;

/// A running `codis-proxy`.
#[derive(Debug)]
pub struct ProxyProcess {
    process: Process,
    options: ProxyBuilder,
    client: PortLease,
    admin: PortLease,
}

/// What a [`ProxyProcess`] is started with.
#[derive(Clone, Debug, Default)]
pub struct ProxyBuilder {
    program: Option<PathBuf>,
    args: Vec<String>,
    slot_map: Option<String>,
    workers: Option<usize>,
    settings: Vec<String>,
}

impl ProxyBuilder {
    /// Another executable than the one built beside the test.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Number of worker threads.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// One more line of the `[proxy]` table of its configuration.
    #[must_use]
    pub fn setting(mut self, line: impl Into<String>) -> Self {
        self.settings.push(line.into());
        self
    }

    /// One more command line argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Starts the proxy and waits until it answers `PING`.
    ///
    /// # Panics
    /// When it cannot be started; see [`ProxyBuilder::try_start`].
    #[track_caller]
    #[must_use]
    pub fn start(self) -> ProxyProcess {
        must(self.try_start())
    }

    /// [`ProxyBuilder::start`] that returns the failure.
    ///
    /// # Errors
    /// When the program has not been built, ends at once, or does not answer in 20 s.
    pub fn try_start(self) -> Result<ProxyProcess, KitError> {
        let (client, admin) = (PortLease::take()?, PortLease::take()?);
        let sandbox = Sandbox::create("proxy")?;
        let process = self.launch(&client, &admin, &sandbox, &[])?;
        Ok(ProxyProcess { process, options: self, client, admin })
    }

    fn launch(
        &self,
        client: &PortLease,
        admin: &PortLease,
        sandbox: &Sandbox,
        env: &[(&str, &str)],
    ) -> Result<Process, KitError> {
        let process = self.spawn(client, admin, sandbox, env)?;
        process.wait_ready(READY, || answers(client.port()).unwrap_or(false))?;
        Ok(process)
    }

    fn spawn(
        &self,
        client: &PortLease,
        admin: &PortLease,
        sandbox: &Sandbox,
        env: &[(&str, &str)],
    ) -> Result<Process, KitError> {
        let program = match &self.program {
            Some(path) => path.clone(),
            None => try_bin("codis-proxy")?,
        };
        let mut args = vec!["--listen".to_owned(), client.addr(), "--admin".to_owned(), admin.addr()];
        if let Some(workers) = self.workers {
            args.extend(["--workers".into(), workers.to_string()]);
        }
        if let Some(map) = &self.slot_map {
            let path = sandbox.write("slots.json", map)?;
            args.extend(["--static".into(), path.display().to_string()]);
        }
        if !self.settings.is_empty() {
            let table = format!("[proxy]\n{}\n", self.settings.join("\n"));
            let path = sandbox.write("codis.toml", &table)?;
            args.extend(["--config".into(), path.display().to_string()]);
        }
        args.extend(self.args.iter().cloned());
        Process::start(&format!("codis-proxy-{}", client.port()), &program, args, env, sandbox)
    }
}

impl ProxyProcess {
    /// A proxy without a store: slots spread evenly over `backends` in contiguous ranges.
    #[must_use]
    pub fn fixed(backends: &[String]) -> ProxyBuilder {
        let entries: Vec<String> = (0..SLOTS)
            .filter_map(|slot| {
                let backend = backends.get(slot * backends.len() / SLOTS)?;
                Some(format!("{{\"id\":{slot},\"backend_addr\":\"{backend}\"}}"))
            })
            .collect();
        ProxyBuilder { slot_map: Some(format!("[{}]\n", entries.join(",\n"))), ..ProxyBuilder::default() }
    }

    /// A proxy of `product` under `id` that follows the store at `store` (`zk://..` or `local:..`).
    #[must_use]
    pub fn following(store: &str, product: &str, id: &str) -> ProxyBuilder {
        let args = ["--store", store, "--product", product, "--id", id].map(String::from).to_vec();
        ProxyBuilder { args, ..ProxyBuilder::default() }
    }

    /// The client port, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.client.port()
    }

    /// `127.0.0.1:PORT` for clients.
    #[must_use]
    pub fn addr(&self) -> String {
        self.client.addr()
    }

    /// `127.0.0.1:PORT` of the admin pages.
    #[must_use]
    pub fn admin_addr(&self) -> String {
        self.admin.addr()
    }

    /// A client connection.
    ///
    /// # Panics
    /// When the proxy does not accept it.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> RespClient {
        must(
            RespClient::connect(self.port(), Duration::from_secs(10))
                .map_err(|e| KitError::io(format!("cannot connect to codis-proxy {}", self.addr()), e)),
        )
    }

    /// The running program: signals, log, process id.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL, and waits for the end. The addresses stay reserved for [`ProxyProcess::restart`].
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts it again with the same addresses and arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn restart(&mut self) {
        must(self.relaunch(&[]));
    }

    /// The same, but it dies as by SIGKILL just before the `nth` of its writes, to the store or to a server, counted
    /// from 1. That may be before it serves clients.
    pub fn restart_to_die_at(&mut self, nth: u64) {
        // That it ended at once is what was asked for; `Process::is_running` tells.
        let _ = self.relaunch(&[("CODIS_CRASH_AT", &nth.to_string())]);
    }

    /// The same, but it stops there as by SIGSTOP, until [`Process::cont`].
    ///
    /// # Panics
    /// When it neither comes to that nor answers clients.
    #[track_caller]
    pub fn restart_to_stop_at(&mut self, nth: u64) {
        self.process.kill();
        let sandbox = self.process.sandbox().clone();
        let env = [("CODIS_CRASH_AT", &*nth.to_string()), ("CODIS_CRASH_HOW", "stop")];
        self.process = must(self.options.spawn(&self.client, &self.admin, &sandbox, &env));
        let port = self.client.port();
        let ready = || self.process.is_stopped() || answers(port).unwrap_or(false);
        must(self.process.wait_ready(READY, ready));
    }

    /// Starts one more process with the same addresses and arguments that takes this one's place
    /// (`--take-over`), and waits for nothing. With `env` set for it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn successor(&self, env: &[(&str, &str)]) -> Process {
        let options = self.options.clone().arg("--take-over");
        must(options.spawn(&self.client, &self.admin, self.process.sandbox(), env))
    }

    /// From now on this is the process; returns the one before.
    #[must_use]
    pub fn succeeded_by(&mut self, successor: Process) -> Process {
        std::mem::replace(&mut self.process, successor)
    }

    fn relaunch(&mut self, env: &[(&str, &str)]) -> Result<(), KitError> {
        self.process.kill();
        let sandbox = self.process.sandbox().clone();
        self.process = self.options.launch(&self.client, &self.admin, &sandbox, env)?;
        Ok(())
    }
}

fn answers(port: u16) -> std::io::Result<bool> {
    let mut client = RespClient::connect(port, Duration::from_secs(2))?;
    let answer = client.call(&["PING"])?.text();
    Ok(answer == "PONG" || answer.starts_with("NOAUTH"))
}
