//! AUTH, HELLO and RESET: who a client is, and in which version of the protocol it is answered.
//!
//! A session changes its version only while it is owed no reply; HELLO and RESET wait until then. HELLO 3
//! is refused if a master is known to be too old for it. The first one therefore makes each worker open a
//! connection that speaks RESP3 to every master, and waits until each has answered or cannot be
//! reached; one that cannot does not keep clients from RESP3.

use super::{
    super::{
        Worker,
        backend::{BackendId, State},
        dispatch::{Frame, Outcome, printable},
        proto::{Answer, Proto},
        session::{Mute, SessionId},
    },
    Instead, REDIS_VERSION,
    client::plain,
};

const NOT_YET: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";

impl Worker {
    /// The connection, to the same server, that speaks what the session does.
    #[inline]
    pub(in crate::worker) fn in_proto_of(&mut self, id: SessionId, backend: BackendId) -> BackendId {
        match self.sessions[id].proto {
            Proto::Resp2 => backend,
            Proto::Resp3 => self.in_resp3(backend),
        }
    }

    fn in_resp3(&mut self, main: BackendId) -> BackendId {
        if let Some(twin) = self.backends[main].in_resp3 {
            return twin;
        }
        let (addr, used) = (self.backends[main].addr.clone(), self.backends[main].used);
        let twin = self.add_shared_backend(addr, Proto::Resp3);
        self.backends[twin].used = used;
        self.backends[main].in_resp3 = Some(twin);
        twin
    }

    pub(super) fn auth(
        &mut self,
        id: SessionId,
        frame: Frame<'_>,
        answer: &mut Answer,
    ) -> Result<(), Instead> {
        match frame.args.len() {
            2 => self.log_in(id, b"default", frame.arg(1))?,
            3 => self.log_in(id, frame.arg(1), frame.arg(2))?,
            _ => return Err("ERR syntax error".into()),
        }
        answer.ok();
        Ok(())
    }

    /// Whoever fails stays who he was, as at a server; with `compat = "codis2"` he is logged out.
    fn log_in(&mut self, id: SessionId, name: &[u8], password: &[u8]) -> Result<(), Instead> {
        let (user, right) = match (&self.limits.users[..], &self.limits.password) {
            ([], None) => {
                return Err("ERR AUTH <password> called without any password configured for the proxy. \
                     Are you sure your configuration is correct?"
                    .into());
            }
            ([], Some(secret)) => (None, secret.is(password) && name == b"default"),
            (users, _) => {
                let place = users.iter().position(|user| user.name.as_bytes() == name);
                // Somebody's password is compared, so that the time does not tell whether there is such a user.
                let right = users[place.unwrap_or(0)].password.is(password);
                (place.and_then(|place| u16::try_from(place).ok()), right && place.is_some())
            }
        };
        let session = &mut self.sessions[id];
        if right {
            session.authenticated = true;
            session.user = user;
            return Ok(());
        }
        if self.limits.codis2 {
            session.authenticated = false;
            session.user = None;
            return Err("ERR invalid password".into());
        }
        Err("WRONGPASS invalid username-password pair or user is disabled.".into())
    }

    pub(super) fn hello(
        &mut self,
        id: SessionId,
        frame: Frame<'_>,
        answer: &mut Answer,
    ) -> Result<(), Instead> {
        let proto = match frame.args.get(1).map(|arg| arg.of(frame.bytes)) {
            None => self.sessions[id].proto,
            Some(b"2") => Proto::Resp2,
            Some(b"3") => Proto::Resp3,
            Some(version) if version.iter().all(u8::is_ascii_digit) => {
                return Err("NOPROTO unsupported protocol version".into());
            }
            Some(_) => return Err("ERR Protocol version is not an integer or out of range".into()),
        };
        let mut name = None;
        let mut at = 2;
        while at < frame.args.len() {
            let word = frame.arg(at).to_ascii_uppercase();
            match (word.as_slice(), frame.args.len() - at - 1) {
                (b"AUTH", 2..) => {
                    self.log_in(id, frame.arg(at + 1), frame.arg(at + 2))?;
                    at += 3;
                }
                (b"SETNAME", 1..) => {
                    name = Some(plain(frame.arg(at + 1), "Client names")?);
                    at += 2;
                }
                _ => {
                    let option = printable(frame.arg(at));
                    return Err(format!("ERR Syntax error in HELLO option '{option}'").into());
                }
            }
        }
        if !self.sessions[id].authenticated {
            return Err(NOT_YET.into());
        }
        self.speak(id, proto)?;
        if let Some(name) = name {
            self.registry.set_name(self.sessions[id].client, name);
        }
        answer.proto = proto;
        answer.map(7);
        let mut text = |name: &str, value: &str| {
            answer.bulk(name.as_bytes());
            answer.bulk(value.as_bytes());
        };
        text("server", "redis");
        text("version", REDIS_VERSION);
        answer.bulk(b"proto");
        answer.integer(proto.number());
        answer.bulk(b"id");
        answer.integer(self.sessions[id].client as i64);
        let mut text = |name: &str, value: &str| {
            answer.bulk(name.as_bytes());
            answer.bulk(value.as_bytes());
        };
        text("mode", "standalone");
        text("role", "master");
        answer.bulk(b"modules");
        answer.array(0);
        Ok(())
    }

    pub(super) fn reset(&mut self, id: SessionId, answer: &mut Answer) -> Result<(), Instead> {
        self.speak(id, Proto::Resp2)?;
        if self.sessions[id].mute != Mute::Nothing && self.sessions[id].owed() > 0 {
            // Which of the replies that are owed are wanted is settled first.
            return Err(Instead::Outcome(Outcome::Wait));
        }
        let session = &mut self.sessions[id];
        session.authenticated = self.limits.is_open();
        session.user = None;
        session.mute = Mute::default();
        self.registry.set_name(session.client, "");
        answer.proto = Proto::Resp2;
        answer.status("RESET");
        Ok(())
    }

    /// Lets a session be answered in this version from now on.
    fn speak(&mut self, id: SessionId, proto: Proto) -> Result<(), Instead> {
        if self.sessions[id].proto == proto {
            return Ok(());
        }
        if self.sessions[id].owed() > 0 {
            return Err(Instead::Outcome(Outcome::Wait));
        }
        if proto == Proto::Resp3 {
            self.masters_speak_resp3(id)?;
        }
        // Keys are watched there: the connection changes over with its client.
        if let Some(pin) = self.pin_of(id) {
            let request = format!("*2\r\n$5\r\nHELLO\r\n$1\r\n{}\r\n", proto.number());
            if let Some(hello) = codis_resp::lookup(b"HELLO") {
                self.send_own(pin.backend, hello, request.as_bytes(), false);
                self.backends[pin.backend].proto = proto;
            }
        }
        self.sessions[id].proto = proto;
        Ok(())
    }

    /// Makes sure that no master is known to be too old for RESP3.
    fn masters_speak_resp3(&mut self, id: SessionId) -> Result<(), Instead> {
        let plan = self.plan();
        let mut waits = false;
        for &master in plan.masters() {
            let twin = self.in_resp3(master);
            let backend = &self.backends[twin];
            // Its age is asked for once more with every try; other failures tell nothing about it.
            if let State::Down = backend.state
                && (backend.failures == 0 || backend.too_old)
                && self.open(twin).is_err()
                && self.backends[twin].too_old
            {
                let addr = &self.backends[twin].addr;
                let why = format!("NOPROTO unsupported protocol version: server {addr} does not know RESP3");
                return Err(why.into());
            }
            let backend = &mut self.backends[twin];
            if let State::Connecting = backend.state {
                backend.waiters.push(id);
                waits = true;
            }
        }
        if waits { Err(Instead::Outcome(Outcome::Wait)) } else { Ok(()) }
    }
}
