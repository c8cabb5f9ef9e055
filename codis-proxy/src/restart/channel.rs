//! Messages and sockets between two processes of this program, over a Unix socket.
//!
//! One side speaks, then the other: at most one message is under way, so the sockets that come with it are
//! its own. A message is its two lengths, its text in JSON, and bytes as they are.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::UnixStream,
    time::timeout,
};

/// Sockets that may come with one message.
pub(super) const MOST_SOCKETS: usize = 64;
/// Bytes that may come with one message.
pub(super) const MOST_BYTES: usize = 1 << 30;
/// Bytes of a message's text.
const MOST_TEXT: usize = 1 << 20;

/// What the two processes say to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// The successor: give me your listeners. It says what it was told to be.
    TakeOver { speaks: u32, serves: Serves },
    /// The predecessor: here they are, for clients, for the admin pages, and for clients with TLS.
    Listeners,
    /// The successor: I could serve every slot.
    Ready,
    /// The predecessor: nothing is under way any more, nor is anything registered; go on.
    Go,
    /// The successor: clients are accepted.
    Serving,
    /// The predecessor: these are clients that were connected; their sockets come along, and after the text what
    /// they have sent.
    Clients(Vec<Handed>),
    /// The successor: I have them.
    Taken,
    /// The predecessor: that was all.
    End,
    /// The predecessor: it cannot be, for this reason.
    No(String),
}

/// What a proxy serves; a successor that was told something else is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Serves {
    /// Where clients connect.
    pub(crate) listen: String,
    /// Where clients connect with TLS.
    pub(crate) tls: Option<String>,
    /// Where the admin pages are.
    pub(crate) admin: String,
    /// Product and id; nothing with a fixed slot map.
    pub(crate) member: Option<(String, String)>,
}

/// What is known of a client that changes hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// It has given a password, or needs none.
    pub(crate) authenticated: bool,
    /// The user that it has logged in as, if any.
    pub(crate) user: Option<String>,
    /// Which replies it does not want.
    pub(crate) mute: Muted,
    /// Name and version of its library, if it says.
    pub(crate) library: Option<(String, String)>,
    /// It speaks RESP3.
    pub(crate) resp3: bool,
    /// What it calls itself.
    pub(crate) name: String,
    /// Bytes that it has sent and that nothing has been done about.
    pub(crate) unread: u64,
}

/// Which replies a client does not want, counted from the next request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Muted {
    /// It wants all.
    No,
    /// Not the next one.
    Next,
    /// None.
    All,
}

/// Longest wait for the other side to take or to say something small.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// One end.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
}

/// What came.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) message: Message,
    pub(super) sockets: Vec<OwnedFd>,
    pub(super) bytes: Vec<u8>,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream }
    }

    /// Sends a message with sockets and bytes.
    ///
    /// # Errors
    /// When the other side is gone, or does not take it in time.
    pub(super) async fn send(
        &mut self,
        message: &Message,
        sockets: &[BorrowedFd<'_>],
        bytes: &[u8],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut head = Vec::with_capacity(12 + text.len());
        head.extend_from_slice(&(text.len() as u32).to_be_bytes());
        head.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        head.extend_from_slice(&text);
        let sending = async {
            let sent = self
                .stream
                .async_io(Interest::WRITABLE, || {
                    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
                    let mut ancillary = SendAncillaryBuffer::new(&mut space);
                    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(sockets)) {
                        return Err(io::Error::other("too many sockets in one message"));
                    }
                    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                    Ok(sendmsg(&self.stream, &[IoSlice::new(&head)], &mut ancillary, flags)?)
                })
                .await?;
            self.stream.write_all(&head[sent..]).await?;
            self.stream.write_all(bytes).await
        };
        timeout(PATIENCE, sending).await.map_err(|_| late())?
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the other side is gone, says nothing within `patience`, or what it says is none of ours.
    pub(super) async fn receive(&mut self, patience: Duration) -> io::Result<Received> {
        timeout(patience, self.receive_all()).await.map_err(|_| late())?
    }

    async fn receive_all(&mut self) -> io::Result<Received> {
        let mut head = [0; 12];
        let mut sockets = Vec::new();
        let read = self
            .stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
                let mut ancillary = RecvAncillaryBuffer::new(&mut space);
                let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
                let came = recvmsg(&self.stream, &mut [IoSliceMut::new(&mut head)], &mut ancillary, flags)?;
                for message in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(some) = message {
                        sockets.extend(some);
                    }
                }
                Ok(came.bytes)
            })
            .await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.stream.read_exact(&mut head[read..]).await?;
        let [a, b, c, d, rest @ ..] = head;
        let text = u32::from_be_bytes([a, b, c, d]) as usize;
        let bytes = usize::try_from(u64::from_be_bytes(rest)).unwrap_or(usize::MAX);
        if text > MOST_TEXT || bytes > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
        }
        let mut text = vec![0; text];
        self.stream.read_exact(&mut text).await?;
        let message = serde_json::from_slice(&text)?;
        let mut body = Vec::new();
        (&mut self.stream).take(bytes as u64).read_to_end(&mut body).await?;
        if body.len() < bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Received { message, sockets, bytes: body })
    }

    /// Says something and waits for what the other side says to it.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`receive`](Self::receive).
    pub(super) async fn ask(&mut self, message: &Message, patience: Duration) -> io::Result<Received> {
        self.send(message, &[], &[]).await?;
        self.receive(patience).await
    }
}

/// The sockets themselves, for [`Channel::send`].
pub(super) fn borrowed<T: AsFd>(sockets: &[T]) -> Vec<BorrowedFd<'_>> {
    sockets.iter().map(AsFd::as_fd).collect()
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other process does not answer")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn sockets_and_bytes_come_along() {
        let (one, other) = UnixStream::pair().unwrap();
        let (mut one, mut other) = (Channel::new(one), Channel::new(other));
        let (mut near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let far = vec![OwnedFd::from(far)];
        let bytes = vec![7; 3 << 20];
        let sending = async { one.send(&Message::Listeners, &borrowed(&far), &bytes).await };
        let (sent, came) = tokio::join!(sending, other.receive(PATIENCE));
        sent.unwrap();
        let mut came = came.unwrap();
        assert_eq!((came.message, came.bytes.len(), came.sockets.len()), (Message::Listeners, 3 << 20, 1));
        let mut far = std::os::unix::net::UnixStream::from(came.sockets.remove(0));
        far.write_all(b"x").unwrap();
        let mut byte = [0];
        near.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[tokio::test]
    async fn an_end_in_the_middle_is_an_error() {
        let (mut one, other) = UnixStream::pair().unwrap();
        let mut other = Channel::new(other);
        one.write_all(&[0, 0, 0, 9, 0, 0]).await.unwrap();
        drop(one);
        let error = other.receive(PATIENCE).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
