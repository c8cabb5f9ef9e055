//! A mail server: aiosmtpd, with a box in which a test finds what it got.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::{KitError, PortLease, Process, Sandbox, must};

/// How long a start may take on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// What runs in Python.
const SCRIPT: &str = include_str!("smtp.py");

/// The Python that has aiosmtpd. The distribution's package serves the distribution's Python only.
pub(crate) fn python() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin")]);
        dirs.map(|dir| dir.join("python3")).find(|python| {
            let import = Command::new(python).args(["-c", "import aiosmtpd"]).output();
            import.is_ok_and(|output| output.status.success())
        })
    });
    found.clone()
}

/// A mail that the server has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Who wrote it, by the envelope.
    pub from: String,
    /// Who gets it, by the envelope.
    pub to: Vec<String>,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Who the sender was to the server; empty if it did not say.
    pub login: String,
    /// Its subject, decoded.
    pub subject: String,
    /// Its plain part, decoded.
    pub text: String,
    /// Its HTML part, decoded.
    pub html: String,
    /// All of it as it came.
    pub raw: String,
}

/// A mail server of its own. Mails for `nobody@...` are refused.
#[derive(Debug)]
pub struct SmtpServer {
    process: Process,
    options: SmtpBuilder,
    lease: PortLease,
}

/// What a [`SmtpServer`] is started with.
#[derive(Clone, Debug, Default)]
pub struct SmtpBuilder {
    login: Option<(String, String)>,
    /// `starttls` or `tls`, certificate and key.
    tls: Option<(&'static str, String, String)>,
}

impl SmtpBuilder {
    /// It takes mails from this user only.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// It takes mails only after the connection has changed to TLS; certificate and key are PEM.
    #[must_use]
    pub fn starttls(mut self, certificate: &str, key: &str) -> Self {
        self.tls = Some(("starttls", certificate.to_owned(), key.to_owned()));
        self
    }

    /// It speaks TLS from the first byte; certificate and key are PEM.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        self.tls = Some(("tls", certificate.to_owned(), key.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> SmtpServer {
        must(self.try_start())
    }

    /// [`SmtpBuilder::start`] that returns the failure.
    ///
    /// # Errors
    /// When aiosmtpd is missing, or does not start in time.
    pub fn try_start(self) -> Result<SmtpServer, KitError> {
        let lease = PortLease::take()?;
        let sandbox = Sandbox::create("smtp")?;
        let process = self.launch(lease.port(), &sandbox)?;
        Ok(SmtpServer { process, options: self, lease })
    }

    fn launch(&self, port: u16, sandbox: &Sandbox) -> Result<Process, KitError> {
        let python = python().ok_or_else(|| KitError::new("aiosmtpd (python3-aiosmtpd) is missing"))?;
        let script = write(sandbox, "smtp.py", SCRIPT)?;
        let port = port.to_string();
        let dir = sandbox.path().display().to_string();
        let (security, certificate, key) = match &self.tls {
            None => ("none", String::new(), String::new()),
            Some((security, certificate, key)) => {
                (*security, write(sandbox, "cert.pem", certificate)?, write(sandbox, "key.pem", key)?)
            }
        };
        let (user, password) = self.login.clone().unwrap_or_default();
        let env = [
            ("PORT", port.as_str()),
            ("BOX", &dir),
            ("SECURITY", security),
            ("CERT", &certificate),
            ("KEY", &key),
            ("LOGIN", &user),
            ("PASSWORD", &password),
        ];
        let log = sandbox.path().join("smtp.log");
        // An older start has left its own.
        let before = ready_lines(&log);
        let process = Process::start("smtp", &python, [script], &env, sandbox)?;
        process.wait_ready(READY, || ready_lines(&log) > before)?;
        Ok(process)
    }
}

fn ready_lines(log: &std::path::Path) -> usize {
    std::fs::read_to_string(log).unwrap_or_default().lines().filter(|line| *line == "ready").count()
}

fn write(sandbox: &Sandbox, name: &str, text: &str) -> Result<String, KitError> {
    Ok(sandbox.write(name, text)?.display().to_string())
}

impl SmtpServer {
    /// A server that takes mails from everybody, in the clear.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Options for one.
    #[must_use]
    pub fn builder() -> SmtpBuilder {
        SmtpBuilder::default()
    }

    /// Its port, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn addr(&self) -> String {
        self.lease.addr()
    }

    /// The running program: signals, log, process id.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// SIGKILL, and waits for the end. The box and the address stay for [`SmtpServer::restart`].
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts it again at the same address.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = must(self.options.launch(self.lease.port(), &self.process.sandbox().clone()));
    }

    /// The mails so far, in the order in which they came.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        let dir = self.process.sandbox().path();
        let read = |number: usize, part: &str| {
            std::fs::read_to_string(dir.join(format!("{number:05}.{part}"))).unwrap_or_default()
        };
        let there = |number: &usize| dir.join(format!("{number:05}.raw")).exists();
        (0..)
            .take_while(there)
            .map(|number| {
                let about = read(number, "about");
                let mut about = about.lines().map(str::to_owned);
                let mut next = || about.next().unwrap_or_default();
                let (from, to) = (next(), next().split(',').map(str::to_owned).collect());
                let (tls, login, subject) = (next() == "tls", next(), next());
                let (text, html) = (read(number, "text"), read(number, "html"));
                Mail { from, to, tls, login, subject, text, html, raw: read(number, "raw") }
            })
            .collect()
    }
}
