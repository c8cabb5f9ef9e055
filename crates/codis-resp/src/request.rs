//! Where a client's request ends and where its arguments lie.

use crate::number::{Header, header};

/// Bounds of a request, all checked before anything is waited for or stored.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Bytes of one argument.
    pub max_bulk: usize,
    /// Arguments of one request, the command's name included.
    pub max_args: usize,
    /// Bytes of one request. Never more than 4 GiB - 1, whatever is given.
    pub max_request: usize,
    /// Bytes of one inline request.
    pub max_inline: usize,
}

impl Default for RequestLimits {
    /// What redis-server has: 512 MiB, 1 Mi arguments, 64 KiB inline; 536 MiB for the whole.
    fn default() -> Self {
        Self { max_bulk: 512 << 20, max_args: 1 << 20, max_request: 536 << 20, max_inline: 64 << 10 }
    }
}

/// What a client sent is not RESP, or exceeds a limit. Nothing after it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The count of arguments is not a number or too big.
    #[error("invalid multibulk length")]
    ArrayLength,
    /// Something else than a bulk string among the arguments.
    #[error("expected '$', got '{}'", char::from(*.0).escape_default())]
    NotBulk(u8),
    /// The length of an argument is not a number or too big.
    #[error("invalid bulk length")]
    BulkLength,
    /// An argument is not followed by CR LF.
    #[error("bulk string is not ended by CRLF")]
    BulkEnd,
    /// All arguments together are too long.
    #[error("too big request")]
    RequestTooBig,
    /// An inline request is too long.
    #[error("too big inline request")]
    InlineTooBig,
    /// A quote of an inline request is not closed, or something follows it directly.
    #[error("unbalanced quotes in request")]
    Quotes,
}

/// An argument's place, counted from the beginning of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// The argument's bytes, given those of the request.
    #[inline]
    pub fn of<'a>(&self, request: &'a [u8]) -> &'a [u8] {
        &request[self.start as usize..self.end as usize]
    }

    /// Where the argument's bytes begin.
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// Where they end.
    pub fn end(&self) -> usize {
        self.end as usize
    }
}

/// What stands at the beginning of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// A request of `len` bytes; its arguments are in [`RequestParser::args`].
    Complete {
        /// Its length.
        len: usize,
    },
    /// A line of `len` bytes that is a request in itself, to be turned into an array by
    /// [`inline_to_array`](crate::inline_to_array).
    Inline {
        /// Its length, with the end of line.
        len: usize,
    },
    /// `len` bytes that ask for nothing: an empty array or line.
    Nothing {
        /// Their length.
        len: usize,
    },
    /// The beginning of a request.
    Incomplete {
        /// How many bytes are missing at least.
        missing: usize,
    },
}

/// Finds the end of a request in bytes that come in pieces.
///
/// [`advance`](Self::advance) is given all bytes of the request that have come so far, from its
/// first one, each time; it goes on where it stopped. After anything but `Incomplete` it begins
/// anew, with the bytes after those that were found.
#[derive(Debug)]
pub struct RequestParser {
    limits: RequestLimits,
    args: Vec<Span>,
    /// Where the next unread header begins.
    at: usize,
    /// Arguments that are still to come; `None` before the array's header is read.
    left: Option<usize>,
    /// Length of the argument whose header has been read.
    bulk: Option<usize>,
}

/// Arguments for which room is kept between requests.
const KEEP_ARGS: usize = 64;

impl RequestParser {
    /// A parser that has seen nothing.
    pub fn new(limits: RequestLimits) -> Self {
        let max_request = limits.max_request.min(u32::MAX as usize);
        Self {
            limits: RequestLimits { max_request, ..limits },
            args: Vec::new(),
            at: 0,
            left: None,
            bulk: None,
        }
    }

    /// The arguments of the request that was found last, the command's name first.
    #[inline]
    pub fn args(&self) -> &[Span] {
        &self.args
    }

    /// Forgets what it has seen, and gives back the room of unusually long requests.
    pub fn reset(&mut self) {
        self.at = 0;
        self.left = None;
        self.bulk = None;
        self.args.clear();
        self.args.shrink_to(KEEP_ARGS);
    }

    /// Room held for arguments, in bytes.
    pub fn memory(&self) -> usize {
        self.args.capacity() * size_of::<Span>()
    }

    /// Gives all room back; for a client that is idle.
    pub fn release(&mut self) {
        self.args = Vec::new();
    }

    /// Looks at the request that begins with `buf[0]`.
    ///
    /// # Errors
    /// When this cannot become a request, or exceeds a limit.
    #[inline]
    pub fn advance(&mut self, buf: &[u8]) -> Result<Request, ProtocolError> {
        let mut left = match self.left {
            Some(left) => left,
            None => match self.begin(buf)? {
                Ok(left) => left,
                Err(found) => return Ok(found),
            },
        };
        while left > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => match self.bulk_header(buf)? {
                    Some(len) => len,
                    None => {
                        self.left = Some(left);
                        return Ok(Request::Incomplete { missing: 1 });
                    }
                },
            };
            let end = self.at + len;
            let Some(tail) = buf.get(end..end + 2) else {
                self.left = Some(left);
                self.bulk = Some(len);
                return Ok(Request::Incomplete { missing: end + 2 - buf.len() });
            };
            if tail != b"\r\n" {
                return Err(ProtocolError::BulkEnd);
            }
            self.args.push(Span { start: self.at as u32, end: end as u32 });
            self.at = end + 2;
            self.bulk = None;
            left -= 1;
        }
        let len = self.at;
        self.at = 0;
        self.left = None;
        Ok(Request::Complete { len })
    }

    /// Reads the array's header: how many arguments come, or what stands here instead.
    #[inline]
    fn begin(&mut self, buf: &[u8]) -> Result<Result<usize, Request>, ProtocolError> {
        match buf.first() {
            None => return Ok(Err(Request::Incomplete { missing: 1 })),
            Some(b'*') => {}
            Some(_) => return self.inline(buf).map(Err),
        }
        match header(buf, 1) {
            Header::Incomplete => Ok(Err(Request::Incomplete { missing: 1 })),
            Header::Invalid => Err(ProtocolError::ArrayLength),
            Header::Number(count, next) if count <= 0 => Ok(Err(Request::Nothing { len: next })),
            Header::Number(count, next) => match usize::try_from(count) {
                Ok(count) if count <= self.limits.max_args => {
                    if self.args.capacity() > KEEP_ARGS {
                        self.args.shrink_to(KEEP_ARGS);
                    }
                    self.args.clear();
                    self.at = next;
                    Ok(Ok(count))
                }
                _ => Err(ProtocolError::ArrayLength),
            },
        }
    }

    /// Reads an argument's header and checks its length; `None` if it has not all come.
    #[inline]
    fn bulk_header(&mut self, buf: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match buf.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::NotBulk(other)),
        }
        match header(buf, self.at + 1) {
            Header::Incomplete => Ok(None),
            Header::Invalid => Err(ProtocolError::BulkLength),
            Header::Number(len, next) => match usize::try_from(len) {
                Ok(len) if len <= self.limits.max_bulk => {
                    if next + len + 2 > self.limits.max_request {
                        return Err(ProtocolError::RequestTooBig);
                    }
                    self.at = next;
                    Ok(Some(len))
                }
                _ => Err(ProtocolError::BulkLength),
            },
        }
    }

    fn inline(&mut self, buf: &[u8]) -> Result<Request, ProtocolError> {
        let found = memchr::memchr(b'\n', &buf[self.at.min(buf.len())..]).map(|i| self.at + i + 1);
        match found {
            Some(len) if len > self.limits.max_inline => Err(ProtocolError::InlineTooBig),
            Some(len) => {
                self.at = 0;
                let blank = buf[..len].iter().all(u8::is_ascii_whitespace);
                Ok(if blank { Request::Nothing { len } } else { Request::Inline { len } })
            }
            None if buf.len() > self.limits.max_inline => Err(ProtocolError::InlineTooBig),
            None => {
                self.at = buf.len();
                Ok(Request::Incomplete { missing: 1 })
            }
        }
    }
}
