//! The command line, and how it joins with the environment and `codis.toml`.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use codis_core::{BadGoConfig, GoConfig, ProductName, ProxyId};
use serde::{Deserialize, de::IgnoredAny};

use crate::config::{Config, FollowConfig, Limits, Mode, Secret};

const EXAMPLES: &str = "\
Examples:
  codis-proxy --static slots.json --listen 127.0.0.1:19000 --workers 2
      Serve a fixed slot map: [{\"id\":0,\"backend_addr\":\"127.0.0.1:6379\"}, ...]
  codis-proxy --store zk://10.0.7.21:2181 --product shop --id proxy-1
      Follow the store of a product.
  CODIS_PASSWORD=secret codis-proxy --config /etc/codis/codis.toml
      Read the [proxy] table of a file; the password is never an argument.

Exit status:
  0  stopped by SIGTERM or SIGINT, or marked offline
  1  failed, e.g. an address is in use
  2  usage or configuration
  4  the product is not initialised
  5  the store cannot be reached";

/// RESP proxy that makes the servers of a Codis product look like one big Redis.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Configuration file, of which the `[proxy]` table is read; or the config.ini of the Go proxy
    #[arg(long, value_name = "FILE", env = "CODIS_CONFIG")]
    config: Option<PathBuf>,
    /// Serve the fixed slot map in this file, without a store
    #[arg(long = "static", value_name = "FILE", conflicts_with_all = ["store", "product", "id"])]
    static_map: Option<PathBuf>,
    /// Store of the product: zk://HOST:PORT,...[/CHROOT] or local:PATH
    #[arg(long, value_name = "STORE", env = "CODIS_STORE")]
    store: Option<String>,
    /// Product to serve
    #[arg(long, value_name = "NAME", env = "CODIS_PRODUCT")]
    product: Option<String>,
    /// Id of this proxy in the product
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Seconds to wait for the store at the start [default: 30]
    #[arg(long, value_name = "SECONDS")]
    start_timeout: Option<f64>,
    /// Go online once all slots are resolved; with `false`, wait for `codisctl proxy online` [default: true]
    #[arg(long, value_name = "BOOL")]
    auto_online: Option<bool>,
    /// Address that clients connect to [default: 0.0.0.0:19000]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the admin pages [default: 127.0.0.1:11000]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Threads that serve clients [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

/// What is wrong with the command line, the environment or the file. Exit status 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has a wrong key, type or syntax.
    #[error("{path}:{line}: {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// A line of the Go programs' file cannot be used.
    #[error("{path}:{}: {}: {}; next: {}", .bad.line, .bad.what, .bad.why, .bad.next)]
    GoFile {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        bad: BadGoConfig,
    },
    /// A value cannot be used.
    #[error("{0}")]
    Value(String),
    /// Nothing says where the routes come from.
    #[error(
        "{missing} is not given: use --static FILE, or --store, --product and --id (see codis-proxy --help)"
    )]
    Missing {
        /// What is missing.
        missing: &'static str,
    },
}

/// `codis.toml`, the file of all programs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    product: Option<String>,
    password_file: Option<PathBuf>,
    /// Only in the file of the Go proxy.
    #[serde(skip)]
    password: Option<Secret>,
    #[serde(default)]
    store: StoreTable,
    #[serde(default)]
    proxy: ProxyTable,
    /// For people at a terminal.
    #[serde(rename = "output")]
    _output: Option<IgnoredAny>,
    /// The same; the proxy has time-outs of its own.
    #[serde(rename = "timeout")]
    _timeout: Option<IgnoredAny>,
}

/// The `[store]` table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreTable {
    address: Option<String>,
}

/// The `[proxy]` table. Sizes are bytes, times are seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxyTable {
    id: Option<String>,
    start_timeout: Option<f64>,
    auto_online: Option<bool>,
    listen: Option<String>,
    admin: Option<String>,
    workers: Option<usize>,
    max_clients: Option<usize>,
    max_pipeline: Option<usize>,
    max_request: Option<usize>,
    max_bulk: Option<usize>,
    client_pause: Option<usize>,
    client_output: Option<usize>,
    backend_pause: Option<usize>,
    idle_timeout: Option<f64>,
    connect_timeout: Option<f64>,
    backend_timeout: Option<f64>,
    max_parked: Option<usize>,
    park_timeout: Option<f64>,
    max_pinned: Option<usize>,
    stop_grace: Option<f64>,
    allow_flush: Option<bool>,
}

/// Joins command line, environment and file, in this order of precedence.
///
/// # Errors
/// When something is missing, cannot be read or cannot be used.
pub(crate) fn configure(args: Args) -> Result<Config, ConfigError> {
    let file = args.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
    let mode = match args.static_map {
        Some(path) => Mode::Static(path),
        None => {
            let store =
                args.store.or(file.store.address).ok_or(ConfigError::Missing { missing: "the store" })?;
            let product =
                args.product.or(file.product).ok_or(ConfigError::Missing { missing: "the product" })?;
            let id = args
                .id
                .or(file.proxy.id.clone())
                .ok_or(ConfigError::Missing { missing: "the proxy's id" })?;
            let product: ProductName =
                product.parse().map_err(|error| ConfigError::Value(format!("--product: {error}")))?;
            let id: ProxyId = id.parse().map_err(|error| ConfigError::Value(format!("--id: {error}")))?;
            let start_timeout = args.start_timeout.or(file.proxy.start_timeout);
            let start_timeout = seconds("start_timeout", start_timeout, Duration::from_secs(30))?;
            let auto_online = args.auto_online.or(file.proxy.auto_online).unwrap_or(true);
            Mode::Follow(FollowConfig { store, product, id, start_timeout, auto_online })
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.or(file.proxy.workers).unwrap_or(cores);
    if !(1..=256).contains(&workers) {
        return Err(ConfigError::Value(format!("workers: {workers} is not between 1 and 256")));
    }
    let address = |name: &str, given: Option<String>, default: &str| {
        let text = given.unwrap_or_else(|| default.to_owned());
        match text.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => Ok(text),
            _ => Err(ConfigError::Value(format!("{name}: `{text}` is not an address (host:port)"))),
        }
    };
    Ok(Config {
        listen: address("listen", args.listen.or(file.proxy.listen.clone()), "0.0.0.0:19000")?,
        admin: address("admin", args.admin.or(file.proxy.admin.clone()), "127.0.0.1:11000")?,
        workers,
        mode,
        limits: limits(&file.proxy, password(file.password, file.password_file.as_deref())?)?,
    })
}

fn limits(table: &ProxyTable, password: Option<Secret>) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    Ok(Limits {
        password,
        max_clients: table.max_clients.unwrap_or(default.max_clients),
        max_pipeline: table.max_pipeline.unwrap_or(default.max_pipeline).max(1),
        max_request: table.max_request.unwrap_or(default.max_request),
        max_bulk: table.max_bulk.unwrap_or(default.max_bulk),
        client_pause: table.client_pause.unwrap_or(default.client_pause),
        client_output: table.client_output.unwrap_or(default.client_output),
        backend_pause: table.backend_pause.unwrap_or(default.backend_pause),
        idle_timeout: seconds("idle_timeout", table.idle_timeout, default.idle_timeout)?,
        connect_timeout: seconds("connect_timeout", table.connect_timeout, default.connect_timeout)?,
        backend_timeout: seconds("backend_timeout", table.backend_timeout, default.backend_timeout)?,
        max_parked: table.max_parked.unwrap_or(default.max_parked),
        park_timeout: seconds("park_timeout", table.park_timeout, default.park_timeout)?,
        max_pinned: table.max_pinned.unwrap_or(default.max_pinned),
        stop_grace: seconds("stop_grace", table.stop_grace, default.stop_grace)?,
        allow_flush: table.allow_flush.unwrap_or(default.allow_flush),
    })
}

fn seconds(name: &str, given: Option<f64>, default: Duration) -> Result<Duration, ConfigError> {
    match given {
        None => Ok(default),
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| ConfigError::Value(format!("[proxy] {name}: {seconds} is not a time in seconds"))),
    }
}

/// The password from CODIS_PASSWORD, else what stands in a config.ini, else the first line of the file that
/// `password_file` names.
fn password(inline: Option<Secret>, file: Option<&Path>) -> Result<Option<Secret>, ConfigError> {
    let given = match (std::env::var("CODIS_PASSWORD"), file) {
        (Ok(password), _) => Some(password),
        (Err(_), _) if inline.is_some() => return Ok(inline),
        (Err(_), Some(path)) => {
            let read = |source| ConfigError::Read { path: path.to_owned(), source };
            if fs::metadata(path).map_err(read)?.mode() & 0o077 != 0 {
                let path = path.display();
                let why = format!("{path} may be read by others than its owner; next: chmod 600 {path}");
                return Err(ConfigError::Value(why));
            }
            let text = fs::read_to_string(path).map_err(read)?;
            Some(text.lines().next().unwrap_or_default().to_owned())
        }
        (Err(_), None) => None,
    };
    Ok(given.filter(|password| !password.is_empty()).map(|password| Secret::new(&password)))
}

fn read_file(path: &Path) -> Result<File, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("ini")) {
        return go_file(&text, path);
    }
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|&&b| b == b'\n').count();
        let what = error.message().replace('\n', " ");
        ConfigError::File { path: path.to_owned(), line, what }
    })
}

/// The `config.ini` of the Go proxy. What it says of buffers, pings and the session with ZooKeeper has no
/// counterpart here; nor is a dashboard asked to let the proxy serve.
fn go_file(text: &str, path: &Path) -> Result<File, ConfigError> {
    let config = GoConfig::parse(text).map_err(|bad| ConfigError::GoFile { path: path.to_owned(), bad })?;
    for setting in config.unknown() {
        tracing::warn!(file = %path.display(), line = setting.line, key = %setting.key, "unknown key, not used");
    }
    let value = |key: &str| config.get(key).map(|setting| setting.value.clone());
    Ok(File {
        // What the Go proxy takes, too.
        product: Some(value("product").unwrap_or_else(|| "test".to_owned())),
        password: value("password").map(|text| Secret::new(&text)),
        store: StoreTable { address: config.store() },
        proxy: ProxyTable {
            id: value("proxy_id"),
            idle_timeout: config.number("session_max_timeout").map(f64::from),
            max_pipeline: config.number("session_max_pipeline").map(|number| number as usize),
            ..ProxyTable::default()
        },
        ..File::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(argv: &[&str]) -> Result<Config, ConfigError> {
        configure(Args::try_parse_from([&["codis-proxy"], argv].concat()).unwrap())
    }

    #[test]
    fn flags_go_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codis.toml");
        fs::write(&path, "timeout = \"5s\"\n[store]\naddress = \"local:/x\"\n[proxy]\nid = \"p1\"\nlisten = \"h:1\"\nmax_clients = 7\n")
            .unwrap();
        let path = path.to_str().unwrap();
        let config = config(&["--config", path, "--product", "shop", "--listen", "h:2"]).unwrap();
        assert_eq!((config.listen.as_str(), config.limits.max_clients), ("h:2", 7));
        let Mode::Follow(follow) = config.mode else { panic!("{:?}", config.mode) };
        assert_eq!((follow.store.as_str(), follow.id.as_str()), ("local:/x", "p1"));
    }

    #[test]
    fn the_file_of_the_go_proxy_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.ini");
        fs::write(
            &path,
            "coordinator=zookeeper\nzk=h1:2181,h2\nproduct=feed\npassword=hush\nproxy_id=proxy_1\n\
             session_max_timeout=600\nsession_max_pipeline=64\nnosie=1\n",
        )
        .unwrap();
        let argv = ["--config", path.to_str().unwrap(), "--listen", "h:2"];
        let followed = config(&argv).unwrap();
        assert_eq!(followed.limits.idle_timeout, Duration::from_secs(600));
        assert_eq!(followed.limits.max_pipeline, 64);
        assert!(followed.limits.password.as_ref().is_some_and(|secret| secret.reveal() == b"hush"));
        let Mode::Follow(follow) = followed.mode else { panic!("{:?}", followed.mode) };
        assert_eq!((follow.store.as_str(), follow.id.as_str()), ("zk://h1:2181,h2:2181", "proxy_1"));
        assert_eq!(follow.product.as_str(), "feed");

        fs::write(&path, "zk=h\nproxy_id=p\ncoordinator=etcd\n").unwrap();
        let error = config(&argv).unwrap_err().to_string();
        assert!(error.contains("config.ini:3: wrong value for `coordinator`: "), "{error}");
        fs::write(&path, "zk=h\n").unwrap();
        assert!(config(&argv).unwrap_err().to_string().starts_with("the proxy's id is not given"));
        fs::write(&path, "proxy_id=p\n").unwrap();
        assert!(config(&argv).unwrap_err().to_string().starts_with("the store is not given"));
    }

    #[test]
    fn mistakes_name_file_line_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codis.toml");
        let error = |text: &str| {
            fs::write(&path, text).unwrap();
            let text = config(&["--config", path.to_str().unwrap()]).unwrap_err().to_string();
            text.rsplit_once('/').unwrap().1.to_owned()
        };
        let unknown = error("product = \"a\"\n[proxy]\nworkerz = 1\n");
        assert!(unknown.starts_with("codis.toml:3: unknown field `workerz`"), "{unknown}");
        let wrong = error("[proxy]\n\nworkers = \"two\"\n");
        let top = error("stor = 1\n");
        assert!(top.starts_with("codis.toml:1: unknown field `stor`"), "{top}");
        assert!(wrong.starts_with("codis.toml:3: invalid type: string \"two\""), "{wrong}");
        assert!(config(&[]).unwrap_err().to_string().starts_with("the store is not given"));
        assert!(
            config(&["--static", "f", "--listen", "h"])
                .unwrap_err()
                .to_string()
                .contains("`h` is not an address")
        );
        assert!(config(&["--static", "f", "--workers", "0"]).unwrap_err().to_string().contains("workers: 0"));
    }

    #[test]
    fn a_password_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "hush\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(password(None, Some(&path)).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(password(None, Some(&path)).unwrap().is_some_and(|secret| secret.reveal() == b"hush"));
    }

    #[test]
    fn a_password_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new("hush")), "***");
    }
}
