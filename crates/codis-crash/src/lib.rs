//! Crash points: a test can make a program end at any of its writes, as a SIGKILL would.
//!
//! Whoever changes more than one place may be killed between two of the changes. To test what is left
//! then, the crates that write to the store and to servers call [`point`] before each write. A test runs a
//! program with `CODIS_CRASH_AT=1`, `2`, `3` and so on until it ends by itself: so the points enumerate
//! themselves, and a step that is added later is covered without anybody thinking of it.
//!
//! | variable | meaning |
//! |---|---|
//! | `CODIS_CRASH_AT=N` | abort before the Nth write of this process, counted from 1 |
//! | `CODIS_CRASH_HOW=stop` | do not end there but stop, as by SIGSTOP: the process goes on with the write when somebody wakes it |
//! | `CODIS_CRASH_FROM=TEXT` | count from the first write whose description contains this: what a program that runs for long does before then happens as often as time has it |
//! | `CODIS_CRASH_LOG=FILE` | append `N<tab>what` for each write, before it is made |
//!
//! In release builds [`point`] is empty: no environment variable can make a shipped program crash.

/// Says that a write is about to be made. `what` names it for the log of the test, e.g. `store set /a/b`; it is only
/// called where a log is asked for.
#[inline]
pub fn point(what: impl Fn() -> String) {
    #[cfg(debug_assertions)]
    armed::pass(what);
    #[cfg(not(debug_assertions))]
    drop(what);
}

#[cfg(debug_assertions)]
mod armed {
    use std::{
        env,
        fs::{File, OpenOptions},
        io::Write as _,
        process::Command,
        sync::{
            OnceLock,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        time::Duration,
    };

    struct Armed {
        at: Option<u64>,
        stop: bool,
        from: Option<String>,
        begun: AtomicBool,
        log: Option<File>,
        passed: AtomicU64,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    pub(super) fn pass(what: impl Fn() -> String) {
        let Some(armed) = ARMED.get_or_init(from_environment) else { return };
        if let Some(from) = &armed.from
            && !armed.begun.load(Ordering::SeqCst)
        {
            if !what().contains(from) {
                return;
            }
            armed.begun.store(true, Ordering::SeqCst);
        }
        let number = armed.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(mut log) = armed.log.as_ref() {
            // One write call each, so that lines of several threads do not mix. A log that cannot be
            // written makes the test fail that reads it.
            let _ = log.write_all(format!("{number}\t{}\n", what()).as_bytes());
        }
        match armed.at {
            Some(at) if armed.stop && number == at => stop(),
            Some(at) if !armed.stop && number >= at => std::process::abort(),
            _ => {}
        }
    }

    /// Stops the whole process. The thread that comes here must not get past it before the signal has reached it, too, which is
    /// some time after it was sent.
    fn stop() {
        let sent = Command::new("sh").args(["-c", "kill -STOP \"$PPID\""]).status();
        if !sent.is_ok_and(|status| status.success()) {
            std::process::abort();
        }
        std::thread::sleep(Duration::from_millis(100));
    }

    fn from_environment() -> Option<Armed> {
        let at = env::var("CODIS_CRASH_AT").ok().and_then(|at| at.parse().ok());
        let open = |path| OpenOptions::new().create(true).append(true).open(path).ok();
        let log = env::var_os("CODIS_CRASH_LOG").and_then(open);
        let stop = env::var("CODIS_CRASH_HOW").is_ok_and(|how| how == "stop");
        let from = env::var("CODIS_CRASH_FROM").ok();
        let (begun, passed) = (AtomicBool::new(false), AtomicU64::new(0));
        (at.is_some() || log.is_some()).then_some(Armed { at, stop, from, begun, log, passed })
    }
}
