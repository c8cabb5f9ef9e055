//! Who is connected, for CLIENT LIST and `max_clients`. Touched when clients come and go, never by
//! their requests.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// One client.
struct Client {
    peer: SocketAddr,
    since: Instant,
    name: Box<str>,
}

/// All clients of the process.
#[derive(Default)]
pub(crate) struct Registry {
    clients: Mutex<BTreeMap<u64, Client>>,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Registry {
    /// A number for a new client, or `None` if there are `max` already.
    pub(crate) fn add(&self, peer: SocketAddr, max: usize) -> Option<u64> {
        let mut clients = self.lock();
        if clients.len() >= max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        clients.insert(id, Client { peer, since: Instant::now(), name: Box::default() });
        Some(id)
    }

    /// The client is gone.
    pub(crate) fn remove(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// Clients connected now.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Clients accepted and refused since the start.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Sets what the client calls itself.
    pub(crate) fn set_name(&self, id: u64, name: &str) {
        if let Some(client) = self.lock().get_mut(&id) {
            client.name = name.into();
        }
    }

    /// What the client calls itself, if anything.
    pub(crate) fn name(&self, id: u64) -> Option<String> {
        self.lock().get(&id).filter(|client| !client.name.is_empty()).map(|client| client.name.to_string())
    }

    /// The line of CLIENT INFO.
    pub(crate) fn line(&self, id: u64) -> String {
        let mut text = String::new();
        if let Some(client) = self.lock().get(&id) {
            client.describe(id, &mut text);
        }
        text
    }

    /// The lines of CLIENT LIST.
    pub(crate) fn lines(&self) -> String {
        let mut text = String::new();
        self.lock().iter().for_each(|(id, client)| client.describe(*id, &mut text));
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Client>> {
        // Whoever panicked with the lock held had at most not finished one insertion.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    fn describe(&self, id: u64, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "id={id} addr={} name={} age={} db=0",
            self.peer,
            self.name,
            self.since.elapsed().as_secs()
        );
    }
}
