//! `cargo xtask bench migrate`: how fast slots move, and how long a server is held up by it, beside a loop of plain `MIGRATE` in
//! the same run.
//!
//! What is compared is measured in turns on fresh servers. A server is held up while it does not answer a `PING`; what an idle
//! server takes for it at the same time, on the same machine, is taken off.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use codis_testkit::{RedisServer, RespClient, Sandbox};
use serde::Serialize;

use crate::setup::{self, Part};
use crate::shell;

/// Keys of one `MIGRATE`.
const BATCH: usize = 100;
/// Bytes of a value.
const VALUE: usize = 64;
/// The default of `migrate run --max-stall`, milliseconds.
const BUDGET_MS: f64 = 5.0;
/// How often a server is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_millis(1);

/// Options of `cargo xtask bench migrate`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keys on the source, half of which move.
    #[arg(long, default_value_t = 400_000)]
    keys: usize,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Write every single measurement to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 1 and name each figure that misses its bound.
    #[arg(long)]
    check: bool,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
struct Row {
    target: &'static str,
    round: usize,
    keys: usize,
    /// While keys were handed over, the scans before and after left out.
    moving_keys_per_s: f64,
    /// From the command to its end.
    whole_keys_per_s: f64,
    stall_p50_ms: f64,
    stall_p99_ms: f64,
    stall_max_ms: f64,
}

const LOOP: &str = "MIGRATE x100";
const OURS: &str = "codisctl";
const DURABLE: &str = "codisctl, slaves";

/// # Errors
/// When a part cannot be started, a measurement fails, or `--check` finds a figure beyond its bound.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    shell::step("setup", || setup::ensure(&[Part::Redis]))?;
    shell::step("build", || shell::run(&mut shell::cargo(&["build", "--release", "-p", "codisctl"])))?;
    let codisctl = shell::target_dir()?.join("release/codisctl");
    let mut rows = Vec::new();
    for round in 1..=args.rounds {
        shell::complain(&format!("round {round} of {}", args.rounds));
        rows.push(bare_loop(args.keys, round)?);
        rows.push(ours(&codisctl, OURS, args.keys, 0, round)?);
        rows.push(ours(&codisctl, DURABLE, args.keys, 1, round)?);
    }
    println!("{}", table(&rows));
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&rows).context("cannot write measurements as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    let missed = missed(&rows);
    if args.check && !missed.is_empty() {
        bail!("figures beyond their bound:\n  {}", missed.join("\n  "));
    }
    missed.iter().for_each(|what| println!("beyond its bound: {what}"));
    Ok(())
}

/// A server with keys `key:0` and on.
fn filled(keys: usize) -> anyhow::Result<RedisServer> {
    let server = RedisServer::builder().config("enable-debug-command", "yes").try_start()?;
    let (count, size) = (keys.to_string(), VALUE.to_string());
    let reply = patient(server.port())?.call(&["DEBUG", "POPULATE", &count, "key", &size])?;
    if reply.is_error() {
        bail!("DEBUG POPULATE: {}", reply.text());
    }
    Ok(server)
}

fn patient(port: u16) -> anyhow::Result<RespClient> {
    RespClient::connect(port, Duration::from_secs(60)).context("cannot connect to redis-server")
}

/// Half of the keys by `MIGRATE`, one batch after the other, over one connection.
fn bare_loop(keys: usize, round: usize) -> anyhow::Result<Row> {
    let (source, destination) = (filled(keys)?, RedisServer::builder().try_start()?);
    let mut client = patient(source.port())?;
    let watch = Watch::start(&[&source, &destination])?;
    let begun = Instant::now();
    let port = destination.port().to_string();
    for first in (0..keys / 2).step_by(BATCH) {
        let mut command: Vec<String> =
            ["MIGRATE", "127.0.0.1", &port, "", "0", "10000", "KEYS"].map(str::to_owned).into();
        command.extend((first..(first + BATCH).min(keys / 2)).map(|n| format!("key:{n}")));
        let reply = client.call(&command).context("MIGRATE")?;
        if reply.is_error() {
            bail!("MIGRATE: {}", reply.text());
        }
    }
    let per_s = (keys / 2) as f64 / begun.elapsed().as_secs_f64();
    Ok(watch.end()?.row(LOOP, round, keys / 2, per_s, per_s))
}

/// Slots 0-511, about half of the keys, by `codisctl migrate run`.
fn ours(
    codisctl: &Path,
    target: &'static str,
    keys: usize,
    slaves: usize,
    round: usize,
) -> anyhow::Result<Row> {
    let masters = [filled(keys)?, RedisServer::builder().try_start()?];
    let mut following = Vec::new();
    let sandbox = Sandbox::create("bench-migrate")?;
    let store = format!("local:{}", sandbox.path().join("codis.db").display());
    let ctl = |args: &[&str]| -> anyhow::Result<String> {
        let output = Command::new(codisctl)
            .args(args)
            .args(["--store", &store, "--product", "bench", "--yes", "--timeout", "60s"])
            .output()
            .context("cannot run codisctl")?;
        if !output.status.success() {
            bail!("codisctl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ctl(&["product", "init"])?;
    for (group, master) in ["1", "2"].iter().zip(&masters) {
        ctl(&["group", "add", group, "--master", &master.addr()])?;
        for _ in 0..slaves {
            let slave = RedisServer::builder().try_start()?;
            ctl(&["server", "add", group, &slave.addr()])?;
            in_step(&slave)?;
            following.push(slave);
        }
    }
    ctl(&["slot", "assign", "0-1023", "1"])?;
    ctl(&["migrate", "start", "--slots", "0-511", "--to", "2"])?;
    let watch = Watch::start(&[&masters[0], &masters[1]])?;
    let begun = Instant::now();
    let report = ctl(&["migrate", "run", "--output", "json"])?;
    let took = begun.elapsed();
    let stalls = watch.end()?;
    let report: serde_json::Value = serde_json::from_str(&report).context("the report of migrate run")?;
    let number = |field: &str| report[field].as_f64().with_context(|| format!("{field} in {report}"));
    let (moved, moving) = (number("keys_moved")?, number("keys_per_s")?);
    Ok(stalls.row(target, round, moved as usize, moving, moved / took.as_secs_f64()))
}

/// Waits until a slave has its master's keys.
fn in_step(slave: &RedisServer) -> anyhow::Result<()> {
    let mut client = patient(slave.port())?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while !client.call(&["INFO", "replication"])?.text().contains("master_link_status:up") {
        if Instant::now() > deadline {
            bail!("{} does not follow its master within a minute", slave.addr());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Pings servers, and an idle one, from threads of its own.
struct Watch {
    stop: Arc<AtomicBool>,
    watched: Vec<JoinHandle<Vec<f64>>>,
    control: JoinHandle<Vec<f64>>,
    _idle: RedisServer,
}

/// What pings took, milliseconds, ascending.
struct Stalls {
    watched: Vec<f64>,
    control: Vec<f64>,
}

impl Watch {
    fn start(servers: &[&RedisServer]) -> anyhow::Result<Self> {
        let idle = RedisServer::builder().try_start()?;
        let stop = Arc::new(AtomicBool::new(false));
        let ping = |server: &RedisServer| -> anyhow::Result<JoinHandle<Vec<f64>>> {
            let (mut client, stop) = (patient(server.port())?, stop.clone());
            Ok(std::thread::spawn(move || pings(&mut client, &stop)))
        };
        let watched = servers.iter().map(|server| ping(server)).collect::<anyhow::Result<_>>()?;
        Ok(Self { watched, control: ping(&idle)?, stop, _idle: idle })
    }

    fn end(self) -> anyhow::Result<Stalls> {
        self.stop.store(true, Ordering::Relaxed);
        let join = |handle: JoinHandle<Vec<f64>>| {
            handle.join().map_err(|_| anyhow::anyhow!("a thread that pings a server has panicked"))
        };
        let mut watched = Vec::new();
        for handle in self.watched {
            watched.extend(join(handle)?);
        }
        let mut control = join(self.control)?;
        watched.sort_by(f64::total_cmp);
        control.sort_by(f64::total_cmp);
        Ok(Stalls { watched, control })
    }
}

fn pings(client: &mut RespClient, stop: &AtomicBool) -> Vec<f64> {
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        if client.call(&["PING"]).is_err() {
            break;
        }
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PING_EVERY);
    }
    took
}

impl Stalls {
    fn row(&self, target: &'static str, round: usize, keys: usize, moving: f64, whole: f64) -> Row {
        let beyond = |share: f64| (quantile(&self.watched, share) - quantile(&self.control, share)).max(0.0);
        Row {
            target,
            round,
            keys,
            moving_keys_per_s: moving,
            whole_keys_per_s: whole,
            stall_p50_ms: beyond(0.5),
            stall_p99_ms: beyond(0.99),
            stall_max_ms: beyond(1.0),
        }
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(0.0)
}

fn median(rows: &[Row], target: &str, value: fn(&Row) -> f64) -> f64 {
    let mut values: Vec<f64> = rows.iter().filter(|row| row.target == target).map(value).collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Figures that miss their bound: at least so much of the loop's rate, at most so much of the stall budget.
fn missed(rows: &[Row]) -> Vec<String> {
    let bare = median(rows, LOOP, |row| row.moving_keys_per_s);
    let mut missed = Vec::new();
    for (target, what, value, least) in [
        (OURS, "moving", median(rows, OURS, |row| row.moving_keys_per_s), 0.9),
        (OURS, "end to end", median(rows, OURS, |row| row.whole_keys_per_s), 0.6),
        (DURABLE, "moving", median(rows, DURABLE, |row| row.moving_keys_per_s), 0.4),
    ] {
        let ratio = value / bare;
        if ratio < least {
            missed.push(format!(
                "{target}, {what}: {value:.0} keys/s, {ratio:.2}x the loop; at least {least}x"
            ));
        }
    }
    for target in [OURS, DURABLE] {
        let p99 = median(rows, target, |row| row.stall_p99_ms);
        let max = median(rows, target, |row| row.stall_max_ms);
        if p99 > BUDGET_MS || max > 4.0 * BUDGET_MS {
            let bound = format!("at most {BUDGET_MS} and {} ms", 4.0 * BUDGET_MS);
            missed.push(format!("{target}: stall p99 {p99:.1}, max {max:.1} ms; {bound}"));
        }
    }
    missed
}

fn table(rows: &[Row]) -> String {
    let bare = median(rows, LOOP, |row| row.moving_keys_per_s);
    let mut text = String::from(
        "target             moving keys/s     x  end to end keys/s     x  stall p50 ms  p99 ms  max ms\n",
    );
    for target in [LOOP, OURS, DURABLE] {
        let of = |value| median(rows, target, value);
        let (moving, whole) = (of(|row| row.moving_keys_per_s), of(|row| row.whole_keys_per_s));
        text.push_str(&format!(
            "{target:<17}{moving:>15.0}{:>6.2}{whole:>19.0}{:>6.2}{:>14.2}{:>8.2}{:>8.2}\n",
            moving / bare,
            whole / bare,
            of(|row| row.stall_p50_ms),
            of(|row| row.stall_p99_ms),
            of(|row| row.stall_max_ms)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(target: &'static str, moving: f64, whole: f64, p99: f64) -> Row {
        let stalls = Stalls { watched: vec![p99; 3], control: vec![0.0; 3] };
        stalls.row(target, 1, 1, moving, whole)
    }

    #[test]
    fn what_misses_its_bound_is_named_with_its_figures() {
        let good = [row(LOOP, 100.0, 100.0, 50.0), row(OURS, 90.0, 60.0, 4.0), row(DURABLE, 40.0, 10.0, 4.0)];
        assert_eq!(missed(&good), Vec::<String>::new());
        let slow = [row(LOOP, 100.0, 100.0, 0.0), row(OURS, 80.0, 60.0, 6.0), row(DURABLE, 40.0, 10.0, 4.0)];
        assert_eq!(
            missed(&slow),
            [
                "codisctl, moving: 80 keys/s, 0.80x the loop; at least 0.9x",
                "codisctl: stall p99 6.0, max 6.0 ms; at most 5 and 20 ms"
            ]
        );
    }

    #[test]
    fn what_an_idle_server_takes_is_taken_off() {
        let stalls = Stalls { watched: vec![1.0, 2.0, 9.0], control: vec![0.5, 0.5, 4.0] };
        let row = stalls.row(OURS, 1, 1, 1.0, 1.0);
        assert_eq!((row.stall_p50_ms, row.stall_max_ms), (1.5, 5.0));
    }
}
