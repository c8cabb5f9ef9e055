//! The only crate that names the redis client: what servers are, how keys are moved between stock
//! servers, and a workload that keeps account of what it wrote.
//!
//! - [`probe`], [`replicaof`], [`Redis`]: control connections;
//! - [`scan_slots`], [`count_by_slot`]: which keys a server holds; [`survey()`]: what moving them would take;
//! - [`bulk_move`]: the hand-over of all keys of some slots, for the mover; [`native_move`] the same by
//!   a codis-server's own command;
//! - [`Redis::take_role`], [`backup()`]: changing masters, and keeping what would be lost;
//! - [`ledger`]: writers through proxies whose every acknowledged write is checked afterwards.
//!
//! It knows servers, keys and slots, and nothing of the store, groups or tasks: what may be moved, and
//! when, is decided elsewhere.

mod backoff;
mod backup;
mod children;
mod clients;
mod conn;
mod error;
mod facts;
mod handover;
mod info;
pub mod ledger;
mod native;
mod probe;
mod reply;
mod role;
mod scan;
mod survey;

pub use backup::backup;
pub use clients::{kill_by_name, kill_older};
pub use conn::{Conn, ConnectOptions, Password};
pub use error::{RedisCause, RedisError};
pub use facts::facts;
pub use handover::{
    BulkError, BulkOptions, BulkProgress, BulkReport, Endpoint, Lease, Route, Stall, bulk_move, probe_move,
};
pub use info::{LiveRole, ServerInfo, ServerKind, SlaveLink};
pub use native::{NativeOptions, native_counts, native_move};
pub use probe::{Redis, probe, replicaof};
pub use reply::Reply;
pub use scan::{Found, Scan, SlotKeys, count_by_slot, sample_slots, scan_slots};
pub use survey::{BigKey, Kind, OneShot, SlotSize, Speed, Survey, SurveyOptions, survey};
