//! The tree in one SQLite file that the processes of one machine share.
//!
//! The embedded keeper of the playground and of small installations: same nodes, versions, sequences,
//! ephemerals, transactions and watches as ZooKeeper, without a server. Each handle has a thread of its own ([`engine`])
//! with the one database connection; calls are prepared here and sent to it.

mod engine;
mod fault;
mod holder;
mod notice;
mod session;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use self::engine::{Engine, Job};
use self::fault::{Fault, error, open_kind};
use self::notice::Bell;
use self::tree::Interest;
use crate::error::{ErrorKind, StoreError};
use crate::node::{Acl, ConnectOptions, CreateMode, Node, NodeStat, Op, OpDone, SessionState};
use crate::watch::Watch;

/// Calls waiting for the thread; more wait in their own tasks.
const QUEUE: usize = 256;

type Result<T> = std::result::Result<T, StoreError>;

/// A session with a local store.
#[derive(Clone, Debug)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    options: ConnectOptions,
    jobs: mpsc::Sender<Job>,
    bell: Bell,
    state: watch::Receiver<SessionState>,
    session: AtomicI64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The thread sees the closed queue and ends the session.
        self.bell.ring();
    }
}

impl LocalStore {
    pub(crate) async fn connect(path: &Path, options: &ConnectOptions) -> Result<Self> {
        let failed = |kind| StoreError::new("connect to", format!("local:{}", path.display()), kind);
        let bell = Bell::new().map_err(|error| failed(ErrorKind::Other).caused_by(error))?;
        let (state_sender, state) = watch::channel(SessionState::Disconnected);
        let (jobs, mut queue) = mpsc::channel(QUEUE);
        let (opened, wait) = oneshot::channel();
        let thread = {
            let (path, options, bell) = (path.to_owned(), options.clone(), bell.clone());
            move || match Engine::open(&path, &options, bell, state_sender) {
                Ok((engine, notice)) => {
                    if opened.send(Ok(engine.session_id())).is_ok() {
                        engine.run(&notice, &mut queue);
                    }
                }
                // Nobody waits for the reason any more.
                Err(error) => drop(opened.send(Err(error))),
            }
        };
        std::thread::Builder::new()
            .name("codis-store".to_owned())
            .spawn(thread)
            .map_err(|error| failed(ErrorKind::Other).caused_by(error))?;
        let deadline = Instant::now() + options.connect_timeout;
        let session = match timeout_at(deadline, wait).await {
            Ok(Ok(Ok(session))) => session,
            Ok(Ok(Err(error))) => return Err(failed(open_kind(&error)).caused_by(error)),
            Ok(Err(_)) => return Err(failed(ErrorKind::Other)),
            Err(_) => return Err(failed(ErrorKind::Unreachable)),
        };
        let inner = Inner {
            path: path.to_owned(),
            options: options.clone(),
            jobs,
            bell,
            state,
            session: AtomicI64::new(session),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Node> {
        let wanted = path.to_owned();
        self.read("read", path, move |db| tree::get(db, &wanted)?.ok_or(Fault::Kind(ErrorKind::NoNode))).await
    }

    pub(crate) async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<Node>>> {
        let wanted = paths.to_vec();
        let place = paths.first().map_or("/", String::as_str);
        self.read("read", place, move |db| wanted.iter().map(|path| tree::get(db, path)).collect()).await
    }

    pub(crate) async fn children(&self, path: &str) -> Result<Vec<String>> {
        let wanted = path.to_owned();
        self.read("list", path, move |db| tree::children(db, &wanted)?.ok_or(Fault::Kind(ErrorKind::NoNode)))
            .await
    }

    pub(crate) async fn children_many(&self, paths: &[String]) -> Result<Vec<Option<Vec<String>>>> {
        let wanted = paths.to_vec();
        let place = paths.first().map_or("/", String::as_str);
        self.read("list", place, move |db| wanted.iter().map(|path| tree::children(db, path)).collect()).await
    }

    pub(crate) async fn stat_many(&self, paths: &[String]) -> Result<Vec<Option<NodeStat>>> {
        let wanted = paths.to_vec();
        let place = paths.first().map_or("/", String::as_str);
        self.read("look at", place, move |db| wanted.iter().map(|path| tree::stat(db, path)).collect()).await
    }

    pub(crate) async fn create(&self, path: &str, data: &[u8], mode: CreateMode, acl: Acl) -> Result<String> {
        let op = Op::Create { path: path.to_owned(), data: data.to_vec(), mode, acl };
        match self.one("create", op).await? {
            OpDone::Created(path) => Ok(path),
            done => Err(unexpected("create", path, &done)),
        }
    }

    pub(crate) async fn ensure_dir(&self, path: &str) -> Result<()> {
        let wanted = path.to_owned();
        if self.read("read", path, move |db| Ok(tree::get(db, &wanted)?.is_some())).await? {
            return Ok(());
        }
        codis_crash::point(|| format!("store create {path} and its parents"));
        let wanted = path.to_owned();
        self.write("create", path, move |db, _, now| tree::ensure_dir(db, &wanted, now)).await
    }

    pub(crate) async fn set(&self, path: &str, data: &[u8], expected: i32) -> Result<i32> {
        let op = Op::Set { path: path.to_owned(), data: data.to_vec(), version: expected };
        match self.one("write", op).await? {
            OpDone::Set(version) => Ok(version),
            done => Err(unexpected("write", path, &done)),
        }
    }

    pub(crate) async fn delete(&self, path: &str, expected: Option<i32>) -> Result<()> {
        self.one("delete", Op::Delete { path: path.to_owned(), version: expected }).await.map(drop)
    }

    pub(crate) async fn commit(&self, ops: Vec<Op>) -> Result<Vec<OpDone>> {
        let Some(first) = ops.first() else { return Ok(Vec::new()) };
        let place = first.path().to_owned();
        // A refusal travels beside the fault so that the transaction is rolled back.
        let (refused, refusal) = oneshot::channel();
        let result = self
            .write("commit", &place, move |db, owner, now| {
                let mut done = Vec::with_capacity(ops.len());
                for (index, op) in ops.iter().enumerate() {
                    match tree::apply(db, op, owner, now) {
                        Ok(step) => done.push(step),
                        Err(fault) => {
                            let _ = refused.send((index, op.path().to_owned()));
                            return Err(fault);
                        }
                    }
                }
                Ok(done)
            })
            .await;
        result.map_err(|error| match { refusal }.try_recv() {
            Ok((index, path)) => StoreError { failed_op: Some(index), path, ..error },
            Err(_) => error,
        })
    }

    pub(crate) async fn watch_children(&self, path: &str) -> Result<(Vec<String>, Watch)> {
        let wanted = path.to_owned();
        let (sender, watch) = Watch::new();
        let children = self
            .call("watch children of", path, Effect::None, move |engine| {
                // In this order: what is committed between the two is read, and told once more. The other
                // way round it would be neither.
                engine.arm(&wanted, Interest::Children, sender)?;
                tree::children(engine.reading()?, &wanted)?.ok_or(Fault::Kind(ErrorKind::NoNode))
            })
            .await?;
        Ok((children, watch))
    }

    pub(crate) async fn watch_node(&self, path: &str) -> Result<(Option<Node>, Watch)> {
        let wanted = path.to_owned();
        let (sender, watch) = Watch::new();
        let node = self
            .call("watch", path, Effect::None, move |engine| {
                engine.arm(&wanted, Interest::Data, sender)?;
                tree::get(engine.reading()?, &wanted)
            })
            .await?;
        Ok((node, watch))
    }

    pub(crate) fn session(&self) -> watch::Receiver<SessionState> {
        self.inner.state.clone()
    }

    pub(crate) fn session_id(&self) -> i64 {
        self.inner.session.load(Ordering::Acquire)
    }

    pub(crate) async fn reopen(&self) -> Result<()> {
        let place = self.inner.path.display().to_string();
        let inner = Arc::clone(&self.inner);
        self.call("open a new session with", &place, Effect::None, move |engine| {
            if engine.session_id() == 0 {
                inner.session.store(engine.reopen_session()?, Ordering::Release);
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn close(&self) -> Result<()> {
        let place = self.inner.path.display().to_string();
        self.call("close the session with", &place, Effect::None, |engine| {
            engine.close_session();
            Ok(())
        })
        .await
    }

    async fn one(&self, op: &'static str, step: Op) -> Result<OpDone> {
        let path = step.path().to_owned();
        self.write(op, &path, move |db, owner, now| tree::apply(db, &step, owner, now)).await
    }

    async fn read<T: Send + 'static>(
        &self,
        op: &'static str,
        path: &str,
        read: impl FnOnce(&Connection) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.call(op, path, Effect::None, move |engine| read(engine.reading()?)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        op: &'static str,
        path: &str,
        change: impl FnOnce(&Connection, i64, i64) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        self.call(op, path, Effect::Write, move |engine| engine.write(change)).await
    }

    /// Sends a call to the thread and waits for its answer, at most `op_timeout`. A call that was not begun by
    /// then is not done.
    async fn call<T: Send + 'static>(
        &self,
        op: &'static str,
        path: &str,
        effect: Effect,
        run: impl FnOnce(&mut Engine) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let deadline = Instant::now() + self.inner.options.op_timeout;
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move |engine| {
            if Instant::now() < deadline && !answer.is_closed() {
                let result = run(engine);
                let _ = answer.send(result);
            }
        });
        let failed = |kind| StoreError::new(op, path, kind);
        match timeout_at(deadline, self.inner.jobs.send(job)).await {
            Ok(Ok(())) => self.inner.bell.ring(),
            Ok(Err(_)) => return Err(failed(ErrorKind::Expired)),
            Err(_) => return Err(failed(ErrorKind::Timeout)),
        }
        match timeout_at(deadline, wait).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(fault))) => Err(error(op, path, fault)),
            // The thread has ended without running the call.
            Ok(Err(_)) => Err(failed(ErrorKind::Expired)),
            Err(_) => Err(failed(match effect {
                Effect::None => ErrorKind::Timeout,
                Effect::Write => ErrorKind::Ambiguous,
            })),
        }
    }
}

/// Whether a call that was cut off may have changed something.
#[derive(Clone, Copy)]
enum Effect {
    None,
    Write,
}

fn unexpected(op: &'static str, path: &str, done: &OpDone) -> StoreError {
    StoreError::new(op, path, ErrorKind::Other).caused_by(format!("the store answered {done:?}"))
}
