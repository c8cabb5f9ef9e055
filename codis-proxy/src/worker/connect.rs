//! Opening a connection to a server, and killing a lost one on it.

use std::{io, time::Duration};

use codis_core::Addr;
use codis_resp::{Cut, ReplyScanner, integer, push_array_header, push_bulk};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    backend::{KillName, Link, ServerName},
    proto::Proto,
};
pub(super) use crate::report::causes as one_line;
use crate::{config::Limits, stream::Stream, tls};

/// Why a server could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("cannot connect")]
    Io(#[from] io::Error),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("it refused {command}: {reply}")]
    Refused { command: &'static str, reply: String },
    #[error("it does not know RESP3 (version 6): {0}")]
    TooOld(String),
    #[error("it sent no valid reply to {0}")]
    Garbage(&'static str),
}

/// Opens a connection, gives the password, agrees on the protocol and asks for its number on the server.
pub(super) async fn connect(addr: &Addr, proto: Proto, limits: &Limits) -> Result<Link, ConnectError> {
    let opening = async {
        let mut stream = dial(addr, limits).await?;
        if proto == Proto::Resp3 {
            speak_resp3(&mut stream).await?;
        }
        let id = call(&mut stream, "CLIENT", &[b"CLIENT", b"ID"]).await?;
        // Both came with version 5.
        let unblocks = integer(&id).is_some();
        let id = match integer(&id) {
            Some(id) => Some(id.unsigned_abs()),
            // Only from version 5 on.
            None => listed_id(&mut stream).await?,
        };
        let kill = match id {
            Some(id) => KillName::Id(id),
            None => KillName::LocalAddr(stream.tcp().local_addr()?.to_string()),
        };
        let name = ServerName { kill, run: run_id(&mut stream).await? };
        Ok(Link { stream, name, unblocks })
    };
    timeout(limits.connect_timeout, opening)
        .await
        .unwrap_or(Err(ConnectError::Timeout(limits.connect_timeout)))
}

async fn speak_resp3(stream: &mut Stream) -> Result<(), ConnectError> {
    let reply = call(stream, "HELLO", &[b"HELLO", b"3"]).await?;
    match reply.first() {
        Some(b'%') => Ok(()),
        _ if reply.starts_with(b"-NOPROTO") || contains(&reply, b"unknown command") => {
            Err(ConnectError::TooOld(line(&reply)))
        }
        _ => Err(refused("HELLO", &reply)),
    }
}

/// The id of this connection in the server's list of clients, found by a name that no other one has.
/// Unlike its address, which something on the way may have changed, it means the same to both sides.
async fn listed_id(stream: &mut Stream) -> Result<Option<u64>, ConnectError> {
    let name = format!("codis-proxy-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let named = call(stream, "CLIENT", &[b"CLIENT", b"SETNAME", name.as_bytes()]).await?;
    if named.starts_with(b"-") {
        return Ok(None);
    }
    let list = call(stream, "CLIENT", &[b"CLIENT", b"LIST"]).await?;
    let list = String::from_utf8_lossy(&list);
    let own = list.lines().find(|line| line.split(' ').any(|word| word.strip_prefix("name=") == Some(&name)));
    // The first line of a bulk reply is its length.
    Ok(own.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("id="))?.parse().ok()))
}

/// What tells this process of the server from those before and after it.
async fn run_id(stream: &mut Stream) -> Result<Option<String>, ConnectError> {
    let info = call(stream, "INFO", &[b"INFO", b"server"]).await?;
    let info = String::from_utf8_lossy(&info);
    Ok(info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|run| run.trim().to_owned()))
}

/// Makes sure that the server has ended these connections; all of them, or an error.
pub(super) async fn kill(addr: &Addr, names: &[ServerName], limits: &Limits) -> Result<(), ConnectError> {
    let killing = async {
        let mut stream = dial(addr, limits).await?;
        let run = run_id(&mut stream).await?;
        // Those of a process that is no more have ended with it; their names may be those of others now.
        let gone = |name: &ServerName| name.run.is_some() && run.is_some() && name.run != run;
        for name in names.iter().filter(|name| !gone(name)) {
            let reply = match &name.kill {
                KillName::Id(id) => {
                    let id = id.to_string();
                    call(&mut stream, "CLIENT", &[b"CLIENT", b"KILL", b"ID", id.as_bytes()]).await?
                }
                KillName::LocalAddr(addr) => {
                    call(&mut stream, "CLIENT", &[b"CLIENT", b"KILL", addr.as_bytes()]).await?
                }
            };
            let gone = integer(&reply).is_some()
                || reply.starts_with(b"+OK")
                || reply.starts_with(b"-ERR No such client");
            if !gone {
                return Err(refused("CLIENT KILL", &reply));
            }
        }
        Ok(())
    };
    // Killing is no hurry, a busy server gets time to answer.
    let bound = limits.connect_timeout * 5;
    timeout(bound, killing).await.unwrap_or(Err(ConnectError::Timeout(bound)))
}

/// Makes the server answer blocking requests of these connections with an error. Those that it does
/// not know, or that do not block (yet), are no error.
pub(super) async fn unblock(addr: &Addr, ids: &[u64], limits: &Limits) -> Result<(), ConnectError> {
    let unblocking = async {
        let mut stream = dial(addr, limits).await?;
        for id in ids {
            let id = id.to_string();
            let reply =
                call(&mut stream, "CLIENT", &[b"CLIENT", b"UNBLOCK", id.as_bytes(), b"ERROR"]).await?;
            if integer(&reply).is_none() {
                return Err(refused("CLIENT UNBLOCK", &reply));
            }
        }
        Ok(())
    };
    let bound = limits.connect_timeout * 5;
    timeout(bound, unblocking).await.unwrap_or(Err(ConnectError::Timeout(bound)))
}

/// Lets one connection's blocking request go, with an error or as if its time were over. False if it does
/// not block there.
pub(super) async fn unblock_one(
    addr: &Addr,
    id: u64,
    with_error: bool,
    limits: &Limits,
) -> Result<bool, ConnectError> {
    let (id, how) = (id.to_string(), if with_error { &b"ERROR"[..] } else { b"TIMEOUT" });
    let reply = ask(addr, &[b"CLIENT", b"UNBLOCK", id.as_bytes(), how], limits).await?;
    integer(&reply).map(|freed| freed == 1).ok_or_else(|| refused("CLIENT UNBLOCK", &reply))
}

/// One request over a connection of its own: what must not wait behind others.
pub(super) async fn ask(addr: &Addr, request: &[&[u8]], limits: &Limits) -> Result<Vec<u8>, ConnectError> {
    let asking = async {
        let mut stream = dial(addr, limits).await?;
        call(&mut stream, "its question", request).await
    };
    let bound = limits.connect_timeout * 5;
    timeout(bound, asking).await.unwrap_or(Err(ConnectError::Timeout(bound)))
}

async fn dial(addr: &Addr, limits: &Limits) -> Result<Stream, ConnectError> {
    let mut stream = tls::dial(addr, limits.backend_tls.as_ref()).await?;
    let socket = SockRef::from(stream.tcp());
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
    socket.set_tcp_keepalive(&keepalive)?;
    // Data that a server's host does not acknowledge for this long ends the connection.
    socket.set_tcp_user_timeout(Some(limits.backend_timeout * 2))?;
    if let Some(password) = &limits.password {
        let reply = call(&mut stream, "AUTH", &password.auth()).await?;
        // A server without a password says so; it lets us in all the same.
        let open = reply.starts_with(b"+OK")
            || contains(&reply, b"no password is set")
            || contains(&reply, b"without any password configured");
        if !open {
            return Err(refused("AUTH", &reply));
        }
    }
    Ok(stream)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn refused(command: &'static str, reply: &[u8]) -> ConnectError {
    ConnectError::Refused { command, reply: line(reply) }
}

/// The text of an error reply.
fn line(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).trim_start_matches('-').trim_end().to_owned()
}

/// One request, one reply, on a connection that nobody else uses yet.
async fn call(stream: &mut Stream, name: &'static str, args: &[&[u8]]) -> Result<Vec<u8>, ConnectError> {
    let mut request = Vec::new();
    push_array_header(&mut request, args.len());
    args.iter().for_each(|arg| push_bulk(&mut request, arg));
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut reply = Vec::new();
    let mut scanner = ReplyScanner::default();
    loop {
        if stream.read_buf(&mut reply).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match scanner.advance(&reply).map_err(|_| ConnectError::Garbage(name))? {
            Cut::Complete(len) if len == reply.len() => return Ok(reply),
            Cut::Complete(_) => return Err(ConnectError::Garbage(name)),
            Cut::Missing(_) => {}
        }
    }
}
