//! Real servers for tests: started on leased ports, in directories of their own, killed with the test.
//!
//! A test that talks to a stand-in proves that the stand-in works. So everything here starts the real
//! program: `redis-server`, ZooKeeper, `codis-proxy`, `tmux`, a mail server. The one exception is a codis-server, which
//! no package offers: [`NativeServer`] is a front that turns a real `redis-server` into one, unless
//! `CODIS_SERVER` names the program. A [`Relay`] in front of a server delays and cuts what passes; a [`Network`] has cables that can be
//! pulled. Each part
//!
//! - listens on a port that no other test of this machine can get at the same time ([`PortLease`]);
//! - writes into its own temporary directory, which is removed with it, or kept (and named on stderr)
//!   when the test panics;
//! - is ready when `start` returns, because it has answered, not because time has passed;
//! - dies with the test, even if the test is killed with SIGKILL (see [`Process`]).
//!
//! A test says what it needs first, so that a machine without it reports a skip instead of a failure:
//!
//! ```no_run
//! use codis_testkit::{RedisServer, need};
//!
//! fn a_test() {
//!     need!("redis");
//!     let server = RedisServer::start();
//!     let mut client = server.client();
//!     assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
//! }
//! ```
//!
//! `CODIS_TEST_REQUIRE=all` (or a list, `redis,zookeeper`) turns such a skip into a failure;
//! `cargo xtask test` sets it after it has installed what is missing.
//!
//! All `start` functions panic with what, where and the end of the log; each has a `try_start` twin
//! that returns the same as an error, for programs that are not tests.

mod bin;
mod error;
mod native;
mod network;
mod ports;
mod process;
mod proxy;
mod redis;
mod relay;
mod require;
mod resp;
mod sandbox;
mod smtp;
mod tmux;
mod wait;
mod zookeeper;

pub use bin::{bin, command, try_bin};
pub use error::KitError;
pub use native::{NativeBuilder, NativeServer};
pub use network::Network;
pub use ports::PortLease;
pub use process::{Process, Signal};
pub use proxy::{ProxyBuilder, ProxyProcess};
pub use redis::{RedisBuilder, RedisServer};
pub use relay::Relay;
pub use require::{node_clients, program, python_client, require};
pub use resp::{Reply, RespClient};
pub use sandbox::Sandbox;
pub use smtp::{Mail, SmtpBuilder, SmtpServer};
pub use tmux::Tmux;
pub use wait::{eventually, eventually_async};
pub use zookeeper::ZooKeeper;

pub(crate) use error::must;
