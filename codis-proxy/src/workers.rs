//! The threads of the data path, and what the rest of the process may ask of them.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use codis_admin::{FailedOp, HotPage};
use codis_core::{Addr, Sight};
use codis_resp::{Class, lookup};
use futures::future::join_all;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use crate::{
    budget::Budget,
    config::{Config, Limits},
    freshness::Freshness,
    hot,
    journal::{Cause, Journal},
    nudge::Nudge,
    registry::Registry,
    scripts::Scripts,
    stats::{Stats, add_calls},
    table::{Route, Table},
    tls::ServerTls,
    worker::{self, Leaver, Order, Shared},
};

/// Orders that may wait for one worker.
const ORDERS: usize = 1024;
/// Pause after a connection could not be accepted (no file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Handle on all workers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Workers {
    inner: Arc<Inner>,
}

struct Inner {
    orders: Vec<mpsc::Sender<Order>>,
    table: ArcSwap<Table>,
    limits: Arc<Limits>,
    registry: Arc<Registry>,
    journal: Arc<Journal>,
    nudge: Arc<Nudge>,
    freshness: Arc<Freshness>,
    stopping: AtomicBool,
    acceptors: Mutex<Vec<AbortHandle>>,
}

impl Workers {
    /// Starts the threads. They serve nobody before [`start_accepting`](Self::start_accepting).
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(config: &Config) -> io::Result<Self> {
        let limits = Arc::new(config.limits.clone());
        let registry = Arc::new(Registry::default());
        let journal = Arc::new(Journal::new(&limits));
        let scripts = Arc::new(Scripts::default());
        let budget = Arc::new(Budget::new(limits.max_memory, config.workers));
        let nudge = Arc::new(Nudge::default());
        let freshness = Arc::new(Freshness::default());
        let shared = Shared {
            limits: limits.clone(),
            registry: registry.clone(),
            scripts,
            journal: journal.clone(),
            budget,
            nudge: nudge.clone(),
            freshness: freshness.clone(),
        };
        let mut orders = Vec::new();
        for number in 0..config.workers {
            let (sender, receiver) = mpsc::channel(ORDERS);
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                let _watch = ExitOnPanic;
                if let Err(error) = worker::run(shared, receiver) {
                    tracing::error!(%error, "a worker could not be started");
                    std::process::exit(1);
                }
            })?;
            orders.push(sender);
        }
        registry.introduce(&orders);
        let inner = Inner {
            orders,
            table: ArcSwap::from_pointee(Table::unassigned()),
            limits,
            registry,
            journal,
            nudge,
            freshness,
            stopping: AtomicBool::new(false),
            acceptors: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How far slaves are behind, to be told here.
    pub(crate) fn freshness(&self) -> Arc<Freshness> {
        self.inner.freshness.clone()
    }

    /// Through which workers say that a server is no master.
    pub(crate) fn nudge(&self) -> &Nudge {
        &self.inner.nudge
    }

    /// The table that was installed last.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.inner.table.load_full()
    }

    /// Makes all workers use `table`.
    ///
    /// Resolves when every worker uses it and, for each slot whose route changed, no request sent
    /// under the old route is unfinished: its reply is in, or its connection is known dead on the
    /// server. That may take for ever while a server is unreachable; dropping the future takes
    /// nothing back, and a later table supersedes this one. Calls must be made in the order of the
    /// tables' epochs.
    pub(crate) async fn install(&self, table: Arc<Table>) {
        self.inner.table.store(table.clone());
        self.ask_all(|answer| Order::Install(table.clone(), answer)).await;
    }

    /// Begins to accept clients on `listener`, with TLS or without. Until then they wait in the kernel's queue.
    pub(crate) fn start_accepting(&self, listener: TcpListener, tls: Option<ServerTls>) {
        let task = tokio::spawn(accept(self.inner.clone(), listener, tls));
        self.inner.acceptors.lock().unwrap_or_else(PoisonError::into_inner).push(task.abort_handle());
    }

    /// Accepts no more clients: they wait in the kernel's queue again.
    pub(crate) fn stop_accepting(&self) {
        let mut acceptors = self.inner.acceptors.lock().unwrap_or_else(PoisonError::into_inner);
        acceptors.drain(..).for_each(|task| task.abort());
    }

    /// Clients that are connected.
    pub(crate) fn clients(&self) -> usize {
        self.inner.registry.len()
    }

    /// Takes out the clients that can go to another process now.
    pub(crate) async fn give_away(&self) -> Vec<Leaver> {
        self.ask_all(Order::GiveAway).await.into_iter().flatten().collect()
    }

    /// Serves a client of another process. It counts, but is not refused.
    ///
    /// # Errors
    /// When its connection is gone.
    pub(crate) async fn adopt(&self, leaver: Leaver) -> io::Result<()> {
        let peer = leaver.stream.peer_addr()?;
        let client = self.inner.registry.add(peer, usize::MAX).ok_or(io::ErrorKind::OutOfMemory)?;
        let worker = &self.inner.orders[client as usize % self.inner.orders.len()];
        let sent = worker.send(Order::Adopt(Box::new(leaver), peer, client)).await;
        if sent.is_err() {
            self.inner.registry.remove(client);
        }
        sent.map_err(io::Error::other)
    }

    /// Stops accepting, finishes what is in flight within `stop_grace`, closes all connections and
    /// ends the threads.
    pub(crate) async fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
        self.stop_accepting();
        self.ask_all(Order::Stop).await;
    }

    /// What has failed.
    pub(crate) fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// What clients ask for most; nothing if nobody looks.
    pub(crate) async fn hot(&self) -> HotPage {
        if !self.inner.limits.statistics {
            return HotPage::default();
        }
        hot::page(self.ask_all(Order::Hot).await)
    }

    /// Counters of all workers, summed.
    pub(crate) async fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for part in self.ask_all(Order::Stats).await {
            stats.add(part);
        }
        let (accepted, refused) = self.inner.registry.totals();
        stats.clients = self.inner.registry.len() as u64;
        stats.clients_accepted = accepted;
        stats.clients_refused = refused;
        stats.failures = self.inner.journal.counts();
        stats.slow = self.inner.journal.slow_total();
        let moving = |route: &Route| matches!(route, Route::Blocked { .. } | Route::Migrate { .. });
        stats.migrating_slots = self.table().iter().filter(|(_, route)| moving(route)).count() as u64;
        // Requests that went to one server are counted there only; split ones also as a whole.
        for backend in stats.backends.values() {
            let mut whole = backend.commands.clone();
            whole.retain(|name, _| {
                let class = lookup(name.as_bytes()).map(|id| id.command().class);
                !matches!(
                    class,
                    Some(Class::Mget | Class::Mset | Class::Sum | Class::Fan(_) | Class::Session(_))
                )
            });
            add_calls(&mut stats.commands, whole);
        }
        stats
    }

    /// How the connections of all workers to each server do.
    pub(crate) async fn sights(&self) -> BTreeMap<Addr, Sight> {
        let mut all: BTreeMap<Addr, Sight> = BTreeMap::new();
        for (addr, sight) in self.ask_all(Order::Sights).await.into_iter().flatten() {
            let sum = all.entry(addr).or_default();
            sum.connections += sight.connections;
            sum.failing += sight.failing;
        }
        all
    }

    /// Gives every worker an order and waits for the answers; a worker that has ended gives none.
    async fn ask_all<T>(&self, order: impl Fn(oneshot::Sender<T>) -> Order) -> Vec<T> {
        let mut answers = Vec::new();
        for worker in &self.inner.orders {
            let (sender, answer) = oneshot::channel();
            if worker.send(order(sender)).await.is_ok() {
                answers.push(answer);
            }
        }
        join_all(answers).await.into_iter().flatten().collect()
    }
}

/// A worker that has panicked has lost its clients and knows nothing of its requests: the process
/// must not go on as if it served.
struct ExitOnPanic;

impl Drop for ExitOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(1);
        }
    }
}

/// Accepts clients and deals them to the workers in turn.
async fn accept(inner: Arc<Inner>, listener: TcpListener, tls: Option<ServerTls>) {
    let mut next = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if inner.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let worker = &inner.orders[next % inner.orders.len()];
                next += 1;
                if let Err(error) = deal(&inner, worker, stream, peer, tls.as_ref()).await {
                    tracing::warn!(%peer, %error, "a client could not be served");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn deal(
    inner: &Inner,
    worker: &mpsc::Sender<Order>,
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: Option<&ServerTls>,
) -> io::Result<()> {
    let Some(client) = inner.registry.add(peer, inner.limits.max_clients) else {
        inner.journal.failed(Cause::TooManyClients, || FailedOp {
            client: Some(peer.to_string()),
            why: "ERR max number of clients reached".to_owned(),
            ..FailedOp::default()
        });
        if tls.is_some() {
            return Ok(());
        }
        // Whether this client reads it is its own affair; nobody waits for it.
        tokio::spawn(async move {
            let farewell = stream.write_all(b"-ERR max number of clients reached\r\n");
            let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
        });
        return Ok(());
    };
    let order = async {
        stream.set_nodelay(true)?;
        let stream = stream.into_std()?;
        let order = match tls {
            None => Order::Client(stream, peer, client),
            Some(tls) => Order::Secure(stream, peer, client, tls.clone()),
        };
        worker.send(order).await.map_err(io::Error::other)
    };
    let result = order.await;
    if result.is_err() {
        inner.registry.remove(client);
    }
    result
}
