//! The load: `redis-benchmark` with random keys that exist.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use codis_testkit::{RedisServer, RespClient, program};

/// Keys `key:000000000000` to this number exist on every backend, so that any route finds them.
const KEYS: usize = 10_000;
const VALUE_BYTES: usize = 64;
/// What `redis-benchmark` replaces by twelve random digits below [`KEYS`].
const KEY: &str = "key:__rand_int__";

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Work {
    /// As the table shows it.
    pub(crate) name: &'static str,
    command: Request,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    /// Requests of the first, unrecorded run.
    pub(crate) first_amount: u64,
    pub(crate) only_full: bool,
}

/// What one request is.
#[derive(Clone, Copy, Debug)]
enum Request {
    Get,
    Set,
    /// MGET of this many keys.
    Mget(usize),
    /// MSET of this many keys.
    Mset(usize),
}

const fn work(name: &'static str, command: Request, clients: u32, pipeline: u32, first_amount: u64) -> Work {
    Work { name, command, clients, pipeline, first_amount, only_full: false }
}

const fn full(work: Work) -> Work {
    Work { only_full: true, ..work }
}

pub(crate) const WORKS: &[Work] = &[
    work("GET c50 P1", Request::Get, 50, 1, 5_000),
    work("SET c50 P1", Request::Set, 50, 1, 5_000),
    work("GET c50 P32", Request::Get, 50, 32, 40_000),
    work("SET c50 P32", Request::Set, 50, 32, 40_000),
    work("MGET 10 c50", Request::Mget(10), 50, 1, 4_000),
    work("MGET 100 c50", Request::Mget(100), 50, 1, 1_000),
    full(work("MSET 10 c50", Request::Mset(10), 50, 1, 4_000)),
    full(work("GET c1000 P1", Request::Get, 1000, 1, 5_000)),
];

/// What one run of the load measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) rps: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Puts every key on every backend.
pub(crate) fn fill(backends: &[RedisServer]) -> anyhow::Result<()> {
    let value = "x".repeat(VALUE_BYTES);
    for backend in backends {
        let mut client = RespClient::connect(backend.port(), Duration::from_secs(10))
            .with_context(|| format!("cannot connect to {}", backend.addr()))?;
        for first in (0..KEYS).step_by(1000) {
            let mut command = vec!["MSET".to_owned()];
            for key in first..first + 1000 {
                command.extend([format!("key:{key:012}"), value.clone()]);
            }
            let reply = client.call(&command).context("MSET")?;
            if reply.is_error() {
                bail!("MSET at {}: {}", backend.addr(), reply.text());
            }
        }
    }
    Ok(())
}

/// Sends `amount` requests to a port of this machine.
pub(crate) fn run(work: &Work, port: u16, amount: u64) -> anyhow::Result<Sample> {
    let tool = program("redis-benchmark").context("redis-benchmark (redis-tools) is missing")?;
    let mut command = Command::new(tool);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    command.args(["-c", &work.clients.to_string(), "-P", &work.pipeline.to_string()]);
    command.args(["-n", &amount.to_string(), "-r", &KEYS.to_string(), "--csv"]);
    command.args(arguments(work.command));
    let output = command.output().context("cannot run redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || errors.contains("Error from server") {
        bail!("redis-benchmark: {}; {}", output.status, errors.trim());
    }
    sample(&text).with_context(|| format!("redis-benchmark printed {text:?} and {:?}", errors.trim()))
}

fn arguments(command: Request) -> Vec<String> {
    let value = "x".repeat(VALUE_BYTES);
    let many = |n: usize, item: &[&str]| {
        std::iter::repeat_n(item, n).flatten().map(|s| (*s).to_owned()).collect::<Vec<_>>()
    };
    let (name, rest) = match command {
        Request::Get => ("GET", many(1, &[KEY])),
        Request::Set => ("SET", many(1, &[KEY, &value])),
        Request::Mget(n) => ("MGET", many(n, &[KEY])),
        Request::Mset(n) => ("MSET", many(n, &[KEY, &value])),
    };
    [vec![name.to_owned()], rest].concat()
}

/// Reads the CSV: a head line that names the columns, then one line of quoted figures.
fn sample(csv: &str) -> Option<Sample> {
    let mut lines = csv.lines().filter(|l| l.starts_with('"'));
    let fields = |line: &str| line.split(',').map(|f| f.trim_matches('"').to_owned()).collect::<Vec<_>>();
    let (head, row) = (fields(lines.next()?), fields(lines.next()?));
    let column = |name: &str| {
        // The first column is the command, which may hold commas of its own: count from the end.
        let from_end = head.len() - head.iter().position(|h| h == name)?;
        row.get(row.len().checked_sub(from_end)?)?.parse().ok()
    };
    Some(Sample { rps: column("rps")?, p50_ms: column("p50_latency_ms")?, p99_ms: column("p99_latency_ms")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\
                   \"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                   \"GET key,1\",\"71428.57\",\"0.4\",\"0.1\",\"0.391\",\"0.6\",\"0.903\",\"1.2\"\n";
        let sample = sample(csv).unwrap();
        assert_eq!((sample.rps, sample.p50_ms, sample.p99_ms), (71428.57, 0.391, 0.903));
        assert!(super::sample("\"test\",\"rps\"\n\"GET\",\"1\"\n").is_none());
    }

    #[test]
    fn a_request_names_as_many_keys_as_it_should() {
        assert_eq!(arguments(Request::Mget(3)), ["MGET", KEY, KEY, KEY]);
        assert_eq!(arguments(Request::Mset(2)).len(), 5);
    }
}
