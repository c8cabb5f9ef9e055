//! The one error of the kit: a part could not be had.

use std::io;

/// Why a real part could not be started, or did not answer.
#[derive(Debug)]
pub struct KitError {
    what: String,
    source: Option<io::Error>,
}

impl KitError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source: Some(source) }
    }
}

impl std::fmt::Display for KitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for KitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

/// Fails the running test: a test without its servers has nothing to say.
#[track_caller]
pub(crate) fn must<T>(result: Result<T, KitError>) -> T {
    match result {
        Ok(value) => value,
        Err(KitError { what, source: None }) => panic!("{what}"),
        Err(KitError { what, source: Some(source) }) => panic!("{what}: {source}"),
    }
}
