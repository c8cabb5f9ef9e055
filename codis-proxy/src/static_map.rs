//! A fixed slot map from a file: the proxy without any store.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use codis_core::{Addr, SlotId};
use serde::Deserialize;

use crate::{
    report::{Report, io_text},
    table::{Route, Table},
};

/// Why a slot map cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StaticMapError {
    /// The file cannot be read.
    #[error("cannot read the slot map")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not the JSON that it should be.
    #[error("not a slot map")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// An entry is wrong.
    #[error("the slot map has a wrong entry")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which entry, from 0.
        entry: usize,
        /// What is wrong with it.
        what: String,
    },
}

impl StaticMapError {
    /// What a person reads.
    pub(crate) fn report(&self) -> Report {
        const EXAMPLE: &str = r#"write [{"id":0,"backend_addr":"127.0.0.1:6379"}, ...]"#;
        match self {
            Self::Read { path, source } => Report::new(self, path.display(), io_text(source))
                .next("correct --static, or let this user read it"),
            Self::Shape { path, line, column, source } => {
                Report::new(self, format!("{}:{line}:{column}", path.display()), source).next(EXAMPLE)
            }
            Self::Entry { path, entry, what } => {
                Report::new(self, format!("{}, entry {entry} from 0", path.display()), what).next(EXAMPLE)
            }
        }
    }
}

#[derive(Deserialize)]
struct Entry {
    id: u16,
    backend_addr: String,
}

/// Reads `[{"id":0,"backend_addr":"127.0.0.1:6379"}, ...]`. Slots that are not named, or whose address
/// is empty, are unassigned. Other fields are ignored.
///
/// # Errors
/// When the file cannot be read or understood, or names a slot twice.
pub(crate) fn load(path: &Path) -> Result<Table, StaticMapError> {
    let path_buf = || path.to_owned();
    let text = std::fs::read(path).map_err(|source| StaticMapError::Read { path: path_buf(), source })?;
    parse(&text, path)
}

fn parse(text: &[u8], path: &Path) -> Result<Table, StaticMapError> {
    let entries: Vec<Entry> = serde_json::from_slice(text).map_err(|source| StaticMapError::Shape {
        path: path.to_owned(),
        line: source.line(),
        column: source.column(),
        source,
    })?;
    let mut table = Table::unassigned();
    table.epoch = 1;
    let mut seen = BTreeSet::new();
    for (number, entry) in entries.into_iter().enumerate() {
        let wrong = |what: String| StaticMapError::Entry { path: path.to_owned(), entry: number, what };
        let slot =
            SlotId::new(entry.id).ok_or_else(|| wrong(format!("`{}` is not a slot (0-1023)", entry.id)))?;
        if !seen.insert(slot) {
            return Err(wrong(format!("slot {slot} is named twice")));
        }
        if !entry.backend_addr.is_empty() {
            let addr: Addr = entry.backend_addr.parse().map_err(|error| wrong(format!("{error}")))?;
            table.set(slot, Route::Online { master: addr.into() });
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes(), Path::new("map.json")).unwrap_err().report().to_string()
    }

    #[test]
    fn entries_become_routes() {
        let text = br#"[{"id":3,"backend_addr":"10.0.0.1:6379","locked":false},{"id":4,"backend_addr":""}]"#;
        let table = parse(text, Path::new("map.json")).unwrap();
        let route = |slot| table.route(SlotId::new(slot).unwrap()).master().map(|m| m.addr.to_string());
        assert_eq!(route(3).as_deref(), Some("10.0.0.1:6379"));
        assert_eq!((route(4), route(5)), (None, None));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let shape = error("[{\"id\":1,\n\"backend_addr\":1}]");
        assert!(shape.starts_with("not a slot map\n  where  map.json:2:"), "{shape}");
        for (text, entry, why) in [
            (r#"[{"id":1024,"backend_addr":"a:1"}]"#, 0, "`1024` is not a slot (0-1023)"),
            (r#"[{"id":1,"backend_addr":"a"}]"#, 0, "`a` is not an address (host:port)"),
            (r#"[{"id":1,"backend_addr":"a:1"},{"id":1,"backend_addr":"a:1"}]"#, 1, "slot 1 is named twice"),
        ] {
            let told = error(text);
            let place = format!("\n  where  map.json, entry {entry} from 0\n  why    {why}\n");
            assert!(told.contains(&place), "{told}");
        }
    }
}
