//! The developer's one door: set up, test, demonstrate, measure, keep tidy.
//!
//! What a developer or a CI machine has to know about this workspace is written here, in Rust, and not in
//! shell scripts or CI files. No command needs a prior step other than installing Rust.

#![expect(clippy::print_stdout, reason = "what this tool has to say goes to the person who called it")]

mod bench;
mod clients;
mod commands;
mod demo;
mod setup;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set up, test, demonstrate and measure the Codis toolkit.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the Debian packages and client libraries that tests, demo and benchmarks use, where they are missing.
    Setup,
    /// Everything CI checks: format, lints, docs, all tests against real servers.
    Test,
    /// Start a product, move half a group's slots under load, verify every key; takes a minute.
    Demo(demo::Args),
    /// Check the house rules: crate arrows, client crates, file sizes, paths of one machine.
    Tidy,
    /// Write the proxy's table of commands from the list in codis-resp.
    Commands(commands::Args),
    /// Measure the proxy beside a direct connection and other proxies.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup => setup::ensure(&setup::ALL).and_then(|()| clients::ensure()),
        Task::Test => test::run(),
        Task::Demo(args) => demo::run(&args),
        Task::Tidy => tidy::run(),
        Task::Commands(args) => commands::run(&args),
        Task::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
