//! One thread of the data path: its clients, its connections to the servers, its copy of the routes.
//!
//! Everything a worker has is its own, so nothing is locked. A turn of the loop is: read what clients
//! have sent and queue it for the servers, read what servers have answered and queue it for the
//! clients, then write every queue that has grown, each with one system call ([`turn::write_turns`], which
//! runs after the tasks that were ready). The `RefCell` is borrowed for one step of one task and
//! never across an await.

mod backend;
mod buffers;
mod clients;
mod codis2;
mod connect;
mod dispatch;
mod early;
mod failures;
mod fanout;
mod glob;
mod held;
mod idle;
mod info;
mod kept;
mod leave;
mod link;
mod local;
mod meter;
mod park;
mod pending;
mod pinned;
mod pinned_block;
mod pinned_multi;
mod proto;
mod pubsub;
mod receive;
mod replicas;
mod replies;
mod sample;
mod scripts;
mod session;
mod slots;
mod slow;
mod split;
#[cfg(test)]
mod tests;
mod turn;

use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use codis_core::{Addr, Sight};
use codis_resp::{RequestLimits, RequestParser};
use slab::Slab;
use tokio::{
    sync::{mpsc, oneshot},
    task::{LocalSet, spawn_local},
    time::{MissedTickBehavior, interval},
};

pub(crate) use self::leave::Leaver;
use self::{
    backend::{Backend, BackendId},
    buffers::{OutBuf, Pool},
    clients::{Ask, Told},
    failures::Trouble,
    fanout::Plan,
    held::Held,
    kept::Kept,
    meter::Meter,
    park::Verdict,
    pinned::Pins,
    proto::Proto,
    pubsub::PubSub,
    replicas::Replicas,
    sample::Sampler,
    scripts::Given,
    session::{Session, SessionId},
    slots::Slots,
    slow::Taking,
    split::Splits,
};
use crate::{
    budget::Budget,
    config::{Limits, MoveLimits, ReadFrom},
    freshness::Freshness,
    hot::HotReport,
    journal::Journal,
    moving::Movers,
    nudge::Nudge,
    registry::Registry,
    scripts::Scripts,
    stats::Stats,
    table::Table,
    tls::ServerTls,
};

/// Bytes that are read at once.
const SCRATCH: usize = 128 << 10;
/// A request or reply of which more than this has come, or is known to come, is read into a buffer of
/// its own.
const OWN_BUFFER: usize = 32 << 10;
/// How often time-outs are looked for.
const TICK: Duration = Duration::from_millis(100);

/// What all workers have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Bounds of the data path.
    pub(crate) limits: Arc<Limits>,
    /// Who is connected.
    pub(crate) registry: Arc<Registry>,
    /// Scripts that clients have loaded.
    pub(crate) scripts: Arc<Scripts>,
    /// What failed.
    pub(crate) journal: Arc<Journal>,
    /// How much may be held.
    pub(crate) budget: Arc<Budget>,
    /// Told of servers that are no masters.
    pub(crate) nudge: Arc<Nudge>,
    /// How far slaves are behind.
    pub(crate) freshness: Arc<Freshness>,
}

/// What a worker is asked to do.
pub(crate) enum Order {
    /// Serve this client.
    Client(std::net::TcpStream, SocketAddr, u64),
    /// The same, once it has agreed on TLS.
    Secure(std::net::TcpStream, SocketAddr, u64, ServerTls),
    /// Serve this client of another process.
    Adopt(Box<Leaver>, SocketAddr, u64),
    /// Give away the clients that can go to another process now.
    GiveAway(oneshot::Sender<Vec<Leaver>>),
    /// Use this table; the answer comes when the old routes are history.
    Install(Arc<Table>, oneshot::Sender<()>),
    /// Tell what has been counted.
    Stats(oneshot::Sender<Stats>),
    /// Tell how the connections to servers do.
    Sights(oneshot::Sender<Vec<(Addr, Sight)>>),
    /// Tell a worker about your clients.
    Ask(Ask, oneshot::Sender<Told>),
    /// Tell what is hot.
    Hot(oneshot::Sender<HotReport>),
    /// Finish what is in flight, close everything, end.
    Stop(oneshot::Sender<()>),
}

/// The numbers of a worker that belong to no server.
#[derive(Debug, Default)]
struct Totals {
    dropped: u64,
    bytes_in: u64,
    bytes_out: u64,
    requests: u64,
    /// `requests` when the last second ended, and how many came in it.
    requests_before: u64,
    requests_per_second: u64,
    errors: u64,
    on_demand_moves: u64,
    on_demand_failures: u64,
}

/// All that one thread of the data path has.
struct Worker {
    me: Weak<RefCell<Worker>>,
    limits: Arc<Limits>,
    registry: Arc<Registry>,
    budget: Arc<Budget>,
    held: Held,
    /// How much may come in before what is held is added up.
    held_step: usize,
    /// Scripts that clients of all workers have loaded.
    scripts: Arc<Scripts>,
    /// What all workers write down about what failed.
    journal: Arc<Journal>,
    /// Why the request at hand has been answered with an error of ours.
    trouble: Option<Box<Trouble>>,
    /// Requests until one is looked at closely.
    sample_in: u32,
    /// Replies above this size are.
    big_from: usize,
    sampler: Sampler,
    /// A request is slow if its reply takes so long, microseconds.
    slow_after: u64,
    /// Slow requests whose replies clients are taking.
    taking: Vec<Taking>,
    /// Which servers have them.
    given: Given,
    table: Arc<Table>,
    /// The masters of `table`, once somebody has asked all of them.
    plan: Option<Rc<Plan>>,
    slots: Slots,
    sessions: Slab<Box<Session>>,
    backends: Slab<Backend>,
    /// The connections that speak RESP2; they lead to those that speak RESP3.
    by_addr: HashMap<Addr, BackendId>,
    splits: Splits,
    pins: Pins,
    pubsub: PubSub,
    kept: Kept,
    /// Where reads may go instead of the masters; `None`: nowhere.
    replicas: Option<Box<Replicas>>,
    /// Told of servers that are no masters.
    nudge: Arc<Nudge>,
    movers: Movers,
    pool: Pool,
    /// What is read goes here first; only what is incomplete gets a buffer of its own.
    scratch: Box<[u8]>,
    /// Parser for requests that begin in `scratch`.
    parser: RequestParser,
    dirty_sessions: Vec<SessionId>,
    dirty_backends: Vec<BackendId>,
    flusher: Option<Waker>,
    flush_asked: bool,
    started: Instant,
    /// Microseconds since `started`, taken at the beginning of each step.
    now: u64,
    ticks: u64,
    next_token: u64,
    /// Sessions that wait for a slot or a hand-over.
    parked: usize,
    /// For the first request that is looked at next.
    verdict: Option<Verdict>,
    stopping: bool,
    totals: Totals,
    /// Calls that no server alone has answered.
    meter: Meter,
}

/// Runs a worker on this thread until it is told to stop, or nobody is left who could.
pub(crate) fn run(shared: Shared, orders: mpsc::Receiver<Order>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(shared, orders));
    Ok(())
}

async fn serve(shared: Shared, mut orders: mpsc::Receiver<Order>) {
    let worker = Worker::new(shared);
    let flusher = worker.clone();
    spawn_local(turn::write_turns(flusher));
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return,
                Some(Order::Client(stream, peer, client)) => {
                    worker.borrow_mut().accept(stream, peer, client);
                }
                Some(Order::Secure(stream, peer, client, tls)) => {
                    worker.borrow_mut().accept_tls(stream, peer, client, tls);
                }
                Some(Order::Adopt(leaver, peer, client)) => worker.borrow_mut().adopt(*leaver, peer, client),
                Some(Order::GiveAway(answer)) => {
                    let _ = answer.send(worker.borrow_mut().give_away());
                }
                Some(Order::Install(table, done)) => worker.borrow_mut().install(table, done),
                Some(Order::Stats(answer)) => {
                    let _ = answer.send(worker.borrow_mut().stats());
                }
                Some(Order::Sights(answer)) => {
                    let _ = answer.send(worker.borrow_mut().sights());
                }
                Some(Order::Ask(ask, answer)) => worker.borrow_mut().be_asked(ask, answer),
                Some(Order::Hot(answer)) => {
                    let _ = answer.send(worker.borrow().hot_report());
                }
                Some(Order::Stop(done)) => {
                    worker.borrow_mut().stop();
                    let grace = worker.borrow().limits.stop_grace;
                    stop = Some((done, Instant::now() + grace));
                }
            },
            _ = tick.tick() => worker.borrow_mut().tick(),
        }
        let finished = worker.borrow().sessions.is_empty();
        if let Some((done, _)) = stop.take_if(|(_, until)| finished || Instant::now() >= *until) {
            let _ = done.send(());
            return;
        }
    }
}

impl Worker {
    fn new(shared: Shared) -> Rc<RefCell<Self>> {
        let Shared { limits, registry, scripts, journal, budget, nudge, freshness } = shared;
        let movers = Movers::new(MoveLimits {
            password: limits.password.clone(),
            tls: limits.backend_tls.clone(),
            connect_timeout: limits.connect_timeout,
        });
        let parser = RequestParser::new(request_limits(&limits));
        let started = Instant::now();
        let sampler = Sampler::new(limits.statistics);
        let (sample_in, big_from) = sampler.thresholds();
        Rc::new_cyclic(|me| {
            RefCell::new(Self {
                me: me.clone(),
                registry,
                held: Held::default(),
                held_step: budget.step(),
                budget,
                scripts,
                journal,
                trouble: None,
                sample_in,
                big_from,
                sampler,
                slow_after: match limits.slowlog_max_len {
                    0 => u64::MAX,
                    _ => limits.slowlog_slower_than.as_micros() as u64,
                },
                taking: Vec::new(),
                given: Given::default(),
                plan: None,
                table: Arc::new(Table::unassigned()),
                slots: Slots::new(),
                sessions: Slab::new(),
                backends: Slab::new(),
                by_addr: HashMap::new(),
                splits: Splits::default(),
                pins: Pins::default(),
                pubsub: PubSub::default(),
                kept: Kept::default(),
                replicas: Replicas::new(&limits, freshness, started),
                nudge,
                movers,
                pool: Pool::default(),
                scratch: vec![0; SCRATCH].into_boxed_slice(),
                parser,
                dirty_sessions: Vec::new(),
                dirty_backends: Vec::new(),
                flusher: None,
                flush_asked: false,
                started,
                now: 0,
                ticks: 0,
                next_token: 0,
                parked: 0,
                verdict: None,
                stopping: false,
                totals: Totals::default(),
                meter: Meter::new(limits.statistics),
                limits,
            })
        })
    }

    /// Takes the time; once per step is exact enough for latencies and time-outs.
    fn look_at_clock(&mut self) {
        self.now = self.started.elapsed().as_micros() as u64;
    }

    /// The backend for an address, made if there is none yet.
    fn backend_for(&mut self, addr: &Addr) -> BackendId {
        match self.by_addr.get(addr) {
            Some(id) => *id,
            None => {
                let id = self.add_shared_backend(addr.clone(), Proto::Resp2);
                self.by_addr.insert(addr.clone(), id);
                id
            }
        }
    }

    fn add_backend(&mut self, addr: Addr, proto: Proto) -> BackendId {
        let mut backend = Backend::new(addr, proto);
        backend.meter = Meter::new(self.limits.statistics);
        // A task of an earlier backend in the same place must not take this one for its own.
        backend.generation = self.next_token << 16;
        self.next_token += 1;
        self.backends.insert(backend)
    }

    /// One that many sessions share; what is on its way there can be sent again.
    fn add_shared_backend(&mut self, addr: Addr, proto: Proto) -> BackendId {
        let id = self.add_backend(addr, proto);
        if !self.limits.hold_timeout.is_zero() || self.limits.read_from != ReadFrom::Master {
            self.backends[id].out = OutBuf::with_log(kept::MAX_BYTES);
        }
        id
    }

    /// No more requests are read; sessions close once they have their replies.
    fn stop(&mut self) {
        self.stopping = true;
        let blocked: Vec<_> =
            self.sessions.iter().map(|(id, _)| id).filter(|id| self.is_blocked(*id)).collect();
        // What they wait for may never come.
        blocked.into_iter().for_each(|id| self.sessions[id].stream = None);
        for (_, session) in &mut self.sessions {
            session.closing = true;
            session.wake();
        }
    }
}

fn request_limits(limits: &Limits) -> RequestLimits {
    RequestLimits { max_bulk: limits.max_bulk, max_request: limits.max_request, ..RequestLimits::default() }
}
