//! As much of the Redis protocol as forwarding needs.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

type Stream = BufReader<TcpStream>;

/// Reads one request; `None` when the peer has closed.
pub(crate) async fn request(stream: &mut Stream) -> io::Result<Option<Vec<Vec<u8>>>> {
    let Some(line) = line(stream).await? else { return Ok(None) };
    let count = number(&line, b'*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let line = line_of(stream).await?;
        let len = usize::try_from(number(&line, b'$')?).map_err(|_| ErrorKind::InvalidData)?;
        let mut word = vec![0; len + 2];
        stream.read_exact(&mut word).await?;
        word.truncate(len);
        words.push(word);
    }
    Ok(Some(words))
}

/// Sends one request.
pub(crate) async fn send<W: AsRef<[u8]>>(stream: &mut Stream, words: &[W]) -> io::Result<()> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    stream.write_all(&bytes).await
}

/// Reads one reply, as its bytes.
pub(crate) async fn reply(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut left = 1;
    while left > 0 {
        left -= 1;
        let line = line_of(stream).await?;
        bytes.extend_from_slice(&line);
        match line.first() {
            Some(b'$') => {
                if let Ok(len) = usize::try_from(number(&line, b'$')?) {
                    let begin = bytes.len();
                    bytes.resize(begin + len + 2, 0);
                    stream.read_exact(&mut bytes[begin..]).await?;
                }
            }
            Some(b'*') => left += number(&line, b'*')?.max(0),
            _ => {}
        }
    }
    Ok(bytes)
}

async fn line_of(stream: &mut Stream) -> io::Result<Vec<u8>> {
    line(stream).await?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// A line with its end.
async fn line(stream: &mut Stream) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    match stream.read_until(b'\n', &mut line).await? {
        0 => Ok(None),
        _ if line.ends_with(b"\r\n") => Ok(Some(line)),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

/// The number of a line that begins with `kind`.
pub(crate) fn number(line: &[u8], kind: u8) -> io::Result<i64> {
    let digits = line.strip_prefix(&[kind]).and_then(|rest| std::str::from_utf8(rest.trim_ascii_end()).ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| ErrorKind::InvalidData.into())
}
