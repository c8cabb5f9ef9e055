//! The process whose place this one takes, as the successor sees it.

use std::{
    io, net,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::{
    SPEAKS,
    channel::{Channel, Handed, Message, PATIENCE, Received, Serves},
};
use crate::{
    report::{Report, causes},
    worker::Leaver,
    workers::Workers,
};

/// How long the predecessor is asked again while it cannot leave.
const ASK_FOR: Duration = Duration::from_secs(30);
/// Pause between two times.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// How long the predecessor may take to let everything drain and to leave the store.
const LEAVING: Duration = Duration::from_secs(20);

/// Why a proxy could not take over from the running one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeOverError {
    /// The running proxy will not, or not now.
    #[error("the running proxy does not hand over")]
    Refused {
        /// Its control socket.
        path: PathBuf,
        /// What it says.
        why: String,
    },
    /// It cannot be asked.
    #[error("the running proxy cannot be asked to hand over")]
    Io {
        /// Its control socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A listener cannot be used.
    #[error("clients cannot be accepted")]
    Listener {
        /// Why.
        source: io::Error,
    },
    /// It has taken its place back.
    #[error("the running proxy has taken its place back")]
    TakenBack {
        /// Its control socket.
        path: PathBuf,
    },
}

impl TakeOverError {
    /// What a person reads.
    pub(crate) fn report(&self) -> Report {
        match self {
            Self::Refused { path, why } => Report::new(self, path.display(), why)
                .next("it goes on serving; start again once that is over"),
            Self::Io { path, source } => Report::new(self, path.display(), causes(source))
                .next("both must be run by the same user; it goes on serving"),
            Self::Listener { source } => Report::new(self, "the listening socket", causes(source))
                .next("see the limit of open files: ulimit -n"),
            Self::TakenBack { path } => {
                Report::new(self, path.display(), "this one did not accept clients in time")
                    .next("see its log")
            }
        }
    }
}

/// The sockets that clients and admin tools connect to.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For clients.
    pub(crate) client: net::TcpListener,
    /// For the admin pages.
    pub(crate) admin: net::TcpListener,
    /// For clients with TLS.
    pub(crate) tls: Option<net::TcpListener>,
}

impl Listeners {
    /// The same sockets once more.
    pub(super) fn copy(&self) -> io::Result<Self> {
        let tls = self.tls.as_ref().map(net::TcpListener::try_clone).transpose()?;
        Ok(Self { client: self.client.try_clone()?, admin: self.admin.try_clone()?, tls })
    }

    /// In the order in which they are handed over.
    pub(super) fn all(&self) -> Vec<&net::TcpListener> {
        [&self.client, &self.admin].into_iter().chain(&self.tls).collect()
    }
}

/// The running process. When it dies there is nobody left to wait for: `channel` is `None` then.
#[derive(Debug)]
pub(crate) struct Predecessor {
    path: PathBuf,
    channel: Option<Channel>,
    left: bool,
}

impl Predecessor {
    /// Gets the listeners of the process that runs; `None` if none does.
    ///
    /// # Errors
    /// When it does not give them.
    pub(crate) async fn meet(
        path: &Path,
        serves: &Serves,
    ) -> Result<Option<(Self, Listeners)>, TakeOverError> {
        let failed = |source| TakeOverError::Io { path: path.to_owned(), source };
        let stream = match UnixStream::connect(path).await {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                tracing::info!(control = %path.display(), "no proxy runs there; starting without a hand-over");
                return Ok(None);
            }
            Err(error) => return Err(failed(error)),
        };
        let mut channel = Channel::new(stream);
        let ask = Message::TakeOver { speaks: SPEAKS, serves: serves.clone() };
        let came = channel.ask(&ask, PATIENCE).await.map_err(failed)?;
        let mut sockets = came.sockets.into_iter();
        match (came.message, sockets.next(), sockets.next()) {
            (Message::Listeners, Some(client), Some(admin)) => {
                let tls = sockets.next().map(Into::into);
                let listeners = Listeners { client: client.into(), admin: admin.into(), tls };
                Ok(Some((Self { path: path.to_owned(), channel: Some(channel), left: false }, listeners)))
            }
            (Message::No(why), ..) => Err(TakeOverError::Refused { path: path.to_owned(), why }),
            _ => Err(failed(unexpected())),
        }
    }

    /// Says that everything is loaded; returns when the predecessor has left, or is dead.
    ///
    /// # Errors
    /// When it does not leave.
    pub(crate) async fn leave(&mut self) -> Result<(), TakeOverError> {
        let until = Instant::now() + ASK_FOR;
        while !self.left {
            let Some(channel) = &mut self.channel else { break };
            match channel.ask(&Message::Ready, LEAVING).await.map(|came| came.message) {
                Ok(Message::Go) => self.left = true,
                Ok(Message::No(why)) if Instant::now() >= until => {
                    return Err(TakeOverError::Refused { path: self.path.clone(), why });
                }
                Ok(Message::No(why)) => {
                    tracing::info!(why, "the running proxy cannot hand over yet; asking again");
                    sleep(ASK_EVERY).await;
                }
                Ok(_) => return Err(TakeOverError::Io { path: self.path.clone(), source: unexpected() }),
                Err(error) => self.gone(error).await?,
            }
        }
        Ok(())
    }

    /// Says that clients are accepted; those that are connected are taken from then on.
    ///
    /// # Errors
    /// When the predecessor has taken its place back instead: this process must not serve.
    pub(crate) async fn give_clients(mut self, workers: Workers) -> Result<(), TakeOverError> {
        let Some(mut channel) = self.channel.take() else { return Ok(()) };
        match channel.ask(&Message::Serving, PATIENCE).await {
            Ok(came) => {
                tokio::spawn(take_clients(channel, came, workers));
                Ok(())
            }
            Err(error) => self.gone(error).await,
        }
    }

    /// The predecessor has ended the connection: is it dead, or does it not want to leave any more?
    async fn gone(&mut self, error: io::Error) -> Result<(), TakeOverError> {
        self.channel = None;
        if let Ok(Ok(_)) = timeout(PATIENCE, UnixStream::connect(&self.path)).await {
            return Err(TakeOverError::TakenBack { path: self.path.clone() });
        }
        tracing::warn!(%error, "the proxy that ran before has died; going on without it");
        Ok(())
    }
}

/// Takes clients until the predecessor has no more.
async fn take_clients(mut channel: Channel, mut came: Received, workers: Workers) {
    let mut clients = 0;
    let end = loop {
        match came.message {
            Message::Clients(handed) => {
                clients += handed.len();
                adopt(&workers, handed, came.sockets, &came.bytes).await;
            }
            Message::End => break Ok(()),
            _ => break Err(unexpected()),
        }
        came = match channel.ask(&Message::Taken, PATIENCE).await {
            Ok(next) => next,
            Err(error) => break Err(error),
        };
    };
    match end {
        Ok(()) => tracing::info!(clients, "taken over from the proxy that ran before"),
        Err(error) => {
            tracing::warn!(clients, %error, "the proxy that ran before has died while handing over")
        }
    }
}

/// Serves clients of the predecessor.
async fn adopt(workers: &Workers, handed: Vec<Handed>, sockets: Vec<std::os::fd::OwnedFd>, mut bytes: &[u8]) {
    for (client, socket) in handed.into_iter().zip(sockets) {
        let Some((unread, rest)) = bytes.split_at_checked(client.unread as usize) else { return };
        bytes = rest;
        if let Err(error) =
            workers.adopt(Leaver { stream: socket.into(), state: client, unread: unread.to_vec() }).await
        {
            tracing::warn!(%error, "a client of the proxy that ran before could not be served");
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it says something unexpected; is it another version?")
}
