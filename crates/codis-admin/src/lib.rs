//! The HTTP shapes of a proxy's admin pages and the client that reads them.
//!
//! At the root are the pages of our own proxy, in [`go`] those that tools of the Go proxy read. The proxy
//! serves these types, everyone else reads them with [`AdminClient`], so the two cannot drift apart.

mod client;
mod errors;
pub mod go;
mod hot;
mod page;
mod slow;

pub use client::{AdminClient, AdminError};
pub use errors::{CauseCount, ErrorsPage, FailedOp};
pub use hot::{BigReply, CommandCount, HotKey, HotPage, HotSlot};
pub use page::{
    BackendPulse, BackendStats, CallStats, CommandTimes, CommandsPage, Health, Latency, MoveStats,
    ProxyPulse, ProxyStats, Rates, SlotCounts, SlotRoute, SlotsPage,
};
pub use slow::{SlowOp, SlowPage};
