//! All end-to-end stories: one program, so that what they share is built once.

mod kills;
mod moves;
mod playground;
mod support;
