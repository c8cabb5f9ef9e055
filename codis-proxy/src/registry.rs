//! Who is connected, for CLIENT LIST and `max_clients`. Touched when clients come and go, never by
//! their requests.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::mpsc::{Sender, WeakSender};

use crate::worker::Order;

/// One client. There may be very many, so what few of them have is kept elsewhere.
struct Client {
    peer: SocketAddr,
    /// Seconds from the registry's start to the client's.
    since: u32,
}

/// The clients that are connected now.
#[derive(Default)]
struct Clients {
    all: BTreeMap<u64, Client>,
    /// What clients call themselves; most have no name.
    names: BTreeMap<u64, Box<str>>,
}

/// All clients of the process.
pub(crate) struct Registry {
    clients: Mutex<Clients>,
    started: Instant,
    accepted: AtomicU64,
    refused: AtomicU64,
    workers: OnceLock<Vec<WeakSender<Order>>>,
    run_id: String,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            clients: Mutex::default(),
            started: Instant::now(),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            workers: OnceLock::new(),
            run_id: format!("{:032x}{:08x}", rand::random::<u128>(), rand::random::<u32>()),
        }
    }
}

impl Registry {
    /// A number for a new client, or `None` if there are `max` already.
    pub(crate) fn add(&self, peer: SocketAddr, max: usize) -> Option<u64> {
        let mut clients = self.lock();
        if clients.all.len() >= max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let id = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        clients.all.insert(id, Client { peer, since: self.age() });
        Some(id)
    }

    /// The client is gone.
    pub(crate) fn remove(&self, id: u64) {
        let mut clients = self.lock();
        clients.all.remove(&id);
        clients.names.remove(&id);
    }

    /// 40 digits that no other process has.
    pub(crate) fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Clients connected now.
    pub(crate) fn len(&self) -> usize {
        self.lock().all.len()
    }

    /// Clients accepted and refused since the start.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Sets what the client calls itself.
    pub(crate) fn set_name(&self, id: u64, name: &str) {
        let mut clients = self.lock();
        if name.is_empty() {
            clients.names.remove(&id);
        } else if clients.all.contains_key(&id) {
            clients.names.insert(id, name.into());
        }
    }

    /// What the client calls itself, if anything.
    pub(crate) fn name(&self, id: u64) -> Option<String> {
        self.lock().names.get(&id).map(|name| name.to_string())
    }

    /// Where the client has come from; nothing if it is gone.
    pub(crate) fn address(&self, id: u64) -> Option<String> {
        self.lock().all.get(&id).map(|client| client.peer.to_string())
    }

    /// Where the client has come from, for messages about it.
    pub(crate) fn peer(&self, id: u64) -> String {
        self.address(id).unwrap_or_else(|| "gone".to_owned())
    }

    /// Where a client has come from, its name, and how long it has been here, seconds.
    pub(crate) fn client(&self, id: u64) -> Option<(SocketAddr, String, u32)> {
        let clients = self.lock();
        let client = clients.all.get(&id)?;
        let name = clients.names.get(&id).map_or("", |name| name);
        Some((client.peer, name.to_owned(), self.age().saturating_sub(client.since)))
    }

    /// How long a client has been here, seconds.
    pub(crate) fn age_of(&self, id: u64) -> u64 {
        let clients = self.lock();
        clients.all.get(&id).map_or(0, |client| u64::from(self.age().saturating_sub(client.since)))
    }

    /// Makes the workers known to each other.
    pub(crate) fn introduce(&self, workers: &[Sender<Order>]) {
        // They are introduced once, before any client is there.
        let _ = self.workers.set(workers.iter().map(Sender::downgrade).collect());
    }

    /// All workers. A weak hold: whoever asks them does not keep them going.
    pub(crate) fn workers(&self) -> &[WeakSender<Order>] {
        self.workers.get().map_or(&[], Vec::as_slice)
    }

    /// Seconds since the start.
    fn age(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        // Whoever panicked with the lock held had at most not finished one insertion.
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
