//! Commands about the connection, which the proxy answers itself.

mod client;
mod command;
mod config;
mod hello;
mod info;
mod scripts;
mod slowlog;

use codis_resp::{CommandId, Session};
use tokio::task::spawn_local;

use super::{
    Worker,
    dispatch::{Frame, Outcome},
    proto::Answer,
    session::{Payload, SessionId},
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
            Session::Client => self.client(id, command, frame, &mut answer),
            Session::Command => self.about_commands(id, command, frame, &mut answer),
            Session::Config => {
                self.config_get(id, frame, &mut answer);
                Ok(())
            }
            Session::Echo => {
                answer.bulk(frame.arg(1));
                Ok(())
            }
            Session::Hello => self.hello(id, frame, &mut answer),
            Session::Info => return self.info(id, command, frame),
            Session::Kill => return self.kill_scripts(id, command, frame),
            Session::Ping => ping(frame, &mut answer),
            Session::Quit => {
                self.sessions[id].closing = true;
                answer.ok();
                Ok(())
            }
            Session::Reset => self.reset(id, &mut answer),
            Session::Role => {
                // Without slaves of its own, and without a place in any stream.
                answer.array(3);
                answer.bulk(b"master");
                answer.integer(0);
                answer.array(0);
                Ok(())
            }
            Session::Select => select(frame, &mut answer),
            Session::Slowlog => self.slowlog(frame, &mut answer),
            Session::WhoAmI => {
                answer.bulk(self.user_name(id).as_bytes());
                Ok(())
            }
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

    /// Answers in its turn with what `work` writes, as soon as that has come.
    fn answer_later(
        &mut self,
        id: SessionId,
        command: CommandId,
        work: impl AsyncFnOnce(&mut Answer) + 'static,
    ) -> Outcome {
        let session = &mut self.sessions[id];
        let (seq, mut answer, at, me) =
            (session.expect_reply(), Answer::new(session.proto), self.now, self.me.clone());
        spawn_local(async move {
            work(&mut answer).await;
            let Some(worker) = me.upgrade() else { return };
            let mut worker = worker.borrow_mut();
            worker.look_at_clock();
            let (usecs, reply) = (worker.now.saturating_sub(at), Payload::Slice(answer.bytes()));
            worker.meter.record(command, usecs, 1, reply.is_error());
            worker.totals.errors += u64::from(reply.is_error());
            worker.deliver(id, seq, reply);
        });
        Outcome::Done
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
        None => return Err("ERR value is not an integer or out of range".into()),
    }
    Ok(())
}
