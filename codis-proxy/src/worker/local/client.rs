//! CLIENT: what a client says about itself, and asks about the others.

use codis_resp::CommandId;

use super::{
    super::{
        Worker,
        clients::{Ask, Filter, Freed, KillFilter, Told},
        dispatch::{Frame, Outcome, printable},
        proto::Answer,
        session::{Mute, SessionId},
    },
    Instead,
};

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of this connection.",
    "ID",
    "    Return the number of this connection in the proxy.",
    "INFO",
    "    Return what is known about this connection.",
    "KILL <ip:port>",
    "    End the connection from this address.",
    "KILL [ID <id>] [ADDR <ip:port>] [LADDR <ip:port>] [TYPE <type>] [USER <name>] [MAXAGE <seconds>] [SKIPME yes|no]",
    "    End the connections for which all of this holds.",
    "LIST [TYPE <type>] [ID <id> ...]",
    "    Return what is known about all connections, or some.",
    "NO-EVICT ON|OFF",
    "    Has no effect: the proxy evicts nobody.",
    "REPLY ON|OFF|SKIP",
    "    Decide whether this connection wants replies.",
    "SETINFO LIB-NAME|LIB-VER <text>",
    "    Say which library this is.",
    "SETNAME <name>",
    "    Name this connection.",
    "UNBLOCK <id> [TIMEOUT|ERROR]",
    "    Let a connection go that waits in a blocking command.",
    "HELP",
    "    Print this help.",
];

/// Why what a server keeps about one connection is not to be had here.
const SHARED: &str = "is not supported by codis-proxy, whose clients share the connections to the servers";

impl Worker {
    pub(super) fn client(
        &mut self,
        id: SessionId,
        command: CommandId,
        frame: Frame<'_>,
        answer: &mut Answer,
    ) -> Result<(), Instead> {
        let client = self.sessions[id].client;
        let sub = frame.arg(1).to_ascii_uppercase();
        match (sub.as_slice(), frame.args.len()) {
            (b"ID", 2) => answer.integer(client as i64),
            (b"GETNAME", 2) => match self.registry.name(client) {
                Some(name) => answer.bulk(name.as_bytes()),
                None => answer.null(),
            },
            (b"SETNAME", 3) => {
                self.set_name(id, frame.arg(2))?;
                answer.ok();
            }
            (b"SETINFO", 4) => {
                self.set_info(id, frame.arg(2), frame.arg(3))?;
                answer.ok();
            }
            (b"INFO", 2) => answer.text(&self.describe(id)),
            (b"LIST", _) => {
                let filter = Filter::for_list(frame)?;
                return self.ask_about(id, command, Ask::List(filter), |told, answer| {
                    let mut lines = told.lines;
                    lines.sort_unstable();
                    answer.text(&lines.into_iter().map(|(_, line)| line).collect::<String>());
                });
            }
            (b"KILL", 3) => {
                let ask = Ask::Kill(KillFilter::of_addr(client, frame.arg(2)));
                return self.ask_about(id, command, ask, |told, answer| match told.count {
                    0 => answer.error("ERR No such client"),
                    _ => answer.ok(),
                });
            }
            (b"KILL", 4..) => {
                let filter = KillFilter::parse(client, frame, &self.limits)?;
                return self.ask_about(id, command, Ask::Kill(filter), count);
            }
            (b"UNBLOCK", 3 | 4) => {
                let how = match frame.args.get(3).map(|arg| arg.of(frame.bytes).to_ascii_uppercase()) {
                    None => Freed::Timeout,
                    Some(word) if word == b"TIMEOUT" => Freed::Timeout,
                    Some(word) if word == b"ERROR" => Freed::Error,
                    Some(_) => {
                        return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into());
                    }
                };
                let blocked = number(frame.arg(2)).ok_or("ERR value is not an integer or out of range")?;
                return self.ask_about(id, command, Ask::Unblock(blocked, how), count);
            }
            (b"REPLY", 3) => return self.reply_mode(id, frame.arg(2), answer),
            (b"NO-EVICT", 3) if on_or_off(frame.arg(2)).is_some() => answer.ok(),
            (b"NO-TOUCH", 3) if on_or_off(frame.arg(2)) == Some(false) => answer.ok(),
            (b"TRACKING", 3..) if on_or_off(frame.arg(2)) == Some(false) => answer.ok(),
            (b"NO-EVICT" | b"NO-TOUCH" | b"TRACKING", 3..) if on_or_off(frame.arg(2)).is_none() => {
                return Err("ERR syntax error".into());
            }
            (b"TRACKING" | b"NO-TOUCH", 3..) => {
                let name = String::from_utf8_lossy(&sub);
                return Err(format!("ERR CLIENT {name} ON {SHARED}").into());
            }
            (b"CACHING", 3) => return Err(format!("ERR CLIENT CACHING {SHARED}").into()),
            (b"GETREDIR", 2) => answer.integer(-1),
            (b"TRACKINGINFO", 2) => {
                answer.map(3);
                answer.bulk(b"flags");
                answer.set(1);
                answer.bulk(b"off");
                answer.bulk(b"redirect");
                answer.integer(-1);
                answer.bulk(b"prefixes");
                answer.array(0);
            }
            (b"PAUSE" | b"UNPAUSE", _) => {
                let name = String::from_utf8_lossy(&sub).to_ascii_lowercase();
                return Err(format!("ERR command 'client|{name}' is not allowed through codis-proxy").into());
            }
            (b"HELP", 2) => answer.lines(HELP),
            (
                b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO" | b"INFO" | b"KILL" | b"UNBLOCK" | b"REPLY"
                | b"NO-EVICT" | b"NO-TOUCH" | b"TRACKING" | b"CACHING" | b"GETREDIR" | b"TRACKINGINFO"
                | b"HELP",
                _,
            ) => {
                let sub = String::from_utf8_lossy(&sub).to_ascii_lowercase();
                return Err(format!("ERR wrong number of arguments for 'client|{sub}' command").into());
            }
            _ => {
                let sub = printable(frame.arg(1));
                return Err(format!("ERR unknown subcommand '{sub}'. Try CLIENT HELP.").into());
            }
        }
        Ok(())
    }

    pub(super) fn set_name(&mut self, id: SessionId, name: &[u8]) -> Result<(), Instead> {
        let name = plain(name, "Client names")?;
        self.registry.set_name(self.sessions[id].client, name);
        Ok(())
    }

    fn set_info(&mut self, id: SessionId, what: &[u8], text: &[u8]) -> Result<(), Instead> {
        let lowercase = what.to_ascii_lowercase();
        let about = self.sessions[id].library.get_or_insert_default();
        match lowercase.as_slice() {
            b"lib-name" => about.name = plain(text, "lib-name")?.into(),
            b"lib-ver" => about.version = plain(text, "lib-ver")?.into(),
            _ => return Err(format!("ERR Unrecognized option '{}'", printable(what)).into()),
        }
        Ok(())
    }

    /// Whether the client wants replies. ON and OFF themselves are dealt with in their turn.
    fn reply_mode(&mut self, id: SessionId, word: &[u8], answer: &mut Answer) -> Result<(), Instead> {
        let session = &mut self.sessions[id];
        let next = session.next_seq();
        match (word.to_ascii_uppercase().as_slice(), session.mute) {
            (b"OFF", _) => session.mute = Mute::From(next),
            (b"SKIP", Mute::From(_)) => {}
            // What was to be passed over before must have been.
            (b"ON" | b"SKIP", Mute::From(_) | Mute::Only(_)) if session.owed() > 0 => {
                return Err(Instead::Outcome(Outcome::Wait));
            }
            (b"SKIP", _) => session.mute = Mute::Only(next),
            (b"ON", _) => {
                session.mute = Mute::Nothing;
                answer.ok();
                return Ok(());
            }
            _ => return Err("ERR syntax error".into()),
        }
        Err(Instead::Outcome(Outcome::Done))
    }

    /// Asks all workers about their clients; the reply comes when they have told.
    fn ask_about(
        &mut self,
        id: SessionId,
        command: CommandId,
        ask: Ask,
        write: impl FnOnce(Told, &mut Answer) + 'static,
    ) -> Result<(), Instead> {
        let told = self.registry.ask_workers(ask);
        let outcome = self.answer_later(id, command, async move |answer| write(told.await, answer));
        Err(Instead::Outcome(outcome))
    }
}

fn count(told: Told, answer: &mut Answer) {
    answer.integer(told.count as i64);
}

/// A text that can stand in a line of CLIENT LIST.
pub(super) fn plain<'a>(text: &'a [u8], what: &str) -> Result<&'a str, Instead> {
    match std::str::from_utf8(text) {
        Ok(text) if text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic()) => Ok(text),
        _ => Err(format!("ERR {what} cannot contain spaces, newlines or special characters.").into()),
    }
}

fn on_or_off(word: &[u8]) -> Option<bool> {
    match word.to_ascii_uppercase().as_slice() {
        b"ON" => Some(true),
        b"OFF" => Some(false),
        _ => None,
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
