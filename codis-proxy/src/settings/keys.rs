//! Every key of `codis.toml` that the proxy reads, in one table: what it takes and what to write.
//!
//! A new key is a row here, a line in [`limits`](super::limits) or its like, and a row in
//! `docs/configuration.md`; a test compares.

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Takes {
    /// Any text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `host:port`.
    Address,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number between these.
    Whole(u64, u64),
    /// A number of seconds between these; a fraction will do.
    Seconds(f64, f64),
    /// It belongs to another program.
    Anything,
}

impl Takes {
    pub(super) fn describe(self) -> String {
        match self {
            Self::Text => "text in double quotes".to_owned(),
            Self::OneOf(words) => format!("\"{}\"", words.join("\" or \"")),
            Self::Address => "an address in double quotes: host:port".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Seconds(least, most) => format!("a number of seconds from {least} to {most}"),
            Self::Anything => "anything".to_owned(),
        }
    }
}

/// One key of the file.
#[derive(Debug)]
pub(super) struct Key {
    /// The table it stands in; empty for the top of the file.
    pub(super) table: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) takes: Takes,
    /// What to write, for error messages.
    pub(super) example: &'static str,
}

impl Key {
    /// `table.name`, or `name` at the top.
    pub(super) fn path(&self) -> String {
        if self.table.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.table, self.name) }
    }
}

const fn key(table: &'static str, name: &'static str, takes: Takes, example: &'static str) -> Key {
    Key { table, name, takes, example }
}

const fn proxy(name: &'static str, takes: Takes, example: &'static str) -> Key {
    key("proxy", name, takes, example)
}

/// A number of things.
const COUNT: Takes = Takes::Whole(1, 10_000_000);
/// A number of things, of which none may be allowed.
const COUNT_OR_NONE: Takes = Takes::Whole(0, 10_000_000);
/// A number of bytes.
const BYTES: Takes = Takes::Whole(1, 1 << 40);
/// A time that somebody waits; a day at most.
const WAIT: Takes = Takes::Seconds(0.001, 86_400.0);
/// The same, where 0 has a meaning of its own.
const WAIT_OR_ZERO: Takes = Takes::Seconds(0.0, 31_536_000.0);

/// Every key there is.
pub(super) const KEYS: &[Key] = &[
    key("", "product", Takes::Text, "product = \"feed\""),
    key("", "password_file", Takes::Text, "password_file = \"/etc/codis/password\""),
    // For people at a terminal.
    key("", "output", Takes::Anything, "output = \"table\""),
    // The same; the proxy has time-outs of its own.
    key("", "timeout", Takes::Anything, "timeout = \"10s\""),
    key("store", "address", Takes::Text, "address = \"zk://10.0.7.11:2181,10.0.7.12:2181\""),
    proxy("id", Takes::Text, "id = \"px-1\""),
    proxy("listen", Takes::Address, "listen = \"0.0.0.0:19000\""),
    proxy("admin", Takes::Address, "admin = \"127.0.0.1:11000\""),
    proxy("tls_listen", Takes::Address, "tls_listen = \"0.0.0.0:19443\""),
    proxy("tls_cert", Takes::Text, "tls_cert = \"/etc/codis/proxy.crt\""),
    proxy("tls_key", Takes::Text, "tls_key = \"/etc/codis/proxy.key\""),
    proxy("tls_client_ca", Takes::Text, "tls_client_ca = \"/etc/codis/clients-ca.crt\""),
    proxy("backend_ca", Takes::Text, "backend_ca = \"/etc/codis/servers-ca.crt\""),
    proxy("backend_cert", Takes::Text, "backend_cert = \"/etc/codis/proxy-client.crt\""),
    proxy("backend_key", Takes::Text, "backend_key = \"/etc/codis/proxy-client.key\""),
    proxy("workers", Takes::Whole(1, 256), "workers = 2"),
    proxy("control", Takes::Text, "control = \"/run/codis/px-1.sock\""),
    proxy("start_timeout", WAIT_OR_ZERO, "start_timeout = 30"),
    proxy("auto_online", Takes::Flag, "auto_online = true"),
    proxy("on_store_loss", Takes::Word(&["serve", "fence"]), "on_store_loss = \"serve\""),
    proxy("fence_after", WAIT, "fence_after = 60"),
    proxy("session_timeout", Takes::Seconds(1.0, 300.0), "session_timeout = 30"),
    proxy("max_clients", COUNT, "max_clients = 10000"),
    proxy("max_pipeline", COUNT, "max_pipeline = 1024"),
    proxy("max_request", BYTES, "max_request = 562036736"),
    proxy("max_bulk", BYTES, "max_bulk = 536870912"),
    proxy("client_pause", BYTES, "client_pause = 1048576"),
    proxy("client_output", BYTES, "client_output = 1073741824"),
    proxy("subscriber_output", BYTES, "subscriber_output = 33554432"),
    proxy("backend_pause", BYTES, "backend_pause = 67108864"),
    proxy("max_memory", Takes::Whole(1 << 20, 1 << 40), "max_memory = 134217728"),
    proxy("request_timeout", WAIT_OR_ZERO, "request_timeout = 60"),
    proxy("idle_timeout", WAIT_OR_ZERO, "idle_timeout = 1800"),
    proxy("connect_timeout", WAIT, "connect_timeout = 1"),
    proxy("backend_timeout", WAIT, "backend_timeout = 30"),
    proxy("max_parked", COUNT_OR_NONE, "max_parked = 10000"),
    proxy("park_timeout", WAIT_OR_ZERO, "park_timeout = 5"),
    proxy("hold_timeout", WAIT_OR_ZERO, "hold_timeout = 2"),
    proxy("read_from", Takes::Word(&["master", "replica-preferred", "nearest"]), "read_from = \"nearest\""),
    proxy("max_lag", WAIT, "max_lag = 1"),
    proxy("max_pinned", COUNT_OR_NONE, "max_pinned = 1000"),
    proxy("stop_grace", WAIT_OR_ZERO, "stop_grace = 5"),
    proxy("allow_flush", Takes::Flag, "allow_flush = false"),
    proxy("slowlog_slower_than", WAIT_OR_ZERO, "slowlog_slower_than = 0.01"),
    proxy("statistics", Takes::Flag, "statistics = true"),
    proxy("slowlog_max_len", Takes::Whole(0, 100_000), "slowlog_max_len = 128"),
    proxy("compat", Takes::OneOf(&["codis2", "redis"]), "compat = \"codis2\""),
    proxy("users_file", Takes::Text, "users_file = \"/etc/codis/users\""),
    proxy("backend_user", Takes::Text, "backend_user = \"codis\""),
];
