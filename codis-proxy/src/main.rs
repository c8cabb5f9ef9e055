//! RESP proxy that follows the store of a Codis product.

mod admin;
mod config;
mod follow;
mod moving;
mod shutdown;
mod stats;
mod table;
mod workers;

fn main() {}
