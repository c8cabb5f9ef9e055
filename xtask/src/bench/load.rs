//! The load: `redis-benchmark` with random keys that exist.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use codis_testkit::{RedisServer, RespClient, program};

/// Keys of each kind with the numbers 0 to this one exist on every backend, so that any route finds them.
const KEYS: usize = 10_000;
const SMALL: Kind = Kind { key: "key:__rand_int__", bytes: 64 };
const LARGE: Kind = Kind { key: "big:__rand_int__", bytes: 4096 };

/// Keys whose values have one size.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// `redis-benchmark` replaces `__rand_int__` by twelve random digits below [`KEYS`].
    key: &'static str,
    bytes: usize,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Work {
    /// As the table shows it.
    pub(crate) name: &'static str,
    request: Request,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    /// Requests of the first, unrecorded run.
    pub(crate) first_amount: u64,
}

/// What one request is.
#[derive(Clone, Copy, Debug)]
enum Request {
    Get(Kind),
    Set(Kind),
    /// MGET of this many keys.
    Mget(usize),
    /// MSET of this many keys.
    Mset(usize),
}

/// One request at a time on one connection: what a hop adds to the time that a client waits.
pub(crate) const ONE_AT_A_TIME: &str = "GET c1 P1";

const fn work(name: &'static str, request: Request, clients: u32, pipeline: u32, first_amount: u64) -> Work {
    Work { name, request, clients, pipeline, first_amount }
}

pub(crate) const WORKS: &[Work] = &[
    work("GET c50 P1", Request::Get(SMALL), 50, 1, 5_000),
    work("SET c50 P1", Request::Set(SMALL), 50, 1, 5_000),
    work("GET c50 P32", Request::Get(SMALL), 50, 32, 40_000),
    work("SET c50 P32", Request::Set(SMALL), 50, 32, 40_000),
    work("GET c1000 P1", Request::Get(SMALL), 1000, 1, 5_000),
    work("GET 4K c50 P16", Request::Get(LARGE), 50, 16, 8_000),
    work("SET 4K c50 P16", Request::Set(LARGE), 50, 16, 8_000),
    work("MSET 10 c50", Request::Mset(10), 50, 1, 4_000),
    work("MGET 10 c50", Request::Mget(10), 50, 1, 4_000),
    work("MGET 100 c50", Request::Mget(100), 50, 1, 1_000),
    work(ONE_AT_A_TIME, Request::Get(SMALL), 1, 1, 1_000),
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
    for backend in backends {
        let mut client = RespClient::connect(backend.port(), Duration::from_secs(10))
            .with_context(|| format!("cannot connect to {}", backend.addr()))?;
        for kind in [SMALL, LARGE] {
            let value = "x".repeat(kind.bytes);
            for first in (0..KEYS).step_by(1000) {
                let mut command = vec!["MSET".to_owned()];
                for key in first..first + 1000 {
                    command.extend([kind.key.replace("__rand_int__", &format!("{key:012}")), value.clone()]);
                }
                let reply = client.call(&command).context("MSET")?;
                if reply.is_error() {
                    bail!("MSET at {}: {}", backend.addr(), reply.text());
                }
            }
        }
    }
    Ok(())
}

/// The program that sends `amount` requests to a port of this machine, with its arguments.
pub(crate) fn command(work: &Work, port: u16, amount: u64) -> anyhow::Result<Vec<String>> {
    let tool = program("redis-benchmark").context("redis-benchmark (redis-tools) is missing")?;
    let options = format!(
        "-h 127.0.0.1 -p {port} -c {} -P {} -n {amount} -r {KEYS} --csv",
        work.clients, work.pipeline
    );
    let mut line = vec![tool.display().to_string()];
    line.extend(options.split(' ').map(str::to_owned));
    line.extend(arguments(work.request));
    Ok(line)
}

/// Runs what [`command`] says, perhaps behind another program.
pub(crate) fn run(line: &[String]) -> anyhow::Result<Sample> {
    let (first, rest) = line.split_first().context("no command")?;
    let output = Command::new(first).args(rest).output().with_context(|| format!("cannot run {first}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || errors.contains("Error from server") {
        bail!("redis-benchmark: {}; {}", output.status, errors.trim());
    }
    sample(&text).with_context(|| format!("redis-benchmark printed {text:?} and {:?}", errors.trim()))
}

fn arguments(request: Request) -> Vec<String> {
    let value = |kind: Kind| "x".repeat(kind.bytes);
    let many = |n: usize, item: &[&str]| {
        std::iter::repeat_n(item, n).flatten().map(|s| (*s).to_owned()).collect::<Vec<_>>()
    };
    let (name, rest) = match request {
        Request::Get(kind) => ("GET", many(1, &[kind.key])),
        Request::Set(kind) => ("SET", many(1, &[kind.key, &value(kind)])),
        Request::Mget(n) => ("MGET", many(n, &[SMALL.key])),
        Request::Mset(n) => ("MSET", many(n, &[SMALL.key, &value(SMALL)])),
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
        assert_eq!(arguments(Request::Mget(3)), ["MGET", SMALL.key, SMALL.key, SMALL.key]);
        assert_eq!(arguments(Request::Mset(2)).len(), 5);
        assert_eq!(arguments(Request::Set(LARGE))[2].len(), 4096);
    }
}
