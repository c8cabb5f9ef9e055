//! How the command line, the environment and `codis.toml` join, in this order of precedence.
//!
//! Everything that is wrong is found before anything is started, and is named with its file, line and key
//! and with what may stand there.

mod certificates;
mod file;
mod go;
mod keys;
mod password;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use codis_core::{ProductName, ProxyId};

use self::file::File;
use crate::{
    args::Args,
    config::{Config, FollowConfig, Limits, Mode, ReadFrom, Secret, User},
    report::Report,
};

/// What is wrong with the command line, the environment or the file. Exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(Box<Report>);

impl ConfigError {
    /// What a person reads.
    pub(crate) fn report(&self) -> Report {
        (*self.0).clone()
    }
}

impl From<Report> for ConfigError {
    fn from(report: Report) -> Self {
        Self(Box::new(report))
    }
}

/// True for `host:port`.
pub(crate) fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// Joins command line, environment and file.
///
/// # Errors
/// When something is missing, cannot be read or cannot be used.
pub(crate) fn configure(args: Args) -> Result<Config, ConfigError> {
    let file = args.config.as_deref().map(read).transpose()?.unwrap_or_default();
    let mode = match &args.static_map {
        Some(path) => Mode::Static(path.clone()),
        None => Mode::Follow(follow(&args, &file)?),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let address = |flag: Option<String>, key: &str, default: &str| {
        flag.or_else(|| file.text(key).map(str::to_owned)).unwrap_or_else(|| default.to_owned())
    };
    let mut limits = limits(&file, password::find(&file)?, password::users(&file)?);
    if matches!(mode, Mode::Static(_)) {
        // Nobody would name another master.
        limits.hold_timeout = Duration::ZERO;
        limits.read_from = ReadFrom::Master;
    }
    let control = args.control.clone().or_else(|| file.text("proxy.control").map(PathBuf::from));
    if args.take_over && control.is_none() {
        let report = Report::new(
            "--take-over needs a control socket",
            "--control, or `control` in [proxy]",
            "nothing says where the running process can be asked",
        );
        return Err(report.next("give --control PATH, the one that the running process was given").into());
    }
    limits.backend_tls = certificates::for_servers(&file)?;
    Ok(Config {
        tls: certificates::for_clients(&file)?,
        control,
        take_over: args.take_over,
        listen: address(args.listen, "proxy.listen", "0.0.0.0:19000"),
        admin: address(args.admin, "proxy.admin", "127.0.0.1:11000"),
        workers: args.workers.map(usize::from).or_else(|| file.whole("proxy.workers")).unwrap_or(cores),
        mode,
        limits,
    })
}

fn follow(args: &Args, file: &File) -> Result<FollowConfig, ConfigError> {
    let missing = |what: &str, key: &str| {
        let place = args.config.as_ref().map_or("the command line and the environment".to_owned(), |path| {
            format!("the command line, the environment, and `{key}` in {}", path.display())
        });
        Report::new(format!("{what} is not given"), place, "nothing says where the routes come from")
            .next("give --store, --product and --id, or --static FILE; codis-proxy --help has examples")
    };
    let product = match (&args.product, file.text("product")) {
        (Some(product), _) => Some(product.clone()),
        (None, Some(text)) => {
            Some(text.parse::<ProductName>().map_err(|error| file.wrong("product", error))?)
        }
        (None, None) => None,
    };
    let id = match (&args.id, file.text("proxy.id")) {
        (Some(id), _) => Some(id.clone()),
        (None, Some(text)) => Some(text.parse::<ProxyId>().map_err(|error| file.wrong("proxy.id", error))?),
        (None, None) => None,
    };
    let store = args.store.as_deref().or_else(|| file.text("store.address"));
    Ok(FollowConfig {
        store: store.ok_or_else(|| missing("the store", "store.address"))?.to_owned(),
        product: product.ok_or_else(|| missing("the product", "product"))?,
        id: id.ok_or_else(|| missing("the proxy's id", "proxy.id"))?,
        start_timeout: args
            .start_timeout
            .or_else(|| file.seconds("proxy.start_timeout"))
            .unwrap_or(Duration::from_secs(30)),
        fence_after: (file.text("proxy.on_store_loss") == Some("fence"))
            .then(|| file.seconds("proxy.fence_after").unwrap_or(Duration::from_secs(60))),
        session_timeout: file.seconds("proxy.session_timeout").unwrap_or(Duration::from_secs(30)),
        auto_online: args.auto_online.or_else(|| file.flag("proxy.auto_online")).unwrap_or(true),
    })
}

fn limits(file: &File, password: Option<Secret>, users: Vec<User>) -> Limits {
    let default = Limits::default();
    let whole = |key: &str, default: usize| file.whole(key).unwrap_or(default);
    let seconds = |key: &str, default: Duration| file.seconds(key).unwrap_or(default);
    Limits {
        backend_tls: None,
        password: match file.text("proxy.backend_user") {
            Some(user) => password.map(|password| password.of(user)),
            None => password,
        },
        codis2: file.text("proxy.compat") == Some("codis2"),
        users,
        max_clients: whole("proxy.max_clients", default.max_clients),
        max_pipeline: whole("proxy.max_pipeline", default.max_pipeline),
        max_request: whole("proxy.max_request", default.max_request),
        max_bulk: whole("proxy.max_bulk", default.max_bulk),
        client_pause: whole("proxy.client_pause", default.client_pause),
        client_output: whole("proxy.client_output", default.client_output),
        subscriber_output: whole("proxy.subscriber_output", default.subscriber_output),
        backend_pause: whole("proxy.backend_pause", default.backend_pause),
        max_memory: whole("proxy.max_memory", default.max_memory),
        request_timeout: seconds("proxy.request_timeout", default.request_timeout),
        idle_timeout: seconds("proxy.idle_timeout", default.idle_timeout),
        connect_timeout: seconds("proxy.connect_timeout", default.connect_timeout),
        backend_timeout: seconds("proxy.backend_timeout", default.backend_timeout),
        max_parked: whole("proxy.max_parked", default.max_parked),
        park_timeout: seconds("proxy.park_timeout", default.park_timeout),
        hold_timeout: seconds("proxy.hold_timeout", default.hold_timeout),
        read_from: match file.text("proxy.read_from") {
            Some("replica-preferred") => ReadFrom::ReplicaPreferred,
            Some("nearest") => ReadFrom::Nearest,
            _ => default.read_from,
        },
        max_lag: seconds("proxy.max_lag", default.max_lag),
        max_pinned: whole("proxy.max_pinned", default.max_pinned),
        stop_grace: seconds("proxy.stop_grace", default.stop_grace),
        allow_flush: file.flag("proxy.allow_flush").unwrap_or(default.allow_flush),
        slowlog_slower_than: seconds("proxy.slowlog_slower_than", default.slowlog_slower_than),
        statistics: file.flag("proxy.statistics").unwrap_or(default.statistics),
        slowlog_max_len: whole("proxy.slowlog_max_len", default.slowlog_max_len),
    }
}

fn read(path: &Path) -> Result<File, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let name = path.display().to_string();
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("ini")) {
        return Ok(go::parse(&text, &name)?);
    }
    Ok(file::parse(&text, &name)?)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Report {
    Report::new("cannot read the configuration", path.display(), crate::report::io_text(error))
        .next("correct the path, or let this user read it")
}

#[cfg(test)]
mod tests;
