//! What kind of server is at the other end of a connection.

use super::reply::Reply;

/// What a server says about itself when a connection is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Server {
    /// Identifies the process.
    pub(super) run_id: String,
    /// First number of its version.
    major: u32,
    /// It knows the SLOTS* commands.
    slots: bool,
    /// Its `maxmemory-policy`.
    policy: String,
}

impl Server {
    /// From the answers to `INFO` and `COMMAND INFO SLOTSMGRTTAGONE`; nothing if the former says
    /// neither a run id nor a version.
    pub(super) fn read(info: &Reply, command: &Reply) -> Option<Self> {
        let Reply::Bulk(Some(text)) = info else { return None };
        let text = String::from_utf8_lossy(text);
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|v| v.trim().to_owned())
        };
        Some(Self {
            run_id: value("run_id")?,
            major: value("redis_version")?.split('.').next()?.parse().ok()?,
            slots: matches!(command.first(), Some(Reply::Array(Some(_)))),
            policy: value("maxmemory_policy").unwrap_or_default(),
        })
    }

    /// A codis-server 2.8, which moves keys itself. One of version 3.2 has these commands as well but
    /// needs them no more than any other Redis does.
    pub(super) fn is_native(&self) -> bool {
        self.slots && self.major < 3
    }

    /// Whether it can be asked which slaves have a write.
    pub(super) fn has_wait(&self) -> bool {
        self.major >= 3
    }

    /// The command that deletes, without holding others up where there is one.
    pub(super) fn unlink(&self) -> &'static [u8] {
        if self.major >= 4 { b"UNLINK" } else { b"DEL" }
    }
}

/// How recently or how often a key was used, which an evicting destination must be told: to it, every
/// key that arrives has just been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heat {
    None,
    Idle,
    Frequency,
}

impl Heat {
    /// What one server can tell and the other one evicts by.
    pub(super) fn between(from: &Server, to: &Server) -> Self {
        // OBJECT tells frequencies where the policy is LFU, and idle times only where it is not.
        match (from.policy.ends_with("-lfu"), to.policy.ends_with("-lfu")) {
            _ if from.major < 5 || to.major < 5 => Self::None,
            (true, true) => Self::Frequency,
            (false, false) if to.policy.ends_with("-lru") => Self::Idle,
            _ => Self::None,
        }
    }

    /// The subcommand of OBJECT that tells it, and the option of RESTORE that sets it.
    pub(super) fn word(self) -> Option<&'static [u8]> {
        match self {
            Self::None => None,
            Self::Idle => Some(b"IDLETIME"),
            Self::Frequency => Some(b"FREQ"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, slots: bool, policy: &str) -> Server {
        let info =
            format!("# Server\r\nredis_version:{version}\r\nrun_id:abc\r\nmaxmemory_policy:{policy}\r\n");
        let entry = if slots { Reply::Array(Some(vec![])) } else { Reply::Bulk(None) };
        let command = Reply::Array(Some(vec![entry]));
        Server::read(&Reply::Bulk(Some(info.into())), &command).unwrap()
    }

    #[test]
    fn native_is_what_has_the_commands_and_nothing_better() {
        let old = server("2.8.21", true, "noeviction");
        assert!(old.is_native() && !old.has_wait());
        assert_eq!(old.unlink(), b"DEL");
        let newer = server("3.2.9", true, "noeviction");
        assert!(!newer.is_native() && newer.has_wait());
        assert_eq!(newer.unlink(), b"DEL");
        let stock = server("7.0.15", false, "noeviction");
        assert!(!stock.is_native() && stock.has_wait());
        assert_eq!(stock.unlink(), b"UNLINK");
        // COMMAND itself may be unknown, or forbidden.
        let refused = Reply::Error("ERR unknown command 'COMMAND'".into());
        let info = Reply::Bulk(Some("redis_version:2.8.10\r\nrun_id:x\r\n".into()));
        assert!(!Server::read(&info, &refused).unwrap().is_native());
        assert_eq!(Server::read(&Reply::Bulk(Some("hello".into())), &refused), None);
    }

    #[test]
    fn heat_goes_where_it_is_known_and_used() {
        let heat = |from: &str, to: &str| {
            Heat::between(&server("7.0.15", false, from), &server("7.0.15", false, to)).word()
        };
        assert_eq!(heat("noeviction", "allkeys-lru"), Some(&b"IDLETIME"[..]));
        assert_eq!(heat("allkeys-lfu", "volatile-lfu"), Some(&b"FREQ"[..]));
        for (from, to) in
            [("noeviction", "noeviction"), ("allkeys-lfu", "allkeys-lru"), ("noeviction", "allkeys-lfu")]
        {
            assert_eq!(heat(from, to), None, "{from} to {to}");
        }
        let old = server("4.0.9", false, "allkeys-lru");
        assert_eq!(Heat::between(&old, &server("7.0.15", false, "allkeys-lru")), Heat::None);
    }
}
