//! The dashboard, drawn and driven: every state of the screen as text, colours by cell, keys, and a
//! real terminal.

mod fixture;
mod keys;
mod live;
mod screens;
mod speed;
mod terminal;
