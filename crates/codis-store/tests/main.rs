//! Tests of the store against real ZooKeeper servers and real files, in one program.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it found, and fails by panicking"
)]

mod ambiguity;
mod common;
mod contract;
mod damage;
mod faults;
mod garbage;
mod gc;
mod golden;
mod local_faults;
mod product;
mod recorded;
mod states;
mod walk;
mod zk_faults;
