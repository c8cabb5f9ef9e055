//! Carrying decisions out, for every user interface.
//!
//! `codis-core` decides, the edge crates talk; this crate connects, observes, asks for consent,
//! applies plans step by step and moves slots. What it does is told as a stream of [`Event`]s; what
//! goes wrong is a [`Failure`] with the four things a person needs.

pub mod actions;
mod admit;
pub mod agent;
pub mod alerts;
mod announce;
mod apply;
pub mod audit;
pub mod balance;
pub mod big;
pub mod browse;
pub mod check;
pub mod config;
mod context;
mod events;
pub mod failover;
mod failure;
pub mod forecast;
pub mod insight;
pub mod locks;
pub mod mover;
pub mod observe;
mod permit;
pub mod ping;
pub mod playground;
mod removal;
mod replication;
pub mod settle;
pub mod snapshots;
pub mod watch;

pub use admit::admit;
pub use apply::{Receipt, apply};
pub use context::{Context, Secret, StoreAccess, Target};
pub use events::{Event, EventStream, Events, WavePhase, WaveProgress};
pub use failure::{Failure, FailureKind};
pub use permit::{Consent, Permit};
pub use removal::plan_removal;

pub use codis_admin::{
    BackendStats, BigReply, CauseCount, CommandTimes, FailedOp, HotKey, HotPage, HotSlot, Latency,
    ProxyStats, SlowOp, SlowPage,
};
pub use codis_redis::{BigKey, Kind, LiveRole, ServerInfo, SlotSize};
pub use codis_store::{BadStoreAddr, StoreAddr};
