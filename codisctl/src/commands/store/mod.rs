//! `store`: the nodes as they are, whoever made them. For looking only; nothing here writes.

mod export;
mod get;
mod ls;
mod migrate;

use serde::Serialize;

use codis_ops::browse::Listed;

use crate::{error::Done, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Store {
    Ls(ls::LsArgs),
    Get(get::GetArgs),
    Export(export::ExportArgs),
    Migrate(migrate::MigrateArgs),
}

pub(super) async fn run(session: &Session, verb: &Store) -> Done {
    match verb {
        Store::Ls(args) => ls::run(session, args).await,
        Store::Get(args) => get::run(session, args).await,
        Store::Export(args) => export::run(session, args).await,
        Store::Migrate(args) => migrate::run(session, args).await,
    }
}

/// A node as JSON has it.
#[derive(Debug, Serialize)]
struct NodeShape {
    path: String,
    /// The content, if it is text.
    data: Option<String>,
    /// The content in hexadecimal digits, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    version: i32,
    ephemeral: bool,
    /// As ZooKeeper writes it; absent when it is not one for everybody.
    acl: Option<Vec<String>>,
}

impl NodeShape {
    fn new(seen: Listed) -> Self {
        let acl = seen.stat.acl.map(|bits| vec![format!("world:anyone:{bits}")]);
        let (version, ephemeral) = (seen.stat.version, seen.stat.owner != 0);
        let (data, hex) = match String::from_utf8(seen.data) {
            Ok(text) => (Some(text), None),
            Err(error) => {
                let digits = error.as_bytes().iter().map(|byte| format!("{byte:02x}"));
                (None, Some(digits.collect::<String>()))
            }
        };
        Self { path: seen.path, data, hex, version, ephemeral, acl }
    }
}

/// Bytes as text that does nothing to a terminal: what is not printable is escaped.
fn printable(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len());
    for chunk in data.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => text.push(c),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_content_does_anything_to_a_terminal() {
        assert_eq!(printable(b"{\"a\":1}\n"), "{\"a\":1}\n");
        assert_eq!(printable(b"\x1b[2J\x00\xff\xc3\xa9"), "\\u{1b}[2J\\u{0}\\xffé");
    }
}
