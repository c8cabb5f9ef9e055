//! Command line for Codis products.

mod cli;
mod commands;
mod config;
mod error;
#[cfg(test)]
mod reference;
mod render;
mod session;
mod signal;
mod ui;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, error::ErrorKind};
use codis_ops::{Failure, FailureKind};
use tracing::level_filters::LevelFilter;

use crate::{cli::Cli, config::Settings, error::Done, session::Session, ui::Ui};

fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, matches))
    });
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return ExitCode::from(not_a_command(&error)),
    };
    log(cli.global.verbose);
    match run(&cli, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => ExitCode::from(stop.report()),
    }
}

fn run(cli: &Cli, matches: &ArgMatches) -> Done {
    let settings = Settings::new(&cli.global, matches)?;
    let ui = Ui::new(settings.output);
    for warning in &settings.warnings {
        ui.say(&format!("warning   {warning}"));
    }
    let session = Session { settings, ui, line: line() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        let why = config::error_text(&error);
        Failure::new(FailureKind::Failed, "cannot start", "the runtime", why)
    })?;
    let done = runtime.block_on(commands::run(&session, &cli.noun));
    // A read of standard input cannot be called off; nobody waits for it.
    runtime.shutdown_background();
    done
}

/// Help and version are results; everything else that clap says is a mistake.
fn not_a_command(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is fine here as everywhere.
            let _ = write!(io::stdout(), "{}", error.render());
            0
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(io::stderr(), "{}", error.render());
            FailureKind::Usage.exit_status()
        }
        _ => {
            let (command, below) = recognised();
            error::Stop::from(error::usage(error, &command, &below, &line())).report()
        }
    }
}

/// The program and the verb that the arguments name, as far as they name one, and what is below it.
fn recognised() -> (String, Vec<String>) {
    let mut command = Cli::command();
    let mut names = vec!["codisctl".to_owned()];
    for argument in std::env::args_os().skip(1) {
        if let Some(inner) = command.find_subcommand(&argument) {
            names.push(inner.get_name().to_owned());
            command = inner.clone();
        }
    }
    let below = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    (names.join(" "), below)
}

/// The command as it was typed; arguments with blanks in quotes. No argument is a secret.
fn line() -> String {
    let quoted = |text: String| {
        let fine =
            !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "'\"$\\{}*;&|<>".contains(c));
        if fine { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
    };
    let arguments = std::env::args_os().skip(1).map(|text| quoted(text.to_string_lossy().into_owned()));
    std::iter::once("codisctl".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::ERROR,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}
