//! What a process has used, from `/proc`.

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Time that all threads of a process have spent on processors so far, user and system, in microseconds.
///
/// The kernel counts it by the nanosecond in `schedstat`; `stat` has the same only in ticks of 10 ms.
pub(crate) fn cpu_us(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/task");
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(&path).with_context(|| format!("cannot read {path}"))? {
        let path = thread?.path().join("schedstat");
        // A thread may have ended since it was listed.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let ran = text.split(' ').next().and_then(|field| field.parse::<u64>().ok());
        nanoseconds += ran.with_context(|| format!("{} holds {text:?}", path.display()))?;
    }
    Ok(nanoseconds as f64 / 1e3)
}

/// Resident memory of a process, in MiB.
pub(crate) fn rss_mb(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok())
        .with_context(|| format!("{path} has no VmRSS"))?;
    Ok(kib / 1024.0)
}

/// Lets this process and those it starts hold thousands of connections, as far as the system permits.
pub(crate) fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map(|hard| hard.min(65_536)).or(Some(65_536));
    // Left as it is where it cannot be raised: the target then says which connection failed.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn time_of_all_threads_is_counted() {
        let pid = std::process::id();
        let before = cpu_us(pid).unwrap();
        let work = move || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(50) {
                std::hint::spin_loop();
            }
            cpu_us(pid).unwrap()
        };
        let after = std::thread::spawn(work).join().unwrap();
        assert!(after > before + 1000.0, "{before} {after}");
    }

    #[test]
    fn this_process_has_used_some_memory() {
        assert!(rss_mb(std::process::id()).unwrap() > 0.1);
    }
}
