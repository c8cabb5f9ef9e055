//! RESP framing over bytes, limits, the command table and key positions. No IO.
//!
//! Everything here looks at a slice of bytes that somebody else has read and says where things
//! begin and end in it; nothing is copied or decoded. Both directions resume where they stopped,
//! so that a frame that comes in a thousand pieces is still looked at once, and neither recurses,
//! so that a deeply nested reply costs no stack.
//!
//! - [`RequestParser`]: where a client's request ends, and its arguments;
//! - [`ReplyScanner`]: where a server's reply ends (RESP2 and RESP3);
//! - [`Command`]: what a command is and which of its arguments are keys.

mod command;
mod inline;
mod number;
mod reply;
mod request;

pub use command::{COMMANDS, Class, Command, CommandId, Fan, KeyError, Session, TopicKind, flag, lookup};
pub use inline::inline_to_array;
pub use number::{push_array_header, push_bulk, push_integer};
pub use reply::{Cut, ReplyError, ReplyScanner, aggregate_header, array_header, integer};
pub use request::{ProtocolError, Request, RequestLimits, RequestParser, Span};
