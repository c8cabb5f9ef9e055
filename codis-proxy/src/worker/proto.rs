//! The two versions of the protocol, and how what the proxy answers itself is written in each.
//!
//! A session begins with RESP2; HELLO changes it, but only while the session is owed no reply, so that
//! none comes in a form that its client does not expect. Servers are asked in the client's version: each
//! has one shared connection for either, that for RESP3 made when some client needs it, and what servers
//! answer is passed on as it comes.

use codis_resp::{push_array_header, push_bulk, push_integer};

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Proto {
    #[default]
    Resp2,
    Resp3,
}

impl Proto {
    /// As HELLO counts them.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }

    /// A null that stands for a bulk string.
    pub(super) fn null(self) -> &'static [u8] {
        match self {
            Self::Resp2 => b"$-1\r\n",
            Self::Resp3 => b"_\r\n",
        }
    }

    /// A null that stands for an array.
    pub(super) fn null_array(self) -> &'static [u8] {
        match self {
            Self::Resp2 => b"*-1\r\n",
            Self::Resp3 => b"_\r\n",
        }
    }
}

/// A reply of the proxy's own, in the version of its client. What only RESP3 has is written in RESP2 as
/// servers do it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) proto: Proto,
    bytes: Vec<u8>,
}

impl Answer {
    pub(super) fn new(proto: Proto) -> Self {
        Self { proto, bytes: Vec::new() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// An error, given without `-` and the line's end.
    pub(super) fn error(&mut self, text: &str) {
        self.bytes.push(b'-');
        let line = text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
        self.bytes.extend(line);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    pub(super) fn ok(&mut self) {
        self.status("OK");
    }

    /// A word without line ends.
    pub(super) fn status(&mut self, word: &str) {
        self.bytes.push(b'+');
        self.bytes.extend_from_slice(word.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub(super) fn integer(&mut self, number: i64) {
        push_integer(&mut self.bytes, number);
    }

    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        push_bulk(&mut self.bytes, bytes);
    }

    /// A text for people.
    pub(super) fn text(&mut self, text: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(text.as_bytes()),
            Proto::Resp3 => {
                let header = format!("={}\r\ntxt:", text.len() + 4);
                self.bytes.extend_from_slice(header.as_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
                self.bytes.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A text for people, one line after the other.
    pub(super) fn lines(&mut self, lines: &[&str]) {
        self.array(lines.len());
        lines.iter().for_each(|line| self.status(line));
    }

    /// Nothing.
    pub(super) fn null(&mut self) {
        self.bytes.extend_from_slice(self.proto.null());
    }

    /// As many values follow.
    pub(super) fn array(&mut self, len: usize) {
        push_array_header(&mut self.bytes, len);
    }

    /// As many different values follow.
    pub(super) fn set(&mut self, len: usize) {
        self.header(b'~', len, len);
    }

    /// As many keys follow, each with its value.
    pub(super) fn map(&mut self, len: usize) {
        self.header(b'%', len, 2 * len);
    }

    fn header(&mut self, kind: u8, len: usize, in_resp2: usize) {
        match self.proto {
            Proto::Resp2 => self.array(in_resp2),
            Proto::Resp3 => {
                let at = self.bytes.len();
                self.array(len);
                self.bytes[at] = kind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proto: Proto, write: impl FnOnce(&mut Answer)) -> String {
        let mut answer = Answer::new(proto);
        write(&mut answer);
        String::from_utf8(answer.bytes).unwrap()
    }

    #[test]
    fn what_only_resp3_has() {
        for (write, in_2, in_3) in [
            ((|a| a.null()) as fn(&mut Answer), "$-1\r\n", "_\r\n"),
            (|a| a.map(2), "*4\r\n", "%2\r\n"),
            (|a| a.set(2), "*2\r\n", "~2\r\n"),
            (|a| a.text("ab"), "$2\r\nab\r\n", "=6\r\ntxt:ab\r\n"),
            (|a| a.array(2), "*2\r\n", "*2\r\n"),
        ] {
            assert_eq!(written(Proto::Resp2, write), in_2);
            assert_eq!(written(Proto::Resp3, write), in_3);
        }
    }
}
