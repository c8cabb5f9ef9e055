//! The reference `docs/codisctl.md`, made from the same help that the program prints, and checks
//! on that help.

use std::{fmt::Write as _, fs, path::PathBuf};

use clap::{Command, CommandFactory as _, Parser as _};

use crate::cli::Cli;

/// Set this variable to write the reference instead of comparing it.
const UPDATE: &str = "CODIS_UPDATE_DOCS";

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/codisctl.md")
}

/// Every command with its path, e.g. `codisctl slot map`, parents before children.
fn walk(command: &Command, path: &str, all: &mut Vec<(String, Command)>) {
    all.push((path.to_owned(), command.clone()));
    for inner in command.get_subcommands() {
        walk(inner, &format!("{path} {}", inner.get_name()), all);
    }
}

fn commands() -> Vec<(String, Command)> {
    let mut root = Cli::command().term_width(100);
    root.build();
    let mut all = Vec::new();
    walk(&root, "codisctl", &mut all);
    all
}

/// The help without the options that every verb has; those are described once, at the top.
fn own_help(command: &Command) -> String {
    let text = command.clone().render_long_help().to_string();
    let mut kept = String::new();
    let mut common = false;
    for line in text.lines() {
        if line.starts_with("Options of every verb:") {
            common = true;
        } else if !line.is_empty() && !line.starts_with(' ') {
            common = false;
        }
        if !common {
            kept.push_str(line.trim_end());
            kept.push('\n');
        }
    }
    while kept.contains("\n\n\n") {
        kept = kept.replace("\n\n\n", "\n\n");
    }
    kept.trim_end().to_owned()
}

fn reference() -> String {
    let mut text = String::from(
        "# codisctl\n\n\
         Made from the program's own help; do not edit. To write it anew: \
         `CODIS_UPDATE_DOCS=1 cargo test -p codisctl reference`.\n",
    );
    for (path, command) in commands() {
        let help = if path == "codisctl" {
            command.clone().render_long_help().to_string().trim_end().to_owned()
        } else {
            own_help(&command)
        };
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let _ = write!(text, "\n## {path}\n\n```text\n{}\n```\n", help.join("\n"));
    }
    text
}

#[test]
fn the_reference_is_what_the_program_says() {
    let now = reference();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(file(), &now).unwrap();
    }
    let kept = fs::read_to_string(file()).unwrap_or_default();
    assert!(kept == now, "docs/codisctl.md is old; next: {UPDATE}=1 cargo test -p codisctl reference");
}

#[test]
fn every_verb_has_examples_that_can_be_typed_and_exit_statuses() {
    for (path, command) in commands() {
        if command.has_subcommands() && path != "codisctl" {
            continue;
        }
        let help = command.clone().render_help().to_string();
        let (_, after) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{path} has no examples"));
        let (examples, statuses) =
            after.split_once("\n\nExit status: ").unwrap_or_else(|| panic!("{path}: exit status"));
        assert!(statuses.starts_with("0 "), "{path}: success comes first");
        for example in examples.lines().map(str::trim) {
            let typed = example.split(['|', '>']).next().unwrap_or_default().replace('\'', "");
            assert!(typed.starts_with("codisctl "), "{path}: {example}");
            let parsed = Cli::try_parse_from(typed.split_whitespace());
            assert!(parsed.is_ok(), "{path}: `{example}` cannot be typed: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn the_tree_of_commands_is_sound() {
    Cli::command().debug_assert();
}
