//! A connection to a client or a server, plain or with TLS.
//!
//! Without TLS every call is the socket's own, behind one branch that is always taken the same way. With TLS
//! what is written goes through a buffer of 64 KiB at most: more is taken only when the socket has taken that.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{BytesMut, buf::BufMut as _};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

/// Bytes that are decrypted at a time.
const PIECE: usize = 16 << 10;

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As the bytes are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket below.
    #[inline]
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// True if what was written may still lie here.
    #[inline]
    pub(crate) fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.wants_write(),
        }
    }

    /// Resolves when the socket takes more.
    #[inline]
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_write_ready(cx)
    }

    /// Writes what is taken now.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is taken, and those of the connection.
    #[inline]
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write(bytes),
            Self::Tls(tls) => now(|cx| Pin::new(tls).poll_write(cx, bytes)),
        }
    }

    /// The same for several pieces.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    #[inline]
    pub(crate) fn try_write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write_vectored(pieces),
            Self::Tls(tls) => now(|cx| Pin::new(tls).poll_write_vectored(cx, pieces)),
        }
    }

    /// Gives the socket what still lies here, as far as it takes it.
    ///
    /// # Errors
    /// Those of the connection.
    #[inline]
    pub(crate) fn try_flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => match now(|cx| Pin::new(tls).poll_flush(cx)) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Appends at most about `want` bytes. With TLS they are copied once more than without.
    pub(crate) fn poll_read_more(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        want: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => {
                ready!(tcp.poll_read_ready(cx))?;
                match tcp.try_read_buf(&mut buf.limit(want)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    read => Poll::Ready(read),
                }
            }
            Self::Tls(tls) => {
                let mut piece = [0; PIECE];
                let mut room = ReadBuf::new(&mut piece[..want.clamp(1, PIECE)]);
                ready!(Pin::new(tls).poll_read(cx, &mut room))?;
                buf.extend_from_slice(room.filled());
                Poll::Ready(Ok(room.filled().len()))
            }
        }
    }

    /// True if the other side has closed a connection that is not being read.
    pub(crate) fn poll_is_gone(&self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        match self.tcp().poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0) | Err(_)) => true,
            // The farewell of the encrypted stream stands before the end of the connection.
            Poll::Ready(Ok(_)) if self.is_tls() => {
                let mut asked = [PollFd::new(self.tcp(), PollFlags::RDHUP)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                poll(&mut asked, Some(&now)).is_ok_and(|ready| ready > 0)
            }
            _ => false,
        }
    }

    /// True if it is encrypted.
    #[inline]
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Says that nothing more comes, as TLS wants it; the connection ends when this is dropped.
    pub(crate) fn farewell(&mut self) {
        if let Self::Tls(tls) = self {
            let _ = now(|cx| Pin::new(tls).poll_shutdown(cx));
        }
    }

    /// The socket itself, for another process. With TLS it is of no use there.
    ///
    /// # Errors
    /// When it has TLS, or the socket cannot be taken out of the runtime.
    pub(crate) fn into_std(self) -> io::Result<std::net::TcpStream> {
        match self {
            Self::Plain(tcp) => tcp.into_std(),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// What can be done without waiting; who goes on is woken by [`Stream::poll_write_ready`].
fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
