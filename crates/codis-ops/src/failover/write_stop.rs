//! Keeping a server from taking writes, until somebody takes that back.
//!
//! The stop is a number added to `min-slaves-to-write`: no group has so many slaves, so the server refuses writes with
//! -NOREPLICAS, unexecuted. It does not end by itself, and what people had set is still in the number: whoever finds it,
//! also after a crash, gets that back with a subtraction. Scripts pass it before version 7.

use codis_core::Addr;
use codis_redis::{Redis, RedisCause, RedisError, Reply};

use super::lead::Acting;
use crate::{Failure, FailureKind};

/// How many slaves must be in line for a write to be accepted, under the name that every version knows.
const NEEDED: &str = "min-slaves-to-write";
/// After how many seconds a slave is out of line; with 0 the server does not look at its slaves.
const IN_LINE: &str = "min-slaves-max-lag";
/// Added to [`NEEDED`].
const STOP: u32 = 1_000_000;
/// Added once more where [`IN_LINE`] was 0 and had to be set.
const LOOKED_AWAY: u32 = 1_000_000;
/// What [`IN_LINE`] is then set to: the default.
const LAG: u32 = 10;

/// Stops writes; twice is as good as once.
///
/// # Errors
/// If the server does not take it, or we do not lead.
pub(super) async fn stop(server: &mut Acting<'_>, addr: &Addr, what: &str) -> Result<(), Failure> {
    let fail = |error: RedisError| Failure::redis(what, &error);
    let needed = setting(server.ask(), NEEDED).await.map_err(fail)?.ok_or_else(|| {
        let why = format!("it knows no {NEEDED}, so its writes cannot be stopped");
        Failure::new(FailureKind::Unsafe, what, addr, why).next(format!("codisctl server info {addr}"))
    })?;
    let looks_away = setting(server.ask(), IN_LINE).await.map_err(fail)? == Some(0);
    if needed < STOP {
        let away = if looks_away { LOOKED_AWAY } else { 0 };
        set(server.redis().await?, NEEDED, STOP + needed + away).await.map_err(fail)?;
    }
    // After the number that remembers it.
    if looks_away {
        set(server.redis().await?, IN_LINE, LAG).await.map_err(fail)?;
    }
    Ok(())
}

/// Allows writes again where [`stop`] has stopped them; says whether it had.
///
/// # Errors
/// If the server does not take it, or we do not lead.
pub(super) async fn lift(server: &mut Acting<'_>, what: &str) -> Result<bool, Failure> {
    let fail = |error: RedisError| Failure::redis(what, &error);
    let needed = setting(server.ask(), NEEDED).await.map_err(fail)?.unwrap_or_default();
    if needed < STOP {
        return Ok(false);
    }
    let looked_away = needed >= STOP + LOOKED_AWAY;
    if looked_away {
        set(server.redis().await?, IN_LINE, 0).await.map_err(fail)?;
    }
    let before = needed - STOP - if looked_away { LOOKED_AWAY } else { 0 };
    set(server.redis().await?, NEEDED, before).await.map_err(fail)?;
    Ok(true)
}

/// True if writes are stopped by us.
///
/// # Errors
/// If the server does not answer.
pub(crate) async fn is_stopped(server: &mut Redis) -> Result<bool, RedisError> {
    match setting(server, NEEDED).await {
        // One that knows no CONFIG, or not for us.
        Err(error) if matches!(error.cause, RedisCause::Refused(_)) => Ok(false),
        needed => Ok(needed?.is_some_and(|needed| needed >= STOP)),
    }
}

async fn set(server: &mut Redis, name: &str, value: u32) -> Result<(), RedisError> {
    server.query(&["CONFIG", "SET", name, &value.to_string()]).await.map(drop)
}

async fn setting(server: &mut Redis, name: &str) -> Result<Option<u32>, RedisError> {
    let reply = server.query(&["CONFIG", "GET", name]).await?;
    Ok(match &reply {
        Reply::Array(items) => items.get(1).and_then(Reply::text).and_then(|text| text.parse().ok()),
        _ => None,
    })
}
