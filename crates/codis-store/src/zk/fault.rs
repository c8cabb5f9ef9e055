//! What went wrong, from the library's words to ours.

use std::time::Duration;

use zookeeper_client as zk;

use crate::error::{ErrorKind, StoreError};

/// Whether a call that was cut off may have changed something.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// It has not, or doing it twice is doing it once.
    Repeatable,
    Write,
}

impl Effect {
    pub(super) fn unless_answered(self, otherwise: ErrorKind) -> ErrorKind {
        match self {
            Self::Repeatable => otherwise,
            Self::Write => ErrorKind::Ambiguous,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {} ms", .0.as_millis())]
pub(super) struct Waited(pub(super) Duration);

pub(super) fn error(op: &'static str, path: &str, effect: Effect, source: zk::Error) -> StoreError {
    let kind = match source {
        zk::Error::NoNode => ErrorKind::NoNode,
        zk::Error::NodeExists => ErrorKind::NodeExists,
        zk::Error::BadVersion => ErrorKind::BadVersion,
        zk::Error::NotEmpty => ErrorKind::NotEmpty,
        zk::Error::NoChildrenForEphemerals => ErrorKind::EphemeralParent,
        zk::Error::NoAuth => ErrorKind::NoAuth,
        zk::Error::SessionExpired | zk::Error::AuthFailed | zk::Error::ClientClosed => ErrorKind::Expired,
        // The library reports a broken connection in several ways; `Custom` carries the IO error.
        // The last two are answers that are none: it breaks the connection then, whatever has become of the request.
        zk::Error::ConnectionLoss
        | zk::Error::SessionMoved
        | zk::Error::Custom(_)
        | zk::Error::UnmarshalError { .. }
        | zk::Error::UnexpectedError(_) => effect.unless_answered(ErrorKind::Unreachable),
        zk::Error::Timeout => effect.unless_answered(ErrorKind::Timeout),
        _ => ErrorKind::Other,
    };
    // The kinds above say all there is; only the odd ones need the library's words.
    let told = !matches!(kind, ErrorKind::Other | ErrorKind::Unreachable | ErrorKind::Ambiguous);
    let error = StoreError::new(op, path, kind);
    if told { error } else { error.caused_by(source) }
}
