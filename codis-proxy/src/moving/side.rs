//! One end of a hand-over: its connection, and what is done when that does not answer.

use std::rc::Rc;
use std::time::Duration;

use codis_core::{Addr, SlotId};

use super::Settings;
use super::debts::Debts;
use super::handover::Cause;
use super::link::{Link, LinkError};
use super::reply::{Commands, Reply};
use super::server::Server;

/// A channel that nobody listens to: `PUBLISH` is a write that makes no key, and `WAIT` waits for it.
const CHANNEL: &[u8] = b"codis:settle";

/// The source or the destination.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) addr: Addr,
    /// What the server is, as of the last connection.
    pub(super) server: Server,
    pub(super) settings: Rc<Settings>,
    link: Option<Link>,
    debts: Debts,
}

impl Side {
    pub(super) fn new(addr: &Addr, settings: Rc<Settings>, debts: Debts) -> Self {
        Self { addr: addr.clone(), server: Server::default(), settings, link: None, debts }
    }

    /// Makes sure of a connection before a hand-over uses it. Within one hand-over it is never
    /// replaced: the WATCH belongs to it.
    pub(super) async fn ready(&mut self) -> Result<(), LinkError> {
        if let Some(mut link) = self.link.take()
            && link.is_alive(&self.settings).await?
        {
            self.link = Some(link);
            return Ok(());
        }
        let link = Link::open(&self.addr, &self.settings).await?;
        self.server = link.server().clone();
        self.link = Some(link);
        Ok(())
    }

    /// Sends commands. If they are not answered the connection is given to those that have to be killed.
    pub(super) async fn call(
        &mut self,
        slot: SlotId,
        commands: &Commands,
        after: Duration,
        wait: Option<Duration>,
    ) -> Result<Vec<Reply>, LinkError> {
        let gone = || LinkError::Broken { addr: self.addr.clone(), what: "not connected".to_owned() };
        let mut link = self.link.take().ok_or_else(gone)?;
        let answered = match wait {
            None => link.call(commands, after).await,
            Some(wait) => link.call_wait(commands, after, wait).await,
        };
        match answered {
            Ok(replies) => {
                self.link = Some(link);
                Ok(replies)
            }
            Err(error) => {
                self.debts.add(&self.addr, link.handle().clone(), slot);
                Err(error)
            }
        }
    }

    /// Sends commands, then has the slaves confirm them and everything before.
    pub(super) async fn call_and_wait(
        &mut self,
        slot: SlotId,
        mut commands: Commands,
        slaves: u32,
        after: Duration,
    ) -> Result<Vec<Reply>, LinkError> {
        // A server without WAIT cannot be waited for: what a failover may lose there is accepted.
        if slaves == 0 || !self.server.traits().has_wait() {
            return self.call(slot, &commands, after, None).await;
        }
        let wait = self.settings.wait;
        commands.push(&[b"PUBLISH", CHANNEL, b""]);
        commands.push(&[b"WAIT", slaves.to_string().as_bytes(), wait.as_millis().to_string().as_bytes()]);
        self.call(slot, &commands, after, Some(wait)).await
    }

    /// Reads what [`Side::call_and_wait`] got for its last two commands.
    pub(super) fn check_wait(&self, replies: &[Reply], slaves: u32) -> Result<(), Cause> {
        match replies {
            [] => Ok(()),
            [_, Reply::Int(got)] if *got >= i64::from(slaves) => Ok(()),
            [_, Reply::Int(got)] => Err(Cause::Short {
                addr: self.addr.clone(),
                wanted: slaves,
                got: *got,
                after: self.settings.wait,
            }),
            [.., last] => Err(self.odd("WAIT", last)),
        }
    }

    /// Has the slaves confirm whatever was done before by others.
    pub(super) async fn confirm(&mut self, slot: SlotId, slaves: u32) -> Result<(), Cause> {
        if slaves == 0 || !self.server.traits().has_wait() {
            return Ok(());
        }
        let replies =
            self.call_and_wait(slot, Commands::default(), slaves, self.settings.command_timeout).await?;
        self.check_wait(&replies, slaves)
    }

    pub(super) fn odd(&self, command: &'static str, reply: &Reply) -> Cause {
        LinkError::Answer { addr: self.addr.clone(), command, reply: format!("\"{}\"", reply.describe()) }
            .into()
    }
}
