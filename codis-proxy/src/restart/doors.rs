//! The ways into this process: opened when it serves, closed when another takes its place.

use std::{io, net, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::mpsc, task::AbortHandle, time::timeout};

use super::{Listeners, Predecessor, Serves, Successor, TakeOverError, successor::Control};
use crate::{
    admin,
    status::Status,
    table::{Route, Table},
    tls::ServerTls,
    workers::Workers,
};

/// How long clients may wait for what is in flight elsewhere before a hand-over is given up.
const DRAIN: Duration = Duration::from_secs(1);

/// Listeners, control socket, and the process that had them before.
pub(crate) struct Doors {
    listeners: Listeners,
    tls: Option<ServerTls>,
    workers: Workers,
    status: Status,
    admin: Option<AbortHandle>,
    open: bool,
    serves: Serves,
    /// Where the control socket is to be.
    path: Option<PathBuf>,
    control: Option<Control>,
    predecessor: Option<Predecessor>,
    found: mpsc::Sender<Successor>,
}

impl Doors {
    /// Closed ones, and where successors turn up.
    pub(crate) fn new(
        (listeners, tls): (Listeners, Option<ServerTls>),
        predecessor: Option<Predecessor>,
        (serves, path): (Serves, Option<PathBuf>),
        workers: Workers,
        status: Status,
    ) -> (Self, mpsc::Receiver<Successor>) {
        let (found, successors) = mpsc::channel(1);
        let doors = Self {
            listeners,
            tls,
            workers,
            status,
            admin: None,
            open: false,
            serves,
            path,
            control: None,
            predecessor,
            found,
        };
        (doors, successors)
    }

    /// Opens the admin pages, unless the predecessor still has them.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub(crate) fn show(&mut self) -> io::Result<()> {
        if self.admin.is_none() && self.predecessor.is_none() {
            let listener = listener(&self.listeners.admin)?;
            let task = tokio::spawn(admin::serve(listener, self.workers.clone(), self.status.clone()));
            self.admin = Some(task.abort_handle());
        }
        Ok(())
    }

    /// Waits until the predecessor, if there is one, has left.
    ///
    /// # Errors
    /// When it does not leave.
    pub(crate) async fn predecessor_leaves(&mut self) -> Result<(), TakeOverError> {
        match &mut self.predecessor {
            Some(predecessor) => predecessor.leave().await,
            None => Ok(()),
        }
    }

    /// Accepts clients, and takes over those of the predecessor.
    ///
    /// # Errors
    /// When the predecessor has taken its place back: nobody may be served here.
    pub(crate) async fn open(&mut self) -> Result<(), TakeOverError> {
        if self.open {
            return Ok(());
        }
        let failed = |source| TakeOverError::Listener { source };
        let plain = listener(&self.listeners.client).map_err(failed)?;
        if let (Some(secure), Some(tls)) = (&self.listeners.tls, &self.tls) {
            self.workers.start_accepting(listener(secure).map_err(failed)?, Some(tls.clone()));
        }
        self.workers.start_accepting(plain, None);
        self.open = true;
        let replaces = self.predecessor.is_some();
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.give_clients(self.workers.clone()).await?;
        }
        self.show().map_err(failed)?;
        if let (Some(path), None) = (&self.path, &self.control) {
            let control = match self.listeners.copy() {
                Ok(copy) => {
                    let found = self.found.clone();
                    Control::open(path, self.serves.clone(), copy, replaces, found).await
                }
                Err(error) => Err(error),
            };
            match control {
                Ok(control) => self.control = Some(control),
                Err(error) => {
                    tracing::warn!(control = %path.display(), %error, "no control socket: this process cannot hand over");
                }
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        self.workers.stop_accepting();
        self.open = false;
        if let Some(admin) = self.admin.take() {
            admin.abort();
        }
    }

    /// Accepts nobody and lets requests wait until nothing is unfinished on any server. Returns the routes from
    /// before.
    ///
    /// # Errors
    /// Why nothing was changed: something is unfinished.
    pub(crate) async fn step_aside(&mut self) -> Result<Arc<Table>, String> {
        self.close();
        let before = self.workers.table();
        let mut blocked = (*before).clone();
        blocked.epoch += 1;
        for (slot, route) in before.iter() {
            if let Some(master) = route.master() {
                blocked.set(slot, Route::Blocked { master: master.clone() });
            }
        }
        if timeout(DRAIN, self.workers.install(Arc::new(blocked))).await.is_ok() {
            return Ok(before);
        }
        self.restore(&before).await;
        if let Err(error) = self.open().await {
            tracing::error!(%error, "clients cannot be accepted again");
        }
        Err(format!("requests are unfinished on a server for more than {} s", DRAIN.as_secs()))
    }

    /// Serves the routes from before again.
    pub(crate) async fn restore(&mut self, before: &Table) {
        let mut table = before.clone();
        table.epoch = self.workers.table().epoch + 1;
        // What is unfinished still is; nobody has to wait for it.
        let _ = timeout(Duration::ZERO, self.workers.install(Arc::new(table))).await;
    }

    /// The successor serves: gives it the clients, for as long as `grace`, and ends the workers.
    pub(crate) async fn leave_to(&mut self, successor: Successor, grace: Duration) {
        if let Some(control) = &mut self.control {
            control.give_away();
        }
        successor.give_clients(&self.workers, grace).await;
        self.workers.stop().await;
    }
}

fn listener(shared: &net::TcpListener) -> io::Result<TcpListener> {
    shared.set_nonblocking(true)?;
    TcpListener::from_std(shared.try_clone()?)
}
