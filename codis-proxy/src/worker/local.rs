//! Commands about the connection, which the proxy answers itself.

use codis_resp::{
    COMMANDS, Command, CommandId, Session, flag, lookup, push_array_header, push_bulk, push_integer,
};

use super::{
    Worker,
    dispatch::{Frame, Outcome, printable},
    session::SessionId,
};

/// The version of Redis whose behaviour clients may rely on.
pub(super) const REDIS_VERSION: &str = "7.0.0";

impl Worker {
    /// Answers a command of the session's own.
    #[cold]
    pub(super) fn local(
        &mut self,
        id: SessionId,
        command: CommandId,
        which: Session,
        frame: Frame<'_>,
    ) -> Outcome {
        let open = matches!(which, Session::Auth | Session::Hello | Session::Quit | Session::Reset);
        if !open && !self.sessions[id].authenticated {
            return self.refuse(id, command, "NOAUTH Authentication required.");
        }
        let mut out = Vec::new();
        let result = match which {
            Session::Auth => self.auth(id, frame, &mut out),
            Session::Client => self.client(id, frame, &mut out),
            Session::Command => about_commands(frame, &mut out),
            Session::Echo => {
                push_bulk(&mut out, frame.arg(1));
                Ok(())
            }
            Session::Hello => self.hello(id, frame, &mut out),
            Session::Info => {
                push_bulk(&mut out, self.info_text().as_bytes());
                Ok(())
            }
            Session::Ping => ping(frame, &mut out),
            Session::Quit => {
                self.sessions[id].closing = true;
                ok(&mut out)
            }
            Session::Reset => {
                self.sessions[id].authenticated = self.limits.password.is_none();
                self.registry.set_name(self.sessions[id].client, "");
                out.extend_from_slice(b"+RESET\r\n");
                Ok(())
            }
            Session::Select => select(frame, &mut out),
        };
        match result {
            Ok(()) => {
                self.meter.record(command, 0, 1, false);
                self.sessions[id].answer(&out, &mut self.pool);
                self.touch_session(id);
                Outcome::Done
            }
            Err(text) => self.refuse(id, command, &text),
        }
    }

    fn auth(&mut self, id: SessionId, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        match frame.args.len() {
            2 => self.log_in(id, b"default", frame.arg(1))?,
            3 => self.log_in(id, frame.arg(1), frame.arg(2))?,
            _ => return Err("ERR syntax error".to_owned()),
        }
        ok(out)
    }

    /// Compares a password in a time that does not depend on where it differs.
    fn log_in(&mut self, id: SessionId, user: &[u8], password: &[u8]) -> Result<(), String> {
        let Some(right) = self.limits.password.as_ref().map(|secret| secret.reveal()) else {
            return Err("ERR AUTH <password> called without any password configured for the proxy. \
                 Are you sure your configuration is correct?"
                .to_owned());
        };
        let differences = right.iter().zip(password).fold(0, |sum, (a, b)| sum | (a ^ b));
        let same = right.len() == password.len() && differences == 0 && user == b"default";
        self.sessions[id].authenticated = same;
        if same {
            Ok(())
        } else {
            Err("WRONGPASS invalid username-password pair or user is disabled.".to_owned())
        }
    }

    fn hello(&mut self, id: SessionId, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        match frame.args.get(1).map(|arg| arg.of(frame.bytes)) {
            None | Some(b"2") => {}
            Some(version) if version.iter().all(u8::is_ascii_digit) => {
                return Err("NOPROTO unsupported protocol version".to_owned());
            }
            Some(_) => return Err("ERR Protocol version is not an integer or out of range".to_owned()),
        }
        let mut at = 2;
        while at < frame.args.len() {
            let word = frame.arg(at).to_ascii_uppercase();
            match (word.as_slice(), frame.args.len() - at - 1) {
                (b"AUTH", 2..) => {
                    self.log_in(id, frame.arg(at + 1), frame.arg(at + 2))?;
                    at += 3;
                }
                (b"SETNAME", 1..) => {
                    self.set_name(id, frame.arg(at + 1))?;
                    at += 2;
                }
                _ => return Err(format!("ERR Syntax error in HELLO option '{}'", printable(frame.arg(at)))),
            }
        }
        if !self.sessions[id].authenticated {
            return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time".to_owned());
        }
        push_array_header(out, 14);
        let mut text = |name: &[u8], value: &[u8]| {
            push_bulk(out, name);
            push_bulk(out, value);
        };
        text(b"server", b"redis");
        text(b"version", REDIS_VERSION.as_bytes());
        push_bulk(out, b"proto");
        push_integer(out, 2);
        push_bulk(out, b"id");
        push_integer(out, self.sessions[id].client as i64);
        let mut text = |name: &[u8], value: &[u8]| {
            push_bulk(out, name);
            push_bulk(out, value);
        };
        text(b"mode", b"standalone");
        text(b"role", b"master");
        push_bulk(out, b"modules");
        push_array_header(out, 0);
        Ok(())
    }

    fn set_name(&mut self, id: SessionId, name: &[u8]) -> Result<(), String> {
        match std::str::from_utf8(name) {
            Ok(name) if name.len() <= 256 && name.bytes().all(|b| b.is_ascii_graphic()) => {
                self.registry.set_name(self.sessions[id].client, name);
                Ok(())
            }
            _ => Err("ERR Client names cannot contain spaces, newlines or special characters.".to_owned()),
        }
    }

    fn client(&mut self, id: SessionId, frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        let client = self.sessions[id].client;
        let sub = frame.arg(1).to_ascii_uppercase();
        match (sub.as_slice(), frame.args.len()) {
            (b"ID", 2) => push_integer(out, client as i64),
            (b"GETNAME", 2) => match self.registry.name(client) {
                Some(name) => push_bulk(out, name.as_bytes()),
                None => out.extend_from_slice(b"$-1\r\n"),
            },
            (b"SETNAME", 3) => {
                self.set_name(id, frame.arg(2))?;
                return ok(out);
            }
            (b"SETINFO", 4) => return ok(out),
            (b"INFO", 2) => push_bulk(out, self.registry.line(client).as_bytes()),
            (b"LIST", 2) => push_bulk(out, self.registry.lines().as_bytes()),
            (b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO" | b"INFO", _) => {
                let sub = String::from_utf8_lossy(&sub).to_ascii_lowercase();
                return Err(format!("ERR wrong number of arguments for 'client|{sub}' command"));
            }
            _ => {
                let sub = printable(frame.arg(1)).to_ascii_lowercase();
                return Err(format!("ERR command 'client|{sub}' is not supported by codis-proxy yet"));
            }
        }
        Ok(())
    }
}

fn ok(out: &mut Vec<u8>) -> Result<(), String> {
    out.extend_from_slice(b"+OK\r\n");
    Ok(())
}

fn ping(frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    match frame.args.len() {
        1 => out.extend_from_slice(b"+PONG\r\n"),
        2 => push_bulk(out, frame.arg(1)),
        _ => return Err("ERR wrong number of arguments for 'ping' command".to_owned()),
    }
    Ok(())
}

fn select(frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    match std::str::from_utf8(frame.arg(1)).ok().and_then(|text| text.parse::<i64>().ok()) {
        Some(0) => ok(out),
        Some(_) => Err("ERR invalid DB index, only accept DB 0".to_owned()),
        None => Err("ERR invalid DB index".to_owned()),
    }
}

/// COMMAND and what it can be asked.
fn about_commands(frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let top = || COMMANDS.iter().filter(|command| !command.name.contains('|'));
    let sub = frame.args.get(1).map(|arg| arg.of(frame.bytes).to_ascii_uppercase());
    match sub.as_deref() {
        None => {
            push_array_header(out, top().count());
            top().for_each(|command| describe(command, out));
        }
        Some(b"COUNT") => push_integer(out, top().count() as i64),
        Some(b"DOCS") => push_array_header(out, 0),
        Some(b"LIST") => {
            push_array_header(out, top().count());
            top().for_each(|command| push_bulk(out, command.name.to_ascii_lowercase().as_bytes()));
        }
        Some(b"INFO") if frame.args.len() == 2 => {
            return about_commands(Frame { args: &frame.args[..1], ..frame }, out);
        }
        Some(b"INFO") => {
            push_array_header(out, frame.args.len() - 2);
            for arg in &frame.args[2..] {
                match lookup(arg.of(frame.bytes)) {
                    Some(command) => describe(command.command(), out),
                    None => out.extend_from_slice(b"*-1\r\n"),
                }
            }
        }
        Some(b"GETKEYS") if frame.args.len() > 3 => return keys_of(frame, out),
        Some(b"GETKEYS") => {
            return Err("ERR wrong number of arguments for 'command|getkeys' command".to_owned());
        }
        Some(other) => {
            let text = printable(other).to_ascii_lowercase();
            return Err(format!("ERR command 'command|{text}' is not supported by codis-proxy yet"));
        }
    }
    Ok(())
}

/// One command as `COMMAND INFO` tells it: name, arity, flags, first key, last key, step.
fn describe(command: &Command, out: &mut Vec<u8>) {
    push_array_header(out, 6);
    push_bulk(out, command.name.to_ascii_lowercase().as_bytes());
    push_integer(out, i64::from(command.arity));
    let names = [
        (flag::WRITE, "+write\r\n"),
        (flag::READ, "+readonly\r\n"),
        (flag::DENYOOM, "+denyoom\r\n"),
        (flag::FAST, "+fast\r\n"),
        (flag::BLOCKING, "+blocking\r\n"),
        (flag::MOVABLE, "+movablekeys\r\n"),
    ];
    let set = || names.iter().filter(|(bit, _)| command.flags & bit != 0);
    push_array_header(out, set().count());
    set().for_each(|(_, name)| out.extend_from_slice(name.as_bytes()));
    let (first, last, step) = command.key_range();
    [first, last, step].iter().for_each(|n| push_integer(out, i64::from(*n)));
}

fn keys_of(frame: Frame<'_>, out: &mut Vec<u8>) -> Result<(), String> {
    let inner = Frame { args: &frame.args[2..], ..frame };
    let command = lookup(inner.arg(0)).ok_or("ERR Invalid command specified")?;
    let command = match inner.args.get(1) {
        Some(sub) => command.subcommand(sub.of(inner.bytes)).unwrap_or(command),
        None => command,
    };
    if !command.command().takes(inner.args.len()) {
        return Err("ERR Invalid number of arguments specified for command".to_owned());
    }
    let mut keys = Vec::new();
    let found = command.command().each_key(inner.bytes, inner.args, |at| keys.push(at));
    found.map_err(|error| format!("ERR {error}"))?;
    if keys.is_empty() {
        return Err("ERR The command has no key arguments".to_owned());
    }
    push_array_header(out, keys.len());
    keys.into_iter().for_each(|at| push_bulk(out, inner.arg(at)));
    Ok(())
}
