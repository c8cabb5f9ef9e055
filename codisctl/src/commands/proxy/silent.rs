//! Proxies that were asked and did not tell.

use codis_ops::insight::Answers;
use serde::Serialize;

use crate::commands::cause;

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Silent {
    proxy: String,
    error: String,
}

/// All of them.
pub(super) fn list<T>(answers: &Answers<T>) -> Vec<Silent> {
    let one = |(id, why): (&codis_core::ProxyId, &String)| Silent {
        proxy: id.to_string(),
        error: cause(why).to_owned(),
    };
    answers.silent.iter().map(one).collect()
}

/// A line for each, to stand under a table.
pub(super) fn note(silent: &[Silent]) -> String {
    silent.iter().map(|one| format!("\nnot asked: {}, {}", one.proxy, one.error)).collect()
}
