//! Who replicates from whom, on the servers themselves.

use std::time::Duration;

use codis_core::Addr;
use codis_redis::{LiveRole, Redis, RedisError, Reply, ServerInfo, replicaof};
use tokio::time::{Instant, sleep};

use crate::{Context, Event, Events, Failure, FailureKind};

/// How many slaves must be in line for a write to be accepted, under the name that every version knows.
const NEEDED: &str = "min-slaves-to-write";
/// After how many seconds a slave is out of line.
const IN_LINE: &str = "min-slaves-max-lag";
/// Added to [`NEEDED`] to stop writes: no group has so many slaves, so the server refuses them with
/// -NOREPLICAS, unexecuted. What people had set is still in the number and comes back with a subtraction,
/// also after a crash, and whoever finds it.
const WRITE_STOP: u32 = 1_000_000;
/// How long the slave may take to catch up once writes are stopped.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How long a slave may take to get its link up before anything is paused.
const LINK: Duration = Duration::from_secs(30);
/// How often a server is asked while waiting for it.
const ASK: Duration = Duration::from_millis(20);

/// Makes `server` replicate from `master`, or a master itself. A slave takes no writes anyway, so a write
/// stop that [`catch_up`] left on it is lifted; on a master it stays until [`allow_writes`].
pub(crate) async fn replicate(cx: &Context, server: &Addr, master: Option<&Addr>) -> Result<(), Failure> {
    let what = match master {
        Some(master) => format!("cannot make {server} replicate from {master}"),
        None => format!("cannot make {server} a master"),
    };
    let fail = |error: RedisError| Failure::redis(&what, &error);
    replicaof(server, master, &cx.redis).await.map_err(fail)?;
    match master {
        Some(_) => lift_on(cx, server).await.map_err(fail),
        None => Ok(()),
    }
}

/// Lifts a write stop that [`catch_up`] left on a server.
pub(crate) async fn allow_writes(cx: &Context, server: &Addr) -> Result<(), Failure> {
    let what = format!("cannot allow writes on {server}");
    lift_on(cx, server).await.map_err(|error| Failure::redis(&what, &error))
}

async fn lift_on(cx: &Context, server: &Addr) -> Result<(), RedisError> {
    lift_write_stop(&mut Redis::connect(server, &cx.redis).await?).await
}

/// Stops writes on both: on the master, then, when the slave has all of them, on the slave. They stay
/// stopped: clients get -NOREPLICAS, executed is nothing, until [`replicate`] has made the old master a slave
/// and [`allow_writes`] opens the new one. So a proxy that hears late of the new master can neither
/// write what would be lost nor read what has been overwritten. On failure they are allowed again.
///
/// A pause (`CLIENT PAUSE`) would spare clients that error, but what it holds back runs on the old
/// master when it ends.
///
/// Safe to repeat: a slave that an interrupted promotion has detached already is attached again
/// first. Nothing is lost by that, because the store still names the old master, so no client
/// wrote to the slave.
pub(crate) async fn catch_up(
    cx: &Context,
    slave: &Addr,
    master: &Addr,
    events: &Events,
) -> Result<(), Failure> {
    let what = format!("cannot let {slave} catch up with {master}");
    let fail = |error: RedisError| Failure::redis(&what, &error);
    let mut from = Redis::connect(master, &cx.redis).await.map_err(|error| {
        fail(error).next("if the master is dead: add --force; what the slave has not received is lost")
    })?;
    let mut to = Redis::connect(slave, &cx.redis).await.map_err(fail)?;
    if to.role().await.map_err(fail)? == LiveRole::Master {
        events.note(format!("{slave} is detached already; it is attached again first"));
        replicaof(slave, Some(master), &cx.redis).await.map_err(fail)?;
    }
    let linked = |slave: &ServerInfo, _: &ServerInfo| slave.link_up == Some(true);
    wait(&what, &mut from, &mut to, events, LINK, "its link is down", linked).await?;
    stop_writes(&mut from, &what, master).await?;
    let level = |slave: &ServerInfo, master: &ServerInfo| slave.offset >= master.offset;
    let mut outcome = wait(&what, &mut from, &mut to, events, CATCH_UP, "it is behind", level).await;
    if outcome.is_ok() {
        outcome = stop_writes(&mut to, &what, slave).await;
    }
    if outcome.is_err() {
        lift_write_stop(&mut from).await.map_err(fail)?;
        lift_write_stop(&mut to).await.map_err(fail)?;
    }
    outcome
}

async fn stop_writes(master: &mut Redis, what: &str, addr: &Addr) -> Result<(), Failure> {
    let fail = |error: RedisError| Failure::redis(what, &error);
    // With 0 the server does not look at its slaves.
    if setting(master, IN_LINE).await.map_err(fail)? == Some(0) {
        let why = format!("{IN_LINE} is 0, so its writes cannot be stopped");
        return Err(Failure::new(FailureKind::Unsafe, what, addr, why)
            .next(format!("CONFIG SET {IN_LINE} 10    on {addr}, then run this again")));
    }
    let needed = setting(master, NEEDED).await.map_err(fail)?.unwrap_or_default();
    if needed < WRITE_STOP {
        set(master, NEEDED, WRITE_STOP + needed).await.map_err(fail)?;
    }
    Ok(())
}

/// Takes our write stop off, if it is there.
async fn lift_write_stop(server: &mut Redis) -> Result<(), RedisError> {
    match setting(server, NEEDED).await?.and_then(|needed| needed.checked_sub(WRITE_STOP)) {
        Some(before) => set(server, NEEDED, before).await,
        None => Ok(()),
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

async fn wait(
    what: &str,
    master: &mut Redis,
    slave: &mut Redis,
    events: &Events,
    patience: Duration,
    why: &str,
    ready: impl Fn(&ServerInfo, &ServerInfo) -> bool,
) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let fail = |error: RedisError| Failure::redis(what, &error);
        // The master first: what it had written then, the slave must have afterwards.
        let ahead = master.info().await.map_err(fail)?;
        let behind = slave.info().await.map_err(fail)?;
        if ready(&behind, &ahead) {
            return Ok(());
        }
        let waited = begun.elapsed();
        if waited > patience {
            let why = format!(
                "{why} for {:.1} s (offset {} of {})",
                waited.as_secs_f64(),
                behind.offset,
                ahead.offset
            );
            let place = behind.master.map_or_else(|| what.to_owned(), |master| format!("slave of {master}"));
            return Err(Failure::new(FailureKind::Unsafe, what, place, why)
                .next("wait until it has caught up, then run this again; nothing was changed"));
        }
        events.emit(Event::Waiting { on: vec![why.to_owned()], ms: waited.as_millis() as u64 });
        sleep(ASK).await;
    }
}
