//! The dashboard's inside: what it knows, what changes it, how it looks.
//!
//! Everything here is pure: [`update`](update::update) turns messages into a new [`Model`](model::Model)
//! and a list of effects, [`view`](view::view) draws a model. The program around it (`main.rs` and its
//! poller) owns the terminal, the clock, the runtime and the store, so that every screen can be
//! drawn, and every key pressed, in a test.

pub mod board;
pub mod keymap;
pub mod model;
pub mod msg;
pub mod pace;
pub mod term;
pub mod text;
pub mod theme;
pub mod update;
pub mod view;
