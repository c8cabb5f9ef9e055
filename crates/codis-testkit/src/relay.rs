//! A TCP relay whose bytes a test holds, delays and cuts: what a network does, on demand.
//!
//! It stands in front of a real server. What it withholds is not lost but late: a request that its
//! sender has given up still arrives once the test lets it, which is how a lost answer and a late
//! command look to a real server.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{KitError, PortLease, must};

/// Time for opening the connection to the server behind.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a test may have to wait for the relay to have read what was sent.
const READ: Duration = Duration::from_secs(20);

/// A relay on a port of its own in front of a server on 127.0.0.1.
///
/// All orders hold for connections that are open and for those that come later, until they are taken
/// back. Dropping it closes everything.
#[derive(Debug)]
pub struct Relay {
    lease: PortLease,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    hold_requests: bool,
    hold_replies: bool,
    /// The next request with these bytes is held, with all that follows on its connection.
    delay: Option<Vec<u8>>,
    /// Requests that [`State::delay`] has met.
    met: u64,
    stopping: bool,
    next: u64,
    links: BTreeMap<u64, Link>,
}

#[derive(Debug)]
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// Set by a delayed request: this connection's requests wait for [`Relay::release`].
    delayed: bool,
    /// It was delayed once.
    late: bool,
    /// Bytes from the client that have been read and not passed on.
    held: usize,
    /// The server has closed it, or the test has: what is kept will not be passed on.
    dead: bool,
    /// Directions that still run.
    directions: u8,
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Replies,
}

impl Relay {
    /// A relay in front of 127.0.0.1:`port` that passes everything on.
    ///
    /// # Panics
    /// When no port can be had.
    #[track_caller]
    #[must_use]
    pub fn to(port: u16) -> Self {
        must(Self::try_to(port))
    }

    /// [`Relay::to`] that returns the failure.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn try_to(port: u16) -> Result<Self, KitError> {
        let lease = PortLease::take()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, lease.port()))
            .map_err(|e| KitError::io(format!("a relay cannot listen at {}", lease.addr()), e))?;
        let shared = Arc::new(Shared { target: port, state: Mutex::default(), changed: Condvar::new() });
        let acceptor = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&shared, &listener)
        });
        Ok(Self { lease, shared, acceptor: Some(acceptor) })
    }

    /// The port it listens on, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.lease.port()
    }

    /// `127.0.0.1:PORT` of the relay.
    #[must_use]
    pub fn addr(&self) -> String {
        self.lease.addr()
    }

    /// Reads what clients send and keeps it, on all connections, until [`Relay::release`].
    pub fn hold_requests(&self) {
        self.shared.state().hold_requests = true;
    }

    /// Reads what the server answers and keeps it, on all connections, until [`Relay::release`].
    pub fn hold_replies(&self) {
        self.shared.state().hold_replies = true;
    }

    /// Keeps the next request that contains `bytes` (from these bytes on), and all that follows on
    /// its connection, until [`Relay::release`]. Other connections are not held up.
    pub fn delay_next(&self, bytes: &[u8]) {
        self.shared.state().delay = Some(bytes.to_vec());
    }

    /// Passes on what was kept, and everything from now on. A kept request is delivered even if its
    /// client has gone away, unless the server has closed the connection.
    pub fn release(&self) {
        let mut state = self.shared.state();
        (state.hold_requests, state.hold_replies, state.delay) = (false, false, None);
        state.links.values_mut().for_each(|link| link.delayed = false);
        self.shared.changed.notify_all();
    }

    /// Passes on what [`Relay::delay_next`] has kept; what is held stays held.
    pub fn let_late_pass(&self) {
        let mut state = self.shared.state();
        state.delay = None;
        state.links.values_mut().for_each(|link| link.delayed = false);
        self.shared.changed.notify_all();
    }

    /// How many requests [`Relay::delay_next`] has met.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.shared.state().met
    }

    /// Takes back [`Relay::hold_requests`] and [`Relay::hold_replies`]; what was delayed stays delayed.
    pub fn unhold(&self) {
        let mut state = self.shared.state();
        (state.hold_requests, state.hold_replies) = (false, false);
        self.shared.changed.notify_all();
    }

    /// Waits until every connection with a delayed request has ended: after [`Relay::release`], and where
    /// the client has left, the request has been executed by then, or never will be.
    ///
    /// # Panics
    /// When one is still open after 20 s.
    #[track_caller]
    pub fn wait_late_ended(&self) {
        let end = Instant::now() + READ;
        while self.shared.state().links.values().any(|link| link.late) {
            assert!(Instant::now() < end, "a delayed connection of relay {} does not end", self.addr());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// On how many connections bytes from a client are being kept.
    #[must_use]
    pub fn held(&self) -> usize {
        self.shared.state().links.values().filter(|link| link.held > 0).count()
    }

    /// Waits until bytes from a client are being kept.
    ///
    /// # Panics
    /// When none have come within 20 s.
    #[track_caller]
    pub fn wait_held(&self) {
        let end = Instant::now() + READ;
        while self.held() == 0 {
            assert!(Instant::now() < end, "nothing has come to relay {} that it could keep", self.addr());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes all connections on both sides; what was kept is lost.
    pub fn cut(&self) {
        let mut state = self.shared.state();
        state.links.values_mut().for_each(Link::close);
        self.shared.changed.notify_all();
    }

    /// Closes all connections towards the clients only. What was kept can still reach the server.
    pub fn cut_clients(&self) {
        for link in self.shared.state().links.values() {
            let _ = link.client.shutdown(Shutdown::Both);
        }
    }

    /// Connections that are open on at least one side.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.state().links.len()
    }

    /// Connections that have ever been made through it.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.state().next
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.stopping = true;
        state.links.values_mut().for_each(Link::close);
        drop(state);
        self.shared.changed.notify_all();
        // Wakes the acceptor.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port()));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Link {
    fn close(&mut self) {
        (self.dead, self.held) = (true, 0);
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until bytes of this connection may go this way. False when the relay stops.
    fn pass(&self, id: u64, way: Way, size: usize) -> bool {
        let mut state = self.state();
        loop {
            let (requests, replies) = (state.hold_requests, state.hold_replies);
            let Some(link) = state.links.get_mut(&id).filter(|link| !link.dead) else { return false };
            let held = match way {
                Way::Requests => requests || link.delayed,
                Way::Replies => replies,
            };
            if way == Way::Requests {
                link.held = if held { size } else { 0 };
            }
            if !held {
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Where the delayed bytes begin in what is about to be passed on; from there on it is kept.
    fn delay_from(&self, id: u64, tail: &[u8], chunk: &[u8]) -> usize {
        let mut state = self.state();
        let Some(pattern) = state.delay.clone() else { return chunk.len() };
        let seen = [tail, chunk].concat();
        let Some(at) = seen.windows(pattern.len().max(1)).position(|part| part == pattern) else {
            return chunk.len();
        };
        state.delay = None;
        state.met += 1;
        if let Some(link) = state.links.get_mut(&id) {
            (link.delayed, link.late) = (true, true);
        }
        at.saturating_sub(tail.len())
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for client in listener.incoming() {
        if shared.state().stopping {
            return;
        }
        let Ok(client) = client else { continue };
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, shared.target));
        // A server that is down closes the connection instead of refusing it.
        let Ok(server) = TcpStream::connect_timeout(&target, CONNECT) else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let copies = (client.try_clone(), server.try_clone(), client.try_clone(), server.try_clone());
        let (Ok(from), Ok(to), Ok(back_to), Ok(back_from)) = copies else { continue };
        let mut state = shared.state();
        let id = state.next;
        state.next += 1;
        state.links.insert(
            id,
            Link { client, server, delayed: false, late: false, held: 0, dead: false, directions: 2 },
        );
        drop(state);
        for (way, from, to) in [(Way::Requests, from, to), (Way::Replies, back_from, back_to)] {
            let shared = shared.clone();
            std::thread::spawn(move || carry(&shared, id, way, from, to));
        }
    }
}

/// Carries bytes one way until the sender ends, then ends the receiver's side.
fn carry(shared: &Shared, id: u64, way: Way, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    let mut tail: Vec<u8> = Vec::new();
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        let chunk = &buffer[..size];
        let begin = if way == Way::Requests { shared.delay_from(id, &tail, chunk) } else { size };
        // A pattern may lie across two reads.
        tail.extend_from_slice(chunk);
        tail.drain(..tail.len().saturating_sub(256));
        let passed = (begin == 0 || write(shared, id, way, &mut to, &chunk[..begin], begin < size))
            && (begin == size || write(shared, id, way, &mut to, &chunk[begin..], false));
        if !passed {
            break;
        }
    }
    // The end of a client is kept as its bytes are; the end of the server is not.
    if way == Way::Requests {
        shared.pass(id, way, 0);
    }
    let _ = to.shutdown(if way == Way::Requests { Shutdown::Write } else { Shutdown::Both });
    let mut state = shared.state();
    if let Some(link) = state.links.get_mut(&id) {
        if way == Way::Replies {
            link.close();
            shared.changed.notify_all();
        }
        link.directions -= 1;
        if link.directions == 0 {
            state.links.remove(&id);
        }
    }
}

/// `free`: these bytes came before those that are to be delayed.
fn write(shared: &Shared, id: u64, way: Way, to: &mut TcpStream, bytes: &[u8], free: bool) -> bool {
    (free || shared.pass(id, way, bytes.len())) && to.write_all(bytes).is_ok()
}
