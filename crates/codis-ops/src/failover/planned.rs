//! A planned change up to where it only goes forward: nobody loses a write, and nobody sees an error.

use std::time::Duration;

use codis_core::{
    ActionKind, Addr, Versioned,
    ha::{Facts, Saga, Stage},
};
use codis_redis::RedisError;
use tokio::time::{Instant, sleep};

use super::{
    Work,
    lead::{Acting, PATIENCE},
    promote, write_stop,
};
use crate::{
    Failure, FailureKind,
    announce::{Announced, Confirm, announce},
};

/// How long the slave's link may take to come up before anything is held.
const LINK: Duration = Duration::from_secs(30);
/// How far a slave may be behind before anything is held, bytes: the rest is sent in a moment.
const NEAR: u64 = 1024 * 1024;
/// How often the servers are asked while requests wait.
const ASK: Duration = Duration::from_millis(1);
/// The same while none does.
const LOOK: Duration = Duration::from_millis(20);

/// From `asked` to `hold`: everything that can be found out before is, so that requests wait only for what must be.
pub(super) async fn hold(work: &Work<'_>, saga: Versioned<Saga>) -> Result<(), Failure> {
    let too_old = work.now_ms().saturating_sub(saga.begun_ms) > LINK.as_millis() as u64 * 2;
    if too_old {
        return give_up(work, saga, "nobody was there to do it when it was asked for").await;
    }
    if let Err(failure) = ready(work, &saga).await {
        // A store that is away says nothing of the servers; one of those that does not answer ends it.
        if failure.stale {
            return Err(failure);
        }
        return give_up(work, saga, &format!("{}: {}", failure.place, failure.why)).await;
    }
    work.put(&saga, |saga| saga.stage = Stage::Hold).await.map(drop)
}

/// Waits until the slave is in the master's history, linked and near, and gets what is written: one that has just been attached
/// gets nothing until it has answered for the first time, up to a second later.
async fn ready(work: &Work<'_>, saga: &Saga) -> Result<(), Failure> {
    let what = format!("cannot make {} the master of group {}", saga.new, saga.group);
    let mut old = work.lead.connect(work.cx, &saga.old, PATIENCE).await?;
    let mut new = work.lead.connect(work.cx, &saga.new, PATIENCE).await?;
    let begun = Instant::now();
    let mut mark = None;
    loop {
        let (ahead, behind) = both(&mut old, &mut new, &what).await?;
        let mark = *mark.get_or_insert(ahead.offset);
        if !ahead.is_master {
            let why = format!("{} is listed as master and is a slave itself", saga.old);
            return Err(Failure::new(FailureKind::Unsafe, what, &saga.old, why));
        }
        if behind.is_master {
            // One that an earlier attempt has detached; nobody wrote to it, for the store names the old one.
            work.note(format!("{} is detached already; it is attached again first", saga.new));
            take_role(&mut new, Some(&saga.old), &ahead, &behind, &what).await?;
        } else if follows(&behind, &saga.old, &ahead)
            && behind.offset >= mark
            && ahead.offset.saturating_sub(behind.offset) < NEAR
        {
            return Ok(());
        }
        if begun.elapsed() > LINK {
            let why = format!(
                "{} does not catch up with {}: link {}, offset {} of {}",
                saga.new,
                saga.old,
                if behind.link_up { "up" } else { "down" },
                behind.offset,
                ahead.offset
            );
            return Err(Failure::new(FailureKind::Unsafe, what, &saga.new, why));
        }
        sleep(LOOK).await;
    }
}

/// From `hold` to the new master, without a pause in between: requests wait.
pub(super) async fn switch(work: &Work<'_>, saga: Versioned<Saga>) -> Result<(), Failure> {
    match stopped(work, &saga).await {
        Ok((new, facts)) => {
            let met = work.put(&saga, |saga| {
                (saga.stage, saga.run_id) = (Stage::Promote, facts.run_id.clone());
                saga.receipt.lost = Some(codis_core::ha::Loss::NONE);
            });
            match met.await {
                Ok(saga) => {
                    tracing::debug!(group = %saga.group, "from here on it only goes forward");
                    promote::order(work, saga, new, &facts).await
                }
                // A proxy has given it up, or another leader goes on with it.
                Err(failure) => {
                    lift_both(work, &saga).await;
                    Err(failure)
                }
            }
        }
        Err(failure) => give_up(work, saga, &failure.why).await,
    }
}

/// Requests wait, writes are stopped, and the slave has everything. Returns the connection to it, and what it is.
async fn stopped<'a>(work: &Work<'a>, saga: &Saga) -> Result<(Acting<'a>, Facts), Failure> {
    let what = format!("cannot make {} the master of group {}", saga.new, saga.group);
    let limit = Duration::from_millis(saga.hold_ms);
    let begun = Instant::now();
    // Before anybody waits: what takes a connection, and a proof.
    let (mut old, mut new, servers, cluster) = tokio::try_join!(
        work.lead.connect(work.cx, &saga.old, PATIENCE),
        work.lead.connect(work.cx, &saga.new, PATIENCE),
        listed(work, saga),
        work.cx.load()
    )?;
    let kind = ActionKind::GroupChanged { group: saga.group, servers: Some(servers) };
    let go = !cluster.all_ours();
    tracing::debug!(group = %saga.group, "the proxies are told to hold requests back");
    let told: Announced = announce(work.cx, &kind, Confirm::Needed, limit, work.events).await?;
    if !told.is_complete() {
        return Err(crate::announce::silence(&told, limit));
    }
    tracing::debug!(group = %saga.group, "they all do");
    write_stop::stop(&mut old, &saga.old, &what).await?;
    if go {
        // Spares clients some errors; what it holds back is refused when it ends.
        let left = limit.saturating_sub(begun.elapsed());
        old.redis().await?.pause_writes(left).await.map_err(|error| Failure::redis(&what, &error))?;
    }
    loop {
        let (ahead, behind) = both(&mut old, &mut new, &what).await?;
        if follows(&behind, &saga.old, &ahead) && behind.offset >= ahead.offset {
            if go {
                // A client that writes through a proxy that has followed and reads through one that has not would see
                // an old value: nobody writes before all have.
                write_stop::stop(&mut new, &saga.new, &what).await?;
            }
            tracing::debug!(group = %saga.group, "nobody writes, and the slave has everything");
            return Ok((new, behind));
        }
        if begun.elapsed() > limit {
            let why = format!("{} has offset {}, {} has {}", saga.new, behind.offset, saga.old, ahead.offset);
            return Err(Failure::new(FailureKind::Unsafe, what, &saga.new, why));
        }
        sleep(ASK).await;
    }
}

/// Gives it up before anything has changed: writes are allowed again, then requests go on at the old master.
pub(super) async fn give_up(work: &Work<'_>, saga: Versioned<Saga>, why: &str) -> Result<(), Failure> {
    tracing::warn!(group = %saga.group, why, "the change of master is given up");
    lift_both(work, &saga).await;
    work.put(&saga, |saga| {
        saga.stage = Stage::Aborted;
        saga.why = why.to_owned();
        saga.receipt.ended_ms = crate::context::now_ms();
    })
    .await
    .map(drop)
}

/// Takes our write stop off both servers, as far as they answer; what stays is taken off by the next leader.
pub(super) async fn lift_both(work: &Work<'_>, saga: &Saga) {
    for addr in [&saga.old, &saga.new] {
        let lifted = async {
            let mut server = work.lead.connect(work.cx, addr, PATIENCE).await?;
            let what = format!("cannot allow writes on {addr}");
            if write_stop::lift(&mut server, &what).await? {
                server.redis().await?.unpause().await.map_err(|error| Failure::redis(&what, &error))?;
            }
            Ok::<_, Failure>(())
        };
        if let Err(failure) = lifted.await {
            tracing::warn!(%failure, "a write stop may stay until the next leader looks");
        }
    }
}

/// The master first: what it had then, the slave must have afterwards.
async fn both(old: &mut Acting<'_>, new: &mut Acting<'_>, what: &str) -> Result<(Facts, Facts), Failure> {
    let fail = |error: RedisError| Failure::redis(what, &error);
    let ahead = old.ask().facts().await.map_err(fail)?;
    Ok((ahead, new.ask().facts().await.map_err(fail)?))
}

fn follows(slave: &Facts, addr: &Addr, master: &Facts) -> bool {
    slave.master.as_ref() == Some(addr)
        && slave.link_up
        && !slave.syncing
        && slave.history == histories(slave, master)
}

/// Before version 4 servers speak of no histories.
fn histories(slave: &Facts, master: &Facts) -> Option<String> {
    if slave.history.is_none() { None } else { master.history.clone() }
}

/// Orders a server to follow another, or nobody; refused where it would lose what only it has.
pub(super) async fn take_role(
    server: &mut Acting<'_>,
    master: Option<&Addr>,
    theirs: &Facts,
    own: &Facts,
    what: &str,
) -> Result<(), Failure> {
    if let Some(addr) = master
        && (!theirs.is_master || (theirs.keys == 0 && own.keys > 0) || theirs.run_id == own.run_id)
    {
        let why = match (theirs.is_master, theirs.run_id == own.run_id) {
            (_, true) => format!("{addr} is this very server"),
            (false, _) => format!("{addr} is a slave itself"),
            _ => format!("{addr} is empty, and this server holds {} keys", own.keys),
        };
        return Err(Failure::new(FailureKind::Unsafe, what, addr, why));
    }
    let kept = server.redis().await?.take_role(master).await.map_err(|error| Failure::redis(what, &error))?;
    if !kept {
        tracing::warn!(what, "the server has no configuration file: a restart takes it back to its old role");
    }
    Ok(())
}

/// The group's servers as an action names them.
pub(super) async fn listed(work: &Work<'_>, saga: &Saga) -> Result<Vec<codis_core::Server>, Failure> {
    Ok(work.group(saga.group).await?.servers.into_iter().map(|server| server.value).collect())
}
