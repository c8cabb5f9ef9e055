//! The settings that our programs share: `codis.toml`, or the `config.ini` of the Go programs.
//!
//! Flags and the environment belong to each program; they come before the file.

mod file;
mod ini;

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, str::FromStr, time::Duration};

use crate::{Failure, FailureKind, Secret};

pub use file::{File, KEYS, Key, Takes, error_text};

/// The file that is read if no other is named.
const FILE: &str = "codis.toml";

/// Reads and checks the named file, as `config.ini` if its name ends so; without a name `codis.toml` of
/// this directory, if there is one.
///
/// # Errors
/// `Usage`, with file, line and key, if it cannot be read or says something it may not say.
pub fn load(named: Option<&Path>) -> Result<File, Failure> {
    match named {
        Some(path) if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("ini")) => ini::read(path),
        Some(path) => file::read(path),
        None if Path::new(FILE).exists() => file::read(Path::new(FILE)),
        None => Ok(File::default()),
    }
}

impl File {
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
    let Some(path) = file.get("password_file").map(Path::new) else { return Ok(Secret::none()) };
    let fail = |why: String, next: String| {
        Failure::new(FailureKind::Usage, "cannot use the password file", path.display(), why).next(next)
    };
    let advice = || format!("put the password on one line of {}", path.display());
    let meta = fs::metadata(path).map_err(|error| fail(error_text(&error), advice()))?;
    if meta.mode() & 0o077 != 0 {
        let why = format!("its mode is {:04o}: others can read it", meta.mode() & 0o7777);
        return Err(fail(why, format!("chmod 600 {}", path.display())));
    }
    let text = fs::read_to_string(path).map_err(|error| fail(error_text(&error), advice()))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => Err(fail("it is empty".to_owned(), advice())),
    }
}

/// A duration as people write it: `500ms`, `10s`, `2m`.
///
/// # Errors
/// What a duration looks like, if this is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => 0,
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("`{text}` is not a duration (a number with ms, s or m, e.g. 10s)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["10", "0s", "s", "-1s", "1h", "99999999999999999999s", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
