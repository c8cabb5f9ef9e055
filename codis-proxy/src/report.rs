//! What is wrong, where, why, and what to do next: the one shape of everything that ends the program.

use std::{fmt, io};

/// A failure as a person reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    /// What is wrong, in one line.
    pub(crate) what: String,
    /// Where: a line of a file, an address, a node.
    pub(crate) place: String,
    /// Why, with all causes.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) next: String,
}

impl Report {
    /// What is wrong, where and why; [`next`](Self::next) adds the rest.
    pub(crate) fn new(what: impl fmt::Display, place: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { what: what.to_string(), place: place.to_string(), why: why.to_string(), next: String::new() }
    }

    /// What to do next.
    pub(crate) fn next(self, next: impl fmt::Display) -> Self {
        Self { next: next.to_string(), ..self }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for (label, text) in [("where", &self.place), ("why", &self.why), ("next", &self.next)] {
            if !text.is_empty() {
                write!(f, "\n  {label:<6} {text}")?;
            }
        }
        Ok(())
    }
}

/// The words of an input/output error without its number.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// An error with all its causes in one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
