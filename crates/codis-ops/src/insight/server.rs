//! The slow log of a redis-server.

use codis_core::Addr;
use codis_redis::{Redis, Reply};

use crate::{Context, Failure, FailureKind};

/// An entry of a server's own slow log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSlow {
    /// Its number.
    pub id: i64,
    /// When, Unix seconds.
    pub time_s: i64,
    /// How long the command ran, microseconds.
    pub usecs: i64,
    /// The request, as far as the server has kept it.
    pub args: Vec<String>,
    /// Address of the client; from version 4 on.
    pub client: Option<String>,
    /// What the client calls itself.
    pub name: Option<String>,
}

/// The newest entries of a server's slow log, newest first.
///
/// # Errors
/// `Unreachable` if the server does not answer.
pub async fn server_slowlog(cx: &Context, addr: &Addr, count: usize) -> Result<Vec<ServerSlow>, Failure> {
    let what = "the server does not tell its slow log";
    let failed = |error: codis_redis::RedisError| Failure::redis(what, &error);
    let mut server = Redis::connect(addr, &cx.redis().named("codis-observe")).await.map_err(failed)?;
    let reply = server.query(&["SLOWLOG", "GET", &count.to_string()]).await.map_err(failed)?;
    let Reply::Array(entries) = reply else {
        let why = "SLOWLOG GET was not answered with a list";
        return Err(
            Failure::new(FailureKind::Failed, what, addr, why).next(format!("codisctl server info {addr}"))
        );
    };
    Ok(entries.iter().filter_map(entry).collect())
}

fn entry(reply: &Reply) -> Option<ServerSlow> {
    let Reply::Array(fields) = reply else { return None };
    let Reply::Array(args) = fields.get(3)? else { return None };
    let printable = |reply: &Reply| match reply {
        Reply::Bulk(bytes) => bytes.escape_ascii().to_string(),
        other => other.text().unwrap_or_default(),
    };
    let text = |at: usize| fields.get(at).and_then(Reply::text).filter(|text| !text.is_empty());
    Some(ServerSlow {
        id: fields[0].int()?,
        time_s: fields[1].int()?,
        usecs: fields[2].int()?,
        args: args.iter().map(printable).collect(),
        client: text(4),
        name: text(5),
    })
}
