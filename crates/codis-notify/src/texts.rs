//! What messages say: templates, ours in two languages, and those that people bring.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use codis_core::nearest;
use codis_core::notice::{Facts, Kind};
use jiff::tz::TimeZone;
use minijinja::{Environment, UndefinedBehavior, Value};
use toml::de::{DeTable, DeValue};

use crate::{causes, show};

/// Language of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

impl Lang {
    /// `en` or `zh`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    fn texts(self) -> &'static str {
        match self {
            Self::En => include_str!("texts/en.toml"),
            Self::Zh => include_str!("texts/zh.toml"),
        }
    }
}

impl FromStr for Lang {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "en" => Ok(Self::En),
            "zh" => Ok(Self::Zh),
            _ => Err(format!("`{text}` is not a language (en, zh)")),
        }
    }
}

/// A file of texts that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} line {line}: {what}: {why}")]
pub struct TextError {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What cannot be used.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to write instead.
    pub next: String,
}

/// The texts of one language, perhaps with some of a file of the reader's.
pub struct Texts {
    lang: Lang,
    zone: TimeZone,
    ours: Environment<'static>,
    /// What people bring; where it fails ours stand in.
    theirs: Environment<'static>,
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts").field("lang", &self.lang).finish_non_exhaustive()
    }
}

/// Names that each kind's texts know besides its own values, and the functions.
const EVERYWHERE: [&str; 4] = ["product", "subject", "pair", "percent"];

impl Texts {
    /// Our texts in a language, with times of a zone.
    pub fn new(lang: Lang, zone: TimeZone) -> Self {
        let environment = |strict| {
            let mut env = Environment::new();
            env.set_undefined_behavior(strict);
            show::add_to(&mut env, lang, &zone);
            env
        };
        let mut ours = environment(UndefinedBehavior::Lenient);
        for (_, path, text) in read("", lang.texts()).unwrap_or_default() {
            // A test reads and renders all of them.
            let _ = ours.add_template_owned(path, text);
        }
        Self { lang, theirs: environment(UndefinedBehavior::Strict), zone, ours }
    }

    /// The same, with the texts of a file in the place of ours.
    ///
    /// # Errors
    /// The first line that is no TOML, names nothing that there is, or cannot be rendered.
    pub fn with_file(mut self, file: &str, content: &str) -> Result<Self, TextError> {
        for (line, path, text) in read(file, content)? {
            let fail = |what: String, why: String, next: String| TextError {
                file: file.to_owned(),
                line,
                what,
                why,
                next,
            };
            if self.ours.get_template(&path).is_err() {
                let names: Vec<String> = self.ours.templates().map(|(name, _)| name.to_owned()).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let next = match nearest(&path, &names) {
                    Some(near) => format!("write `{near}`"),
                    None => "remove the line; docs/alerts.md lists the texts there are".to_owned(),
                };
                let why = "there is no such text".to_owned();
                return Err(fail(format!("unknown text `{path}`"), why, next));
            }
            let what = format!("wrong text `{path}`");
            let example = || "docs/alerts.md says what a text may hold".to_owned();
            if let Err(error) = self.theirs.add_template_owned(path.clone(), text) {
                return Err(fail(what, causes(&error), example()));
            }
            self.try_out(&path).map_err(|why| fail(what, why, example()))?;
        }
        Ok(self)
    }

    /// Renders a text with some values: names and filters that do not exist are found when the program starts.
    fn try_out(&self, path: &str) -> Result<(), String> {
        let template = self.theirs.get_template(path).map_err(|error| causes(&error))?;
        let kind = path.split('.').next().unwrap_or_default();
        let values = match kind.parse::<Kind>() {
            Ok(kind) => values_of(&Facts::example(kind), "x", "x"),
            Err(_) => LETTER.iter().map(|name| ((*name).to_owned(), Value::from(1))).collect(),
        };
        let known: BTreeSet<&str> = values.keys().map(String::as_str).chain(EVERYWHERE).collect();
        let used = template.undeclared_variables(false);
        if let Some(name) = used.iter().find(|name| !known.contains(name.as_str())) {
            let names: Vec<&str> = known.into_iter().collect();
            return Err(format!("there is no `{name}` here; there are: {}", names.join(", ")));
        }
        template.render(values).map(drop).map_err(|error| causes(&error))
    }

    /// A text with its values.
    pub(crate) fn say(&self, path: &str, values: &BTreeMap<String, Value>) -> String {
        if let Ok(template) = self.theirs.get_template(path) {
            match template.render(values) {
                Ok(text) => return text,
                Err(error) => tracing::warn!(text = path, "a text cannot be rendered: {}", causes(&error)),
            }
        }
        let render = || self.ours.get_template(path)?.render(values);
        render().unwrap_or_else(|error| {
            tracing::warn!(text = path, "a text cannot be rendered: {}", causes(&error));
            path.to_owned()
        })
    }

    /// A word without values.
    pub(crate) fn word(&self, name: &str) -> String {
        self.say(&format!("words.{name}"), &BTreeMap::new())
    }

    /// The language.
    pub fn lang(&self) -> Lang {
        self.lang
    }

    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

/// Names that the texts around the alerts know.
const LETTER: [&str; 9] =
    ["severity", "product", "what", "more", "agent", "number", "offset", "interval", "observe_only"];

/// What the texts of an alert know.
pub(crate) fn values_of(facts: &Facts, product: &str, subject: &str) -> BTreeMap<String, Value> {
    let fields = facts.fields().into_iter().map(|(name, text)| (name.to_owned(), show::value(&text)));
    let around = [("product", product), ("subject", subject)];
    fields.chain(around.map(|(name, text)| (name.to_owned(), Value::from(text)))).collect()
}

/// Line, path (`table.name`) and text of each template.
fn read(file: &str, content: &str) -> Result<Vec<(usize, String, String)>, TextError> {
    let line = |at: usize| content[..at.min(content.len())].matches('\n').count() + 1;
    let fail = |at: usize, what: &str, why: String| TextError {
        file: file.to_owned(),
        line: line(at),
        what: what.to_owned(),
        why,
        next: "write a table for a kind, e.g. [memory], and below it e.g. done = \"nothing yet\"".to_owned(),
    };
    let document = DeTable::parse(content).map_err(|error| {
        fail(error.span().map_or(0, |span| span.start), "not TOML", error.message().replace('\n', "; "))
    })?;
    let mut found = Vec::new();
    for (table, inner) in document.get_ref() {
        let at = table.span().start;
        let DeValue::Table(inner) = inner.get_ref() else {
            return Err(fail(at, "not a table", format!("`{}` stands outside of any", table.get_ref())));
        };
        for (name, text) in inner {
            let path = format!("{}.{}", table.get_ref(), name.get_ref());
            let DeValue::String(text) = text.get_ref() else {
                return Err(fail(name.span().start, "not a text", format!("`{path}` takes text in quotes")));
            };
            found.push((line(name.span().start), path, text.to_string()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_have_every_text() {
        let paths = |lang: Lang| -> BTreeSet<String> {
            read("", lang.texts()).unwrap().into_iter().map(|(_, path, _)| path).collect()
        };
        assert_eq!(paths(Lang::En), paths(Lang::Zh));
        for kind in Kind::ALL {
            for part in ["subject", "what", "where", "line", "done", "next"] {
                assert!(paths(Lang::En).contains(&format!("{kind}.{part}")), "{kind}.{part}");
            }
        }
    }

    #[test]
    fn our_own_texts_pass_the_checks_of_a_file() {
        for lang in [Lang::En, Lang::Zh] {
            Texts::new(lang, TimeZone::UTC).with_file("ours.toml", lang.texts()).unwrap();
        }
    }

    #[test]
    fn a_file_replaces_what_it_names() {
        let content = "[memory]\ndone = \"called {{ subject }}\"\n[words]\nnext = \"then\"\n";
        let texts = Texts::new(Lang::En, TimeZone::UTC).with_file("own.toml", content).unwrap();
        let values = values_of(&Facts::example(Kind::Memory), "feed", "h:1");
        assert_eq!(texts.say("memory.done", &values), "called h:1");
        assert_eq!(texts.say("memory.what", &values), "a server is filling up");
        assert_eq!(texts.word("next"), "then");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        let bad = |content: &str| {
            let error = Texts::new(Lang::En, TimeZone::UTC).with_file("own.toml", content).unwrap_err();
            assert!(!error.next.is_empty());
            error.to_string()
        };
        assert!(bad("[memory\n").starts_with("own.toml line 1: not TOML: "));
        assert_eq!(bad("x = 1"), "own.toml line 1: not a table: `x` stands outside of any");
        assert_eq!(
            bad("\n[memory]\nline = 80"),
            "own.toml line 3: not a text: `memory.line` takes text in quotes"
        );
        let unknown = "own.toml line 2: unknown text `memory.lines`: there is no such text";
        assert_eq!(bad("[memory]\nlines = \"x\""), unknown);
        let name = bad("[memory]\nline = \"{{ usage }}\"");
        assert!(name.starts_with("own.toml line 2: wrong text `memory.line`: there is no `usage` here; there are: full_ms, group,"), "{name}");
        assert!(
            bad("[memory]\nline = \"{{ used|gb }}\"").contains("unknown filter"),
            "filters are checked too"
        );
        assert!(bad("[memory]\nline = \"{{ used\"").contains("wrong text `memory.line`: syntax error"));
        assert!(bad("[weather]\nline = \"x\"").contains("unknown text `weather.line`"));
    }
}
