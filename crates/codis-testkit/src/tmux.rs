//! A real terminal: `tmux` runs a program at a given size, types keys, reads the screen.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::{KitError, Process, Sandbox, Signal, must, program};

/// One terminal of its own server, which no other test and no user session can see.
///
/// Unix sockets have short paths, so it lives directly in the system's temporary directory.
#[derive(Debug)]
pub struct Tmux {
    program: PathBuf,
    socket: PathBuf,
    server: Process,
}

const SESSION: &str = "kit";

impl Tmux {
    /// Opens a terminal of `columns` x `rows` and starts `argv` in it.
    ///
    /// The terminal stays open after the program's end, so that its last screen can be read.
    ///
    /// # Panics
    /// When tmux cannot be started.
    #[track_caller]
    #[must_use]
    pub fn start(columns: u16, rows: u16, argv: &[&str]) -> Self {
        must(Self::try_start(columns, rows, argv))
    }

    /// [`Tmux::start`] that returns the failure.
    ///
    /// # Errors
    /// When tmux is missing or does not open the terminal.
    pub fn try_start(columns: u16, rows: u16, argv: &[&str]) -> Result<Self, KitError> {
        let tmux =
            program("tmux").ok_or_else(|| KitError::new("tmux is missing; next: cargo xtask setup"))?;
        let sandbox = Sandbox::create("tmux")?;
        let config = "set -g remain-on-exit on\nset -g status off\nset -g default-terminal tmux-256color\n";
        let config = sandbox.write("conf", config)?.display().to_string();
        let socket = sandbox.path().join("s");
        let path = socket.display().to_string();
        // -D: the server stays a child of this process and dies with it.
        let server = Process::start("tmux", &tmux, ["-D", "-S", &path, "-f", &config], &[], &sandbox)?;
        server.wait_ready(Duration::from_secs(10), || socket.exists())?;
        let this = Self { program: tmux, socket, server };
        let (width, height) = (columns.to_string(), rows.to_string());
        let mut args = vec!["new-session", "-d", "-s", SESSION, "-x", &width, "-y", &height, "--"];
        args.extend(argv);
        this.run(&args)?;
        Ok(this)
    }

    /// Types keys as tmux names them: `q`, `Up`, `C-c`, `Enter`.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn keys(&self, keys: &[&str]) {
        let mut args = vec!["send-keys", "-t", SESSION];
        args.extend(keys);
        must(self.run(&args));
    }

    /// The screen as text, one line per row, without trailing blanks.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    #[must_use]
    pub fn screen(&self) -> String {
        must(self.run(&["capture-pane", "-p", "-t", SESSION]))
    }

    /// The screen with colours and attributes as escape sequences.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    #[must_use]
    pub fn screen_with_colours(&self) -> String {
        must(self.run(&["capture-pane", "-p", "-e", "-t", SESSION]))
    }

    /// Changes the size of the terminal.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    pub fn resize(&self, columns: u16, rows: u16) {
        let (width, height) = (columns.to_string(), rows.to_string());
        must(self.run(&["resize-window", "-t", SESSION, "-x", &width, "-y", &height]));
    }

    /// Asks tmux about the terminal, for example `#{pane_pid}`, `#{alternate_on}`, `#{cursor_flag}`.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    #[must_use]
    pub fn ask(&self, format: &str) -> String {
        must(self.run(&["display-message", "-p", "-t", SESSION, format])).trim_end().to_owned()
    }

    /// Exit status of the program once it has ended.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[track_caller]
    #[must_use]
    pub fn exit_status(&self) -> Option<i32> {
        // Under load tmux now and then misses the signal that its program has ended, and leaves it a zombie
        // for good. Told once more it looks; a program that runs on is none the worse for it.
        self.server.signal(Signal::CHILD);
        let answer = self.ask("#{pane_dead} #{pane_dead_status}");
        answer.strip_prefix("1 ").and_then(|status| status.parse().ok())
    }

    /// The tmux server: log and process id.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.server
    }

    fn run(&self, args: &[&str]) -> Result<String, KitError> {
        let output = command(&self.program, &self.socket, args)
            .map_err(|e| KitError::io(format!("cannot run tmux {}", args.join(" ")), e))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(KitError::new(format!("tmux {}: {why}", args.join(" "))));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn command(tmux: &Path, socket: &Path, args: &[&str]) -> std::io::Result<Output> {
    Command::new(tmux).env_remove("TMUX").arg("-S").arg(socket).args(args).output()
}
