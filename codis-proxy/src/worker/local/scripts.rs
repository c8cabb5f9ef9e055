//! SCRIPT KILL and FUNCTION KILL: every master is asked, over a connection of its own, because a script
//! that runs keeps what stands behind it on a shared one from being read.

use codis_core::Addr;
use codis_resp::CommandId;
use futures::future::join_all;

use super::super::{
    Worker,
    connect::ask,
    dispatch::{Frame, Outcome},
    session::SessionId,
};
use crate::report::causes;

impl Worker {
    pub(super) fn kill_scripts(&mut self, id: SessionId, command: CommandId, frame: Frame<'_>) -> Outcome {
        let plan = self.plan();
        let masters: Vec<Addr> = plan.masters().iter().map(|id| self.backends[*id].addr.clone()).collect();
        let container = frame.arg(0).to_ascii_uppercase();
        let limits = self.limits.clone();
        self.answer_later(id, command, async move |answer| {
            let (limits, container) = (&limits, &container);
            let asked =
                masters.iter().map(async |addr| match ask(addr, &[container, b"KILL"], limits).await {
                    Ok(reply) => String::from_utf8_lossy(&reply).trim_end().to_owned(),
                    Err(error) => format!("-ERR backend {addr}: {}", causes(&error)),
                });
            match verdict(&join_all(asked).await) {
                Ok(()) => answer.ok(),
                Err(text) => answer.error(&text),
            }
        })
    }
}

/// Done if some server has ended a script. Else the first error, but rather one that says more than that
/// nothing runs.
fn verdict(replies: &[String]) -> Result<(), String> {
    if replies.iter().any(|reply| reply.starts_with('+')) {
        return Ok(());
    }
    let telling = replies.iter().find(|reply| !reply.starts_with("-NOTBUSY")).or(replies.first());
    Err(telling.map_or("NOTBUSY No scripts in execution right now.", |reply| &reply[1..]).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_script_that_was_ended_is_enough() {
        let verdict = |replies: &[&str]| {
            let replies: Vec<String> = replies.iter().map(|reply| (*reply).to_owned()).collect();
            verdict(&replies)
        };
        let idle = "-NOTBUSY No scripts in execution right now.";
        assert_eq!(verdict(&[idle, "+OK", "-ERR backend x"]), Ok(()));
        assert_eq!(verdict(&[idle, idle]).unwrap_err(), idle[1..]);
        assert!(verdict(&[idle, "-UNKILLABLE it wrote"]).unwrap_err().starts_with("UNKILLABLE"));
        assert!(verdict(&[]).unwrap_err().starts_with("NOTBUSY"));
    }
}
