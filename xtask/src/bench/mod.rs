//! `cargo xtask bench`: what the proxy costs, beside a direct connection and other proxies.
//!
//! Machines are noisy and shared, so figures of two runs say little about each other. Everything that is
//! compared is measured in the same run: each round goes through all works and all targets, in another
//! order every time, and the tables show medians. The measure that counts is the processor time that the
//! proxy's own process takes per request: it does not depend on how busy the neighbours are.

mod bounds;
mod calls;
mod load;
mod memory;
mod migrate;
mod report;
mod target;
mod usage;

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use codis_testkit::RedisServer;

use crate::setup::{self, Part};
use crate::shell;
use calls::Counter;
use load::Work;
use report::Results;
use target::{Peer, Target};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Two minutes: fewer and shorter rounds.
    #[arg(long, conflicts_with_all = ["full", "check"])]
    quick: bool,
    /// Longer and more rounds; twenty minutes.
    #[arg(long)]
    full: bool,
    /// Only works whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Measure another proxy, too. `sh -c COMMAND` is run in an empty folder and must `exec` it: a proxy that
    /// listens on 127.0.0.1:$PORT and hashes or spreads keys over $BACKENDS (HOST:PORT, separated by a blank);
    /// $ADMIN_PORT is free for it, too. May be given several times.
    #[arg(long = "peer", value_name = "NAME=COMMAND", value_parser = Peer::parse)]
    peers: Vec<Peer>,
    /// Write every single measurement to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 1 and name each row that misses its bound.
    #[arg(long)]
    check: bool,
}

/// What else can be measured.
#[derive(clap::Subcommand)]
enum What {
    /// Moving slots, beside a loop of plain MIGRATE.
    Migrate(migrate::Args),
}

/// How long and how often.
struct Effort {
    rounds: usize,
    seconds: f64,
}

impl Args {
    fn effort(&self) -> Effort {
        match (self.quick, self.full) {
            (true, _) => Effort { rounds: 3, seconds: 0.4 },
            (_, true) => Effort { rounds: 7, seconds: 2.0 },
            _ => Effort { rounds: 5, seconds: 1.2 },
        }
    }
}

/// # Errors
/// When a part cannot be started, a measurement fails, or `--check` finds a row beyond its bound.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(What::Migrate(args)) = &args.what {
        return migrate::run(args);
    }
    let works: Vec<&Work> = load::WORKS
        .iter()
        .filter(|work| args.only.as_ref().is_none_or(|text| work.name.contains(text)))
        .collect();
    if works.is_empty() {
        let names: Vec<_> = load::WORKS.iter().map(|w| w.name).collect();
        bail!("no work is called like that; there are: {}", names.join(", "));
    }
    shell::step("setup", || setup::ensure(&[Part::Redis, Part::Haproxy, Part::Twemproxy]))?;
    shell::step("build", || shell::run(&mut shell::cargo(&["build", "--release", "-p", "codis-proxy"])))?;
    let proxy = shell::target_dir()?.join("release/codis-proxy");
    usage::allow_many_files();

    let backends = [RedisServer::builder().try_start()?, RedisServer::builder().try_start()?];
    load::fill(&backends)?;
    // Proxies of its own for this one: what a load leaves behind is not what connections cost.
    let memory = memory::measure(&target::start_all(&proxy, &backends, &args.peers)?)?;
    let targets = target::start_all(&proxy, &backends, &args.peers)?;
    let mut results = measure(&works, &targets, &args.effort())?;
    results.memory = memory;

    println!("{}", results.table(&works, &targets));
    println!("{}", results.single_figures(&works, &targets));
    if let Some(file) = &args.json {
        std::fs::write(file, results.json()? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("every single measurement is in {}", file.display());
    }
    if args.check { check(&results) } else { Ok(()) }
}

/// Rounds over works over targets; the first, unrecorded round finds out how much work fills the time.
fn measure(works: &[&Work], targets: &[Target], effort: &Effort) -> anyhow::Result<Results> {
    let counter = Counter::find();
    if counter.is_none() {
        shell::complain("system calls are not counted: neither perf nor strace may look at processes here");
    }
    let mut amounts = HashMap::new();
    for work in works {
        for target in targets {
            let sample = target.measure(work, work.first_amount, 0)?;
            let requests = (sample.rps * effort.seconds) as u64;
            amounts.insert((work.name, target.name()), requests.max(work.first_amount));
        }
    }
    let mut results = Results::default();
    for round in 1..=effort.rounds {
        shell::complain(&format!("round {round} of {}", effort.rounds));
        for work in works {
            for target in order(targets, round) {
                let amount = amounts.get(&(work.name, target.name())).copied().unwrap_or(work.first_amount);
                results.rows.push(target.measure(work, amount, round)?);
                if let (Some(counter), Some(pid)) = (counter, target.pid())
                    && calls::WORKS.contains(&work.name)
                {
                    let amount = (amount / 2).max(work.first_amount);
                    results.calls.push(counter.measure(target, pid, work, amount, round)?);
                }
            }
        }
    }
    Ok(results)
}

/// Another order in each round, forwards and backwards in turn: what was measured just before leaves its
/// traces in the machine.
fn order(targets: &[Target], round: usize) -> Vec<&Target> {
    let mut order: Vec<_> = targets.iter().collect();
    order.rotate_left(round % targets.len());
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// # Errors
/// When a row misses its bound; the error names all of them.
fn check(results: &Results) -> anyhow::Result<()> {
    let verdict = bounds::check(results);
    println!("check: {} bounds held", verdict.held);
    verdict.open.iter().for_each(|what| println!("check: not measured in this run: {what}"));
    if !verdict.missed.is_empty() {
        bail!("rows beyond their bound:\n  {}", verdict.missed.join("\n  "));
    }
    Ok(())
}
