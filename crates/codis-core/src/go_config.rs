//! `config.ini`, the settings file of the Go programs: lines of `key=value`, `#` begins a comment.
//!
//! One file serves their proxy and their dashboard, so each of our programs takes what it needs. What
//! they silently take for something else, such as a time-out of `30s` for 0, is refused here.

use std::fmt;

/// Every key that the Go programs read, with what stands in for it.
const KEYS: [(&str, Kind); 12] = [
    ("coordinator", Kind::Text),
    ("zk", Kind::Text),
    ("product", Kind::Text),
    ("dashboard_addr", Kind::Text),
    ("password", Kind::Secret),
    ("proxy_id", Kind::Text),
    ("proto", Kind::Text),
    ("backend_ping_period", Kind::Number),
    ("session_max_timeout", Kind::Number),
    ("session_max_bufsize", Kind::Number),
    ("session_max_pipeline", Kind::Number),
    ("zk_session_timeout", Kind::Number),
];
/// The port of ZooKeeper where none is given.
const ZK_PORT: u16 = 2181;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Secret,
    Number,
}

/// A line of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct GoSetting {
    /// What is set.
    pub key: String,
    /// To what.
    pub value: String,
    /// Line, from 1.
    pub line: usize,
}

impl fmt::Debug for GoSetting {
    /// The value of a password is left out, and that of a key that may be a misspelt one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = KEYS.iter().any(|(key, kind)| *key == self.key && *kind != Kind::Secret);
        let value = if open { &self.value } else { "***" };
        write!(f, "{}={value} (line {})", self.key, self.line)
    }
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GoConfig {
    settings: Vec<GoSetting>,
    unknown: Vec<GoSetting>,
}

/// What is wrong with a file. Never holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}: {why}")]
pub struct BadGoConfig {
    /// Line, from 1.
    pub line: usize,
    /// What cannot be used.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to write instead.
    pub next: String,
}

impl GoConfig {
    /// Reads the text of a file. A key that is set twice has its last value, as for the Go programs.
    ///
    /// # Errors
    /// The first line that cannot be used: neither comment nor `key=value`, a number that is none or
    /// negative, a coordinator other than ZooKeeper.
    pub fn parse(text: &str) -> Result<Self, BadGoConfig> {
        let mut config = Self::default();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |what: String, why: &str, next: String| BadGoConfig {
                line: n + 1,
                what,
                why: why.to_owned(),
                next,
            };
            let Some((key, value)) = line.split_once('=') else {
                // It may be half a password: the line is not shown.
                let next = "write key=value, or # before a comment".to_owned();
                return Err(bad("not a setting".to_owned(), "there is no = in the line", next));
            };
            let setting =
                GoSetting { key: key.trim().to_owned(), value: value.trim().to_owned(), line: n + 1 };
            let Some((key, kind)) = KEYS.iter().find(|(key, _)| *key == setting.key) else {
                config.unknown.push(setting);
                continue;
            };
            let what = || format!("wrong value for `{key}`");
            if *kind == Kind::Number && setting.value.parse::<u32>().is_err() {
                let why = match setting.value.starts_with('-') {
                    true => "it is negative",
                    false => "it is not a whole number",
                };
                return Err(bad(what(), why, format!("write a number without a unit: {key}=30")));
            }
            if *key == "coordinator" && setting.value != "zookeeper" {
                let why = match setting.value.as_str() {
                    "etcd" => "the state of a product is read from ZooKeeper, not from etcd",
                    _ => "it is neither zookeeper nor etcd",
                };
                let next = "coordinator=zookeeper, with zk=HOST:PORT of the ensemble that has the product";
                return Err(bad(what(), why, next.to_owned()));
            }
            config.settings.retain(|other| other.key != setting.key);
            config.settings.push(setting);
        }
        Ok(config)
    }

    /// The setting of this key; none where the file does not say, or says nothing.
    pub fn get(&self, key: &str) -> Option<&GoSetting> {
        self.settings.iter().find(|setting| setting.key == key && !setting.value.is_empty())
    }

    /// The number of this key.
    pub fn number(&self, key: &str) -> Option<u32> {
        self.get(key)?.value.parse().ok()
    }

    /// Keys that no program reads, for a warning.
    pub fn unknown(&self) -> &[GoSetting] {
        &self.unknown
    }

    /// The ensemble as our programs write it, `zk://HOST:PORT,...`; a port that is not given is 2181.
    pub fn store(&self) -> Option<String> {
        let hosts = self.get("zk")?.value.split(',').map(|host| match host.trim() {
            host if host.contains(':') => host.to_owned(),
            host => format!("{host}:{ZK_PORT}"),
        });
        Some(format!("zk://{}", hosts.collect::<Vec<_>>().join(",")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "##################################################\n\
        coordinator=zookeeper\r\n zk = 10.0.7.11:2181, 10.0.7.12 \n\nproduct=feed\n\
        dashboard_addr=10.0.7.20:18087\npassword=hu=sh \nbackend_ping_period=5\nsession_max_timeout=1800\n\
        session_max_timeout=600\nproto=tcp4\nproxy_id=proxy_1\nzk_session_timeout=30000\nnoise=1\n";

    #[test]
    fn the_file_is_read_as_the_go_programs_read_it() {
        let config = GoConfig::parse(FILE).unwrap();
        assert_eq!(config.store().unwrap(), "zk://10.0.7.11:2181,10.0.7.12:2181");
        let product = config.get("product").unwrap();
        assert_eq!((product.value.as_str(), product.line), ("feed", 5));
        assert_eq!(config.get("password").unwrap().value, "hu=sh");
        assert_eq!(config.number("session_max_timeout"), Some(600), "the last one counts");
        assert_eq!(config.number("session_max_pipeline"), None);
        let unknown: Vec<_> = config.unknown().iter().map(|one| (one.key.as_str(), one.line)).collect();
        assert_eq!(unknown, [("noise", 14)]);
        assert!(!format!("{config:?}").contains("hu=sh"));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_line() {
        let bad = |text: &str| GoConfig::parse(text).unwrap_err().to_string();
        assert_eq!(
            bad("zk=h\nsession_max_timeout=-1\n"),
            "line 2: wrong value for `session_max_timeout`: it is negative"
        );
        assert_eq!(
            bad("backend_ping_period=5s"),
            "line 1: wrong value for `backend_ping_period`: it is not a whole number"
        );
        assert_eq!(
            bad("#\ncoordinator=etcd"),
            "line 2: wrong value for `coordinator`: the state of a product is read from ZooKeeper, not from etcd"
        );
        assert!(bad("coordinator=consul").ends_with("it is neither zookeeper nor etcd"));
        assert_eq!(bad("[codis]"), "line 1: not a setting: there is no = in the line");
    }
}
