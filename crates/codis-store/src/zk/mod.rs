//! The tree in ZooKeeper.
//!
//! What the client library leaves to us: a deadline on every call, a new client after the session has ended
//! (the library's state is terminal then), and saying honestly that a write whose connection broke may have been
//! done. While the connection is down no request is handed to the library: it would keep it without bound
//! and perform it at an unknown later time.

mod calls;
mod fault;
mod knock;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout, timeout_at};
use zookeeper_client as zk;

use self::calls::{node, session_state, sorted, transaction, zk_options};
use self::fault::{Effect, Waited, error};
use self::knock::knock;
use crate::address::StoreAddr;
use crate::error::{ErrorKind, StoreError};
use crate::node::{Acl, ConnectOptions, CreateMode, Node, NodeStat, Op, OpDone, SessionState};
use crate::settle::pause;
use crate::watch::{Fired, Watch};

type Result<T> = std::result::Result<T, StoreError>;

/// A session with a ZooKeeper ensemble.
#[derive(Clone, Debug)]
pub struct ZkStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// As people wrote it, for messages.
    addr: String,
    hosts: String,
    chroot: String,
    options: ConnectOptions,
    /// `None` once closed.
    client: RwLock<Option<zk::Client>>,
    state: Arc<watch::Sender<SessionState>>,
    /// The server answers requests for several nodes; one before 3.6 does not.
    bundles: AtomicBool,
    /// One reopen at a time.
    reopening: Mutex<()>,
}

impl ZkStore {
    pub(crate) async fn connect(
        addr: &StoreAddr,
        hosts: &[String],
        chroot: &str,
        options: &ConnectOptions,
    ) -> Result<Self> {
        let inner = Inner {
            addr: addr.to_string(),
            hosts: hosts.join(","),
            chroot: chroot.to_owned(),
            options: options.clone(),
            client: RwLock::new(None),
            state: Arc::new(watch::Sender::new(SessionState::Disconnected)),
            bundles: AtomicBool::new(true),
            reopening: Mutex::new(()),
        };
        inner.open().await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Node> {
        let full = &self.full(path);
        self.call("read", path, Effect::Repeatable, |client| async move {
            let (data, stat) = client.get_data(full).await?;
            Ok(node(data, &stat))
        })
        .await
    }

    pub(crate) async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>> {
        let full = &self.all_full(paths);
        let place = paths.first().map_or("/", String::as_str);
        self.call("read", place, Effect::Repeatable, |client| async move {
            if self.inner.bundles.load(Ordering::Relaxed) {
                match calls::bundled(&client, full).await {
                    Err(zk::Error::Unimplemented) => self.inner.bundles.store(false, Ordering::Relaxed),
                    read => return read,
                }
            }
            calls::pipelined(&client, full).await
        })
        .await
    }

    pub(crate) async fn children(&self, path: &str) -> Result<Vec<String>> {
        let full = &self.full(path);
        self.call("list", path, Effect::Repeatable, |client| async move {
            Ok(sorted(client.list_children(full).await?))
        })
        .await
    }

    pub(crate) async fn children_many(&self, paths: &[String]) -> Result<Vec<Option<Vec<String>>>> {
        let full = &self.all_full(paths);
        let place = paths.first().map_or("/", String::as_str);
        self.call("list", place, Effect::Repeatable, async |client| calls::lists(&client, full).await).await
    }

    pub(crate) async fn stat_many(&self, paths: &[String]) -> Result<Vec<Option<NodeStat>>> {
        let full = &self.all_full(paths);
        let place = paths.first().map_or("/", String::as_str);
        self.call("look at", place, Effect::Repeatable, async |client| calls::stats(&client, full).await)
            .await
    }

    /// Has the server catch up with the leader of its ensemble.
    pub(crate) async fn sync(&self) -> Result<()> {
        let root = &self.full("/");
        self.call("read", "/", Effect::Repeatable, async |client| client.sync(root).await).await
    }

    pub(crate) async fn create(&self, path: &str, data: &[u8], mode: CreateMode, acl: Acl) -> Result<String> {
        let full = &self.full(path);
        self.call("create", path, Effect::Write, |client| async move {
            let (_, sequence) = client.create(full, data, &zk_options(mode, acl)).await?;
            Ok(if mode.is_sequential() { format!("{path}{sequence}") } else { path.to_owned() })
        })
        .await
    }

    pub(crate) async fn ensure_dir(&self, path: &str) -> Result<()> {
        let full = &self.full(path);
        self.call("create", path, Effect::Repeatable, |client| async move {
            // Looking first costs nothing in the usual case; a refused create is still a write for the ensemble.
            let mut missing = Vec::new();
            let mut at = full.as_str();
            while !at.is_empty() && client.check_stat(at).await?.is_none() {
                missing.push(at);
                at = at.rfind('/').map_or("", |cut| &at[..cut]);
            }
            for dir in missing.into_iter().rev() {
                codis_crash::point(|| format!("store create {dir}"));
                match client.create(dir, b"", &zk_options(CreateMode::Persistent, Acl::Dir)).await {
                    Ok(_) | Err(zk::Error::NodeExists) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn set(&self, path: &str, data: &[u8], expected: i32) -> Result<i32> {
        let full = &self.full(path);
        self.call("write", path, Effect::Write, |client| async move {
            Ok(client.set_data(full, data, Some(expected)).await?.version)
        })
        .await
    }

    pub(crate) async fn delete(&self, path: &str, expected: Option<i32>) -> Result<()> {
        let full = &self.full(path);
        self.call("delete", path, Effect::Write, async |client| client.delete(full, expected).await).await
    }

    pub(crate) async fn commit(&self, ops: Vec<Op>) -> Result<Vec<OpDone>> {
        let Some(first) = ops.first() else { return Ok(Vec::new()) };
        let place = first.path().to_owned();
        let (chroot, ops) = (&self.inner.chroot, &ops);
        let result = self
            .call("commit", &place, Effect::Write, |client| async move {
                match transaction(&client, chroot, ops).await {
                    Ok(done) => Ok(Ok(done)),
                    Err(zk::MultiWriteError::RequestFailed { source }) => Err(source),
                    Err(zk::MultiWriteError::OperationFailed { index, source }) => {
                        let path = ops.get(index).map_or_else(String::new, |op| op.path().to_owned());
                        Ok(Err((index, path, source)))
                    }
                }
            })
            .await?;
        result.map_err(|(index, path, source)| StoreError {
            failed_op: Some(index),
            // The ensemble said no to this step: nothing of the transaction was done.
            ..error("commit", &path, Effect::Repeatable, source)
        })
    }

    pub(crate) async fn watch_children(&self, path: &str) -> Result<(Vec<String>, Watch)> {
        let full = &self.full(path);
        self.call("watch children of", path, Effect::Repeatable, |client| async move {
            let (children, watcher) = client.list_and_watch_children(full).await?;
            Ok((sorted(children), forward(watcher)))
        })
        .await
    }

    pub(crate) async fn watch_node(&self, path: &str) -> Result<(Option<Node>, Watch)> {
        let full = &self.full(path);
        self.call("watch", path, Effect::Repeatable, |client| async move {
            loop {
                match client.get_and_watch_data(full).await {
                    Ok((data, stat, watcher)) => return Ok((Some(node(data, &stat)), forward(watcher))),
                    Err(zk::Error::NoNode) => {}
                    Err(error) => return Err(error),
                }
                // A missing node has no data to watch, only its coming into being.
                if let (None, watcher) = client.check_and_watch_stat(full).await? {
                    return Ok((None, forward(watcher)));
                }
            }
        })
        .await
    }

    pub(crate) fn session(&self) -> watch::Receiver<SessionState> {
        self.inner.state.subscribe()
    }

    pub(crate) fn session_id(&self) -> i64 {
        self.inner.client().map_or(0, |client| client.session_id().0)
    }

    pub(crate) async fn reopen(&self) -> Result<()> {
        let _one = self.inner.reopening.lock().await;
        match *self.inner.state.borrow() {
            SessionState::Connected | SessionState::Disconnected => return Ok(()),
            SessionState::Closed => return Err(self.inner.closed()),
            SessionState::Expired => {}
        }
        self.inner.open().await
    }

    pub(crate) async fn close(&self) -> Result<()> {
        let client = self.inner.client.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(client) = client else { return Ok(()) };
        // First, so that nobody takes the end of the session for its expiry and opens a new one.
        self.inner.state.send_replace(SessionState::Closed);
        let before = client.state();
        let mut watcher = client.state_watcher();
        // The library closes the session when its last handle is dropped.
        drop(client);
        let failed = |kind| Err(StoreError::new("close the session with", &self.inner.addr, kind));
        let closed = async { while !watcher.changed().await.is_terminated() {} };
        match session_state(before) {
            SessionState::Expired | SessionState::Closed => Ok(()),
            // Nobody is there to hear of it; the session ends by its time-out.
            SessionState::Disconnected => failed(ErrorKind::Unreachable),
            SessionState::Connected => match timeout(self.inner.options.op_timeout, closed).await {
                Ok(()) => Ok(()),
                Err(_) => failed(ErrorKind::Timeout),
            },
        }
    }

    fn full(&self, path: &str) -> String {
        match (self.inner.chroot.as_str(), path) {
            ("", path) => path.to_owned(),
            (chroot, "/") => chroot.to_owned(),
            (chroot, path) => format!("{chroot}{path}"),
        }
    }

    fn all_full(&self, paths: &[String]) -> Vec<String> {
        paths.iter().map(|path| self.full(path)).collect()
    }

    /// Runs one call with its deadline, on a client whose connection is up. One that may be repeated is, should the
    /// connection break meanwhile: a server that restarts, or a change of servers, is no error then.
    async fn call<T, F>(
        &self,
        op: &'static str,
        path: &str,
        effect: Effect,
        run: impl Fn(zk::Client) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, zk::Error>>,
    {
        let deadline = Instant::now() + self.inner.options.op_timeout;
        let mut attempt = 0;
        loop {
            let client = self.inner.connected(op, path, deadline).await?;
            let lost = match timeout_at(deadline, run(client)).await {
                Ok(Err(source)) => error(op, path, effect, source),
                Ok(done) => return done.map_err(|source| error(op, path, effect, source)),
                Err(_) => return Err(StoreError::new(op, path, effect.unless_answered(ErrorKind::Timeout))),
            };
            if lost.kind != ErrorKind::Unreachable || Instant::now() >= deadline {
                return Err(lost);
            }
            // The news that the connection is down may come a moment later than the failed call.
            let _ = timeout_at(deadline, tokio::time::sleep(pause(attempt))).await;
            attempt = (attempt + 1).min(4);
        }
    }
}

impl Inner {
    /// Opens a session and follows its state.
    async fn open(&self) -> Result<()> {
        let unreachable = || StoreError::new("connect to", &self.addr, ErrorKind::Unreachable);
        let connector = zk::Client::connector()
            .with_session_timeout(self.options.session_timeout)
            // One round over the servers: the caller decides whether to try again.
            .with_fail_eagerly();
        let deadline = Instant::now() + self.options.connect_timeout;
        let client = match timeout_at(deadline, connector.connect(&self.hosts)).await {
            Ok(Ok(client)) => client,
            Ok(Err(_)) => return Err(unreachable().caused_by(knock(&self.hosts).await)),
            Err(_) => {
                let waited = Waited(self.options.connect_timeout);
                return Err(unreachable().caused_by(waited));
            }
        };
        let mut watcher = client.state_watcher();
        let now = session_state(client.state());
        // The client first: who sees the new state must find it.
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Some(client);
        let opened = self.state.send_if_modified(|state| {
            let open = *state != SessionState::Closed;
            if open {
                *state = now;
            }
            open
        });
        if !opened {
            // Closed while it was being opened again.
            drop(self.client.write().unwrap_or_else(PoisonError::into_inner).take());
            return Err(self.closed());
        }
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            loop {
                let now = watcher.changed().await;
                state.send_modify(|state| {
                    // What was closed by us stays closed. Should the library give up by itself, a new session can be
                    // opened.
                    *state = match (*state, session_state(now)) {
                        (SessionState::Closed, _) => SessionState::Closed,
                        (_, SessionState::Closed) => SessionState::Expired,
                        (_, now) => now,
                    };
                });
                if now.is_terminated() {
                    return;
                }
            }
        });
        Ok(())
    }

    fn client(&self) -> Option<zk::Client> {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn closed(&self) -> StoreError {
        StoreError::new("use the closed session with", &self.addr, ErrorKind::Expired)
    }

    /// The client, once its connection is up; an error when that does not come before the deadline.
    async fn connected(&self, op: &'static str, path: &str, deadline: Instant) -> Result<zk::Client> {
        let mut state = self.state.subscribe();
        let settled =
            timeout_at(deadline, state.wait_for(|state| *state != SessionState::Disconnected)).await;
        let now = settled.ok().and_then(std::result::Result::ok).map(|state| *state);
        match (now, self.client()) {
            (Some(SessionState::Connected), Some(client)) => Ok(client),
            (Some(SessionState::Expired), _) => Err(StoreError::new(op, path, ErrorKind::Expired)),
            (Some(_), _) => Err(self.closed()),
            (None, _) => Err(StoreError::new(op, path, ErrorKind::Unreachable)),
        }
    }
}

/// Hands the library's watcher over to a [`Watch`] that can be awaited, cancelled and awaited again.
fn forward(watcher: zk::OneshotWatcher) -> Watch {
    let (mut sender, watch) = Watch::new();
    tokio::spawn(async move {
        let event = tokio::select! {
            event = watcher.changed() => event,
            // Nobody waits any more; dropping the watcher removes the watch.
            () = sender.closed() => return,
        };
        let over = event.event_type == zk::EventType::Session;
        // The other end may have gone in this instant.
        let _ = sender.send(if over { Fired::SessionOver } else { Fired::Changed });
    });
    watch
}
