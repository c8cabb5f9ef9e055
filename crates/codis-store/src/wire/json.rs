//! JSON as the original writes it, read with exact positions.
//!
//! Records are read field by field instead of into structs, for three reasons: a field that we do not know is kept
//! as the text it was, an error names the byte where it is, and the order of fields is ours to choose when writing.
//! The original's encoder is compact and escapes `<`, `>` and `&`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::Serialize;
use serde_json::value::RawValue;

use crate::error::ErrorKind;

/// Where a record stops making sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireError {
    /// Byte offset in the node's data.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) reason: String,
}

impl WireError {
    pub(crate) fn new(offset: usize, reason: impl Into<String>) -> Self {
        Self { offset, reason: reason.into() }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {})", self.reason, self.offset)
    }
}

impl From<WireError> for ErrorKind {
    fn from(error: WireError) -> Self {
        Self::Corrupt { offset: error.offset, reason: error.reason }
    }
}

pub(crate) type Result<T> = std::result::Result<T, WireError>;

/// The fields of one object, not yet read.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    /// The whole record, for positions.
    record: &'a str,
    /// Where the object ends in it.
    end: usize,
    fields: Vec<(String, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// Splits a record into its fields.
    pub(crate) fn of(data: &'a [u8]) -> Result<Self> {
        let record = std::str::from_utf8(data)
            .map_err(|error| WireError::new(error.valid_up_to(), "the text is not UTF-8"))?;
        Self::split(record, record)
    }

    fn split(record: &'a str, object: &'a str) -> Result<Self> {
        let start = offset_in(record, object);
        let fields: Split<'a> =
            serde_json::from_str(object).map_err(|error| located(object, start, &error))?;
        Ok(Self { record, end: start + object.len(), fields: fields.0 })
    }

    /// Takes a field out; an error when it is missing or has another type.
    pub(crate) fn take<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T> {
        self.take_if_there(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes a field out, if it is there.
    pub(crate) fn take_if_there<T: Deserialize<'a>>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(raw) = self.take_raw(name) else { return Ok(None) };
        let start = offset_in(self.record, raw);
        // The text has been parsed once, so it is of the wrong type at most.
        let read = serde_json::from_str(raw).map(Some);
        read.map_err(|error| WireError::new(start, format!("{name}: {}", reason(&error))))
    }

    /// Takes a field out and reads it by its own rule, whose refusal becomes the error.
    pub(crate) fn take_as<T, E: fmt::Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> std::result::Result<T, E>,
    ) -> Result<T> {
        let offset = self.position(name);
        let text: String = self.take(name)?;
        read(&text).map_err(|error| WireError::new(offset, format!("{name}: {error}")))
    }

    /// Takes a field out that is an object.
    pub(crate) fn take_object(&mut self, name: &str) -> Result<Self> {
        let Some(raw) = self.take_raw(name) else { return Err(self.missing(name)) };
        Self::split(self.record, raw)
    }

    /// Takes the text of a field out. Of several with that name the last one counts, as in the original.
    pub(crate) fn take_raw(&mut self, name: &str) -> Option<&'a str> {
        let at = self.fields.iter().rposition(|(field, _)| field == name)?;
        let raw = self.fields.remove(at).1.get();
        self.fields.retain(|(field, _)| field != name);
        Some(raw)
    }

    /// What was not taken: name (behind `prefix`) and JSON text, in stored order.
    pub(crate) fn rest(self, prefix: &str, extra: &mut Vec<(String, String)>) {
        let rest = self.fields.into_iter();
        extra.extend(rest.map(|(name, raw)| (format!("{prefix}{name}"), raw.get().to_owned())));
    }

    /// Byte offset of a field's value, of the object's end when it has none of that name.
    pub(crate) fn position(&self, name: &str) -> usize {
        let field = self.fields.iter().rev().find(|(field, _)| field == name);
        field.map_or(self.end, |(_, raw)| offset_in(self.record, raw.get()))
    }

    fn missing(&self, name: &str) -> WireError {
        WireError::new(self.end, format!("field {name} is missing"))
    }
}

struct Split<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Split<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Split<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Split<'de>, A::Error> {
                let mut fields = Vec::with_capacity(10);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Split(fields))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

fn offset_in(record: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(record.as_ptr() as usize)
}

/// A parser's error with its position in the whole record.
fn located(text: &str, start: usize, error: &serde_json::Error) -> WireError {
    let line = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let offset = start + (line + error.column().saturating_sub(1)).min(text.len());
    WireError::new(offset, reason(error))
}

/// A parser's message without its own idea of the position.
fn reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(message.as_str(), |(reason, _)| reason).to_owned()
}

/// An object being written.
#[derive(Debug)]
pub(crate) struct Object {
    text: String,
}

impl Object {
    pub(crate) fn new() -> Self {
        Self { text: String::from("{") }
    }

    /// Appends a field.
    pub(crate) fn field(self, name: &str, value: &(impl Serialize + ?Sized)) -> Self {
        let value = text(value);
        self.raw(name, &value)
    }

    /// Appends a field whose value is JSON text.
    pub(crate) fn raw(mut self, name: &str, value: &str) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push_str(&text(name));
        self.text.push(':');
        self.text.push_str(value);
        self
    }

    /// Appends the unknown fields that belong to this object: those whose name continues `prefix` without another level.
    pub(crate) fn extra(mut self, prefix: &str, extra: &[(String, String)], known: &[&str]) -> Self {
        for (name, value) in extra {
            match name.strip_prefix(prefix) {
                Some(name) if !name.contains(LEVEL) && !known.contains(&name) => self = self.raw(name, value),
                _ => {}
            }
        }
        self
    }

    pub(crate) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// Parts the levels in the name of an unknown field of an inner object.
pub(crate) const LEVEL: char = '\u{1f}';

/// JSON text of a value, escaped as the original does it. The escaped characters occur in strings only.
pub(crate) fn text(value: &(impl Serialize + ?Sized)) -> String {
    #[expect(clippy::expect_used, reason = "strings, numbers and lists of them always have a JSON text")]
    let text = serde_json::to_string(value).expect("a plain value");
    if text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        text.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_byte() {
        let at = |data: &[u8]| Fields::of(data).map(|_| ()).unwrap_err().offset;
        assert_eq!(at(b""), 0);
        assert_eq!(at(b"{\"id\":7,\"x\":}"), 12);
        assert_eq!(at(b"{\"id\":7,"), 7);
        assert_eq!(at(b"[1]"), 0);
        assert_eq!(at(b"{\"a\":\"\xff\"}"), 6);
        assert_eq!(at(b"{\"a\":1} x"), 8);

        let mut fields = Fields::of(br#"{"a":1,"b":{"c":"x"}}"#).unwrap();
        assert_eq!(fields.take::<String>("a").unwrap_err().offset, 5);
        let error = fields.take_object("b").unwrap().take::<u8>("c").unwrap_err();
        assert_eq!(error.offset, 16, "{error}");
        assert_eq!(fields.take::<u8>("none").unwrap_err().offset, 21);
    }

    #[test]
    fn text_is_escaped_as_go_does_it() {
        assert_eq!(text("a<b>&c\"\u{2028}é"), "\"a\\u003cb\\u003e\\u0026c\\\"\\u2028é\"");
    }
}
