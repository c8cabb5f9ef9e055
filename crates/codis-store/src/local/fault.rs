//! What goes wrong in a local store, and which kind of failure that is for callers.

use std::io;
use std::path::PathBuf;

use super::holder::Busy;
use crate::error::{ErrorKind, StoreError};

/// Why a step failed: refused by a rule of the tree, by SQLite, or by the disk.
#[derive(Debug)]
pub(super) enum Fault {
    Kind(ErrorKind),
    Sql(rusqlite::Error),
    Io(io::Error),
    /// Another process does not let us write.
    Busy(Busy),
}

impl From<ErrorKind> for Fault {
    fn from(kind: ErrorKind) -> Self {
        Self::Kind(kind)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// Why a local store could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    #[error(
        "it lies on {0}, and a local store needs a local disk: file locks and change notices of other machines do not arrive here"
    )]
    NetworkFileSystem(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("its schema cannot be brought up to date")]
    Schema(#[source] Box<refinery::Error>),
    #[error("its session cannot be opened: {0}")]
    Session(ErrorKind),
    #[error(transparent)]
    Busy(#[from] Busy),
}

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Kind(kind) => Self::Session(kind),
            Fault::Sql(error) => Self::Sql(error),
            Fault::Io(error) => Self::Io(error),
            Fault::Busy(busy) => Self::Busy(busy),
        }
    }
}

pub(super) fn error(op: &'static str, path: &str, fault: Fault) -> StoreError {
    use rusqlite::ErrorCode;
    match fault {
        Fault::Kind(kind) => StoreError::new(op, path, kind),
        // The transaction did not begin.
        Fault::Busy(source) => StoreError::new(op, path, ErrorKind::Timeout).caused_by(source),
        Fault::Io(source) => StoreError::new(op, path, io_kind(&source)).caused_by(source),
        Fault::Sql(source) => {
            let kind = match source.sqlite_error_code() {
                // The transaction did not begin, or was rolled back.
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Timeout,
                Some(ErrorCode::DiskFull) => ErrorKind::DiskFull,
                _ => ErrorKind::Other,
            };
            StoreError::new(op, path, kind).caused_by(source)
        }
    }
}

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull => ErrorKind::DiskFull,
        _ => ErrorKind::Other,
    }
}

pub(super) fn open_kind(error: &OpenError) -> ErrorKind {
    use rusqlite::ErrorCode;
    match error {
        OpenError::Sql(source) if source.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            ErrorKind::Corrupt { offset: 0, reason: "it is not an SQLite file".to_owned() }
        }
        OpenError::Sql(source) if source.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            ErrorKind::DiskFull
        }
        OpenError::Io(source) if io_kind(source) == ErrorKind::DiskFull => ErrorKind::DiskFull,
        OpenError::Missing(_) => ErrorKind::NoNode,
        OpenError::Schema(_) | OpenError::Session(_) => ErrorKind::Other,
        _ => ErrorKind::Unreachable,
    }
}
