//! The settings that our programs share: `codis.toml`, or the `config.ini` or `codis-ha.json` of the Go
//! programs.
//!
//! Flags and the environment belong to each program; they come before the file.

mod file;
mod ha;
mod ha_json;
mod ini;
mod keys;

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, str::FromStr, time::Duration};

use crate::{Failure, FailureKind, Secret};

pub use file::{File, error_text};
pub use ha::ha;
pub use keys::{KEYS, Key, Takes, duration, size};

/// The file that is read if no other is named.
const FILE: &str = "codis.toml";

/// Reads and checks the named file, as `config.ini` or `codis-ha.json` if its name ends so; without a name `codis.toml` of
/// this directory, if there is one.
///
/// # Errors
/// `Usage`, with file, line and key, if it cannot be read or says something it may not say.
pub fn load(named: Option<&Path>) -> Result<File, Failure> {
    match named {
        Some(path) if ends_in(path, "ini") => ini::read(path),
        Some(path) if ends_in(path, "json") => ha_json::read(path),
        Some(path) => file::read(path),
        None if Path::new(FILE).exists() => file::read(Path::new(FILE)),
        None => Ok(File::default()),
    }
}

fn ends_in(path: &Path, end: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(end))
}

impl File {
    /// A duration that the file names, else the one that stands in for it.
    pub fn span(&self, key: &str, default: Duration) -> Duration {
        self.get(key).and_then(|text| duration(text).ok()).unwrap_or(default)
    }

    /// A number that the file names, else the one that stands in for it.
    pub fn number(&self, key: &str, default: u64) -> u64 {
        self.get(key).and_then(|text| text.parse().ok()).unwrap_or(default)
    }

    /// What the file says to a question, else what stands in for it.
    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.get(key).map_or(default, |text| text == "true")
    }

    /// The value of a key as what it stands for; nothing if the file does not say.
    ///
    /// # Errors
    /// `Usage`, with the file and the line, if the text is no such thing.
    pub fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<Option<T>, Failure> {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| self.wrong(key, error))
    }
}

/// The password of the product's servers: `CODIS_PASSWORD`, else what stands in a `config.ini`, else the
/// first line of the file's `password_file`, which nobody else may read; else none.
///
/// # Errors
/// `Usage` if the password file is missing, empty or readable by others.
pub fn password(file: &File) -> Result<Secret, Failure> {
    if let Some(text) = std::env::var("CODIS_PASSWORD").ok().filter(|text| !text.is_empty()) {
        return Ok(Secret::new(text));
    }
    if let Some((password, _)) = file.password() {
        return Ok(password.clone());
    }
    let path = file.get("password_file").map(Path::new);
    path.map_or_else(|| Ok(Secret::none()), |path| secret_file(path, "password").map(Secret::new))
}

/// The first line of a file that nobody else may read.
///
/// # Errors
/// `Usage` if the file is missing, empty or readable by others.
pub(crate) fn secret_file(path: &Path, of: &str) -> Result<String, Failure> {
    let fail = |why: String, next: String| {
        Failure::new(FailureKind::Usage, format!("cannot use the {of} file"), path.display(), why).next(next)
    };
    let advice = || format!("put the {of} on one line of {}", path.display());
    let meta = fs::metadata(path).map_err(|error| fail(error_text(&error), advice()))?;
    if meta.mode() & 0o077 != 0 {
        let why = format!("its mode is {:04o}: others can read it", meta.mode() & 0o7777);
        return Err(fail(why, format!("chmod 600 {}", path.display())));
    }
    let text = fs::read_to_string(path).map_err(|error| fail(error_text(&error), advice()))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(fail("it is empty".to_owned(), advice())),
    }
}
