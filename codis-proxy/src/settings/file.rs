//! `codis.toml`: its values with their places, and what is wrong with a file that has others.
//!
//! The file is walked against the table of keys instead of being deserialised: the table also answers
//! what a person asks after a typing error: which keys are there, what does this one take.

use std::{path::Path, time::Duration};

use codis_core::nearest;
use toml::de::{DeTable, DeValue};

use super::{
    is_address,
    keys::{KEYS, Key, Takes},
};
use crate::{config::Secret, report::Report};

/// What a key says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Whole(u64),
    Seconds(f64),
}

/// What a file says; nothing where it says nothing.
#[derive(Debug, Default)]
pub(super) struct File {
    name: String,
    values: Vec<Placed>,
    /// Only in the file of the Go proxy.
    pub(super) password: Option<Secret>,
}

/// A value and where it stands.
#[derive(Debug)]
struct Placed {
    path: String,
    value: Value,
    line: usize,
    /// `file:line:column   text of the line`.
    place: String,
}

impl File {
    /// A file that says nothing yet.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Sets a value that stands in this line; 0 if it is what the file means without saying so.
    pub(super) fn put(&mut self, path: &str, value: Value, line: usize) {
        let place = format!("{}:{line}", self.name);
        self.values.push(Placed { path: path.to_owned(), value, line, place });
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        match &self.find(path)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self, path: &str) -> Option<bool> {
        match self.find(path)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn whole(&self, path: &str) -> Option<usize> {
        match self.find(path)?.value {
            Value::Whole(number) => usize::try_from(number).ok(),
            _ => None,
        }
    }

    pub(super) fn seconds(&self, path: &str) -> Option<Duration> {
        match self.find(path)?.value {
            Value::Seconds(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            _ => None,
        }
    }

    /// What is wrong with a value that is of the right type, but cannot be used.
    pub(super) fn wrong(&self, path: &str, why: impl std::fmt::Display) -> Report {
        let (line, place) = self.find(path).map_or((0, ""), |found| (found.line, &found.place));
        let example = KEYS.iter().find(|key| key.path() == path).map_or("", |key| key.example);
        Report::new(title(&self.name, line, &format!("wrong value for `{path}`")), place, why)
            .next(format!("write e.g. `{example}`"))
    }

    fn find(&self, path: &str) -> Option<&Placed> {
        debug_assert!(KEYS.iter().any(|key| key.path() == path), "{path} is not in the table of keys");
        self.values.iter().find(|placed| placed.path == path)
    }
}

/// Reads and checks a file's text.
///
/// # Errors
/// What is wrong with the first line that cannot be used.
pub(super) fn parse(text: &str, name: &str) -> Result<File, Report> {
    let source = Source { text, name };
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let why = error.message().replace('\n', "; ");
        source.report(at, "not TOML", why, "correct the line; docs/configuration.md describes all keys")
    })?;
    let mut file = File::named(name);
    for (key, value) in document.get_ref() {
        let at = key.span().start;
        match value.get_ref() {
            DeValue::Table(table) if is_table(key.get_ref()) => {
                for (inner, value) in table {
                    let at = inner.span().start;
                    file.values.extend(source.take(key.get_ref(), inner.get_ref(), at, value.get_ref())?);
                }
            }
            value => file.values.extend(source.take("", key.get_ref(), at, value)?),
        }
    }
    Ok(file)
}

fn is_table(name: &str) -> bool {
    !name.is_empty() && KEYS.iter().any(|key| key.table == name)
}

/// `codis.toml line 14: unknown key`, with the file's name only; its path is in the place.
fn title(file: &str, line: usize, what: &str) -> String {
    let name = Path::new(file).file_name().map_or(file.into(), |name| name.to_string_lossy());
    format!("{name} line {line}: {what}")
}

struct Source<'a> {
    text: &'a str,
    name: &'a str,
}

impl Source<'_> {
    /// The value of a key, or what is wrong with the key or the value. `None` for another program's.
    fn take(
        &self,
        table: &str,
        name: &str,
        at: usize,
        value: &DeValue<'_>,
    ) -> Result<Option<Placed>, Report> {
        let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        let Some(key) = KEYS.iter().find(|key| key.table == table && key.name == name) else {
            return Err(self.unknown(table, name, &path, at));
        };
        if key.takes == Takes::Anything {
            return Ok(None);
        }
        let Some(value) = checked(key.takes, value) else {
            let what = format!("wrong value for `{path}`");
            let why = format!("it takes {}, not {}", key.takes.describe(), shown(value));
            return Err(self.report(at, &what, why, &format!("write e.g. `{}`", key.example)));
        };
        let (line, place) = self.place(at);
        Ok(Some(Placed { path, value, line, place }))
    }

    fn unknown(&self, table: &str, name: &str, path: &str, at: usize) -> Report {
        let here: Vec<&Key> = KEYS.iter().filter(|key| key.table == table).collect();
        let names: Vec<&str> = here.iter().map(|key| key.name).collect();
        let why = if table.is_empty() {
            format!("the top of the file has: {}, and the tables [store] and [proxy]", names.join(", "))
        } else {
            format!("the table [{table}] has: {}", names.join(", "))
        };
        let next = match nearest(name, &names) {
            _ if table.is_empty() && is_table(name) => {
                format!("write `[{name}]`, and its keys on lines below it")
            }
            Some(near) => format!("write `{near}`"),
            None => match KEYS.iter().find(|key| key.name == name) {
                Some(key) if key.table.is_empty() => format!("move `{name}` to the top of the file"),
                Some(key) => format!("move `{name}` to the table [{}]", key.table),
                None => "remove the line; docs/configuration.md describes all keys".to_owned(),
            },
        };
        self.report(at, &format!("unknown key `{path}`"), why, &next)
    }

    fn report(&self, at: usize, what: &str, why: String, next: &str) -> Report {
        let (line, place) = self.place(at);
        Report::new(title(self.name, line, what), place, why).next(next)
    }

    /// The line of a byte, and `file:line:column   text of the line`.
    fn place(&self, at: usize) -> (usize, String) {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        let words = self.text.lines().nth(line - 1).unwrap_or("").trim();
        (line, format!("{}:{line}:{column}   {words}", self.name))
    }
}

/// The value, if it is what the key takes.
fn checked(takes: Takes, value: &DeValue<'_>) -> Option<Value> {
    match (takes, value) {
        (Takes::Text, DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (Takes::OneOf(words), DeValue::String(text)) if words.contains(&&**text) => {
            Some(Value::Text(text.to_string()))
        }
        (Takes::Address, DeValue::String(text)) if is_address(text) => Some(Value::Text(text.to_string())),
        (Takes::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
        (Takes::Word(words), DeValue::String(text)) => {
            words.contains(&&**text).then(|| Value::Text(text.to_string()))
        }
        (Takes::Whole(least, most), DeValue::Integer(number)) => {
            let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
            (least..=most).contains(&number).then_some(Value::Whole(number))
        }
        (Takes::Seconds(least, most), DeValue::Integer(_) | DeValue::Float(_)) => {
            let seconds: f64 = number_text(value)?.parse().ok()?;
            (least..=most).contains(&seconds).then_some(Value::Seconds(seconds))
        }
        _ => None,
    }
}

fn number_text<'a>(value: &'a DeValue<'_>) -> Option<&'a str> {
    match value {
        DeValue::Integer(number) => Some(number.as_str()),
        DeValue::Float(number) => Some(number.as_str()),
        _ => None,
    }
}

/// A value as an error message names it.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.len() <= 40 => format!("the text \"{text}\""),
        DeValue::String(_) => "a long text".to_owned(),
        DeValue::Integer(_) | DeValue::Float(_) => number_text(value).unwrap_or("a number").to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
