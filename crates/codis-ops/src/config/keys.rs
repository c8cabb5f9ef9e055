//! Every key of `codis.toml`, what it takes, and what to write.

use std::time::Duration;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Any text.
    Text,
    /// A duration such as `10s`.
    Duration,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number between these two.
    Number(u64, u64),
    /// Yes or no.
    Flag,
    /// So many bytes, as `64gb`.
    Size,
}

impl Takes {
    pub(super) fn describe(self) -> String {
        match self {
            Self::Text => "text in double quotes".to_owned(),
            Self::Duration => "a duration in double quotes: a number with ms, s, m, h or d".to_owned(),
            Self::OneOf(words) => format!("one of {}, in double quotes", words.join(", ")),
            Self::Number(least, most) => format!("a whole number from {least} to {most}"),
            Self::Flag => "true or false".to_owned(),
            Self::Size => "a size in double quotes: a number with kb, mb, gb or tb".to_owned(),
        }
    }
}

/// One key of the file.
#[derive(Debug)]
pub struct Key {
    /// The table it stands in; empty for the top of the file.
    pub table: &'static str,
    /// Its name; `HOST` stands for all names that people may think of.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What to write, for error messages and the documentation.
    pub example: &'static str,
}

impl Key {
    /// `table.name`, or `name` at the top.
    pub fn path(&self) -> String {
        if self.table.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.table, self.name) }
    }
}

const fn key(table: &'static str, name: &'static str, takes: Takes, example: &'static str) -> Key {
    Key { table, name, takes, example }
}

/// Name of a key whose table takes any names, here those of hosts.
pub(super) const ANY: &str = "HOST";

const OUTPUT: Takes = Takes::OneOf(&["table", "json", "plain"]);

/// The largest number that is taken: 1 PiB.
const MOST: u64 = 1 << 50;

/// Every key there is. `docs/configuration.md` describes the same ones; a test compares.
pub const KEYS: &[Key] = &[
    key("", "product", Takes::Text, "product = \"feed\""),
    key("", "output", OUTPUT, "output = \"table\""),
    key("", "timeout", Takes::Duration, "timeout = \"10s\""),
    key("", "password_file", Takes::Text, "password_file = \"/etc/codis/password\""),
    key("store", "address", Takes::Text, "address = \"zk://10.0.7.11:2181,10.0.7.12:2181\""),
    key("agent", "check_interval", Takes::Duration, "check_interval = \"1s\""),
    key("ha", "down_after", Takes::Duration, "down_after = \"6s\""),
    key("ha", "max_lag", Takes::Duration, "max_lag = \"10s\""),
    key("ha", "recovery_block", Takes::Duration, "recovery_block = \"60s\""),
    key("ha", "single_observer", Takes::Flag, "single_observer = false"),
    key("ha", "rejoin", Takes::OneOf(&["auto", "manual"]), "rejoin = \"manual\""),
    key("ha", "hold_timeout", Takes::Duration, "hold_timeout = \"5s\""),
    key("ha", "master_save", Takes::Text, "master_save = \"\""),
    key("ha", "slave_save", Takes::Text, "slave_save = \"600 1\""),
    key("ha", "backup_dir", Takes::Text, "backup_dir = \"/var/lib/codis/rejoin\""),
    key("alert", "lang", Takes::OneOf(&["en", "zh"]), "lang = \"en\""),
    key("alert", "send_interval", Takes::Duration, "send_interval = \"300s\""),
    key("alert", "recover_after", Takes::Duration, "recover_after = \"10s\""),
    key("alert", "texts", Takes::Text, "texts = \"/etc/codis/alerts.toml\""),
    key("alert.mail", "server", Takes::Text, "server = \"smtp.example.com:587\""),
    key("alert.mail", "security", Takes::OneOf(&["none", "starttls", "tls"]), "security = \"starttls\""),
    key("alert.mail", "from", Takes::Text, "from = \"Codis <codis@example.com>\""),
    key("alert.mail", "to", Takes::Text, "to = \"li@example.com; wang@example.com\""),
    key("alert.mail", "user", Takes::Text, "user = \"codis@example.com\""),
    key("alert.mail", "password_file", Takes::Text, "password_file = \"/etc/codis/mail-password\""),
    key("alert.mail", "ca_file", Takes::Text, "ca_file = \"/etc/codis/mail-ca.pem\""),
    key("alert.mail", "timeout", Takes::Duration, "timeout = \"30s\""),
    key("alert.webhook", "url", Takes::Text, "url = \"https://chat.example.com/hook\""),
    key("alert.webhook", "url_file", Takes::Text, "url_file = \"/etc/codis/webhook-url\""),
    key("alert.webhook", "template", Takes::Text, "template = \"/etc/codis/webhook.json\""),
    key("alert.webhook", "ca_file", Takes::Text, "ca_file = \"/etc/codis/chat-ca.pem\""),
    key("alert.webhook", "timeout", Takes::Duration, "timeout = \"10s\""),
    key("duty.memory", "on", Takes::Flag, "on = false"),
    key("duty.memory", "line", Takes::Number(1, 100), "line = 80"),
    key("duty.memory", "host_line", Takes::Number(1, 100), "host_line = 90"),
    key("duty.replication", "on", Takes::Flag, "on = false"),
    key("duty.replication", "lag", Takes::Duration, "lag = \"30s\""),
    key("duty.replication", "lag_bytes", Takes::Number(1, MOST), "lag_bytes = 268435456"),
    key("duty.replication", "grace", Takes::Duration, "grace = \"10s\""),
    key("duty.replication", "resyncs", Takes::Number(1, 1000), "resyncs = 3"),
    key("duty.connectivity", "on", Takes::Flag, "on = false"),
    key("duty.connectivity", "down_after", Takes::Duration, "down_after = \"6s\""),
    key("duty.connectivity", "slow", Takes::Duration, "slow = \"10ms\""),
    key("duty.proxies", "on", Takes::Flag, "on = false"),
    key("duty.proxies", "interval", Takes::Duration, "interval = \"10s\""),
    key("duty.proxies", "window", Takes::Duration, "window = \"300s\""),
    key("duty.proxies", "failed_ops", Takes::Number(1, MOST), "failed_ops = 100"),
    key("duty.proxies", "failed_connections", Takes::Number(1, MOST), "failed_connections = 20"),
    key("duty.proxies", "grace", Takes::Duration, "grace = \"5s\""),
    key("duty.proxies", "ack", Takes::Duration, "ack = \"5s\""),
    key("duty.tasks", "on", Takes::Flag, "on = false"),
    key("duty.tasks", "after", Takes::Duration, "after = \"30s\""),
    key("duty.tasks", "rate", Takes::Number(1, 1_000_000), "rate = 5000"),
    key("duty.snapshots", "on", Takes::Flag, "on = true"),
    key("duty.snapshots", "interval", Takes::Duration, "interval = \"1h\""),
    key("duty.snapshots", "reserve", Takes::Size, "reserve = \"2gb\""),
    key("duty.snapshots.host_memory", ANY, Takes::Size, "\"10.0.7.51\" = \"64gb\""),
];

/// A duration as people write it: `500ms`, `10s`, `2m`, `6h`, `14d`.
///
/// # Errors
/// What a duration looks like, if this is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(format!("`{text}` is not a duration (a number with ms, s, m, h or d, e.g. 10s)")),
    }
}

/// Bytes as people write them: `512mb`, `64gb`.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        "tb" => 1u64 << 40,
        _ => 0,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0)
}

/// A table that has keys, or tables with keys in it.
pub(super) fn is_table(name: &str) -> bool {
    let below =
        |table: &str| table.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    !name.is_empty() && KEYS.iter().any(|key| below(key.table))
}

/// The tables right below a table.
pub(super) fn tables_in(table: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for key in KEYS {
        let rest = if table.is_empty() {
            Some(key.table)
        } else {
            key.table.strip_prefix(table).and_then(|rest| rest.strip_prefix('.'))
        };
        let Some(first) = rest.and_then(|rest| rest.split('.').next()).filter(|first| !first.is_empty())
        else {
            continue;
        };
        let name = if table.is_empty() { first.to_owned() } else { format!("{table}.{first}") };
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("6h"), Ok(Duration::from_secs(21_600)));
        assert_eq!(duration("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in ["10", "0s", "s", "-1s", "1w", "99999999999999999999s", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size("64gb"), Some(64 << 30));
        assert_eq!(size("512MB"), Some(512 << 20));
        for wrong in ["64", "0gb", "gb", "1.5gb", "64gib", "99999999999tb", ""] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tables_stand_in_tables() {
        assert_eq!(tables_in("alert"), ["alert.mail", "alert.webhook"]);
        assert!(is_table("alert") && is_table("alert.mail") && !is_table("aler") && !is_table(""));
    }
}
