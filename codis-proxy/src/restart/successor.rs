//! The control socket, and the process that takes this one's place, as the predecessor sees it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    Listeners, SPEAKS,
    channel::{Channel, MOST_SOCKETS, Message, PATIENCE, Serves, borrowed},
};
use crate::workers::Workers;

/// How long a successor may take to load everything.
const LOADING: Duration = Duration::from_secs(600);
/// How long it may take from `Go` to accepting clients. It gives up sooner by itself.
const STARTING: Duration = Duration::from_secs(15);
/// Pause between two looks for clients that can change hands now.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The control socket of this process; gone from the file system when it is dropped, unless handed over.
#[derive(Debug)]
pub(crate) struct Control {
    path: PathBuf,
    task: AbortHandle,
    given: bool,
}

impl Control {
    /// Listens for successors. A file that nobody listens on is replaced, and so is that of a predecessor.
    ///
    /// # Errors
    /// When the socket cannot be made, or another process listens on it.
    pub(crate) async fn open(
        path: &Path,
        serves: Serves,
        listeners: Listeners,
        replace: bool,
        found: mpsc::Sender<Successor>,
    ) -> io::Result<Self> {
        if !replace && UnixStream::connect(path).await.is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        if let Err(error) = meet(stream, &serves, &listeners, &found).await {
                            tracing::warn!(%error, "a successor has not come so far");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept on the control socket");
                        sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
        Ok(Self { path: path.to_owned(), task: task.abort_handle(), given: false })
    }

    /// The socket's file is the successor's now.
    pub(crate) fn give_away(&mut self) {
        self.given = true;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        if !self.given {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Waits until a successor has loaded everything, and passes it on. One at a time.
async fn meet(
    stream: UnixStream,
    serves: &Serves,
    listeners: &Listeners,
    found: &mpsc::Sender<Successor>,
) -> io::Result<()> {
    let (theirs, ours) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
    let mut channel = Channel::new(stream);
    let Message::TakeOver { speaks, serves: other } = channel.receive(PATIENCE).await?.message else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let no = if theirs != ours {
        Some("it is run by another user".to_owned())
    } else if speaks != SPEAKS {
        Some(format!("it speaks version {SPEAKS} of this, not {speaks}"))
    } else if other != *serves {
        Some(format!("it is not the same proxy: it serves {serves:?}, not {other:?}"))
    } else {
        None
    };
    if let Some(why) = no {
        return channel.send(&Message::No(why), &[], &[]).await;
    }
    channel.send(&Message::Listeners, &borrowed(&listeners.all()), &[]).await?;
    // Meanwhile no other one is heard.
    let ready = channel.receive(LOADING).await?.message;
    if ready != Message::Ready {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (over, done) = tokio::sync::oneshot::channel();
    let successor = Successor { channel, _over: over };
    if found.send(successor).await.is_ok() {
        // Until it has been dealt with.
        let _ = done.await;
    }
    Ok(())
}

/// A process that could take over at once.
#[derive(Debug)]
pub(crate) struct Successor {
    channel: Channel,
    /// Dropped with it: the next one may come.
    _over: tokio::sync::oneshot::Sender<()>,
}

impl Successor {
    /// Not now; it may ask again, and if it does, true.
    pub(crate) async fn not_now(&mut self, why: String) -> bool {
        tracing::warn!(why, "cannot hand over to another process now");
        let again = self.channel.ask(&Message::No(why), PATIENCE).await;
        again.is_ok_and(|came| came.message == Message::Ready)
    }

    /// Nothing of ours stands in its way any more. Resolves once it accepts clients.
    ///
    /// # Errors
    /// When it does not: this process must take its place back.
    pub(crate) async fn go(&mut self) -> io::Result<()> {
        match self.channel.ask(&Message::Go, STARTING).await?.message {
            Message::Serving => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Gives it the clients that owe nothing and are owed nothing, and others as they get there, for as long as
    /// `grace`. What remains ends with this process.
    pub(crate) async fn give_clients(mut self, workers: &Workers, grace: Duration) {
        let until = Instant::now() + grace;
        let mut given = 0;
        let result = loop {
            let clients = workers.give_away().await;
            let none = clients.is_empty();
            if let Err(error) = self.give(clients, &mut given).await {
                break Err(error);
            }
            if workers.clients() == 0 || Instant::now() >= until {
                break self.channel.send(&Message::End, &[], &[]).await;
            }
            if none {
                sleep(LOOK_AGAIN).await;
            }
        };
        let left = workers.clients();
        match result {
            Ok(()) => tracing::info!(given, left, "clients given to the new process"),
            Err(error) => {
                tracing::warn!(given, left, %error, "not all clients could be given to the new process")
            }
        }
    }

    async fn give(&mut self, clients: Vec<crate::worker::Leaver>, given: &mut usize) -> io::Result<()> {
        let mut clients = clients.into_iter().peekable();
        while clients.peek().is_some() {
            let (mut states, mut sockets, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
            // Few at a time, and one with much alone.
            while let Some(client) = clients.next_if(|client| {
                sockets.is_empty()
                    || (sockets.len() < MOST_SOCKETS && bytes.len() + client.unread.len() < 1 << 20)
            }) {
                bytes.extend_from_slice(&client.unread);
                states.push(client.state);
                sockets.push(client.stream);
            }
            *given += states.len();
            self.channel.send(&Message::Clients(states), &borrowed(&sockets), &bytes).await?;
            let taken = self.channel.receive(PATIENCE).await?;
            if taken.message != Message::Taken {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(())
    }
}
