//! The command line: options that every verb takes, and the nouns.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, ValueEnum};
use codis_core::ProductName;
use codis_ops::StoreAddr;

use crate::{commands::Noun, config::duration};

/// Look after Codis products: groups, slots, proxies, and moving slots between groups.
#[derive(Debug, Parser)]
#[command(
    name = "codisctl",
    version,
    disable_help_subcommand = true,
    propagate_version = false,
    max_term_width = 100,
    after_help = "\
Settings come from flags, then the environment, then codis.toml. Results go to standard output,
everything else to standard error.

Examples:
  codisctl playground
  codisctl --store zk://10.0.7.11:2181 --product feed status
  codisctl migrate start --slots 0-63 --to 2 --dry-run

Exit status: 0 done · 1 failed · 2 usage or configuration · 3 the check found problems ·
4 refused as unsafe · 5 store or server unreachable · 130 interrupted"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// Options that every verb takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every verb")]
pub(crate) struct Global {
    /// Settings file, or the config.ini of Go programs [codis.toml of this directory, if there is one]
    #[arg(long, global = true, value_name = "FILE", env = "CODIS_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Product to work on
    #[arg(long, global = true, value_name = "NAME", env = "CODIS_PRODUCT", hide_env_values = true)]
    pub(crate) product: Option<ProductName>,
    /// Where the state is: zk://HOST:PORT,...[/CHROOT] or local:PATH
    #[arg(long, global = true, value_name = "ADDRESS", env = "CODIS_STORE", hide_env_values = true)]
    pub(crate) store: Option<StoreAddr>,
    /// How results are printed: table (the default), json or plain
    #[arg(
        long,
        short,
        global = true,
        value_name = "FORM",
        env = "CODIS_OUTPUT",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub(crate) output: Option<Output>,
    /// Longest wait for the store or a server: 500ms, 10s (the default), 2m
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        env = "CODIS_TIMEOUT",
        hide_env_values = true,
        value_parser = duration
    )]
    pub(crate) timeout: Option<Duration>,
    /// Go on without asking
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
    /// Show the plan and write nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Log to standard error what is done; -vv says more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// One JSON value with the field `v`, the version of its shape.
    Json,
    /// Tab-separated, without headers.
    Plain,
}

impl Output {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Plain => "plain",
        }
    }
}
