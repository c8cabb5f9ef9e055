//! The dashboard, drawn and driven: every state of the screen as text, colours by cell, keys, and a
//! real terminal.

#![expect(clippy::unwrap_used, reason = "a test says what it found by panicking")]

mod fixture;
mod keys;
mod live;
mod screens;
mod speed;
mod terminal;
