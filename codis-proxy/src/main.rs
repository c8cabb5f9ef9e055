//! RESP proxy that follows the store of a Codis product.

mod admin;
mod args;
mod budget;
mod config;
mod follow;
mod hot;
mod journal;
mod moving;
mod nudge;
mod registry;
mod report;
mod scripts;
mod settings;
mod shutdown;
mod static_map;
mod stats;
mod status;
mod table;
mod worker;
mod workers;

use std::{
    io::{self, IsTerminal, Write as _},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::{
    args::Args,
    config::{Config, Mode},
    report::{Report, io_text},
    shutdown::Shutdown,
    status::Status,
    workers::Workers,
};

/// Why the proxy ended.
#[derive(Debug, thiserror::Error)]
enum ProxyError {
    #[error("configuration")]
    Config(#[from] settings::ConfigError),
    #[error("slot map")]
    StaticMap(#[from] static_map::StaticMapError),
    #[error("cannot listen on {addr}")]
    Listen { addr: String, flag: &'static str, source: io::Error },
    #[error("cannot start")]
    Start(#[source] io::Error),
    #[error("cannot follow the store")]
    Follow(#[from] follow::FollowError),
}

impl ProxyError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::StaticMap(_) => 2,
            Self::Listen { .. } | Self::Start(_) => 1,
            Self::Follow(error) => error.exit_status(),
        }
    }

    fn report(&self) -> Report {
        match self {
            Self::Config(error) => error.report(),
            Self::StaticMap(error) => error.report(),
            Self::Listen { addr, flag, source } => {
                let next = match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        format!(
                            "stop the program that listens there (ss -ltnp shows it), or choose another with {flag}"
                        )
                    }
                    _ => format!("choose an address of this host with {flag}"),
                };
                Report::new(self, format!("{flag} {addr}"), io_text(source)).next(next)
            }
            Self::Start(source) => Report::new(self, "this host", io_text(source))
                .next("see the limits of threads and open files: ulimit -a"),
            Self::Follow(error) => error.report(),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("CODIS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    match start(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be gone; the exit status tells the same.
            let _ = writeln!(io::stderr(), "error: {}", error.report());
            ExitCode::from(error.exit_status())
        }
    }
}

fn start(args: Args) -> Result<(), ProxyError> {
    let config = settings::configure(args)?;
    raise_file_limit(config.limits.max_clients);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ProxyError::Start)?;
    runtime.block_on(run(&config))
}

async fn run(config: &Config) -> Result<(), ProxyError> {
    let shutdown = Shutdown::on_signals().map_err(ProxyError::Start)?;
    let admin = bind(&config.admin, "--admin").await?;
    let listener = bind(&config.listen, "--listen").await?;
    let workers = Workers::start(config).map_err(ProxyError::Start)?;
    let status = Status::starting(&config.listen);
    tokio::spawn(admin::serve(admin, workers.clone(), status.clone()));
    match &config.mode {
        Mode::Static(path) => {
            workers.install(Arc::new(static_map::load(path)?)).await;
            workers.start_accepting(listener);
            status.serving_static();
            tracing::info!(listen = %config.listen, map = %path.display(), workers = config.workers, "serving");
            shutdown.asked().await;
            workers.stop().await;
        }
        Mode::Follow(follow) => follow::run(config, follow, workers, listener, status, shutdown).await?,
    }
    Ok(())
}

async fn bind(addr: &str, flag: &'static str) -> Result<TcpListener, ProxyError> {
    let wrong = |source| ProxyError::Listen { addr: addr.to_owned(), flag, source };
    TcpListener::bind(addr).await.map_err(wrong)
}

/// Every client needs a file descriptor, and the soft limit is often 1024: takes what is allowed.
fn raise_file_limit(clients: usize) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let needed = clients as u64 + 256;
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < needed) {
        tracing::warn!(allowed, needed, "fewer open files allowed than max_clients needs; see ulimit -n");
    }
}
