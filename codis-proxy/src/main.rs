//! RESP proxy that follows the store of a Codis product.

mod admin;
mod args;
mod budget;
mod config;
mod follow;
mod freshness;
mod hot;
mod journal;
mod moving;
mod nudge;
mod registry;
mod report;
mod restart;
mod scripts;
mod settings;
mod shutdown;
mod static_map;
mod stats;
mod status;
mod stream;
mod table;
mod tls;
mod worker;
mod workers;

use std::{
    io::{self, IsTerminal, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

use crate::{
    args::Args,
    config::{Config, Mode},
    report::{Report, io_text},
    restart::{Doors, Listeners, Predecessor, Serves, Successor},
    shutdown::Shutdown,
    status::Status,
    tls::{BackendTls, ServerTls},
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
    #[error("cannot take over")]
    TakeOver(#[from] restart::TakeOverError),
    #[error("cannot start")]
    Start(#[source] io::Error),
    #[error("cannot follow the store")]
    Follow(#[from] follow::FollowError),
}

impl ProxyError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Config(_) | Self::StaticMap(_) => 2,
            Self::Listen { .. } | Self::Start(_) | Self::TakeOver(_) => 1,
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
            Self::TakeOver(error) => error.report(),
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
    raise_file_limit(&config);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ProxyError::Start)?;
    runtime.block_on(run(&config))
}

async fn run(config: &Config) -> Result<(), ProxyError> {
    let shutdown = Shutdown::on_signals().map_err(ProxyError::Start)?;
    let serves = serves(config);
    let (predecessor, listeners) = match config.control.as_deref().filter(|_| config.take_over) {
        Some(path) => Predecessor::meet(path, &serves).await?.unzip(),
        None => (None, None),
    };
    let listeners = match listeners {
        Some(listeners) => listeners,
        None => {
            let admin = bind(&config.admin, "--admin").await?;
            let tls = match &config.tls {
                Some((addr, _)) => Some(bind(addr, "tls_listen").await?),
                None => None,
            };
            Listeners { client: bind(&config.listen, "--listen").await?, admin, tls }
        }
    };
    let workers = Workers::start(config).map_err(ProxyError::Start)?;
    let status = Status::starting(&config.listen);
    reload_on_hangup(config).map_err(ProxyError::Start)?;
    let control = (serves, config.control.clone());
    let listeners = (listeners, config.tls.as_ref().map(|(_, tls)| tls.clone()));
    let (mut doors, mut successors) =
        Doors::new(listeners, predecessor, control, workers.clone(), status.clone());
    doors.show().map_err(ProxyError::Start)?;
    match &config.mode {
        Mode::Static(path) => {
            workers.install(Arc::new(static_map::load(path)?)).await;
            doors.predecessor_leaves().await?;
            doors.open().await?;
            status.serving_static();
            tracing::info!(listen = %config.listen, map = %path.display(), workers = config.workers, "serving");
            loop {
                tokio::select! {
                    () = shutdown.asked() => {
                        workers.stop().await;
                        return Ok(());
                    }
                    Some(successor) = successors.recv() => {
                        if hand_over(&mut doors, successor, config.limits.stop_grace).await {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Mode::Follow(follow) => {
            follow::run(config, follow, workers, (doors, successors), status, shutdown).await?;
        }
    }
    Ok(())
}

/// Hands over to another process; with a fixed slot map nobody else has to know. False: it goes on here.
async fn hand_over(doors: &mut Doors, mut successor: Successor, grace: Duration) -> bool {
    let before = loop {
        match doors.step_aside().await {
            Ok(before) => break before,
            Err(why) if successor.not_now(why.clone()).await => {}
            Err(_) => return false,
        }
    };
    if let Err(error) = successor.go().await {
        tracing::warn!(%error, "the new process does not serve; going on here");
        doors.restore(&before).await;
        if let Err(error) = doors.open().await {
            tracing::error!(%error, "clients cannot be accepted again");
        }
        return false;
    }
    doors.leave_to(successor, grace).await;
    true
}

fn serves(config: &Config) -> Serves {
    let member = match &config.mode {
        Mode::Static(_) => None,
        Mode::Follow(follow) => Some((follow.product.to_string(), follow.id.to_string())),
    };
    Serves {
        listen: config.listen.clone(),
        tls: config.tls.as_ref().map(|(addr, _)| addr.clone()),
        admin: config.admin.clone(),
        member,
    }
}

/// Reads the files for TLS anew at SIGHUP. Connections that are open stay as they are.
fn reload_on_hangup(config: &Config) -> io::Result<()> {
    let ours = config.tls.as_ref().map(|(_, tls)| tls.clone());
    let servers = config.limits.backend_tls.clone();
    if ours.is_none() && servers.is_none() {
        return Ok(());
    }
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let results = [ours.as_ref().map(ServerTls::reload), servers.as_ref().map(BackendTls::reload)];
            match results.into_iter().flatten().collect::<Result<(), _>>() {
                Ok(()) => tracing::info!("certificates read anew"),
                Err(report) => tracing::error!(%report, "certificates are used as they were"),
            }
        }
    });
    Ok(())
}

async fn bind(addr: &str, flag: &'static str) -> Result<std::net::TcpListener, ProxyError> {
    let wrong = |source| ProxyError::Listen { addr: addr.to_owned(), flag, source };
    TcpListener::bind(addr).await.and_then(TcpListener::into_std).map_err(wrong)
}

/// Every client needs a file descriptor, and the soft limit is often 1024: takes what is allowed.
fn raise_file_limit(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    // Besides clients and the connections that they have to themselves: those of each worker to each server.
    let limits = &config.limits;
    let needed = (limits.max_clients + config.workers * (limits.max_pinned + 64) + 64) as u64;
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < needed) {
        tracing::warn!(
            allowed,
            needed,
            "the hard limit of open files is lower than max_clients and max_pinned may need; next: raise it (ulimit -Hn, \
             LimitNOFILE), or lower max_clients"
        );
    }
}
