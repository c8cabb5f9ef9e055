//! `cargo xtask commands`: the table of commands in `codis-resp`, written from one list that people edit.
//!
//! The list says of each command what servers say (`--ask` compares that with a real one), and what the
//! proxy does with it. `cargo xtask tidy` and the tests say when the table is not the one of the list.

mod list;
mod server;
mod table;

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::shell;

const LIST: &str = "crates/codis-resp/commands.tsv";
const TABLE: &str = "crates/codis-resp/src/command/table.rs";

/// Options of `cargo xtask commands`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail if the table is not the one of the list.
    #[arg(long)]
    check: bool,
    /// Write nothing; compare the list with what the installed redis-server says.
    #[arg(long, conflicts_with = "check")]
    ask: bool,
}

/// # Errors
/// When the list makes no sense, or something differs that was to be the same.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = shell::root();
    let list = read(root)?;
    if args.ask {
        let differences = server::differences(&list)?;
        differences.iter().for_each(|difference| println!("{difference}"));
        if !differences.is_empty() {
            bail!("{LIST} differs from the server in {} places; next: edit it", differences.len());
        }
        println!("{} commands: what the server says of those that it knows is in {LIST}", list.len());
        return Ok(());
    }
    if is_current(root)? {
        println!("{} commands: {TABLE} is up to date", list.len());
        return Ok(());
    }
    if args.check {
        bail!("{TABLE} is not what {LIST} says; next: cargo xtask commands");
    }
    std::fs::write(root.join(TABLE), table::written(&list)?)
        .with_context(|| format!("cannot write {TABLE}"))?;
    println!("{} commands: {TABLE} written", list.len());
    Ok(())
}

/// True if the table is the one that the list makes.
///
/// # Errors
/// When one of them cannot be read, or the list makes no sense.
pub(crate) fn is_current(root: &Path) -> anyhow::Result<bool> {
    let table = std::fs::read_to_string(root.join(TABLE)).with_context(|| format!("cannot read {TABLE}"))?;
    Ok(table == table::written(&read(root)?)?)
}

fn read(root: &Path) -> anyhow::Result<Vec<list::Row>> {
    let text = std::fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    list::parse(&text).with_context(|| format!("in {LIST}"))
}

#[cfg(test)]
mod tests {
    use codis_testkit::need;

    use super::*;

    #[test]
    fn the_table_is_that_of_the_list() {
        assert!(is_current(shell::root()).unwrap(), "next: cargo xtask commands");
    }

    #[test]
    fn the_list_says_what_a_server_says() {
        need!("redis");
        let differences = server::differences(&read(shell::root()).unwrap()).unwrap();
        assert!(differences.is_empty(), "{differences:#?}");
    }
}
