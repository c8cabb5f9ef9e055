//! System calls per request, counted from outside: by `perf` where it may look, else by `strace`, which
//! slows the proxy down so much that more requests come together than otherwise.

use std::fmt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use codis_testkit::{Sandbox, program};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::load::{self, Work};
use super::target::Target;

/// Works whose system calls are counted.
pub(crate) const WORKS: [&str; 2] = ["GET c50 P1", "GET c50 P32"];
/// What perf counts: every entry into the kernel by a system call.
const EVENT: &str = "raw_syscalls:sys_enter";
/// Time that strace is given to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// One measurement; `--json` writes these.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Calls {
    pub(crate) target: String,
    pub(crate) work: String,
    pub(crate) workers: Option<u32>,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    pub(crate) system_calls_per_req: f64,
    pub(crate) counted_by: String,
    pub(crate) round: usize,
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    Perf,
    Strace,
}

impl fmt::Display for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Perf => "perf",
            Self::Strace => "strace",
        })
    }
}

impl Counter {
    /// What can count here; `None` where nothing can.
    pub(crate) fn find() -> Option<Self> {
        let works = |program: &str, args: &[&str]| {
            let run = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
            run.is_ok_and(|status| status.success())
        };
        if works("perf", &["stat", "-e", EVENT, "true"]) {
            Some(Self::Perf)
        } else {
            works("strace", &["-c", "-o", "/dev/null", "true"]).then_some(Self::Strace)
        }
    }

    /// One measurement.
    pub(crate) fn measure(
        self,
        target: &Target,
        pid: u32,
        work: &Work,
        amount: u64,
        round: usize,
    ) -> anyhow::Result<Calls> {
        let counted = self.count(pid, &load::command(work, target.port(), amount)?);
        let counted = counted.with_context(|| format!("system calls of {}", target.name()))?;
        Ok(Calls {
            target: target.name().to_owned(),
            work: work.name.to_owned(),
            workers: target.workers(),
            clients: work.clients,
            pipeline: work.pipeline,
            system_calls_per_req: counted as f64 / amount as f64,
            counted_by: self.to_string(),
            round,
        })
    }

    fn count(self, pid: u32, line: &[String]) -> anyhow::Result<u64> {
        let folder = Sandbox::create("calls")?;
        let file = folder.path().join("counted");
        let name = file.display().to_string();
        let read = || std::fs::read_to_string(&file).with_context(|| format!("cannot read {name}"));
        match self {
            Self::Perf => {
                let perf = format!("perf stat -x , -o {name} -e {EVENT} -p {pid} --");
                let mut behind: Vec<String> = perf.split(' ').map(str::to_owned).collect();
                behind.extend_from_slice(line);
                load::run(&behind)?;
                let text = read()?;
                perf_total(&text).with_context(|| format!("perf stat wrote {text:?}"))
            }
            Self::Strace => {
                let strace = program("strace").context("strace is missing")?;
                let mut strace = Command::new(strace)
                    .args(["-f", "-c", "-o", &name, "-p", &pid.to_string()])
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .context("cannot run strace")?;
                let sampled = traced(pid).and_then(|()| load::run(line));
                end(&mut strace)?;
                sampled?;
                let text = read()?;
                strace_total(&text).with_context(|| format!("strace wrote {text:?}"))
            }
        }
    }
}

/// Waits until a process is traced.
fn traced(pid: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/status");
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map(str::trim);
        if tracer.is_some_and(|tracer| tracer != "0") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bail!("strace does not trace process {pid}")
}

/// Lets strace detach, and waits until it has written its sums.
fn end(strace: &mut Child) -> anyhow::Result<()> {
    kill_process(Pid::from_child(strace), Signal::INT).context("cannot end strace")?;
    strace.wait().context("cannot wait for strace")?;
    Ok(())
}

/// The count in a line like `223456,,raw_syscalls:sys_enter,...`.
fn perf_total(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(EVENT))?;
    line.split(',').next()?.parse().ok()
}

/// The count of calls in the last line, `100.00 0.123456 2 223456 12 total`.
fn strace_total(text: &str) -> Option<u64> {
    let line = text.lines().rfind(|line| line.ends_with("total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read() {
        let perf = "# started on Sun\n\n223456,,raw_syscalls:sys_enter,1000,100.00,,\n";
        assert_eq!(perf_total(perf), Some(223_456));
        assert_eq!(perf_total("<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n"), None);
        let strace = "% time     seconds  usecs/call     calls    errors syscall\n\
                      100.00    0.123456           2    223456        12 total\n";
        assert_eq!(strace_total(strace), Some(223_456));
    }
}
