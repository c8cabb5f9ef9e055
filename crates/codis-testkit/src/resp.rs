//! A blocking Redis client of a few lines: readiness checks, raw bytes, answers as they are.
//!
//! Tests use it where a full client would hide what they look at: error replies, closed connections,
//! garbage on the wire.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A reply; from `Null` on only RESP3 has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+text`
    Status(String),
    /// `-text`
    Error(String),
    /// `:number`
    Int(i64),
    /// `$bytes`, `None` for the null bulk string.
    Bulk(Option<Vec<u8>>),
    /// `*items`, `None` for the null array.
    Array(Option<Vec<Reply>>),
    /// `_`
    Null,
    /// `,number`, as it was written.
    Double(String),
    /// `#t` or `#f`
    Bool(bool),
    /// `(number`
    Big(String),
    /// `=txt:text`, with its first four characters.
    Verbatim(String),
    /// `%entries`
    Map(Vec<(Reply, Reply)>),
    /// `~items`
    Set(Vec<Reply>),
    /// `>items`
    Push(Vec<Reply>),
}

impl Reply {
    /// The reply as text: a status, an error, a number or a string; empty for nulls and what holds others.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) | Self::Error(text) | Self::Double(text) | Self::Big(text) => text.clone(),
            Self::Verbatim(text) => text.get(4..).unwrap_or_default().to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Bulk(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Bulk(None) | Self::Array(_) | Self::Null | Self::Map(_) | Self::Set(_) | Self::Push(_) => {
                String::new()
            }
        }
    }

    /// Whether it is an error reply.
    #[must_use]
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

/// One connection; every read and write gives up after the time-out it was opened with.
#[derive(Debug)]
pub struct RespClient {
    stream: BufReader<TcpStream>,
}

impl RespClient {
    /// Connects to `127.0.0.1:PORT`.
    ///
    /// # Errors
    /// As for [`TcpStream::connect_timeout`].
    pub fn connect(port: u16, timeout: Duration) -> io::Result<Self> {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&addr, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// A connection that waits for ever.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Sends one command and reads its reply.
    ///
    /// # Errors
    /// When the connection breaks, times out, or the reply is none.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send(&encode(args))?;
        self.read()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer has closed; `InvalidData` when it does not speak RESP.
    pub fn read(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| invalid(&line))?;
        match kind {
            "+" => Ok(Reply::Status(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            ":" => rest.parse().map(Reply::Int).map_err(|_| invalid(&line)),
            "$" => match length(&line)? {
                None => Ok(Reply::Bulk(None)),
                Some(len) => self.bytes(len).map(|bytes| Reply::Bulk(Some(bytes))),
            },
            "*" => match length(&line)? {
                None => Ok(Reply::Array(None)),
                Some(len) => self.items(len).map(|items| Reply::Array(Some(items))),
            },
            "_" => Ok(Reply::Null),
            "," => Ok(Reply::Double(rest.to_owned())),
            "#" => Ok(Reply::Bool(rest == "t")),
            "(" => Ok(Reply::Big(rest.to_owned())),
            "=" => {
                let bytes = self.bytes(length(&line)?.ok_or_else(|| invalid(&line))?)?;
                Ok(Reply::Verbatim(String::from_utf8_lossy(&bytes).into_owned()))
            }
            "~" => self.items(length(&line)?.unwrap_or(0)).map(Reply::Set),
            ">" => self.items(length(&line)?.unwrap_or(0)).map(Reply::Push),
            "%" => {
                let len = length(&line)?.unwrap_or(0);
                let entry = |_| Ok((self.read()?, self.read()?));
                (0..len).map(entry).collect::<io::Result<_>>().map(Reply::Map)
            }
            _ => Err(invalid(&line)),
        }
    }

    fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(len);
        Ok(bytes)
    }

    fn items(&mut self, len: usize) -> io::Result<Vec<Reply>> {
        (0..len).map(|_| self.read()).collect()
    }

    /// Reads one reply and returns its bytes.
    pub(crate) fn raw(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut items = 1;
        while items > 0 {
            items -= 1;
            let begin = bytes.len();
            self.stream.read_until(b'\n', &mut bytes)?;
            let line = String::from_utf8_lossy(&bytes[begin..]).into_owned();
            if !line.ends_with('\n') {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.as_bytes()[0] {
                b'*' => items += length(line.trim_end())?.unwrap_or(0),
                b'$' => {
                    if let Some(len) = length(line.trim_end())? {
                        let begin = bytes.len();
                        bytes.resize(begin + len + 2, 0);
                        self.stream.read_exact(&mut bytes[begin..])?;
                    }
                }
                _ => {}
            }
        }
        Ok(bytes)
    }

    /// The connection, and what has been read of it already.
    pub(crate) fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // An error may quote what is no text.
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// A command as it goes over the wire.
pub(crate) fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        request.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        request.extend_from_slice(arg);
        request.extend_from_slice(b"\r\n");
    }
    request
}

/// Reads one request: an array of strings, or words on a line. Nothing when the client has closed.
pub(crate) fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<Vec<u8>>>> {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if !line.ends_with('\n') {
            return Ok(None);
        }
        let line = line.trim_end();
        if !line.starts_with('*') {
            let words: Vec<Vec<u8>> = line.split_ascii_whitespace().map(|word| word.into()).collect();
            if words.is_empty() {
                continue;
            }
            return Ok(Some(words));
        }
        let mut args = Vec::new();
        for _ in 0..length(line)?.unwrap_or(0) {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            let len = header.starts_with('$').then(|| length(header.trim_end())).transpose()?.flatten();
            let mut arg = vec![0; len.ok_or_else(|| invalid(&header))? + 2];
            stream.read_exact(&mut arg)?;
            arg.truncate(arg.len() - 2);
            args.push(arg);
        }
        if !args.is_empty() {
            return Ok(Some(args));
        }
    }
}

fn length(line: &str) -> io::Result<Option<usize>> {
    match line[1..].parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(n) => usize::try_from(n).map(Some).map_err(|_| invalid(line)),
        Err(_) => Err(invalid(line)),
    }
}

fn invalid(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not a reply: {line:?}"))
}
