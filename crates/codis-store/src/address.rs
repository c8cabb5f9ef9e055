//! Where a store lives, as people write it on a command line or in `codis.toml`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Address of a store: `zk://h1:2181,h2:2181[/chroot]` or `local:PATH`.
///
/// `Display` writes the same text back, so an address survives a round trip through a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StoreAddr {
    /// A ZooKeeper ensemble.
    Zk {
        /// `host:port` of every server, in the order given.
        hosts: Vec<String>,
        /// Prefix under which all paths live, empty or `/a[/b]`. Made on the first write when it is missing.
        chroot: String,
    },
    /// One SQLite file on a local disk, shared by the processes of one machine.
    Local {
        /// The database file. Its session locks live beside it in `PATH.sessions/`.
        path: PathBuf,
    },
}

/// Why a text is not a store address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a store address: {why}; write zk://HOST:PORT[,HOST:PORT][/CHROOT] or local:PATH")]
pub struct BadStoreAddr {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl FromStr for StoreAddr {
    type Err = BadStoreAddr;

    fn from_str(text: &str) -> Result<Self, BadStoreAddr> {
        let bad = |why: String| BadStoreAddr { text: text.to_owned(), why };
        if let Some(path) = text.strip_prefix("local:") {
            if path.is_empty() {
                return Err(bad("the path is empty".to_owned()));
            }
            return Ok(Self::Local { path: PathBuf::from(path) });
        }
        let Some(rest) = text.strip_prefix("zk://") else {
            return Err(bad("it begins with neither zk:// nor local:".to_owned()));
        };
        let (hosts, chroot) = match rest.find('/') {
            Some(at) => (&rest[..at], rest[at..].trim_end_matches('/')),
            None => (rest, ""),
        };
        if chroot.split('/').skip(1).any(|name| name.is_empty() || name == "." || name == "..") {
            return Err(bad(format!("the chroot {chroot} has an empty or relative part")));
        }
        let hosts = hosts
            .split(',')
            .map(|host| check_host(host.trim()).map(str::to_owned).map_err(&bad))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self::Zk { hosts, chroot: chroot.to_owned() })
    }
}

fn check_host(host: &str) -> Result<&str, String> {
    let Some((name, port)) = host.rsplit_once(':') else {
        return Err(format!("server {host:?} has no port"));
    };
    if name.is_empty() {
        return Err(format!("server {host:?} has no host"));
    }
    match port.parse::<u16>() {
        Ok(port) if port != 0 => Ok(host),
        _ => Err(format!("server {host:?} has no port between 1 and 65535")),
    }
}

impl fmt::Display for StoreAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zk { hosts, chroot } => write!(f, "zk://{}{chroot}", hosts.join(",")),
            Self::Local { path } => write!(f, "local:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_a_round_trip() {
        for text in ["zk://h1:2181", "zk://h1:2181,h2:2182/codis/a", "local:/var/lib/codis.db", "local:x.db"]
        {
            assert_eq!(text.parse::<StoreAddr>().unwrap().to_string(), text);
        }
        assert_eq!("zk://h:1/".parse::<StoreAddr>().unwrap().to_string(), "zk://h:1");
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        for (text, why) in [
            ("h:2181", "neither"),
            ("local:", "path is empty"),
            ("zk://h", "no port"),
            ("zk://h:0", "between 1 and 65535"),
            ("zk://:2181", "no host"),
            ("zk://h:1,", "no port"),
            ("zk://h:1//a", "empty"),
            ("zk://h:1/a/../b", "relative"),
        ] {
            let error = text.parse::<StoreAddr>().unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("zk://HOST:PORT"), "{text}: {error}");
        }
    }
}
