//! `codis.toml`: which keys there are, and what is wrong with a file that has others.
//!
//! The file is walked against one table of keys instead of being deserialised, because the table
//! also answers the questions a person has after a typing error: which keys are there, what does
//! this one take, what should the line say.

use std::{fs, path::Path};

use codis_core::nearest;
use toml::de::{DeTable, DeValue};

use super::keys::{ANY, KEYS, Takes, duration, is_table, size, tables_in};
use crate::{Failure, FailureKind, Secret};

/// Tables of other programs, which check them themselves.
const OTHERS: [&str; 1] = ["proxy"];

/// What a file says; `None` where it says nothing.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct File {
    name: String,
    values: Vec<Value>,
    /// One that stands in the file itself, and its line.
    password: Option<(Secret, usize)>,
    /// The same for the mail server.
    mail_password: Option<(Secret, usize)>,
    warnings: Vec<String>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    path: String,
    text: String,
    line: usize,
    place: String,
}

impl File {
    /// The value of `table.name`, or of `name` at the top.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.value(path).map(|value| value.text.as_str())
    }

    /// The names and values in a table that takes any names.
    pub fn below<'a>(&'a self, table: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let name = move |path: &'a str| path.strip_prefix(table)?.strip_prefix('.');
        self.values.iter().filter_map(move |value| Some((name(&value.path)?, value.text.as_str())))
    }

    /// The file's path; empty if none was read.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a value stands: file and line.
    pub fn origin(&self, path: &str) -> Option<String> {
        Some(self.line_name(self.value(path)?.line))
    }

    /// A password that stands in the file itself, and where.
    pub fn password(&self) -> Option<(&Secret, String)> {
        self.password.as_ref().map(|(secret, line)| (secret, self.line_name(*line)))
    }

    /// What a person should know of a file that can be used.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn line_name(&self, line: usize) -> String {
        match line {
            0 => format!("{}, which does not say", place_name(&self.name)),
            line => format!("{} line {line}", place_name(&self.name)),
        }
    }

    /// A file that says nothing yet.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Sets a value that stands in this line; 0 if it is what the file means without saying so.
    pub(super) fn put(&mut self, path: &str, text: String, line: usize) {
        self.values.push(Value { path: path.to_owned(), text, line, place: self.name.clone() });
    }

    pub(super) fn put_password(&mut self, password: Secret, line: usize) {
        self.password = Some((password, line));
    }

    /// The password of the mail server that stands in the file itself.
    pub fn mail_password(&self) -> Option<&Secret> {
        self.mail_password.as_ref().map(|(secret, _)| secret)
    }

    pub(super) fn put_mail_password(&mut self, password: Secret, line: usize) {
        self.mail_password = Some((password, line));
    }

    /// Takes a value out.
    pub(super) fn forget(&mut self, path: &str) {
        self.values.retain(|value| value.path != path);
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn value(&self, path: &str) -> Option<&Value> {
        self.values.iter().find(|value| value.path == path)
    }

    /// What is wrong with a value that is text, as its key wants, but not the right one.
    pub(crate) fn wrong(&self, path: &str, why: impl std::fmt::Display) -> Failure {
        let (line, place) = self.value(path).map_or((0, ""), |value| (value.line, &value.place));
        let example = KEYS.iter().find(|key| key.path() == path).map_or("", |key| key.example);
        let what = title(&self.name, line, &format!("wrong value for `{path}`"));
        Failure::new(FailureKind::Usage, what, place, why).next(format!("write e.g. `{example}`"))
    }
}

/// `codis.toml line 14: unknown key`, with the file's name only; its path is in the place.
fn title(file: &str, line: usize, what: &str) -> String {
    format!("{} line {line}: {what}", place_name(file))
}

/// A file's name without the path to it.
pub(super) fn place_name(file: &str) -> String {
    Path::new(file).file_name().map_or(file.into(), |name| name.to_string_lossy()).into_owned()
}

/// Reads and checks a file.
pub(super) fn read(path: &Path) -> Result<File, Failure> {
    parse(&text_of(path)?, &path.display().to_string())
}

/// The text of a settings file.
pub(super) fn text_of(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(FailureKind::Usage, "cannot read the configuration", path.display(), error_text(&error))
            .next("codisctl --config FILE, or no --config to do without")
    })
}

/// The words of an input/output error without its number.
pub fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn parse(text: &str, name: &str) -> Result<File, Failure> {
    let source = Source { text, name };
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let why = error.message().replace('\n', "; ");
        source.failure(
            at,
            "not TOML",
            why,
            "correct the line; keys and values are described in docs/configuration.md",
        )
    })?;
    let mut file = File::named(name);
    for (key, value) in document.get_ref() {
        match value.get_ref() {
            DeValue::Table(_) if OTHERS.contains(&key.get_ref().as_ref()) => {}
            value => source.walk(&mut file, "", key.get_ref(), key.span().start, value)?,
        }
    }
    Ok(file)
}

struct Source<'a> {
    text: &'a str,
    name: &'a str,
}

impl Source<'_> {
    /// Takes a key, or all keys of a table.
    fn walk(
        &self,
        file: &mut File,
        table: &str,
        name: &str,
        at: usize,
        value: &DeValue<'_>,
    ) -> Result<(), Failure> {
        let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        let DeValue::Table(inner) = value else {
            file.values.push(self.take(table, name, at, value)?);
            return Ok(());
        };
        if !is_table(&path) {
            return Err(self.unknown(table, name, &path, at));
        }
        inner.iter().try_for_each(|(key, value)| {
            self.walk(file, &path, key.get_ref(), key.span().start, value.get_ref())
        })
    }

    /// The value of a key, or what is wrong with the key or the value.
    fn take(&self, table: &str, name: &str, at: usize, value: &DeValue<'_>) -> Result<Value, Failure> {
        let path = if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") };
        let fits = |key: &&super::Key| key.table == table && (key.name == name || key.name == ANY);
        let Some(key) = KEYS.iter().find(fits) else {
            return Err(self.unknown(table, name, &path, at));
        };
        let wrong = |why: String| {
            let what = format!("wrong value for `{path}`");
            self.failure(at, &what, why, &format!("write `{}`", key.example))
        };
        let refused = |found: String| Err(wrong(format!("it takes {}, not {found}", key.takes.describe())));
        let text = match (key.takes, value) {
            (Takes::Number(least, most), DeValue::Integer(number)) => {
                match u64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) if (least..=most).contains(&number) => number.to_string(),
                    _ => return refused(format!("`{}`", number.as_str())),
                }
            }
            (Takes::Flag, DeValue::Boolean(flag)) => flag.to_string(),
            (Takes::Number(..) | Takes::Flag, _) => return refused(type_name(value).to_owned()),
            (takes, DeValue::String(text)) => {
                let fits = match takes {
                    Takes::OneOf(words) => words.contains(&text.as_ref()),
                    Takes::Duration => duration(text).is_ok(),
                    Takes::Size => size(text).is_some(),
                    _ => true,
                };
                if !fits {
                    return refused(format!("`{text}`"));
                }
                text.to_string()
            }
            _ => return refused(type_name(value).to_owned()),
        };
        let (line, place) = self.place(at);
        Ok(Value { path, text, line, place })
    }

    fn unknown(&self, table: &str, name: &str, path: &str, at: usize) -> Failure {
        let here = KEYS.iter().filter(|key| key.table == table);
        let names: Vec<&str> = here.map(|key| key.name).collect();
        let place =
            if table.is_empty() { "the top of the file".to_owned() } else { format!("the table [{table}]") };
        let tables: Vec<String> = tables_in(table).iter().map(|name| format!("[{name}]")).collect();
        let mut why = format!("{place} has: {}", names.join(", "));
        match &tables[..] {
            [] => {}
            [one] => why.push_str(&format!(", and the table {one}")),
            all => why.push_str(&format!(", and the tables {}", all.join(", "))),
        }
        let next = match nearest(name, &names) {
            _ if is_table(path) => {
                let example = KEYS.iter().find(|key| key.table == path).map_or("", |key| key.example);
                format!("write `[{path}]`, and `{example}` on a line below it")
            }
            Some(near) => format!("write `{near}`"),
            None => "remove the line; all keys are described in docs/configuration.md".to_owned(),
        };
        self.failure(at, &format!("unknown key `{path}`"), why, &next)
    }

    fn failure(&self, at: usize, what: &str, why: String, next: &str) -> Failure {
        let (line, place) = self.place(at);
        Failure::new(FailureKind::Usage, title(self.name, line, what), place, why).next(next)
    }

    /// The line of a byte, and `file:line:column   text of the line`.
    fn place(&self, at: usize) -> (usize, String) {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1;
        let words = self.text.lines().nth(line - 1).unwrap_or("").trim();
        (line, format!("{}:{line}:{column}   {words}", self.name))
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(text: &str) -> String {
        let failure = parse(text, "/etc/codis.toml").unwrap_err();
        format!("{}\n{}\n{}\n{}", failure.what, failure.place, failure.why, failure.next)
    }

    #[test]
    fn a_good_file_is_taken_as_it_is() {
        let file = parse("product = \"feed\"\n[store]\naddress = \"local:/tmp/x\"\n", "codis.toml").unwrap();
        assert_eq!(file.get("product"), Some("feed"));
        assert_eq!(file.get("store.address"), Some("local:/tmp/x"));
        assert_eq!(file.get("timeout"), None);
    }

    #[test]
    fn the_table_of_another_program_is_left_to_it() {
        let file = parse("product = \"feed\"\n[proxy]\nworkers = 2\n", "codis.toml").unwrap();
        assert_eq!(file.get("product"), Some("feed"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_right_one() {
        insta::assert_snapshot!(refuse("product = \"feed\"\n\n[store]\n  adress = \"zk://10.0.7.11:2181\"\n"), @"
        codis.toml line 4: unknown key `store.adress`
        /etc/codis.toml:4:3   adress = \"zk://10.0.7.11:2181\"
        the table [store] has: address
        write `address`
        ");
    }

    #[test]
    fn an_unknown_table_says_which_there_are() {
        insta::assert_snapshot!(refuse("[porxy]\nlisten = \"x\"\n"), @"
        codis.toml line 1: unknown key `porxy`
        /etc/codis.toml:1:2   [porxy]
        the top of the file has: product, output, timeout, password_file, and the tables [store], [agent], [ha], [alert], [duty]
        remove the line; all keys are described in docs/configuration.md
        ");
    }

    #[test]
    fn a_wrong_type_says_what_to_write() {
        insta::assert_snapshot!(refuse("timeout = 10\n"), @r#"
        codis.toml line 1: wrong value for `timeout`
        /etc/codis.toml:1:1   timeout = 10
        it takes a duration in double quotes: a number with ms, s, m, h or d, not a number
        write `timeout = "10s"`
        "#);
        insta::assert_snapshot!(refuse("output = \"yaml\"\n"), @r#"
        codis.toml line 1: wrong value for `output`
        /etc/codis.toml:1:1   output = "yaml"
        it takes one of table, json, plain, in double quotes, not `yaml`
        write `output = "table"`
        "#);
        insta::assert_snapshot!(refuse("store = \"zk://10.0.7.11:2181\"\n"), @r#"
        codis.toml line 1: unknown key `store`
        /etc/codis.toml:1:1   store = "zk://10.0.7.11:2181"
        the top of the file has: product, output, timeout, password_file, and the tables [store], [agent], [ha], [alert], [duty]
        write `[store]`, and `address = "zk://10.0.7.11:2181,10.0.7.12:2181"` on a line below it
        "#);
    }

    #[test]
    fn tables_stand_in_tables() {
        let text = "[alert]\nlang = \"zh\"\n[alert.mail]\nto = \"li@example.com\"\n";
        let file = parse(text, "codis.toml").unwrap();
        assert_eq!((file.get("alert.lang"), file.get("alert.mail.to")), (Some("zh"), Some("li@example.com")));
        assert_eq!(file.origin("alert.mail.to").as_deref(), Some("codis.toml line 4"));
        insta::assert_snapshot!(refuse("[alert.mail]\nsmtp = \"x\"\n"), @"
        codis.toml line 2: unknown key `alert.mail.smtp`
        /etc/codis.toml:2:1   smtp = \"x\"
        the table [alert.mail] has: server, security, from, to, user, password_file, ca_file, timeout
        remove the line; all keys are described in docs/configuration.md
        ");
        insta::assert_snapshot!(refuse("[alert]\nmail = \"x\"\n"), @r#"
        codis.toml line 2: unknown key `alert.mail`
        /etc/codis.toml:2:1   mail = "x"
        the table [alert] has: lang, send_interval, recover_after, texts, and the tables [alert.mail], [alert.webhook]
        write `[alert.mail]`, and `server = "smtp.example.com:587"` on a line below it
        "#);
        insta::assert_snapshot!(refuse("[alert.mial]\nto = \"x\"\n"), @"
        codis.toml line 1: unknown key `alert.mial`
        /etc/codis.toml:1:8   [alert.mial]
        the table [alert] has: lang, send_interval, recover_after, texts, and the tables [alert.mail], [alert.webhook]
        remove the line; all keys are described in docs/configuration.md
        ");
    }

    #[test]
    fn text_that_is_not_toml_is_shown_with_its_line() {
        insta::assert_snapshot!(refuse("product = \"feed\"\nproduct\n"), @"
        codis.toml line 2: not TOML
        /etc/codis.toml:2:8   product
        key with no value, expected `=`
        correct the line; keys and values are described in docs/configuration.md
        ");
    }

    #[test]
    fn every_example_is_what_its_key_takes() {
        for key in KEYS {
            let table = if key.table.is_empty() { String::new() } else { format!("[{}]\n", key.table) };
            let path = key.path();
            let file = parse(&format!("{table}{}\n", key.example), "codis.toml").unwrap();
            assert!(
                file.get(&path).is_some() || key.name == ANY && file.below(key.table).count() == 1,
                "{path}"
            );
        }
    }

    #[test]
    fn every_key_is_described_for_people() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let page = fs::read_to_string(page).unwrap();
        for key in KEYS {
            assert!(page.contains(&format!("| `{}` |", key.path())), "{}", key.path());
            assert!(page.contains(key.example), "{}", key.example);
        }
    }
}
