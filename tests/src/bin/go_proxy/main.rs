//! A proxy that follows a product in the way of the original, Go, codis-proxy of Codis 2.
//!
//! Our programs must be right beside such proxies, which have habits of their own: they look at the newest
//! action only, fetch keys with SLOTSMGRTTAGONE, hold a slot without any time limit, and end rather than go on
//! when something is odd. The original cannot be built everywhere, so the stories run this program. It uses
//! the node level of the store and its own reading of the records, so that a mistake of ours in either does not
//! cancel out. What it does not have: the HTTP pages, AUTH, and the request to a dashboard to be set online.
//!
//! Statuses at its end: 0 asked to leave, 2 where the original panics, 255 when a master's role is not master.

mod client;
mod follow;
mod records;
mod role;
mod routes;
mod wire;

use std::{cell::RefCell, rc::Rc, time::Duration};

use clap::Parser;
use codis_store::{ConnectOptions, Store};
use tokio::net::TcpListener;

use crate::{follow::Follower, records::ProxyInfo, routes::Routes};

/// A stand-in for the Go codis-proxy.
#[derive(Debug, Parser)]
struct Args {
    /// Where the product's state is
    #[arg(long)]
    store: String,
    /// The product
    #[arg(long)]
    product: String,
    /// Name of its node
    #[arg(long)]
    id: String,
    /// Address that it registers
    #[arg(long)]
    addr: String,
    /// Address that clients connect to [the registered one]
    #[arg(long)]
    listen: Option<String>,
    /// Address of the pages that it does not serve
    #[arg(long, default_value = "127.0.0.1:1")]
    http_addr: String,
    /// Time between two looks at its own state, at proxy_suspend and at the masters' roles, milliseconds;
    /// the original waits 3, 5 and 5 s
    #[arg(long, default_value_t = 200)]
    period: u64,
    /// Session time-out, milliseconds
    #[arg(long, default_value_t = 30_000)]
    session: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(args))
}

async fn run(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    // Open before it is online: clients connect and wait.
    let listener = TcpListener::bind(args.listen.as_ref().unwrap_or(&args.addr)).await?;
    let options =
        ConnectOptions { session_timeout: Duration::from_millis(args.session), ..ConnectOptions::control() };
    let store = Store::connect(&args.store.parse()?, &options).await?;
    let me = ProxyInfo::new(&args.id, &args.addr, &args.http_addr);
    let routes = Rc::new(Routes::default());
    let root = format!("/zk/codis/db_{}", args.product);
    let period = Duration::from_millis(args.period);
    let mut follower = Follower::new(store, root, me, routes.clone(), period);
    follower.register().await;
    follower.wait_online().await?;
    follower.begin().await?;
    let serving = Rc::new(RefCell::new(Some(tokio::task::spawn_local(client::serve(listener, routes)))));
    follower.run(serving).await
}
