//! The one place where failures become text and an exit status.

use std::io::{self, Write as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use codis_core::plan::Refusal;
use codis_ops::{Failure, FailureKind};

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something did not work out; it is printed.
    Failure(Box<Failure>),
    /// The reader of standard output has gone, which is its right.
    BrokenPipe,
    /// The plan was answered with no.
    Declined,
}

/// What a verb returns.
pub(crate) type Done = Result<(), Stop>;

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(Box::new(failure))
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Failure::from(refusal).into()
    }
}

impl From<io::Error> for Stop {
    /// Of writing to standard output: nothing else is written through `io::Error`.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        let why = crate::config::error_text(&error);
        Failure::new(FailureKind::Failed, "cannot write the output", "standard output", why)
            .next("make room, or send the output elsewhere")
            .into()
    }
}

impl Stop {
    /// Prints what there is to say and returns the exit status.
    pub(crate) fn report(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Declined => {
                let _ = writeln!(io::stderr(), "nothing was written");
                FailureKind::Failed.exit_status()
            }
            Self::Failure(failure) => {
                let _ = write!(io::stderr(), "{}", text(failure));
                failure.kind.exit_status()
            }
        }
    }
}

/// A check that found something: `what`, and the first of it, `PLACE: WHY`.
pub(crate) fn problems(what: &str, first: &str) -> Failure {
    let (place, why) = first.split_once(": ").unwrap_or((first, ""));
    Failure::new(FailureKind::Problems, what, place, why)
}

/// The four parts: what, where, why, next.
pub(crate) fn text(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", failure.what);
    for (label, part) in [("where", &failure.place), ("why", &failure.why), ("next", &failure.next)] {
        if !part.is_empty() {
            let part = part.replace('\n', "\n         ");
            text.push_str(&format!("  {label:<5}  {part}\n"));
        }
    }
    text
}

/// A mistake on the command line, as the same four parts. `command` is the program with the verb
/// that was recognised, `has` the commands below it, `line` what was typed.
pub(crate) fn usage(error: &clap::Error, command: &str, has: &[String], line: &str) -> Failure {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        Some(ContextValue::StyledStr(text)) => Some(text.to_string()),
        Some(ContextValue::StyledStrs(texts)) => {
            Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    let mut next = format!("{command} --help");
    let (what, why) = match error.kind() {
        ErrorKind::ValueValidation => {
            let cause = std::error::Error::source(error).map_or_else(|| value.clone(), ToString::to_string);
            (format!("cannot take `{value}` for {argument}"), cause)
        }
        ErrorKind::InvalidValue => {
            let allowed = context(ContextKind::ValidValue).unwrap_or_default();
            if value.is_empty() {
                (format!("{argument} needs a value"), format!("one of: {allowed}"))
            } else {
                (format!("cannot take `{value}` for {argument}"), format!("it takes one of: {allowed}"))
            }
        }
        ErrorKind::UnknownArgument => {
            if let Some(near) = context(ContextKind::SuggestedArg) {
                next = format!("write {near}, or see {next}");
            }
            (format!("there is no argument {argument}"), "this verb does not know it".to_owned())
        }
        ErrorKind::InvalidSubcommand => {
            let name = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            if let Some(near) = context(ContextKind::SuggestedSubcommand) {
                next = format!("write {near}, or see {next}");
            }
            (format!("there is no command `{name}`"), format!("{command} has: {}", has.join(", ")))
        }
        ErrorKind::MissingRequiredArgument => {
            ("an argument is missing".to_owned(), format!("it needs {argument}"))
        }
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg).unwrap_or_default();
            (format!("{argument} cannot be used here"), format!("it excludes {other}"))
        }
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or_default();
            let why = first.trim_start_matches("error: ").to_owned();
            ("cannot understand the command line".to_owned(), why)
        }
    };
    Failure::new(FailureKind::Usage, what, line, why).next(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_printed_in_four_parts() {
        let failure =
            Failure::new(FailureKind::Unsafe, "slot 82 must not go online", "slots/slot_82", "a\nb")
                .next("codisctl task list");
        assert_eq!(
            text(&failure),
            "error: slot 82 must not go online\n  where  slots/slot_82\n  why    a\n         b\n  \
             next   codisctl task list\n"
        );
    }

    #[test]
    fn a_broken_pipe_is_success() {
        let stop = Stop::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(stop.report(), 0);
    }
}
