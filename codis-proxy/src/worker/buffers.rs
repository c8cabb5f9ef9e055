//! Bytes that wait to be written, and the pool that their buffers come from and go back to.

use std::{collections::VecDeque, io, io::IoSlice};

use bytes::Bytes;

use crate::stream::Stream;

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
    /// Something big, as it lies, and how much of it has been written.
    Whole(Bytes, usize),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes, written) => &bytes[*written..],
            Self::Whole(bytes, written) => &bytes[*written..],
        }
    }

    /// With what has been written.
    fn all(&self) -> &[u8] {
        match self {
            Self::Copied(bytes, _) => bytes,
            Self::Whole(bytes, _) => bytes,
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Copied(_, written) | Self::Whole(_, written) => *written += n,
        }
    }

    fn give(self, pool: &mut Pool) {
        if let Self::Copied(bytes, _) = self {
            pool.give(bytes);
        }
    }
}

/// What has been written and not been answered, so that it can be sent again elsewhere.
#[derive(Debug, Default)]
struct Log {
    /// Written chunks, before those of the buffer itself.
    chunks: VecDeque<Chunk>,
    /// The place of the first byte that is kept.
    begin: u32,
    /// Bytes that may be kept in `chunks`; the oldest go first.
    limit: usize,
}

impl Log {
    fn keep(&mut self, chunk: Chunk, pool: &mut Pool) {
        self.chunks.push_back(chunk);
        let mut kept: usize = self.chunks.iter().map(|chunk| chunk.all().len()).sum();
        while kept > self.limit {
            let Some(chunk) = self.chunks.pop_front() else { return };
            kept -= chunk.all().len();
            self.begin = self.begin.wrapping_add(chunk.all().len() as u32);
            chunk.give(pool);
        }
    }

    /// Forgets the chunks that lie before a place.
    fn forget(&mut self, end: u32, pool: &mut Pool) {
        while let Some(chunk) = self.chunks.front() {
            let len = chunk.all().len() as u32;
            // One that is answered in part is still needed, and a place before the first is long past.
            if (end.wrapping_sub(self.begin).cast_signed()) < len.cast_signed() {
                return;
            }
            self.begin = self.begin.wrapping_add(len);
            if let Some(chunk) = self.chunks.pop_front() {
                chunk.give(pool);
            }
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
    /// Where what has been written goes until it is answered; `None`: it is forgotten.
    log: Option<Box<Log>>,
    /// Bytes that have been written, modulo 2^32.
    sent: u32,
}

impl OutBuf {
    /// One that keeps what has been written until [`OutBuf::answered`], at most so many bytes.
    pub(super) fn with_log(limit: usize) -> Self {
        Self { log: Some(Box::new(Log { limit, ..Log::default() })), ..Self::default() }
    }

    /// The place, among all bytes that were ever appended, behind the last one; modulo 2^32.
    #[inline]
    pub(super) fn end(&self) -> u32 {
        self.sent.wrapping_add(self.len as u32)
    }

    /// The place behind the last byte that has been written.
    #[inline]
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// What lies before this place is not needed any longer.
    #[inline]
    pub(super) fn answered(&mut self, end: u32, pool: &mut Pool) {
        if self.log.is_none() {
            return;
        }
        if self.len == 0 && end == self.sent {
            self.clear(pool);
        } else if let Some(log) = &mut self.log {
            log.forget(end, pool);
        }
    }

    /// Bytes of what has been written and is kept, but for the last few.
    pub(super) fn logged(&self) -> usize {
        self.log.as_ref().map_or(0, |log| log.chunks.iter().map(|chunk| chunk.all().len()).sum())
    }

    /// The bytes between two places, if they are still there.
    pub(super) fn between(&self, start: u32, end: u32) -> Option<Vec<u8>> {
        let log = self.log.as_ref()?;
        let mut skip = usize::try_from(start.wrapping_sub(log.begin).cast_signed()).ok()?;
        let mut missing = end.wrapping_sub(start) as usize;
        let mut found = Vec::with_capacity(missing);
        let chunks = log.chunks.iter().chain(&self.front).map(Chunk::all).chain([&self.tail[..]]);
        for chunk in chunks {
            let from = skip.min(chunk.len());
            let piece = &chunk[from..(from + missing).min(chunk.len())];
            found.extend_from_slice(piece);
            skip -= from;
            missing -= piece.len();
        }
        (missing == 0).then_some(found)
    }

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
        self.front.push_back(Chunk::Whole(bytes, 0));
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
        } else if let Some(log) = self.log.as_mut().filter(|_| written > 0) {
            log.chunks.push_back(Chunk::Copied(std::mem::take(&mut self.tail), written));
        } else {
            self.tail.clear();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        for chunk in std::mem::take(&mut self.front) {
            chunk.give(pool);
        }
        self.sent = self.sent.wrapping_add(self.len as u32);
        if let Some(log) = &mut self.log {
            log.chunks.drain(..).for_each(|chunk| chunk.give(pool));
            log.begin = self.sent;
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
    pub(super) fn write(&mut self, stream: &mut Stream, pool: &mut Pool) -> io::Result<usize> {
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
        if self.log.is_none() {
            self.clear(pool);
        }
        stream.try_flush()?;
        Ok(total)
    }

    fn advance(&mut self, mut n: usize, pool: &mut Pool) {
        self.len -= n;
        self.sent = self.sent.wrapping_add(n as u32);
        while let Some(chunk) = self.front.front_mut() {
            let length = chunk.bytes().len();
            if n < length {
                chunk.advance(n);
                return;
            }
            n -= length;
            if let Some(chunk) = self.front.pop_front() {
                match &mut self.log {
                    Some(log) => log.keep(chunk, pool),
                    None => chunk.give(pool),
                }
            }
        }
        self.written += n;
    }
}
