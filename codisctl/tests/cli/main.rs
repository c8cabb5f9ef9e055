//! The real program on real stores and servers: what every verb prints, and what every mistake says.
#![expect(clippy::unwrap_used, reason = "a test says where it fails")]

mod alerts;
mod balance;
mod changes;
mod check_slot;
mod ha;
mod lists;
mod live;
mod mistakes;
mod plans;
mod requests;
mod settings;
mod size;
mod snapshots;
mod support;
mod terminal;
mod upkeep;
