//! Moving all keys of some slots from one stock server to another without ever losing one.
//!
//! The slots are in `migrate`: proxies serve them from the destination only, and before each request make
//! sure that its keys have left the source, by the same hand-over that is used here. So several
//! parties may hand over the same key at once; whoever comes second finds it gone or is refused.
//!
//! [`bulk_move`] is one scan of the source that feeds a few workers, each with a connection to either
//! end, so that the source dumps one batch while the destination restores another.

mod batch;
mod bulk;
mod pace;
mod pair;
mod queue;
mod report;
mod single;
mod worker;

pub(crate) use bulk::new_histogram;
pub use bulk::{BulkOptions, bulk_move};
pub(crate) use pair::Pair;
pub use pair::{Endpoint, Route};
pub use report::{BulkError, BulkProgress, BulkReport, Stall};
pub(crate) use single::PROBE;
pub use single::probe_move;

use futures::future::BoxFuture;

/// Proof that the caller is still the one that may move keys.
///
/// Connections are opened and named first, then the lease is proved, then they are used: so whoever
/// takes the lease over and kills the connections by name cannot miss one that is used later.
pub trait Lease: Send + Sync {
    /// Writes something to the store that only the holder of the lease can write.
    ///
    /// # Errors
    /// In words for people; nothing is moved after that.
    fn prove(&self) -> BoxFuture<'_, Result<(), String>>;
}
