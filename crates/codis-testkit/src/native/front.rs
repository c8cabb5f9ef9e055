//! The listening side of the stand-in, and what its sessions share.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::clients::{Client, Clients};
use super::session::Session;
use super::target::Target;
use crate::{KitError, RespClient};

/// A listener with its sessions, in front of a `redis-server`.
#[derive(Debug)]
pub(super) struct Front {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) port: u16,
    pub(super) behind: u16,
    pub(super) password: Option<String>,
    turn: Mutex<Turn>,
    clients: Mutex<Clients>,
    stopping: AtomicBool,
}

/// Whose turn it is: a codis-server has one thread, so whoever holds this is the only one it serves.
#[derive(Default)]
pub(super) struct Turn {
    /// Connections to other servers, by host and port.
    pub(super) targets: HashMap<(String, u16), Target>,
    /// Keys that are still to be looked at, by database and slot: found by an earlier search.
    pub(super) found: HashMap<(u32, u16), Vec<Vec<u8>>>,
    /// Calls of SLOTS* commands.
    pub(super) calls: BTreeMap<String, u64>,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("calls", &self.calls).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Front {
    /// Listens at `port` for the server at `behind`.
    pub(super) fn start(port: u16, behind: u16, password: Option<String>) -> Result<Self, KitError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|e| KitError::io(format!("a native server cannot listen at 127.0.0.1:{port}"), e))?;
        let shared = Arc::new(Shared {
            port,
            behind,
            password,
            turn: Mutex::default(),
            clients: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let acceptor = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&shared, &listener)
        });
        Ok(Self { port, shared, acceptor: Some(acceptor) })
    }

    /// Closes the port and all connections.
    pub(super) fn close(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.shared.clients().kill_all();
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.close();
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for client in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        // A server behind that is dead closes the connection at once.
        if let Ok(session) = session(shared, client) {
            std::thread::spawn(move || session.run());
        }
    }
}

fn session(shared: &Arc<Shared>, client: TcpStream) -> std::io::Result<Session> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.behind))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut clients = shared.clients();
    let me = Arc::new(Client {
        id: clients.next_id(),
        addr: client.peer_addr()?,
        behind: server.local_addr()?,
        streams: [client.try_clone()?, server.try_clone()?],
        killed: AtomicBool::new(false),
        db: AtomicU32::new(0),
        is_slave: AtomicBool::new(false),
        since: Instant::now(),
        words: Mutex::default(),
    });
    clients.add(me.clone());
    drop(clients);
    Ok(Session::new(shared.clone(), me, client, RespClient::over(server)))
}
