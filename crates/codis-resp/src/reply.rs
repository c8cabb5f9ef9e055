//! Where a server's reply ends: cut, not decoded.

use crate::number::{Header, header};

/// What a server sent is not a reply. Its connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A first byte that no type of RESP2 or RESP3 has.
    #[error("unknown reply type '{}'", char::from(*.0).escape_default())]
    Type(u8),
    /// A length that is not a number.
    #[error("invalid length in a reply")]
    Length,
    /// A bulk string is not followed by CR LF.
    #[error("bulk string in a reply is not ended by CRLF")]
    BulkEnd,
    /// A line, bulk string or count of elements above what a server can mean.
    #[error("reply is too big")]
    TooBig,
}

/// What stands at the beginning of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A reply of this many bytes.
    Complete(usize),
    /// The beginning of a reply, of which at least this many bytes are missing.
    Missing(usize),
}

/// Longest simple string or error.
const MAX_LINE: usize = 1 << 20;
/// Longest bulk string (the most that `proto-max-bulk-len` may be set to is far less).
const MAX_BULK: usize = 4 << 30;
/// Most elements of one reply, nested ones included.
const MAX_ELEMENTS: u64 = 1 << 40;

/// Finds the end of a reply in bytes that come in pieces.
///
/// [`advance`](Self::advance) is given all bytes of the reply that have come so far, from its first
/// one, each time; it goes on where it stopped. Nesting costs one counter: an array is as many more
/// elements to come.
#[derive(Debug, Clone)]
pub struct ReplyScanner {
    /// Where the next unread byte is.
    at: usize,
    /// Values that are still to come, the current one included.
    left: u64,
    /// How much of an unfinished line has been searched for its end.
    searched: usize,
}

impl Default for ReplyScanner {
    fn default() -> Self {
        Self { at: 0, left: 1, searched: 0 }
    }
}

impl ReplyScanner {
    /// Looks at the reply that begins with `buf[0]`. After `Complete` it begins anew.
    ///
    /// # Errors
    /// When this is not a reply.
    #[inline]
    pub fn advance(&mut self, buf: &[u8]) -> Result<Cut, ReplyError> {
        while self.left > 0 {
            let Some(&kind) = buf.get(self.at) else { return Ok(Cut::Missing(1)) };
            match kind {
                b'$' | b'!' | b'=' => {
                    let (len, next) = match header(buf, self.at + 1) {
                        Header::Number(len, next) => (len, next),
                        Header::Incomplete => return Ok(Cut::Missing(1)),
                        Header::Invalid => return Err(ReplyError::Length),
                    };
                    let Ok(len) = usize::try_from(len) else {
                        if len != -1 {
                            return Err(ReplyError::Length);
                        }
                        self.done(next);
                        continue;
                    };
                    if len > MAX_BULK {
                        return Err(ReplyError::TooBig);
                    }
                    let end = next + len;
                    match buf.get(end..end + 2) {
                        Some(b"\r\n") => self.done(end + 2),
                        Some(_) => return Err(ReplyError::BulkEnd),
                        None => return Ok(Cut::Missing(end + 2 - buf.len())),
                    }
                }
                b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                    let from = self.at.max(self.searched);
                    match memchr::memchr(b'\n', &buf[from..]) {
                        Some(i) => self.done(from + i + 1),
                        None if buf.len() - self.at > MAX_LINE => return Err(ReplyError::TooBig),
                        None => {
                            self.searched = buf.len();
                            return Ok(Cut::Missing(1));
                        }
                    }
                }
                b'*' | b'~' | b'>' | b'%' | b'|' => {
                    let (count, next) = match header(buf, self.at + 1) {
                        Header::Number(count, next) => (count, next),
                        Header::Incomplete => return Ok(Cut::Missing(1)),
                        Header::Invalid => return Err(ReplyError::Length),
                    };
                    let count = u64::try_from(count).unwrap_or(0);
                    let values = match kind {
                        b'%' => count.saturating_mul(2),
                        // Attributes stand before the value that they belong to.
                        b'|' => count.saturating_mul(2).saturating_add(1),
                        _ => count,
                    };
                    self.left = self.left.saturating_add(values);
                    if self.left > MAX_ELEMENTS {
                        return Err(ReplyError::TooBig);
                    }
                    self.done(next);
                }
                other => return Err(ReplyError::Type(other)),
            }
        }
        let len = self.at;
        *self = Self::default();
        Ok(Cut::Complete(len))
    }

    #[inline]
    fn done(&mut self, next: usize) {
        self.at = next;
        self.left -= 1;
        self.searched = 0;
    }
}

/// Count of elements of an array reply and the length of its header; `None` for any other reply.
pub fn array_header(reply: &[u8]) -> Option<(usize, usize)> {
    match (reply.first(), header(reply, 1.min(reply.len()))) {
        (Some(b'*'), Header::Number(count, next)) => Some((usize::try_from(count).ok()?, next)),
        _ => None,
    }
}

/// Count of values in any aggregate reply, array, set, map (two for each entry) or push, and the length of its
/// header; `None` for any other reply and for a null array.
pub fn aggregate_header(reply: &[u8]) -> Option<(usize, usize)> {
    let (kind, Header::Number(count, next)) = (*reply.first()?, header(reply, 1)) else { return None };
    let count = usize::try_from(count).ok()?;
    match kind {
        b'*' | b'~' | b'>' => Some((count, next)),
        b'%' => Some((count.checked_mul(2)?, next)),
        _ => None,
    }
}

/// Value of an integer reply; `None` for any other reply.
pub fn integer(reply: &[u8]) -> Option<i64> {
    match (reply.first(), header(reply, 1.min(reply.len()))) {
        (Some(b':'), Header::Number(value, _)) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_how_many_values_follow() {
        assert_eq!(aggregate_header(b"*2\r\n"), Some((2, 4)));
        assert_eq!(aggregate_header(b"%12\r\n"), Some((24, 5)));
        assert_eq!(aggregate_header(b"~0\r\n"), Some((0, 4)));
        assert_eq!(aggregate_header(b">3\r\n"), Some((3, 4)));
        for none in [&b""[..], b"*", b"*-1\r\n", b"$1\r\nx\r\n", b"|1\r\n", b"_\r\n"] {
            assert_eq!(aggregate_header(none), None);
        }
    }
}
