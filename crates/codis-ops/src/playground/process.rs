//! Starting programs that end with us.
//!
//! When codisctl is killed nobody can clean up, so programs are started through `setpriv --pdeathsig
//! KILL` where that exists: the kernel kills them when the thread that started them ends. That thread
//! is the launcher's own, because a thread of the runtime may end at any time.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::{Failure, FailureKind};

/// Pause between two questions whether a program is ready.
const POLL: Duration = Duration::from_millis(10);

type Order = (Command, oneshot::Sender<std::io::Result<Child>>);

/// Starts programs. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Launcher {
    orders: std::sync::mpsc::Sender<Order>,
    setpriv: Option<PathBuf>,
    logs: PathBuf,
}

/// What to start.
#[derive(Debug)]
pub(super) struct Recipe {
    /// Names its log: `redis-21001`.
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
}

/// A running program; dropping it kills it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) name: String,
    child: Child,
    log: PathBuf,
}

impl Launcher {
    /// Logs go to `logs`. Must be called inside a runtime.
    pub(super) fn start(logs: PathBuf) -> Result<Self, Failure> {
        std::fs::create_dir_all(&logs).map_err(|error| {
            Failure::new(FailureKind::Failed, "cannot start the playground", logs.display(), error)
        })?;
        let (orders, received) = std::sync::mpsc::channel::<Order>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let _inside = runtime.enter();
            for (mut command, answer) in received {
                // If nobody waits any more, the child is dropped and killed.
                let _ = answer.send(command.spawn());
            }
        });
        Ok(Self { orders, setpriv: find("setpriv"), logs })
    }

    pub(super) async fn launch(&self, recipe: Recipe) -> Result<Running, Failure> {
        let Recipe { name, program, args } = recipe;
        let failed = |error: std::io::Error| {
            Failure::new(FailureKind::Failed, format!("cannot start {name}"), program.display(), error)
        };
        let log = self.logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let mut command = match &self.setpriv {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        // Ctrl-C is for codisctl, which stops them in order.
        command.process_group(0);
        command.stdout(file.try_clone().map_err(failed)?).stderr(file);
        let (answer, child) = oneshot::channel();
        let gone = || failed(std::io::Error::other("the launcher has ended"));
        self.orders.send((command, answer)).map_err(|_| gone())?;
        let child = child.await.map_err(|_| gone())?.map_err(failed)?;
        Ok(Running { name, child, log })
    }
}

impl Running {
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    /// If the program ends first or the time is over; with the last lines of its log.
    pub(super) async fn ready<F>(
        &mut self,
        patience: Duration,
        mut ready: impl FnMut() -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = bool>,
    {
        let end = Instant::now() + patience;
        while !ready().await {
            let ended = self.child.try_wait();
            if let Ok(Some(status)) = ended {
                return Err(self.failure(&format!("it ended with {status}")));
            }
            if Instant::now() > end {
                return Err(self.failure(&format!("it did not answer in {} s", patience.as_secs())));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits for its end and says how it ended.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        self.child.wait().await.ok()
    }

    /// SIGTERM, and SIGKILL after `patience`.
    pub(super) async fn stop(mut self, patience: Duration) {
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may end this moment; the id stays ours until it is waited for.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(patience, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// SIGKILL, and waits for the end.
    pub(super) async fn kill(&mut self) {
        // It has ended already: as well.
        let _ = self.child.kill().await;
    }

    fn failure(&self, why: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(3)..].join(" / ");
        let why = if last.is_empty() { why.to_owned() } else { format!("{why}; it said: {last}") };
        Failure::new(FailureKind::Failed, format!("cannot start {}", self.name), self.log.display(), why)
    }
}

/// A program on `PATH` or in the system directories that a user's `PATH` often lacks.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// A program, or how to get it.
pub(super) fn need(name: &str, package: &str) -> Result<PathBuf, Failure> {
    find(name).ok_or_else(|| {
        Failure::new(FailureKind::Failed, "cannot start the playground", name, "the program is not installed")
            .next(format!("apt-get install {package}"))
    })
}

/// One of our own programs: beside the one that runs.
pub(super) fn own(name: &str) -> Result<PathBuf, Failure> {
    let exe = std::env::current_exe().unwrap_or_default();
    let dir = exe.parent().unwrap_or(Path::new("."));
    // Unit tests run from a directory below.
    let dirs = [Some(dir), dir.parent().filter(|_| dir.ends_with("deps"))];
    let places: Vec<PathBuf> = dirs.into_iter().flatten().map(|dir| dir.join(name)).collect();
    places.iter().find(|place| place.is_file()).cloned().or_else(|| find(name)).ok_or_else(|| {
        let why = "the program is neither there nor on PATH";
        Failure::new(FailureKind::Failed, "cannot start the playground", dir.join(name).display(), why)
            .next("cargo build    builds all programs into one directory")
    })
}
