//! `cargo xtask bench`: what the proxy costs, beside a direct connection and other proxies.
//!
//! Machines are noisy and shared, so figures of two runs say little about each other. Everything that is
//! compared is measured in the same run: each round goes through all works and all targets, in another
//! order every time, and the table shows medians. The measure that counts is the processor time that the
//! proxy's own process takes per request: it does not depend on how busy the neighbours are.

mod load;
mod memory;
mod report;
mod target;
mod usage;

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use codis_testkit::RedisServer;

use crate::setup::{self, Part};
use crate::shell;
use load::Work;
use target::Target;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One minute: fewer and shorter rounds.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// All works, longer rounds.
    #[arg(long)]
    full: bool,
    /// Only works whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write every single measurement to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit with 1 and name each row that misses its bound.
    #[arg(long)]
    check: bool,
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
    shell::step("setup", || setup::ensure(&[Part::Redis, Part::Haproxy, Part::Twemproxy]))?;
    shell::step("build", || shell::run(&mut shell::cargo(&["build", "--release", "-p", "codis-proxy"])))?;
    let proxy = shell::target_dir()?.join("release/codis-proxy");
    usage::allow_many_files();

    let backends = [RedisServer::builder().try_start()?, RedisServer::builder().try_start()?];
    load::fill(&backends)?;
    let targets = target::start_all(&proxy, &backends)?;
    let works: Vec<&Work> = load::WORKS
        .iter()
        .filter(|w| args.full || !w.only_full)
        .filter(|w| args.only.as_ref().is_none_or(|text| w.name.contains(text)))
        .collect();
    if works.is_empty() {
        let names: Vec<_> = load::WORKS.iter().map(|w| w.name).collect();
        bail!("no work is called like that; there are: {}", names.join(", "));
    }

    let rows = measure(&works, &targets, &args.effort())?;
    println!("{}", report::table(&works, &targets, &rows));
    drop(targets);
    println!("{}", report::memory_table(&memory::measure(&proxy, &backends)?));
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&rows).context("cannot write measurements as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
        println!("{} measurements in {}", rows.len(), file.display());
    }
    if args.check {
        let missed = report::missed(&rows);
        if !missed.is_empty() {
            bail!("rows beyond their bound:\n  {}", missed.join("\n  "));
        }
        println!("check: every row holds its bound");
    }
    Ok(())
}

/// Rounds over works over targets; the first, unrecorded round finds out how much work fills the time.
fn measure(works: &[&Work], targets: &[Target], effort: &Effort) -> anyhow::Result<Vec<report::Row>> {
    let mut amounts = HashMap::new();
    for work in works {
        for target in targets {
            let sample = load::run(work, target.port(), work.first_amount)
                .with_context(|| format!("{} at {}", work.name, target.name()))?;
            let requests = (sample.rps * effort.seconds) as u64;
            amounts.insert((work.name, target.name()), requests.max(work.first_amount));
        }
    }
    let mut rows = Vec::new();
    for round in 0..effort.rounds {
        shell::complain(&format!("round {} of {}", round + 1, effort.rounds));
        for work in works {
            for step in 0..targets.len() {
                let target = &targets[(step + round) % targets.len()];
                let amount = amounts.get(&(work.name, target.name())).copied().unwrap_or(work.first_amount);
                rows.push(target.measure(work, amount, round + 1)?);
            }
        }
    }
    Ok(rows)
}
