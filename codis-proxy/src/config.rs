//! What a proxy is told at start: modes, addresses and limits, each with its unit and default.

use std::{path::PathBuf, sync::Arc, time::Duration};

use codis_core::{ProductName, ProxyId};

use crate::tls::{BackendTls, ServerTls};

/// Everything the proxy is told at start.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where clients connect, `host:port`.
    pub(crate) listen: String,
    /// Where the admin pages are served, `host:port`.
    pub(crate) admin: String,
    /// Threads that serve clients.
    pub(crate) workers: usize,
    /// Where clients connect with TLS, and how; nowhere unless it is given.
    pub(crate) tls: Option<(String, ServerTls)>,
    /// Where a successor turns up; nowhere unless it is given.
    pub(crate) control: Option<PathBuf>,
    /// Take the place of the process that listens there.
    pub(crate) take_over: bool,
    /// Where the routes come from.
    pub(crate) mode: Mode,
    /// Bounds of the data path.
    pub(crate) limits: Limits,
}

/// Where the routes come from.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// A fixed slot map in a file.
    Static(PathBuf),
    /// The store of a product.
    Follow(FollowConfig),
}

/// What following a store needs to know.
#[derive(Debug, Clone)]
pub(crate) struct FollowConfig {
    /// Address of the store, `zk://HOST:PORT,...[/CHROOT]` or `local:PATH`.
    pub(crate) store: String,
    /// The product.
    pub(crate) product: ProductName,
    /// This proxy's id in the product.
    pub(crate) id: ProxyId,
    /// How long the store may be away at the start (30 s).
    pub(crate) start_timeout: Duration,
    /// Go online once all slots are resolved (yes), or wait to be told.
    pub(crate) auto_online: bool,
    /// How long the store may be away before nothing is served any more; `None` (so by default): for ever.
    pub(crate) fence_after: Option<Duration>,
    /// After how long without a sign of life the store takes the proxy for dead (30 s).
    pub(crate) session_timeout: Duration,
}

/// Password that clients give and that servers are given; never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret {
    /// Who servers are told that we are; `None`: the user that they call `default`.
    user: Option<Arc<str>>,
    password: Arc<str>,
}

impl Secret {
    /// Wraps a password.
    pub(crate) fn new(text: &str) -> Self {
        Self { user: None, password: text.into() }
    }

    /// The password of this user.
    pub(crate) fn of(self, user: &str) -> Self {
        Self { user: Some(user.into()), ..self }
    }

    /// The words of the AUTH for a server.
    pub(crate) fn auth(&self) -> Vec<&[u8]> {
        let user = self.user.iter().map(|user| user.as_bytes());
        [&b"AUTH"[..]].into_iter().chain(user).chain([self.reveal()]).collect()
    }

    /// Compares a password in a time that does not depend on where it differs.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let right = self.reveal();
        // A given one that is too short is gone on with as if it were filled up; its length may be known.
        let differences = given.iter().zip(right.iter().cycle()).fold(0, |sum, (a, b)| sum | (a ^ b));
        right.len() == given.len() && differences == 0
    }

    /// The password itself, for AUTH only.
    pub(crate) fn reveal(&self) -> &[u8] {
        self.password.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What the hand-over of keys needs to know; the rest of its bounds are its own.
#[derive(Debug, Clone)]
pub(crate) struct MoveLimits {
    /// Password for the servers.
    pub(crate) password: Option<Secret>,
    /// TLS towards the servers; `None`: plain.
    pub(crate) tls: Option<BackendTls>,
    /// Time allowed for opening a connection to a server.
    pub(crate) connect_timeout: Duration,
}

/// Which servers are asked for what only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ReadFrom {
    /// Masters.
    #[default]
    Master,
    /// Slaves, in turn, where one is fresh enough.
    ReplicaPreferred,
    /// Whoever answers soonest of the master and the slaves that are fresh enough.
    Nearest,
}

/// Bounds of the data path. Each says what happens when it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Asked of clients and given to servers; `None`: neither.
    pub(crate) password: Option<Secret>,
    /// What Codis 2 refuses is refused as the Go proxy does it: by closing the connection (no).
    pub(crate) codis2: bool,
    /// TLS towards the servers; `None`: plain.
    pub(crate) backend_tls: Option<BackendTls>,
    /// Who may log in. If there are any, the password is for the servers only.
    pub(crate) users: Vec<User>,
    /// Connected clients of the whole process (10000). One more is told so and closed.
    pub(crate) max_clients: usize,
    /// Requests of one client that wait for a reply (1024). Its socket is not read meanwhile.
    pub(crate) max_pipeline: usize,
    /// Bytes of one request (536 MiB). A longer one is a protocol error.
    pub(crate) max_request: usize,
    /// Bytes of one argument (512 MiB). A longer one is a protocol error.
    pub(crate) max_bulk: usize,
    /// Bytes of replies a client has not taken (1 MiB) above which its socket is not read.
    pub(crate) client_pause: usize,
    /// Bytes of replies a client has not taken (1 GiB) above which it is disconnected.
    pub(crate) client_output: usize,
    /// Bytes of messages and replies a client that listens to channels has not taken (32 MiB) above which it
    /// is disconnected.
    pub(crate) subscriber_output: usize,
    /// Bytes queued for one server by one worker (64 MiB) above which clients are not read.
    pub(crate) backend_pause: usize,
    /// Bytes of requests and replies that all workers may hold (128 MiB). From half on clients with much wait,
    /// at all of it those with most are disconnected.
    pub(crate) max_memory: usize,
    /// Time in which a request must be complete from its first byte on, and a second more for each 64 KiB of
    /// it that have come; 0 = any (60 s). Then its client is told so and disconnected.
    pub(crate) request_timeout: Duration,
    /// Idle time after which a client is disconnected; 0 = never (1800 s).
    pub(crate) idle_timeout: Duration,
    /// Time allowed for opening a connection to a server (1 s).
    pub(crate) connect_timeout: Duration,
    /// Time a server may take for a reply (30 s); then its connection is given up.
    pub(crate) backend_timeout: Duration,
    /// Clients of one worker that may wait for a slot that is switching (10000); more get TRYAGAIN.
    pub(crate) max_parked: usize,
    /// Time a request may wait for a slot that is switching (5 s); then TRYAGAIN.
    pub(crate) park_timeout: Duration,
    /// Connections to servers that clients of one worker have to themselves, for transactions and blocking commands (1000);
    /// one more is refused.
    pub(crate) max_pinned: usize,
    /// Time allowed at a stop for what is in flight (5 s).
    pub(crate) stop_grace: Duration,
    /// Time for which a request is kept that a server has not executed because it is no master any more, or is not to
    /// be (2 s); then the client gets the error. 0, as without a store: at once.
    pub(crate) hold_timeout: Duration,
    /// Who is asked for what only reads (the master).
    pub(crate) read_from: ReadFrom,
    /// How old what a slave answers may be (1 s).
    pub(crate) max_lag: Duration,
    /// FLUSHALL and FLUSHDB are carried out (no); else they are refused.
    pub(crate) allow_flush: bool,
    /// A request that takes at least so long stands in the slow log (10 ms).
    pub(crate) slowlog_slower_than: Duration,
    /// Entries that the slow log keeps (128); 0: none.
    pub(crate) slowlog_max_len: usize,
    /// Percentiles are kept, and hot keys and big replies looked for (yes).
    pub(crate) statistics: bool,
}

/// A client's name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// The name; `default` is who gives none.
    pub(crate) name: String,
    /// The password.
    pub(crate) password: Secret,
}

impl Limits {
    /// True if clients need not log in.
    pub(crate) fn is_open(&self) -> bool {
        self.password.is_none() && self.users.is_empty()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            password: None,
            codis2: false,
            backend_tls: None,
            users: Vec::new(),
            max_clients: 10_000,
            max_pipeline: 1024,
            max_request: 536 << 20,
            max_bulk: 512 << 20,
            client_pause: 1 << 20,
            client_output: 1 << 30,
            subscriber_output: 32 << 20,
            backend_pause: 64 << 20,
            max_memory: 128 << 20,
            request_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(1800),
            connect_timeout: Duration::from_secs(1),
            backend_timeout: Duration::from_secs(30),
            max_parked: 10_000,
            park_timeout: Duration::from_secs(5),
            max_pinned: 1000,
            stop_grace: Duration::from_secs(5),
            hold_timeout: Duration::from_secs(2),
            read_from: ReadFrom::Master,
            max_lag: Duration::from_secs(1),
            allow_flush: false,
            slowlog_slower_than: Duration::from_millis(10),
            slowlog_max_len: 128,
            statistics: true,
        }
    }
}
