//! Bytes that wait to be written, and the pool that their buffers come from and go back to.

use std::{collections::VecDeque, io, io::IoSlice};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

/// From this size on, a request or reply is passed on as it lies instead of being copied.
pub(super) const BIG: usize = 32 << 10;

/// Small things are put side by side in buffers of this size.
const CHUNK: usize = 64 << 10;
/// Bytes of buffers that a busy worker keeps for the next turn. What is freed instead goes back to the
/// kernel and has to be got anew from it, page by page.
const KEEP_BUSY: usize = 4 << 20;
/// Bytes of buffers that an idle worker keeps.
const KEEP_IDLE: usize = 128 << 10;

/// Empty buffers, ready for use.
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: Vec<Vec<u8>>,
    bytes: usize,
    /// Least `bytes` since the last trim: so much was not needed.
    spare: usize,
}

impl Pool {
    /// An empty buffer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let buf = self.free.pop().unwrap_or_default();
        self.bytes -= buf.capacity();
        self.spare = self.spare.min(self.bytes);
        buf
    }

    /// Gives back to the allocator what has not been needed since the last time.
    pub(super) fn trim(&mut self) {
        let mut surplus = self.spare.saturating_sub(KEEP_IDLE);
        while let Some(buf) = self.free.first().filter(|buf| buf.capacity() <= surplus) {
            surplus -= buf.capacity();
            self.bytes -= buf.capacity();
            self.free.swap_remove(0);
        }
        self.spare = self.bytes;
    }

    /// Takes a buffer back, or drops it if there are enough.
    pub(super) fn give(&mut self, mut buf: Vec<u8>) {
        let capacity = buf.capacity();
        if capacity > 0 && capacity <= 2 * CHUNK && self.bytes + capacity <= KEEP_BUSY {
            buf.clear();
            self.bytes += capacity;
            self.free.push(buf);
        }
    }
}

/// A piece of what is to be written; the first one may have been written in part.
#[derive(Debug)]
enum Chunk {
    /// A buffer of the pool, and how much of it has been written.
    Copied(Vec<u8>, usize),
    /// Something big, as it lies.
    Whole(Bytes),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes, written) => &bytes[*written..],
            Self::Whole(bytes) => bytes,
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Copied(_, written) => *written += n,
            Self::Whole(bytes) => bytes.advance(n),
        }
    }
}

/// Bytes in the order in which they must be written: small ones side by side, big ones as they lie.
#[derive(Debug, Default)]
pub(super) struct OutBuf {
    /// What was queued before `tail`, because something big had to stand between.
    front: VecDeque<Chunk>,
    tail: Vec<u8>,
    /// How much of `tail` has been written; only while `front` is empty.
    written: usize,
    len: usize,
}

impl OutBuf {
    /// Bytes that are still to be written.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8], pool: &mut Pool) {
        self.make_room(bytes.len(), pool);
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends what `write` writes.
    #[inline]
    pub(super) fn push_with(&mut self, pool: &mut Pool, write: impl FnOnce(&mut Vec<u8>)) {
        self.make_room(0, pool);
        let before = self.tail.len();
        write(&mut self.tail);
        self.len += self.tail.len() - before;
    }

    /// Appends without a copy.
    pub(super) fn push_big(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        self.close_tail();
        self.front.push_back(Chunk::Whole(bytes));
    }

    /// Makes sure that `more` bytes fit into `tail` without moving what is there.
    #[inline]
    fn make_room(&mut self, more: usize, pool: &mut Pool) {
        if self.tail.len() + more > CHUNK {
            self.close_tail();
        }
        if self.tail.capacity() == 0 {
            self.tail = pool.take();
        }
    }

    /// Lets something stand behind what is in `tail`.
    fn close_tail(&mut self) {
        let written = std::mem::take(&mut self.written);
        if self.tail.len() > written {
            self.front.push_back(Chunk::Copied(std::mem::take(&mut self.tail), written));
        } else {
            self.tail.clear();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        for chunk in std::mem::take(&mut self.front) {
            if let Chunk::Copied(bytes, _) = chunk {
                pool.give(bytes);
            }
        }
        self.written = 0;
        self.len = 0;
        pool.give(std::mem::take(&mut self.tail));
    }

    /// Writes as much as the socket takes; returns the bytes written. When all is written the buffer
    /// goes back to the pool.
    ///
    /// # Errors
    /// Those of the socket, except that it takes no more now.
    pub(super) fn write(&mut self, stream: &TcpStream, pool: &mut Pool) -> io::Result<usize> {
        let mut total = 0;
        while self.len > 0 {
            let wrote = if self.front.is_empty() {
                stream.try_write(&self.tail[self.written..])
            } else {
                let mut slices = [IoSlice::new(&[]); 16];
                let chunks = self.front.iter().map(Chunk::bytes).chain([&self.tail[..]]);
                let mut used = 0;
                for (slice, chunk) in slices.iter_mut().zip(chunks) {
                    *slice = IoSlice::new(chunk);
                    used += 1;
                }
                stream.try_write_vectored(&slices[..used])
            };
            match wrote {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    total += n;
                    self.advance(n, pool);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(total),
                Err(error) => return Err(error),
            }
        }
        self.clear(pool);
        Ok(total)
    }

    fn advance(&mut self, mut n: usize, pool: &mut Pool) {
        self.len -= n;
        while let Some(chunk) = self.front.front_mut() {
            let length = chunk.bytes().len();
            if n < length {
                chunk.advance(n);
                return;
            }
            n -= length;
            if let Some(Chunk::Copied(bytes, _)) = self.front.pop_front() {
                pool.give(bytes);
            }
        }
        self.written += n;
    }
}
