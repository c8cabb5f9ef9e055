//! What a process has used, from `/proc`.

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit, setrlimit};

/// User and system time of a process so far, in microseconds.
pub(crate) fn cpu_us(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = ticks(&stat).with_context(|| format!("{path} holds {stat:?}"))?;
    Ok(ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64)
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

/// Fields 14 and 15; the second field is the program's name in parentheses and may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
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
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 2 3 4 5 70 30 0 0 20 0 1 0 99 1 2";
        assert_eq!(ticks(stat), Some(100));
    }

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id();
        assert!(rss_mb(pid).unwrap() > 0.1);
        assert!(cpu_us(pid).unwrap() >= 0.0);
    }
}
