//! `cargo xtask test`: what CI checks, in the order in which failures are cheapest to find.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::setup::{self, Part};
use crate::{clients, shell, tidy};

/// Parts without which tests would be skipped; here a skip is a failure.
const PARTS: [Part; 8] =
    [Part::Redis, Part::ZooKeeper, Part::Java, Part::Tmux, Part::Python, Part::Node, Part::Npm, Part::Smtp];

/// # Errors
/// The first step that fails.
pub(crate) fn run() -> anyhow::Result<()> {
    let start = Instant::now();
    shell::step("setup", || setup::ensure(&PARTS).and_then(|()| clients::ensure()))?;
    shell::step("format", || cargo(&["fmt", "--all", "--check"]))?;
    shell::step("tidy", tidy::run)?;
    shell::step("lints", || {
        cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])
    })?;
    shell::step("docs", || {
        let mut command = shell::cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
        shell::run(command.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    shell::step("programs", || cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    let mut tally = Tally::default();
    shell::step("tests", || {
        let mut command = shell::cargo(&["test", "--workspace", "--no-fail-fast"]);
        run_counting(command.env("CODIS_TEST_REQUIRE", "all"), &mut tally)
    })?;
    println!("{} in {:.0} s", tally.summary(), start.elapsed().as_secs_f64());
    Ok(())
}

fn cargo(args: &[&str]) -> anyhow::Result<()> {
    shell::run(&mut shell::cargo(args))
}

/// Sums of the `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Tally {
    /// Adds a line of the harness; other lines count nothing.
    fn add(&mut self, line: &str) {
        let Some((_, rest)) = line.split_once("test result: ") else { return };
        let counts = rest.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split(';') {
            let Some((number, word)) = part.trim().split_once(' ') else { continue };
            let number = number.parse().unwrap_or(0);
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    fn summary(&self) -> String {
        format!("tests: {} passed, {} failed, {} ignored", self.passed, self.failed, self.ignored)
    }
}

/// Runs the tests, shows their output as it comes, and counts.
fn run_counting(command: &mut Command, tally: &mut Tally) -> anyhow::Result<()> {
    let line = shell::line_of(command);
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {line}"))?;
    let output = child.stdout.take().context("no pipe from cargo test")?;
    for text in BufReader::new(output).split(b'\n') {
        let text = text.context("cannot read what cargo test prints")?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        tally.add(&text);
    }
    let status = child.wait().with_context(|| format!("cannot wait for {line}"))?;
    if !status.success() {
        bail!("{line}: {status}; {}", tally.summary());
    }
    if tally.passed == 0 {
        bail!("{line} ran no test at all");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let mut tally = Tally::default();
        tally.add(
            "test result: ok. 6 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.08s",
        );
        tally.add(
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s",
        );
        tally.add("test story ... ok");
        assert_eq!(tally, Tally { passed: 8, failed: 3, ignored: 1 });
    }
}
