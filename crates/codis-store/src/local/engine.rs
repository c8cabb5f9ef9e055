//! The one thread that owns the database connection of a session.
//!
//! Calls come as closures that are ready to run: each is one short transaction, nothing is awaited inside.
//! Between them the thread listens for commits and deaths of other processes, fires watches, beats the session's heart
//! and reaps dead sessions. Every process does the reaping; the transaction decides who does it first.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::fault::{Fault, OpenError};
use super::holder::Busy;
use super::notice::{Bell, Notice};
use super::session::{SessionDir, SessionFile, network_file_system};
use super::tree::{self, Interest, Mark};
use crate::error::ErrorKind;
use crate::node::{ConnectOptions, SessionState};
use crate::watch::Fired;

mod migrations {
    refinery::embed_migrations!("../../migrations/local");
}

/// Looks at `data_version` this often even when no file event comes.
const LOOK: Duration = Duration::from_millis(100);
/// The same where file events are not to be had.
const LOOK_OFTEN: Duration = Duration::from_millis(15);
/// Tries the locks of the other sessions this often even when no file event comes.
const PROBE: Duration = Duration::from_millis(200);
/// How often the heart beats.
const BEAT: Duration = Duration::from_secs(1);
/// Longest wait for another process's transaction: it ends with a sync of the disk, which takes seconds when the disk
/// has much else to do.
const BUSY: Duration = Duration::from_secs(8);
/// One attempt at it; between two of them the heart beats.
const ATTEMPT: Duration = Duration::from_millis(50);
/// A commit follows the event of its log write after a sync of the disk: for so long it is looked for. Several may be on their way,
/// so one that shows does not end it.
const COMMIT: Duration = Duration::from_millis(500);
/// Shortest and longest pause between two such looks: as long as the event is old.
const COMMIT_LOOK: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));
/// Calls done between two looks around.
const BATCH: usize = 64;

/// A call, ready to run.
pub(super) type Job = Box<dyn FnOnce(&mut Engine) + Send>;

type Result<T> = std::result::Result<T, Fault>;

/// State of the store's thread.
pub(super) struct Engine {
    path: PathBuf,
    db: Connection,
    sessions: SessionDir,
    session: Option<SessionFile>,
    timeout: Duration,
    state: watch::Sender<SessionState>,
    watches: Vec<Armed>,
    /// As `PRAGMA data_version` last said: it changes when another connection commits.
    data_version: i64,
    /// We have committed since the watches were last looked at.
    committed: bool,
    /// When the heart last beat.
    beaten: Cell<Instant>,
    /// Another process was writing when we last wanted to, for longer than we wait.
    blocked: Cell<bool>,
    /// How long we wait.
    patience: Duration,
}

struct Armed {
    path: String,
    interest: Interest,
    seen: Mark,
    sender: oneshot::Sender<Fired>,
}

impl Engine {
    /// Opens the database and a session.
    pub(super) fn open(
        path: &Path,
        options: &ConnectOptions,
        bell: Bell,
        state: watch::Sender<SessionState>,
    ) -> std::result::Result<(Self, Notice), OpenError> {
        // A part of the time, so that the reason is known before the caller gives up.
        let deadline = Instant::now() + options.connect_timeout * 4 / 5;
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        if !path.exists() {
            if !options.create_local {
                return Err(OpenError::Missing(path.to_owned()));
            }
            std::fs::create_dir_all(folder)?;
        }
        let magic = rustix::fs::statfs(folder).map_err(io::Error::from)?.f_type;
        // The kernel's type is signed on some machines; the magic is 32 bits everywhere.
        if let Some(name) = network_file_system(magic as u64 & 0xFFFF_FFFF) {
            return Err(OpenError::NetworkFileSystem(name));
        }
        let sessions = SessionDir::beside(path)?;
        let preparing = sessions.preparing(deadline)?;
        let mut db = Connection::open(path)?;
        db.busy_timeout(BUSY)?;
        db.set_prepared_statement_cache_capacity(32);
        db.pragma_update(None, "journal_mode", "wal")?;
        // A switch that was acknowledged must survive a power failure, or moved keys would be looked for at the source.
        db.pragma_update(None, "synchronous", "full")?;
        migrations::migrations::runner().run(&mut db).map_err(|error| OpenError::Schema(Box::new(error)))?;
        drop(preparing);
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let notice = Notice::new(bell, Path::new(&log), sessions.path());
        let mut engine = Self {
            path: path.to_owned(),
            db,
            sessions,
            session: None,
            timeout: options.session_timeout,
            state,
            watches: Vec::new(),
            data_version: 0,
            committed: false,
            beaten: Cell::new(Instant::now()),
            blocked: Cell::new(false),
            patience: BUSY.min(options.op_timeout * 4 / 5).min(options.connect_timeout * 4 / 5),
        };
        // What dead processes left is gone before the first call sees it.
        engine.reap()?;
        engine.open_session()?;
        Ok((engine, notice))
    }

    /// Serves calls until all handles are gone.
    pub(super) fn run(mut self, notice: &Notice, jobs: &mut mpsc::Receiver<Job>) {
        let mut probe = Instant::now() + PROBE;
        let mut written = None;
        loop {
            let idle = if notice.is_deaf() { LOOK_OFTEN } else { LOOK };
            let pause = if jobs.is_empty() { pause(written, idle) } else { Duration::ZERO };
            let noticed = match notice.wait(pause) {
                Ok(noticed) => noticed,
                Err(error) => {
                    tracing::error!(%error, "the local store's thread cannot wait for changes and ends");
                    self.expire();
                    return;
                }
            };
            for _ in 0..BATCH {
                match jobs.try_recv() {
                    Ok(job) => job(&mut self),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        self.close_session();
                        return;
                    }
                }
            }
            if noticed.written {
                written = Some(Instant::now());
            }
            let others = self.others_committed();
            if others || self.committed {
                self.committed = false;
                self.look_around();
            }
            self.beat();
            if noticed.session_closed || Instant::now() >= probe {
                probe = Instant::now() + PROBE;
                match self.reap() {
                    Ok(()) => {}
                    // Somebody writes just now.
                    Err(Fault::Busy(busy)) => tracing::debug!(%busy, "dead sessions are removed later"),
                    Err(fault) => {
                        probe = Instant::now() + BUSY;
                        tracing::warn!(?fault, "dead sessions of the local store cannot be removed now");
                    }
                }
            }
        }
    }

    /// The database, for reading.
    pub(super) fn reading(&self) -> Result<&Connection> {
        if self.session.is_some() { Ok(&self.db) } else { Err(ErrorKind::Expired.into()) }
    }

    /// Runs `change` as one transaction of this session: all of it or, when it fails, nothing.
    pub(super) fn write<T>(&mut self, change: impl FnOnce(&Connection, i64, i64) -> Result<T>) -> Result<T> {
        let Some(session) = self.session.as_ref().map(|session| session.id) else {
            return Err(ErrorKind::Expired.into());
        };
        let transaction = self.begin(self.patience)?;
        if !session_exists(&transaction, session)? {
            drop(transaction);
            self.expire();
            return Err(ErrorKind::Expired.into());
        }
        let done = change(&transaction, session, now_ms())?;
        transaction.commit()?;
        self.committed = true;
        Ok(done)
    }

    /// Sets a watch on the node as it is now. The caller reads it afterwards.
    pub(super) fn arm(
        &mut self,
        path: &str,
        interest: Interest,
        sender: oneshot::Sender<Fired>,
    ) -> Result<()> {
        let seen = tree::mark(&self.db, path, interest)?;
        self.watches.push(Armed { path: path.to_owned(), interest, seen, sender });
        Ok(())
    }

    /// Number of the session, 0 when it is over.
    pub(super) fn session_id(&self) -> i64 {
        self.session.as_ref().map_or(0, |session| session.id)
    }

    /// Begins a session after one that has expired; says its number. None follows one that was closed.
    pub(super) fn reopen_session(&mut self) -> Result<i64> {
        if *self.state.borrow() == SessionState::Closed {
            return Err(ErrorKind::Expired.into());
        }
        self.open_session()
    }

    fn open_session(&mut self) -> Result<i64> {
        let transaction = self.begin(self.patience)?;
        transaction.execute(
            "INSERT INTO session (pid, timeout_ms, opened_ms) VALUES (?1, ?2, ?3)",
            (std::process::id(), i64::try_from(self.timeout.as_millis()).unwrap_or(i64::MAX), now_ms()),
        )?;
        let id = transaction.last_insert_rowid();
        let file = self.sessions.open(id)?;
        // Files whose row is gone are left by processes that died while closing.
        for old in self.sessions.list()? {
            if !session_exists(&transaction, old)? {
                self.sessions.remove(old)?;
            }
        }
        transaction.commit()?;
        self.session = Some(file);
        self.state.send_replace(SessionState::Connected);
        Ok(id)
    }

    /// Ends the session and removes what it owns.
    pub(super) fn close_session(&mut self) {
        if let Some(session) = self.session.take() {
            // When this fails the lock goes all the same, and another process removes what is left.
            if let Err(fault) = self.end_sessions(&[session.id], self.patience) {
                tracing::debug!(?fault, "left to other processes to clean up");
            }
            let _ = self.sessions.remove(session.id);
            self.committed = true;
        }
        self.state.send_replace(SessionState::Closed);
        self.watches.clear();
    }

    fn expire(&mut self) {
        self.session = None;
        self.state.send_replace(SessionState::Expired);
        for armed in self.watches.drain(..) {
            let _ = armed.sender.send(Fired::SessionOver);
        }
    }

    fn others_committed(&mut self) -> bool {
        match self.db.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0)) {
            Ok(now) => std::mem::replace(&mut self.data_version, now) != now,
            Err(error) => {
                tracing::warn!(%error, "the local store cannot be looked at");
                false
            }
        }
    }

    /// After a commit: does our session still hold, and which watches have something to tell?
    fn look_around(&mut self) {
        if self.session.as_ref().is_some_and(|own| matches!(session_exists(&self.db, own.id), Ok(false))) {
            self.expire();
        }
        let db = &self.db;
        self.watches.retain(|armed| !armed.sender.is_closed());
        let told = self.watches.extract_if(.., |armed| {
            tree::mark(db, &armed.path, armed.interest).is_ok_and(|now| now != armed.seen)
        });
        for armed in told {
            // The one who waited may have gone in this instant.
            let _ = armed.sender.send(Fired::Changed);
        }
    }

    /// Says that this process still moves, when it is time to.
    fn beat(&self) {
        if self.beaten.get().elapsed() < BEAT.min(self.timeout / 4) {
            return;
        }
        self.beaten.set(Instant::now());
        if let Some(Err(error)) = self.session.as_ref().map(SessionFile::beat) {
            tracing::warn!(%error, "the local store's session cannot show that it is alive");
        }
    }

    /// Begins a transaction that writes. The heart beats while another process is in one. As long as that one hangs, only
    /// the first call waits for it: the others would keep reads waiting.
    fn begin(&self, patience: Duration) -> Result<Transaction<'_>> {
        let patience = if self.blocked.get() { ATTEMPT } else { patience };
        let deadline = Instant::now() + patience;
        self.db.busy_timeout(ATTEMPT)?;
        let begun = loop {
            match Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate) {
                Err(error) if is_busy(&error) && Instant::now() < deadline => self.beat(),
                Err(error) if is_busy(&error) => break Err(Fault::Busy(Busy::writing(&self.path))),
                begun => break begun.map_err(Fault::Sql),
            }
        };
        self.db.busy_timeout(BUSY)?;
        match begun {
            // A short wait that was in vain proves nothing.
            Err(Fault::Busy(_)) if patience < self.patience => {}
            _ => self.blocked.set(matches!(begun, Err(Fault::Busy(_)))),
        }
        begun
    }

    fn end_sessions(&self, ids: &[i64], patience: Duration) -> Result<()> {
        let transaction = self.begin(patience)?;
        for id in ids {
            tree::delete_owned(&transaction, *id)?;
            transaction.execute("DELETE FROM session WHERE id = ?1", [id])?;
        }
        Ok(transaction.commit()?)
    }

    /// Ends the sessions of dead processes.
    fn reap(&mut self) -> Result<()> {
        let own = self.session_id();
        let mut dead = Vec::new();
        let mut select = self.db.prepare_cached("SELECT id, timeout_ms FROM session WHERE id <> ?1")?;
        let others = select.query_map([own], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for other in others.collect::<rusqlite::Result<Vec<(i64, i64)>>>()? {
            let (id, timeout_ms) = other;
            if self.sessions.is_dead(id, Duration::from_millis(timeout_ms.unsigned_abs()))? {
                dead.push(id);
            }
        }
        drop(select);
        if dead.is_empty() {
            return Ok(());
        }
        self.end_sessions(&dead, ATTEMPT)?;
        self.committed = true;
        for id in dead {
            self.sessions.remove(id)?;
        }
        Ok(())
    }
}

/// How long to wait when nothing is to do: short after a log write whose commit may not have shown yet.
fn pause(written: Option<Instant>, idle: Duration) -> Duration {
    match written.map(|at| at.elapsed()) {
        Some(since) if since < COMMIT => since.clamp(COMMIT_LOOK.0, COMMIT_LOOK.1).min(idle),
        _ => idle,
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn session_exists(db: &Connection, id: i64) -> Result<bool> {
    Ok(db.prepare_cached("SELECT 1 FROM session WHERE id = ?1")?.exists([id])?)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
