//! One started program: its log, its signals, its certain death.
//!
//! A test that is killed cannot clean up, so the kernel has to: programs are started through `setpriv
//! --pdeathsig KILL`, and the kernel kills them when the thread that started them ends. That thread is
//! one of the kit's own that lives as long as the test process (a test's own thread would take a server
//! down that another test shares).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

use crate::{KitError, Sandbox, program};

/// A running program of a test.
///
/// Standard output and error go to a log file in its [`Sandbox`]. Dropping it kills the program and
/// waits for its end.
#[derive(Debug)]
pub struct Process {
    label: String,
    child: Mutex<Child>,
    pid: u32,
    log: PathBuf,
    sandbox: Sandbox,
}

impl Process {
    /// Starts `program` with `args` in the sandbox's directory.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        label: &str,
        program_path: &Path,
        args: impl IntoIterator<Item = S>,
        env: &[(&str, &str)],
        sandbox: &Sandbox,
    ) -> Result<Self, KitError> {
        let log = sandbox.path().join(format!("{label}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(|e| KitError::io(format!("cannot open the log {}", log.display()), e))?;
        let again = file
            .try_clone()
            .map_err(|e| KitError::io(format!("cannot open the log {}", log.display()), e))?;
        let setpriv = program("setpriv").ok_or_else(|| KitError::new("setpriv (util-linux) is missing"))?;
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]);
        command.arg(program_path).args(args.into_iter().map(|a| OsString::from(a.as_ref())));
        for (name, _) in own_settings() {
            command.env_remove(name);
        }
        command.envs(env.iter().copied());
        // A group of its own: Ctrl-C in a terminal reaches the test, which then ends its programs.
        command.process_group(0);
        command.current_dir(sandbox.path()).stdin(Stdio::null()).stdout(file).stderr(again);
        let child = spawn(command)
            .map_err(|e| KitError::io(format!("cannot start {label} ({})", program_path.display()), e))?;
        let pid = child.id();
        Ok(Self { label: label.to_owned(), child: Mutex::new(child), pid, log, sandbox: sandbox.clone() })
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// Whether it is stopped, by [`Process::stop`] or by itself.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold anything.
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    }

    /// Sends a signal; a program that has ended is left alone.
    pub fn signal(&self, signal: Signal) {
        let mut child = self.child();
        // Not reaped yet, so the id is still its own.
        if matches!(child.try_wait(), Ok(None))
            && let Some(pid) = Pid::from_raw(self.pid.cast_signed())
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// SIGSTOP: the program hangs as a dead machine would, its sockets stay open.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT after [`Process::stop`].
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM: asks the program to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the program's end; `None` when it still runs after `deadline`.
    #[must_use]
    pub fn wait(&self, deadline: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Ok(Some(status)) = self.child().try_wait() {
                return Some(status);
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Everything it has written so far, output and errors.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The directory it runs in.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Waits until `ready` says yes.
    ///
    /// # Errors
    /// When the program ends first or `deadline` passes; the error holds the end of its log.
    pub fn wait_ready(&self, deadline: Duration, mut ready: impl FnMut() -> bool) -> Result<(), KitError> {
        let end = Instant::now() + deadline;
        loop {
            if ready() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child().try_wait() {
                return Err(self.failure(&format!("ended at start with {status}")));
            }
            if Instant::now() >= end {
                return Err(self.failure(&format!("was not ready within {deadline:?}")));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn failure(&self, what: &str) -> KitError {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n  | ");
        KitError::new(format!("{} {what}; its log ends with\n  | {tail}", self.label))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Settings of our programs in the developer's environment, which tests must not depend on.
pub(crate) fn own_settings() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| name.starts_with("CODIS_") && name != "CODIS_TEST_REQUIRE")
    })
}

type Order = (Command, SyncSender<std::io::Result<Child>>);

/// Starts programs from the thread that never ends before the process does.
fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (send, receive) = sync_channel::<Order>(16);
        std::thread::spawn(move || {
            for (mut command, answer) in receive {
                let _ = answer.send(command.spawn());
            }
        });
        send
    });
    let (answer, result) = sync_channel(1);
    let gone = || std::io::Error::other("the kit's spawner thread has ended");
    spawner.send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}
