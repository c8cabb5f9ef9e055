//! The command line. What it leaves open comes from the environment and the settings file, see
//! [`settings`](crate::settings).

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use codis_core::{ProductName, ProxyId};

use crate::settings::is_address;

const EXAMPLES: &str = "\
Examples:
  codis-proxy --static slots.json --listen 127.0.0.1:19000 --workers 2
      Serve a fixed slot map: [{\"id\":0,\"backend_addr\":\"127.0.0.1:6379\"}, ...]
  codis-proxy --store zk://10.0.7.21:2181 --product shop --id proxy-1
      Follow the store of a product.
  codis-proxy --config /etc/codis/codis.toml --take-over
      Restart: take over listeners and clients from the process that runs, see `control`.
  CODIS_PASSWORD=secret codis-proxy --config /etc/codis/codis.toml
      Read the [proxy] table of a file; the password is never an argument.

Exit status:
  0  stopped by SIGTERM or SIGINT, or marked offline
  1  failed, e.g. an address is in use
  2  usage or configuration
  4  the product is not initialised, or the id is taken
  5  the store cannot be reached";

/// RESP proxy that makes the servers of a Codis product look like one big Redis.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Configuration file, of which the `[proxy]` table is read; or the config.ini of the Go proxy
    #[arg(long, value_name = "FILE", env = "CODIS_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Serve the fixed slot map in this file, without a store
    #[arg(long = "static", value_name = "FILE", conflicts_with_all = ["store", "product", "id"])]
    pub(crate) static_map: Option<PathBuf>,
    /// Store of the product: zk://HOST:PORT,...[/CHROOT] or local:PATH
    #[arg(long, value_name = "STORE", env = "CODIS_STORE")]
    pub(crate) store: Option<String>,
    /// Product to serve
    #[arg(long, value_name = "NAME", env = "CODIS_PRODUCT")]
    pub(crate) product: Option<ProductName>,
    /// Id of this proxy in the product
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<ProxyId>,
    /// Seconds to wait for the store at the start [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) start_timeout: Option<Duration>,
    /// Go online once all slots are resolved; with `false`, wait for `codisctl proxy online` [default: true]
    #[arg(long, value_name = "BOOL")]
    pub(crate) auto_online: Option<bool>,
    /// Address that clients connect to [default: 0.0.0.0:19000]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<String>,
    /// Address of the admin pages [default: 127.0.0.1:11000]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub(crate) admin: Option<String>,
    /// Unix socket over which a later process of this proxy can take its place
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Take the place of the process that has the control socket; no client notices
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Threads that serve clients, 1 to 256 [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
}

fn address(text: &str) -> Result<String, String> {
    if is_address(text) { Ok(text.to_owned()) } else { Err("it takes host:port".to_owned()) }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().map_err(|_| "it takes a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|_| "it takes a number of seconds".to_owned())
}
