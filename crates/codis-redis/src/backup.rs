//! A server's whole data set in a file, taken the way a slave takes it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use codis_core::Addr;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{ConnectOptions, RedisCause, RedisError};

/// How long the server may be silent: while it writes its snapshot it sends a newline every second or so.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes copied at a time.
const CHUNK: usize = 64 * 1024;
/// Pieces that may wait for the disk.
const PIECES: usize = 16;
/// Longest line that is an answer.
const LINE: u64 = 4096;

/// Writes the data set of a server into `file`, an RDB file that a redis-server loads, and returns its size. The file
/// appears under its name when it is complete, so one that is there is whole.
///
/// The server makes a snapshot for it, as for a slave; what is written meanwhile is not in the file.
///
/// # Errors
/// With the server and what went wrong, the file's troubles included. A part of a file may be left, named `FILE.part`.
pub async fn backup(addr: &Addr, options: &ConnectOptions, file: &Path) -> Result<u64, RedisError> {
    let fail = |cause| RedisError::new(addr, "SYNC", cause);
    let broken = |error: io::Error| fail(RedisCause::Broken(error.to_string()));
    let part: PathBuf = file.with_extension("part");
    let at_file =
        |error: io::Error| fail(RedisCause::Unexpected(format!("cannot write {}: {error}", part.display())));
    let connecting = timeout(options.connect_timeout, TcpStream::connect((addr.host(), addr.port())));
    let stream = connecting
        .await
        .map_err(|_| fail(RedisCause::Timeout(options.connect_timeout)))?
        .map_err(|error| fail(RedisCause::Connect(error.to_string())))?;
    let mut stream = BufReader::with_capacity(CHUNK, stream);
    if let Some(password) = options.password.expose() {
        let auth = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len());
        stream.get_mut().write_all(auth.as_bytes()).await.map_err(broken)?;
        let answer = line(&mut stream).await.map_err(broken)?;
        if !answer.starts_with('+') {
            return Err(fail(RedisCause::Auth(answer)));
        }
    }
    // Without PSYNC nothing of the kind is promised or expected: the data set, then the stream, of which nothing is read.
    stream.get_mut().write_all(b"*1\r\n$4\r\nSYNC\r\n").await.map_err(broken)?;
    let answer = loop {
        let answer = line(&mut stream).await.map_err(broken)?;
        if !answer.is_empty() {
            break answer;
        }
    };
    let length = answer.strip_prefix('$').and_then(|digits| digits.parse::<u64>().ok());
    let Some(length) = length else {
        let cause = match answer.strip_prefix('-') {
            Some(error) => RedisCause::Refused(error.to_owned()),
            None => RedisCause::Unexpected(answer),
        };
        return Err(fail(cause));
    };
    // Files block; a thread of its own writes, never more than a few pieces behind.
    let (pieces, received) = mpsc::channel::<Vec<u8>>(PIECES);
    let (written, target) = (part.clone(), file.to_owned());
    let writing = tokio::task::spawn_blocking(move || write(&written, &target, length, received));
    let mut left = length;
    while left > 0 {
        let mut piece = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
        let read = timeout(SILENCE, stream.read(&mut piece)).await;
        let read = read.map_err(|_| fail(RedisCause::Timeout(SILENCE)))?.map_err(broken)?;
        if read == 0 {
            return Err(fail(RedisCause::Broken(format!("{left} of {length} bytes are missing"))));
        }
        piece.truncate(read);
        left -= read as u64;
        if pieces.send(piece).await.is_err() {
            // The writer has given up, and says why below.
            break;
        }
    }
    drop(pieces);
    let written = writing.await.map_err(|error| fail(RedisCause::Unexpected(error.to_string())))?;
    written.map_err(at_file)?;
    Ok(length)
}

/// Writes what comes, and gives the file its name if all of it has come.
fn write(part: &Path, file: &Path, length: u64, mut pieces: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut out = File::create(part)?;
    let mut written = 0;
    while let Some(piece) = pieces.blocking_recv() {
        out.write_all(&piece)?;
        written += piece.len() as u64;
    }
    if written < length {
        return Ok(());
    }
    out.sync_all()?;
    std::fs::rename(part, file)
}

/// A line without its end; empty for the newlines by which a server says that it is at work.
async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut text = Vec::new();
    let mut limited = stream.take(LINE);
    let read = timeout(SILENCE, limited.read_until(b'\n', &mut text))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}
