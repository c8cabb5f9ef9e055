//! `compat = "codis2"`: what the Go proxy of Codis 2 refuses is refused as it does it, by closing the
//! connection without a word; and the replies that it makes itself are in its words.
//!
//! Two things stay as they are: replies that are owed are written before the connection is closed (the Go proxy
//! may lose them), and what goes wrong at a server is an error reply, after which the connection goes on.

use codis_resp::lookup;

use super::{
    Worker,
    dispatch::{Frame, Outcome},
    session::SessionId,
};
use crate::journal::Cause;

/// Commands that the Go proxy passes on to nobody, ascending.
const REFUSED: [&str; 48] = [
    "BGREWRITEAOF",
    "BGSAVE",
    "BITOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "CLIENT",
    "CONFIG",
    "DBSIZE",
    "DEBUG",
    "DISCARD",
    "EXEC",
    "FLUSHALL",
    "FLUSHDB",
    "KEYS",
    "LASTSAVE",
    "MIGRATE",
    "MONITOR",
    "MOVE",
    "MSETNX",
    "MULTI",
    "OBJECT",
    "PSUBSCRIBE",
    "PUBLISH",
    "PUNSUBSCRIBE",
    "RANDOMKEY",
    "RENAME",
    "RENAMENX",
    "RESTORE",
    "SAVE",
    "SCAN",
    "SCRIPT",
    "SHUTDOWN",
    "SLAVEOF",
    "SLOTSCHECK",
    "SLOTSDEL",
    "SLOTSINFO",
    "SLOTSMGRTONE",
    "SLOTSMGRTSLOT",
    "SLOTSMGRTTAGONE",
    "SLOTSMGRTTAGSLOT",
    "SLOWLOG",
    "SUBSCRIBE",
    "SYNC",
    "TIME",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WATCH",
];

/// Longest name of a command.
const MAX_NAME: usize = 64;

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// What becomes of it without `compat`.
    Usual,
    /// Answered with this error, given without `-` and the line's end.
    Error(String),
    /// The connection is closed.
    Close,
}

/// Who is asked before a request is looked at as usual.
struct Door {
    /// Clients must give a password.
    guarded: bool,
    authenticated: bool,
}

impl Door {
    fn verdict(&self, args: &[&[u8]]) -> Verdict {
        let [name, rest @ ..] = args else { return Verdict::Close };
        let name = name.to_ascii_uppercase();
        let Ok(name) = std::str::from_utf8(&name) else { return Verdict::Usual };
        let error = |text: &str| Verdict::Error(text.to_owned());
        let wrong_number = || Verdict::Error(format!("ERR wrong number of arguments for '{name}' command"));
        match (name, rest.len()) {
            _ if name.is_empty() || name.len() > MAX_NAME || REFUSED.binary_search(&name).is_ok() => {
                Verdict::Close
            }
            ("QUIT", _) => Verdict::Usual,
            ("AUTH", 1) if self.guarded => Verdict::Usual,
            ("AUTH", 1) => error("ERR Client sent AUTH, but no password is set"),
            ("AUTH", _) => wrong_number(),
            _ if self.guarded && !self.authenticated => error("NOAUTH Authentication required."),
            ("PING", 1..) | ("SELECT", 0 | 2..) => wrong_number(),
            ("SELECT", _) => {
                match std::str::from_utf8(rest[0]).ok().and_then(|text| text.parse::<i64>().ok()) {
                    Some(0) => Verdict::Usual,
                    Some(_) => error("ERR invalid DB index, only accept DB 0"),
                    None => error("ERR invalid DB index"),
                }
            }
            ("MSET", 3..) if !rest.len().is_multiple_of(2) => wrong_number(),
            // They came later than what it passes commands on to.
            ("HELLO" | "RESET" | "ACL", _) => Verdict::Error(format!("ERR unknown command '{name}'")),
            _ => Verdict::Usual,
        }
    }
}

impl Worker {
    /// A request in the eyes of the Go proxy; `None`: it is dealt with like any other.
    #[cold]
    pub(super) fn as_codis2(&mut self, id: SessionId, frame: Frame<'_>) -> Option<Outcome> {
        let args: Vec<&[u8]> = frame.args.iter().map(|arg| arg.of(frame.bytes)).collect();
        let door = Door { guarded: !self.limits.is_open(), authenticated: self.sessions[id].authenticated };
        match door.verdict(&args) {
            Verdict::Usual => None,
            Verdict::Error(text) => {
                match lookup(args[0]) {
                    Some(command) => drop(self.refuse(id, command, &text)),
                    None => self.answer_error(id, Cause::Refused, format!("-{text}\r\n").as_bytes()),
                }
                Some(Outcome::Done)
            }
            Verdict::Close => {
                self.hang_up(id);
                Some(Outcome::Done)
            }
        }
    }

    /// Closes a connection without a word about it, behind the replies that are owed.
    pub(super) fn hang_up(&mut self, id: SessionId) {
        self.client_failed(
            id,
            Cause::Refused,
            "what Codis 2 refuses: closed, as compat = \"codis2\" wants it",
        );
        let session = &mut self.sessions[id];
        session.closing = true;
        session.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(guarded: bool, authenticated: bool, request: &str) -> Verdict {
        let args: Vec<&[u8]> = request.split(' ').map(str::as_bytes).collect();
        Door { guarded, authenticated }.verdict(&args)
    }

    #[test]
    fn the_list_can_be_searched() {
        assert!(REFUSED.is_sorted());
        for name in REFUSED {
            assert_eq!(verdict(false, false, name), Verdict::Close, "{name}");
            assert_eq!(verdict(true, false, &name.to_ascii_lowercase()), Verdict::Close, "also before AUTH");
        }
        assert_eq!(verdict(false, false, &"x".repeat(65)), Verdict::Close);
        assert_eq!(verdict(false, false, ""), Verdict::Close);
    }

    #[test]
    fn its_own_replies_are_in_its_words() {
        let noauth = "NOAUTH Authentication required.";
        let wrong = |name: &str| format!("ERR wrong number of arguments for '{name}' command");
        for (guarded, authenticated, request, text) in [
            (false, false, "ping x", wrong("PING")),
            (false, false, "SELECT", wrong("SELECT")),
            (false, false, "SELECT 0 1", wrong("SELECT")),
            (false, false, "mset a 1 b", wrong("MSET")),
            (false, false, "AUTH x", "ERR Client sent AUTH, but no password is set".to_owned()),
            (true, true, "AUTH", wrong("AUTH")),
            (true, true, "AUTH user x", wrong("AUTH")),
            (true, false, "GET a", noauth.to_owned()),
            (true, false, "nosuch", noauth.to_owned()),
            (true, false, "HELLO 3", noauth.to_owned()),
            (true, true, "hello 3", "ERR unknown command 'HELLO'".to_owned()),
        ] {
            assert_eq!(verdict(guarded, authenticated, request), Verdict::Error(text), "{request}");
        }
        for (guarded, authenticated, request) in [
            (false, false, "GET a"),
            (true, false, "AUTH x"),
            (true, false, "QUIT"),
            (true, true, "PING"),
            (false, false, "MSET a"),
        ] {
            assert_eq!(verdict(guarded, authenticated, request), Verdict::Usual, "{request}");
        }
    }
}
