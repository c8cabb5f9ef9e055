//! A proxy that behaves like the original's, as a process of a story: see the program `go-proxy`.

use std::path::PathBuf;
use std::time::Duration;

use codis_testkit::{PortLease, Process, RespClient, Sandbox, bin, eventually};

/// How long it may take to do what it does at once on an idle machine.
const SOON: Duration = Duration::from_secs(20);

/// What a [`GoProxy`] is started with.
#[derive(Debug, Clone)]
pub struct GoBuilder {
    args: Vec<String>,
    id: String,
    registered: Option<String>,
}

/// A running Go-shaped proxy. It is killed with the value.
#[derive(Debug)]
pub struct GoProxy {
    process: Process,
    lease: PortLease,
}

impl GoBuilder {
    /// Registers this address, and this one for its pages, instead of those that it has.
    #[must_use]
    pub fn registered(mut self, addr: &str, http: &str) -> Self {
        self.registered = Some(addr.to_owned());
        self.args.extend(["--http-addr".to_owned(), http.to_owned()]);
        self
    }

    /// How long the store waits for it before it ends its session.
    #[must_use]
    pub fn session(mut self, timeout: Duration) -> Self {
        self.args.extend(["--session".to_owned(), timeout.as_millis().to_string()]);
        self
    }

    /// Starts it; it is registered when this returns, and offline.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut self) -> GoProxy {
        let (lease, sandbox) = match (PortLease::take(), Sandbox::create("go-proxy")) {
            (Ok(lease), Ok(sandbox)) => (lease, sandbox),
            (Err(error), _) | (_, Err(error)) => panic!("{error}"),
        };
        let addr = self.registered.unwrap_or_else(|| lease.addr());
        self.args.extend(["--addr".to_owned(), addr, "--listen".to_owned(), lease.addr()]);
        let program: PathBuf = bin("go-proxy");
        let started = Process::start(&self.id, &program, &self.args, &[], &sandbox);
        let process = match started {
            Ok(process) => process,
            Err(error) => panic!("{error}"),
        };
        if let Err(error) = process.wait_ready(SOON, || process.log().contains("registered")) {
            panic!("{error}");
        }
        GoProxy { process, lease }
    }
}

impl GoProxy {
    /// A proxy of this product under this id.
    #[must_use]
    pub fn of(store: &str, product: &str, id: &str) -> GoBuilder {
        let args = ["--store", store, "--product", product, "--id", id].map(str::to_owned).to_vec();
        GoBuilder { args, id: id.to_owned(), registered: None }
    }

    /// Where clients reach it.
    #[must_use]
    pub fn addr(&self) -> String {
        self.lease.addr()
    }

    /// The port of that address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// The running program.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A client connection.
    ///
    /// # Panics
    /// When it is not accepted.
    #[must_use]
    pub fn client(&self) -> RespClient {
        match RespClient::connect(self.lease.port(), Duration::from_secs(10)) {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to the Go proxy {}: {error}", self.addr()),
        }
    }

    /// Waits until it serves: it has been set online and has loaded its slots.
    ///
    /// # Panics
    /// When it does not.
    pub fn await_online(&self) {
        eventually(SOON, || self.process.log().contains("serves: online"));
    }
}
