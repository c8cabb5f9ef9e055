//! What kind of server is at the other end of a connection.

use codis_core::ServerTraits;

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

    /// What moving keys depends on.
    pub(super) fn traits(&self) -> ServerTraits<'_> {
        ServerTraits { major: self.major, slots: self.slots, policy: &self.policy }
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
        assert!(old.traits().is_native() && !old.traits().has_wait());
        assert_eq!(old.traits().unlink(), "DEL");
        let newer = server("3.2.9", true, "noeviction");
        assert!(!newer.traits().is_native() && newer.traits().has_wait());
        assert_eq!(newer.traits().unlink(), "DEL");
        let stock = server("7.0.15", false, "noeviction");
        assert!(!stock.traits().is_native() && stock.traits().has_wait());
        assert_eq!(stock.traits().unlink(), "UNLINK");
        assert_eq!(stock.traits(), ServerTraits { major: 7, slots: false, policy: "noeviction" });
        // COMMAND itself may be unknown, or forbidden.
        let refused = Reply::Error("ERR unknown command 'COMMAND'".into());
        let info = Reply::Bulk(Some("redis_version:2.8.10\r\nrun_id:x\r\n".into()));
        assert!(!Server::read(&info, &refused).unwrap().traits().is_native());
        assert_eq!(Server::read(&Reply::Bulk(Some("hello".into())), &refused), None);
    }
}
