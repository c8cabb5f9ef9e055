//! The other servers of the group follow the new master.

use std::time::Duration;

use codis_core::{
    ActionKind, Addr, Role, Server, Versioned,
    ha::{Saga, SagaKind, Stage},
};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::{Work, lead::PATIENCE, look, planned, write_stop};
use crate::{
    Failure,
    announce::{self, Confirm, announce},
};

/// How long the old master of a planned change may take to be in sync: it has nearly everything. Later it is listed as a
/// slave all the same, by whoever looks next.
const IN_SYNC: Duration = Duration::from_secs(10);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(20);

/// Steps 6 to 8. A slave that cannot be attached is not waited for: it is attached when it answers (upkeep). Without the new
/// master there is no end: if it is lost another change takes the place of this one, at once, because this one is open.
pub(super) async fn attach(work: &Work<'_>, saga: Versioned<Saga>) -> Result<(), Failure> {
    let group = work.group(saga.group).await?;
    let is_planned = saga.kind == SagaKind::Planned;
    // Beside Go proxies an old master that restarted meanwhile has lost its write stop and may have taken writes: it comes
    // back like any other old master, and nobody says that nothing was lost.
    let is_whole = !is_planned || !has_restarted(work, &saga).await;
    let others = group.servers.iter().filter(|server| {
        let is_old = is_planned && is_whole && server.addr == saga.old;
        server.role == Role::Slave && server.addr != saga.new || is_old
    });
    let attached = join_all(others.map(|server| async {
        let done = attach_one(work, &server.addr, &saga.new).await;
        if let Err(failure) = &done {
            tracing::warn!(%failure, "it is attached when it answers");
            work.note(failure.to_string());
        }
        (&server.addr, done.is_ok())
    }));
    attached.await;
    let what = format!("cannot end the change of group {}", saga.group);
    let new = look::one(work.cx, &saga.new).await;
    if !new.is_reachable() {
        let why = new.silence.map(|silence| silence.why).or(new.refusal).unwrap_or_default();
        let next = format!("codisctl ha explain {}", saga.group);
        return Err(Failure::new(crate::FailureKind::Unreachable, what, &saga.new, why).next(next));
    }
    set_save(work, &saga.new, work.policy.master_save.as_deref()).await;
    let mut changed = saga.clone();
    if !is_whole {
        changed.value.receipt.lost = None;
    }
    let mut servers = Vec::new();
    if let Some(old) =
        group.server(&saga.old).filter(|old| is_planned && is_whole && old.role == Role::Offline)
        && in_sync(work, &saga.old, &saga.new).await
    {
        servers.push(Versioned::new(Server { role: Role::Slave, ..old.value.clone() }, old.version));
        changed.value.demoted.retain(|server| server.addr != saga.old);
    }
    changed.value.stage = Stage::Ended;
    changed.value.receipt.ended_ms = work.now_ms();
    work.lead.fresh().await?;
    let written = work.cx.product.put_saga_and_servers(&changed, &servers).await;
    written.map_err(|error| Failure::store(&what, &error))?;
    if !servers.is_empty() {
        tell(work, &saga).await;
    }
    Ok(())
}

/// True if the old master is a master in another history than the one that the new master took over from it.
async fn has_restarted(work: &Work<'_>, saga: &Saga) -> bool {
    let known = saga.demoted.iter().find(|server| server.addr == saga.old);
    let Some(history) = known.and_then(|server| server.history.as_ref()) else { return false };
    let facts = look::one(work.cx, &saga.old).await.facts;
    facts.is_some_and(|facts| facts.is_master && facts.history.as_ref() != Some(history))
}

/// That there is one slave more. Whoever does not hear of it reads from the others.
pub(super) async fn tell(work: &Work<'_>, saga: &Saga) {
    let telling = async {
        let kind =
            ActionKind::GroupChanged { group: saga.group, servers: Some(planned::listed(work, saga).await?) };
        announce(work.cx, &kind, Confirm::Unneeded, announce::PATIENCE, work.events).await
    };
    if let Err(failure) = telling.await {
        tracing::warn!(%failure, "the proxies are not told of the slave");
    }
}

/// Orders one server to follow the master, unless it does, and takes our write stop off it: a slave takes no writes.
///
/// # Errors
/// If one of the two does not answer, or the slave would lose what only it has.
pub(super) async fn attach_one(work: &Work<'_>, server: &Addr, master: &Addr) -> Result<(), Failure> {
    let what = format!("cannot make {server} replicate from {master}");
    let theirs = look::one(work.cx, master).await;
    let Some(theirs) = theirs.facts.filter(|_| theirs.silence.is_none()) else {
        let why = theirs.silence.map(|silence| silence.why).or(theirs.refusal).unwrap_or_default();
        return Err(Failure::new(crate::FailureKind::Unreachable, what, master, why));
    };
    let mut slave = work.lead.connect(work.cx, server, PATIENCE).await?;
    let own = slave.ask().facts().await.map_err(|error| Failure::redis(&what, &error))?;
    if own.master.as_ref() != Some(master) {
        planned::take_role(&mut slave, Some(master), &theirs, &own, &what).await?;
    }
    write_stop::lift(&mut slave, &what).await?;
    drop(slave);
    set_save(work, server, work.policy.slave_save.as_deref()).await;
    Ok(())
}

/// Waits for a slave to have what its master has.
async fn in_sync(work: &Work<'_>, server: &Addr, master: &Addr) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < IN_SYNC {
        let view = look::one(work.cx, server).await;
        let linked = view.facts.is_some_and(|facts| {
            facts.master.as_ref() == Some(master) && facts.link_up && !facts.syncing && !facts.loading
        });
        if linked {
            return true;
        }
        sleep(ASK).await;
    }
    false
}

/// `save` as people want it for this role. It is not worth more than a line in the log. Where a governor says when the
/// server saves, it is what the server gets when that ends.
async fn set_save(work: &Work<'_>, server: &Addr, save: Option<&str>) {
    let Some(save) = save else { return };
    let setting = async {
        let what = format!("cannot set when {server} saves");
        let kept = work.cx.product.kept_of(server).await.map_err(|error| Failure::store(&what, &error))?;
        if let Some(mut kept) = kept {
            work.lead.fresh().await?;
            kept.value.settings.insert("save".to_owned(), save.to_owned());
            let written = work.cx.product.keep_anew(&kept).await;
            return written.map_err(|error| Failure::store(&what, &error));
        }
        let mut acting = work.lead.connect(work.cx, server, PATIENCE).await?;
        let redis = acting.redis().await?;
        redis.query(&["CONFIG", "SET", "save", save]).await.map_err(|error| Failure::redis(&what, &error))?;
        if let Err(error) = redis.query(&["CONFIG", "REWRITE"]).await {
            tracing::info!(%error, "the setting is lost with a restart");
        }
        Ok::<_, Failure>(())
    };
    if let Err(failure) = setting.await {
        tracing::warn!(%failure, "it saves as before");
    }
}
