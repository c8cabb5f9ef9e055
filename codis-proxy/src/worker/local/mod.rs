//! Commands about the connection, which the proxy answers itself.

mod command;
mod hello;
mod slowlog;

use codis_resp::{CommandId, Session};

use super::{
    Worker,
    dispatch::{Frame, Outcome, printable},
    proto::Answer,
    session::SessionId,
};

/// The version of Redis whose behaviour clients may rely on.
pub(super) const REDIS_VERSION: &str = "7.0.0";

/// What becomes of a command that is not simply answered.
enum Instead {
    /// Refused with this error, given without `-` and the line's end.
    Error(String),
    /// It waits, or its reply comes from elsewhere.
    Outcome(Outcome),
}

impl From<String> for Instead {
    fn from(error: String) -> Self {
        Self::Error(error)
    }
}

impl From<&str> for Instead {
    fn from(error: &str) -> Self {
        Self::Error(error.to_owned())
    }
}

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
        let mut answer = Answer::new(self.sessions[id].proto);
        let result = match which {
            Session::Auth => self.auth(id, frame, &mut answer),
            Session::Client => self.client(id, frame, &mut answer),
            Session::Command => self.about_commands(id, command, frame, &mut answer),
            Session::Echo => {
                answer.bulk(frame.arg(1));
                Ok(())
            }
            Session::Hello => self.hello(id, frame, &mut answer),
            Session::Info => {
                answer.text(&self.info_text());
                Ok(())
            }
            Session::Ping => ping(frame, &mut answer),
            Session::Quit => {
                self.sessions[id].closing = true;
                answer.ok();
                Ok(())
            }
            Session::Reset => self.reset(id, &mut answer),
            Session::Select => select(frame, &mut answer),
            Session::Slowlog => self.slowlog(frame, &mut answer),
        };
        match result {
            Ok(()) => {
                self.meter.record(command, 0, 1, false);
                self.sessions[id].answer(answer.bytes(), &mut self.pool);
                self.touch_session(id);
                Outcome::Done
            }
            Err(Instead::Error(text)) => self.refuse(id, command, &text),
            Err(Instead::Outcome(outcome)) => outcome,
        }
    }

    fn set_name(&mut self, id: SessionId, name: &[u8]) -> Result<(), Instead> {
        match std::str::from_utf8(name) {
            Ok(name) if name.len() <= 256 && name.bytes().all(|b| b.is_ascii_graphic()) => {
                self.registry.set_name(self.sessions[id].client, name);
                Ok(())
            }
            _ => Err("ERR Client names cannot contain spaces, newlines or special characters.".into()),
        }
    }

    fn client(&mut self, id: SessionId, frame: Frame<'_>, answer: &mut Answer) -> Result<(), Instead> {
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
            (b"SETINFO", 4) => answer.ok(),
            (b"INFO", 2) => answer.text(&self.registry.line(client)),
            (b"LIST", 2) => answer.text(&self.registry.lines()),
            (b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO" | b"INFO", _) => {
                let sub = String::from_utf8_lossy(&sub).to_ascii_lowercase();
                return Err(format!("ERR wrong number of arguments for 'client|{sub}' command").into());
            }
            _ => {
                let sub = printable(frame.arg(1)).to_ascii_lowercase();
                return Err(format!("ERR command 'client|{sub}' is not supported by codis-proxy yet").into());
            }
        }
        Ok(())
    }
}

fn ping(frame: Frame<'_>, answer: &mut Answer) -> Result<(), Instead> {
    match frame.args.len() {
        1 => answer.status("PONG"),
        2 => answer.bulk(frame.arg(1)),
        _ => return Err("ERR wrong number of arguments for 'ping' command".into()),
    }
    Ok(())
}

fn select(frame: Frame<'_>, answer: &mut Answer) -> Result<(), Instead> {
    match std::str::from_utf8(frame.arg(1)).ok().and_then(|text| text.parse::<i64>().ok()) {
        Some(0) => answer.ok(),
        Some(_) => return Err("ERR invalid DB index, only accept DB 0".into()),
        None => return Err("ERR invalid DB index".into()),
    }
    Ok(())
}
