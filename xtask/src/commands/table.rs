//! The table as Rust.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::ensure;

use super::list::{FLAGS, Keys, Row};

const BEGIN: &str = "\
//! The command table. Written by `cargo xtask commands` from `commands.tsv`: what redis-server 7.0 reports by
//! `COMMAND`, with the commands that newer servers have added. Tests compare it with a real server.

use super::{
    Class, Command, Fan,
    Keys::{self, ";

const ROW: &str = "
const fn c(name: &'static str, arity: i8, flags: u8, class: Class, keys: &'static [Keys]) -> Command {
    Command { name, arity, flags, class, keys }
}

/// All commands, ascending by name. A subcommand that is a command of its own stands after its container.
pub static COMMANDS: &[Command] = &[
";

/// What the argument of a class is.
const ARGUMENTS: &[(&str, &str)] =
    &[("Fan", "Fan"), ("Session", "Session"), ("Subscribe", "TopicKind"), ("Unsubscribe", "TopicKind")];

/// The whole file, formatted as rustfmt does it.
///
/// # Errors
/// When a class has an argument that it cannot have.
pub(super) fn written(rows: &[Row]) -> anyhow::Result<String> {
    let names = names(rows);
    let kinds = ["After", "Count", "Range", "SortStore", "Streams"];
    let used: Vec<&str> = kinds.into_iter().filter(|kind| rows.iter().any(|row| row.uses(kind))).collect();
    let mut out = format!("{BEGIN}{}}},\n    Session, TopicKind,\n    flag::{{", used.join(", "));
    let mut flags: Vec<&str> = FLAGS
        .iter()
        .filter(|(flag, _)| rows.iter().any(|row| row.flags.iter().any(|f| f == flag)))
        .map(|(_, name)| *name)
        .collect();
    flags.sort_unstable();
    let _ = writeln!(out, "{}}},\n}};\n", flags.join(", "));
    for (rules, name) in &names {
        let rules: Vec<String> = rules.iter().map(rust).collect();
        let line = format!("const {name}: &[Keys] = &[{}];", rules.join(", "));
        if line.len() <= 110 {
            let _ = writeln!(out, "{line}");
        } else {
            let _ = writeln!(out, "const {name}: &[Keys] = &[");
            rules.iter().for_each(|rule| {
                let _ = writeln!(out, "    {rule},");
            });
            let _ = writeln!(out, "];");
        }
    }
    out.push_str(ROW);
    for row in rows {
        let flags: Vec<&str> = FLAGS
            .iter()
            .filter(|(flag, _)| row.flags.iter().any(|f| f == flag))
            .map(|(_, name)| *name)
            .collect();
        let flags = if flags.is_empty() { "0".to_owned() } else { flags.join(" | ") };
        let keys = names.iter().find(|(rules, _)| *rules == row.keys).map_or("NONE", |(_, name)| name);
        let _ = writeln!(out, "    c(\"{}\", {}, {flags}, {}, {keys}),", row.name, row.arity, class(row)?);
    }
    out.push_str("];\n");
    Ok(out)
}

impl Row {
    fn uses(&self, kind: &str) -> bool {
        self.keys.iter().any(|rule| rust(rule).starts_with(kind))
    }
}

fn class(row: &Row) -> anyhow::Result<String> {
    let (class, argument) = &row.class;
    let known = ARGUMENTS.iter().find(|(name, _)| name == class);
    ensure!(known.is_some() == argument.is_some(), "{}: class {:?}", row.name, row.class);
    Ok(match (known, argument) {
        (Some((_, kind)), Some(argument)) => format!("Class::{class}({kind}::{argument})"),
        _ => format!("Class::{class}"),
    })
}

/// A name for each list of rules that some command has, in the order of the names.
fn names(rows: &[Row]) -> Vec<(Vec<Keys>, String)> {
    let mut names: BTreeMap<String, Vec<Keys>> = BTreeMap::new();
    for row in rows {
        names.insert(name_of(&row.keys), row.keys.clone());
    }
    names.into_iter().map(|(name, keys)| (keys, name)).collect()
}

/// What a list of rules is called: readable, and another one for other rules.
fn name_of(keys: &[Keys]) -> String {
    if keys.is_empty() {
        return "NONE".to_owned();
    }
    let one = |rule: &Keys| match rule {
        Keys::Range { first, last: -1, step: 1 } => format!("FROM_{first}"),
        Keys::Range { first, last: -1, step } => format!("FROM_{first}_STEP_{step}"),
        Keys::Range { first, last, step: 1 } if first == last => format!("ARG_{first}"),
        Keys::Range { first, last, step } => {
            let last = if *last < 0 { format!("LAST_BUT_{}", -last - 1) } else { last.to_string() };
            let step = if *step == 1 { String::new() } else { format!("_STEP_{step}") };
            format!("FROM_{first}_TO_{last}{step}")
        }
        Keys::Count { at, step: 1 } => format!("COUNT_{at}"),
        Keys::Count { at, step } => format!("COUNT_{at}_STEP_{step}"),
        Keys::After { word, from } => format!("{word}_{from}"),
        Keys::Streams { from } => format!("STREAMS_{from}"),
        Keys::SortStore => "SORT_STORE".to_owned(),
    };
    keys.iter().map(one).collect::<Vec<_>>().join("_AND_")
}

fn rust(rule: &Keys) -> String {
    match rule {
        Keys::Range { first, last, step } => {
            format!("Range {{ first: {first}, last: {last}, step: {step} }}")
        }
        Keys::Count { at, step } => format!("Count {{ at: {at}, step: {step} }}"),
        Keys::After { word, from } => format!("After {{ word: \"{word}\", from: {from} }}"),
        Keys::Streams { from } => format!("Streams {{ from: {from} }}"),
        Keys::SortStore => "SortStore".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::list::parse;

    #[test]
    fn rows_are_written_as_calls() {
        let rows = parse("DEL\t-2\twrite\t1..\tSum\nKEYS\t2\treadonly\t-\tFan(Keys)\n").unwrap();
        let text = written(&rows).unwrap();
        assert!(text.contains("const FROM_1: &[Keys] = &[Range { first: 1, last: -1, step: 1 }];"));
        assert!(text.contains("    c(\"DEL\", -2, WRITE, Class::Sum, FROM_1),\n"));
        assert!(text.contains("    c(\"KEYS\", 2, READ, Class::Fan(Fan::Keys), NONE),\n"));
        assert!(text.contains("Keys::{self, Range},"));
        for wrong in ["X\t1\t-\t-\tFan", "X\t1\t-\t-\tSlot(Keys)"] {
            assert!(written(&parse(wrong).unwrap()).is_err());
        }
    }
}
