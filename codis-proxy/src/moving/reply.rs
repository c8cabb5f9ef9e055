//! The few replies that a hand-over reads, decoded.
//!
//! The data path cuts replies without looking inside. A hand-over has to look: it decides by what
//! `DUMP`, `RESTORE`, `EXEC` and `WAIT` answer.

use bytes::{Buf as _, Bytes, BytesMut};
use codis_resp::{Cut, ReplyScanner};

/// Deepest nesting that is accepted.
const MAX_DEPTH: usize = 4;

/// One reply of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// `+text`
    Simple(Bytes),
    /// `-text`
    Error(Bytes),
    /// `:number`
    Int(i64),
    /// `$n`, or nothing for a nil bulk string.
    Bulk(Option<Bytes>),
    /// `*n`, or nothing for a nil array.
    Array(Option<Vec<Reply>>),
}

impl Reply {
    /// The first element of an array.
    pub(crate) fn first(&self) -> Option<&Self> {
        match self {
            Self::Array(Some(items)) => items.first(),
            _ => None,
        }
    }

    /// A short description for an error message: the text of an error, else the kind of the reply.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Error(text) | Self::Simple(text) => shortened(text),
            Self::Int(n) => format!("the number {n}"),
            Self::Bulk(None) | Self::Array(None) => "nil".to_owned(),
            Self::Bulk(Some(data)) => format!("a string of {} bytes", data.len()),
            Self::Array(Some(items)) => format!("an array of {} elements", items.len()),
        }
    }
}

fn shortened(text: &[u8]) -> String {
    const SHOWN: usize = 200;
    let mut out = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned();
    if text.len() > SHOWN {
        out.push_str("...");
    }
    out
}

/// Takes one whole reply off the front of `buf`; nothing when more bytes are needed.
///
/// # Errors
/// What is wrong with the bytes. The connection cannot be used afterwards.
pub(crate) fn take(buf: &mut BytesMut) -> Result<Option<Reply>, String> {
    if buf.is_empty() {
        return Ok(None);
    }
    match ReplyScanner::default().advance(buf).map_err(|e| e.to_string())? {
        Cut::Complete(len) => decode(&mut buf.split_to(len).freeze(), MAX_DEPTH).map(Some),
        Cut::Missing(_) => Ok(None),
    }
}

/// Takes the line at the front of `buf`, and returns it without its end.
fn line(buf: &mut Bytes) -> Result<Bytes, String> {
    let end = memchr::memchr(b'\n', buf).filter(|&at| at >= 2 && buf[at - 1] == b'\r');
    let end = end.ok_or_else(|| "a line did not end with CR LF".to_owned())?;
    let line = buf.split_to(end + 1);
    Ok(line.slice(..end - 1))
}

fn number(digits: &[u8]) -> Result<i64, String> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{:?} is not a number", String::from_utf8_lossy(digits)))
}

/// Decodes a reply of which all bytes are there, and takes it off the front of `buf`.
fn decode(buf: &mut Bytes, depth: usize) -> Result<Reply, String> {
    let line = line(buf)?;
    let text = line.slice(1..);
    Ok(match line[0] {
        b'+' => Reply::Simple(text),
        b'-' => Reply::Error(text),
        b':' => Reply::Int(number(&text)?),
        b'$' => match usize::try_from(number(&text)?) {
            Ok(n) if n + 2 > buf.len() => return Err("a string ended early".to_owned()),
            Ok(n) => {
                let data = buf.split_to(n);
                buf.advance(2);
                Reply::Bulk(Some(data))
            }
            Err(_) => Reply::Bulk(None),
        },
        b'*' if depth == 0 => return Err(format!("a reply is nested more than {MAX_DEPTH} deep")),
        b'*' => match usize::try_from(number(&text)?) {
            Ok(n) => Reply::Array(Some((0..n).map(|_| decode(buf, depth - 1)).collect::<Result<_, _>>()?)),
            Err(_) => Reply::Array(None),
        },
        other => return Err(format!("a reply began with byte {other:#04x}")),
    })
}

/// Commands put one after another, to leave in one write.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    bytes: Vec<u8>,
    count: usize,
}

impl Commands {
    /// Adds one command with its arguments.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) {
        use std::io::Write as _;
        // Writing to a Vec cannot fail.
        let _ = write!(self.bytes, "*{}\r\n", parts.len());
        for part in parts {
            let _ = write!(self.bytes, "${}\r\n", part.len());
            self.bytes.extend_from_slice(part);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.count += 1;
    }

    /// How many replies will come.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// What goes over the wire.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<Reply> {
        let mut buf = BytesMut::from(text);
        let mut out = Vec::new();
        while let Some(reply) = take(&mut buf).unwrap() {
            out.push(reply);
        }
        assert!(buf.is_empty(), "left over: {buf:?}");
        out
    }

    #[test]
    fn decodes_every_kind() {
        let got = all(
            b"+OK\r\n-BUSYKEY Target\r\n:-2\r\n$-1\r\n$4\r\na\r\nb\r\n*-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n",
        );
        let want = vec![
            Reply::Simple("OK".into()),
            Reply::Error("BUSYKEY Target".into()),
            Reply::Int(-2),
            Reply::Bulk(None),
            Reply::Bulk(Some("a\r\nb".into())),
            Reply::Array(None),
            Reply::Array(Some(vec![
                Reply::Int(1),
                Reply::Array(Some(vec![Reply::Bulk(Some(Bytes::new()))])),
            ])),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn waits_for_the_rest_at_every_cut() {
        let whole = b"*2\r\n$5\r\nhello\r\n:12\r\n";
        for cut in 0..whole.len() {
            let mut buf = BytesMut::from(&whole[..cut]);
            assert_eq!(take(&mut buf), Ok(None), "cut at {cut}");
            assert_eq!(buf.len(), cut, "nothing is taken from a reply that is not whole");
        }
    }

    #[test]
    fn refuses_garbage() {
        for bad in [
            &b"hello\r\n"[..],
            b":1x\r\n",
            b"+OK\n",
            b"$999999999999\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        ] {
            assert!(take(&mut BytesMut::from(bad)).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn commands_are_framed_with_binary_arguments() {
        let mut commands = Commands::default();
        commands.push(&[b"DUMP", b"a\r\nb"]);
        assert_eq!(commands.bytes(), b"*2\r\n$4\r\nDUMP\r\n$4\r\na\r\nb\r\n");
        assert_eq!(commands.count(), 1);
    }
}
