//! Connections that may still have a command of ours in their server's queue.
//!
//! A hand-over that got no answer leaves such a connection behind. Nothing may be tried again with
//! that server, and no change of the slot may be acknowledged, before the server has confirmed that
//! it is gone: a `RESTORE` that runs late would revive a deleted key, a late `UNLINK` would remove
//! the only copy after a move was taken back.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use codis_core::{Addr, SlotId};
use tokio::sync::Notify;

use super::Settings;
use super::link::{Handle, Link, LinkError};
use super::reply::{Commands, Reply};

/// First and longest pause between two attempts to have connections killed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// All connections that are to be killed, by server; one task per server sees to it.
#[derive(Debug, Clone)]
pub(crate) struct Debts {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    owed: RefCell<HashMap<Addr, Vec<Debt>>>,
    changed: Notify,
    settings: Settings,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Debt {
    handle: Handle,
    slot: SlotId,
}

impl Debts {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { shared: Rc::new(Shared { owed: RefCell::default(), changed: Notify::new(), settings }) }
    }

    /// Whether a connection to this server is still to be killed.
    pub(crate) fn owed(&self, addr: &Addr) -> bool {
        self.shared.owed.borrow().contains_key(addr)
    }

    /// How many connections are still to be killed.
    pub(crate) fn len(&self) -> usize {
        self.shared.owed.borrow().values().map(Vec::len).sum()
    }

    /// Has the connection killed, which was working on `slot`. Retried until the server answers.
    pub(crate) fn add(&self, addr: &Addr, handle: Handle, slot: SlotId) {
        let mut owed = self.shared.owed.borrow_mut();
        let list = owed.entry(addr.clone()).or_default();
        list.push(Debt { handle, slot });
        if list.len() == 1 {
            tokio::task::spawn_local(pay(self.shared.clone(), addr.clone()));
        }
    }

    /// Forgives what servers owe that are no longer the master of any group: nothing of theirs is
    /// read any more, whatever runs there late.
    pub(crate) fn forgive(&self, still_master: impl Fn(&Addr) -> bool) {
        self.shared.owed.borrow_mut().retain(|addr, _| still_master(addr));
        self.shared.changed.notify_waiters();
    }

    /// Resolves when no connection that worked on `slot` is still to be killed.
    pub(crate) async fn paid(&self, slot: SlotId) {
        loop {
            let changed = self.shared.changed.notified();
            if !self.shared.owed.borrow().values().flatten().any(|debt| debt.slot == slot) {
                return;
            }
            changed.await;
        }
    }
}

/// Kills the connections of one server until none is left.
async fn pay(shared: Rc<Shared>, addr: Addr) {
    let mut pause = PAUSE.0;
    loop {
        let open = shared.owed.borrow().get(&addr).cloned().unwrap_or_default();
        if open.is_empty() {
            shared.owed.borrow_mut().remove(&addr);
            shared.changed.notify_waiters();
            return;
        }
        match kill(&shared.settings, &addr, &open).await {
            Ok(()) => {
                tracing::info!(server = %addr, connections = open.len(), "connections without an answer are gone from the server");
                if let Some(list) = shared.owed.borrow_mut().get_mut(&addr) {
                    list.retain(|debt| !open.contains(debt));
                }
                pause = PAUSE.0;
            }
            Err(error) => {
                if pause == PAUSE.0 {
                    tracing::warn!(
                        server = %addr, %error,
                        "connections without an answer cannot be killed yet; nothing moves from or to this server"
                    );
                }
                tokio::time::sleep(super::jittered(pause)).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// Asks the server over a new connection to kill the others. A number is the answer: 1 killed, 0 gone already.
async fn kill(settings: &Settings, addr: &Addr, debts: &[Debt]) -> Result<(), LinkError> {
    let mut link = Link::open_any_role(addr, settings).await?;
    let mut commands = Commands::default();
    for debt in debts.iter().filter(|debt| debt.handle.run_id == link.handle().run_id) {
        commands.push(&[b"CLIENT", b"KILL", b"ID", debt.handle.client.to_string().as_bytes()]);
    }
    for reply in link.call(&commands, settings.command_timeout).await? {
        if !matches!(reply, Reply::Int(_)) {
            return Err(link.odd("CLIENT KILL", &reply));
        }
    }
    Ok(())
}
