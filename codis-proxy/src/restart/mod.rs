//! A restart that no client notices: the running process hands its sockets to its successor.
//!
//! The successor loads everything, then says so over the predecessor's control socket. The predecessor lets
//! every slot drain while requests wait, leaves the store, and says go. The successor registers, accepts
//! clients, and says so; only then the predecessor gives the connected clients away, with what they have
//! sent, and ends. Until then it keeps all it needs to go on: whatever becomes of the successor, it takes its
//! place back. When the predecessor dies, the successor goes on alone.

mod channel;
mod doors;
mod predecessor;
mod successor;

pub(crate) use channel::{Handed, Muted, Serves};
pub(crate) use doors::Doors;
pub(crate) use predecessor::{Listeners, Predecessor, TakeOverError};
pub(crate) use successor::Successor;

/// The version of what the two processes say to each other.
const SPEAKS: u32 = 1;
