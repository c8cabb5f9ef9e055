//! The candidate becomes a master, then the store says so.

use codis_core::{
    Group, Role, Server, Versioned,
    ha::{Demoted, Facts, Loss, Saga, SagaKind, Stage, choose, is_fit},
};

use super::{
    Work,
    lead::{Acting, PATIENCE},
    look, planned, write_stop,
};
use crate::Failure;

/// Steps 3 and 4. A candidate that is gone, or has restarted, is replaced; if nobody is left the old master stays.
pub(super) async fn promote(work: &Work<'_>, saga: Versioned<Saga>) -> Result<(), Failure> {
    let view = look::one(work.cx, &saga.new).await;
    if let Err(why) = is_fit(&view, &saga.run_id) {
        return another(work, saga, &why).await;
    }
    let mut new = work.lead.connect(work.cx, &saga.new, PATIENCE).await?;
    let before = new.ask().facts().await;
    let before =
        before.map_err(|error| Failure::redis(format!("cannot ask {} what it is", saga.new), &error))?;
    order(work, saga, new, &before).await
}

/// The same for a candidate that was found fit a moment ago, over a connection that is there: requests may wait for this.
pub(super) async fn order(
    work: &Work<'_>,
    saga: Versioned<Saga>,
    mut new: Acting<'_>,
    before: &Facts,
) -> Result<(), Failure> {
    let what = format!("cannot make {} a master", saga.new);
    let role = async {
        if !before.is_master {
            planned::take_role(&mut new, None, &Facts::default(), before, &what).await?;
            tracing::debug!(group = %saga.group, new = %saga.new, "it is a master");
        }
        // One of a planned change is there for Go proxies, and stays until they have followed.
        if saga.kind == SagaKind::Failover {
            write_stop::lift(&mut new, &what).await?;
        }
        new.ask().facts().await.map_err(|error| Failure::redis(&what, &error))
    };
    // Read while the server writes its configuration; the store takes what follows from it only if it is still so.
    let (after, group) = tokio::join!(role, work.group(saga.group));
    let after = after?;
    if !after.is_master || after.run_id != saga.run_id {
        return another(work, saga, "has restarted since it was chosen").await;
    }
    store(work, saga, &after, &group?).await
}

/// The one transaction by which the new master is the master.
async fn store(work: &Work<'_>, saga: Versioned<Saga>, new: &Facts, group: &Group) -> Result<(), Failure> {
    let listed = |addr| group.server(addr).cloned();
    let (Some(old), Some(fresh)) = (listed(&saga.old), listed(&saga.new)) else {
        return planned::give_up(work, saga, "one of the two servers is not listed any more").await;
    };
    if old.role != Role::Master || group.masters().count() != 1 {
        return planned::give_up(work, saga, "somebody else has changed the group's master").await;
    }
    let with_role = |server: &Versioned<Server>, role| {
        Versioned::new(Server { role, ..server.value.clone() }, server.version)
    };
    let servers = [with_role(&old, Role::Offline), with_role(&fresh, Role::Master)];
    // Where the two histories part: everything before is in the new master.
    let (history, offset) = match &new.former {
        Some((history, offset)) => (Some(history.clone()), offset.saturating_sub(1)),
        None => (None, new.offset),
    };
    let mut changed = saga.clone();
    let next = &mut changed.value;
    next.stage = Stage::Follow;
    next.receipt.stored_ms = work.now_ms();
    if next.receipt.lost.is_none() {
        next.receipt.lost = loss(work, &saga, history.as_deref(), offset);
    }
    next.demoted.retain(|server| server.addr != saga.old && server.addr != saga.new);
    next.demoted.push(Demoted::new(saga.old.clone(), history, offset));
    work.lead.fresh().await?;
    let written = work.cx.product.put_saga_and_servers(&changed, &servers).await;
    let what = format!("cannot store that {} is the master of group {}", saga.new, saga.group);
    written.map_err(|error| Failure::store(what, &error))?;
    tracing::debug!(group = %saga.group, new = %saga.new, "the store says so, and requests go on");
    Ok(())
}

/// What of the old master's writes the new one has not. Nothing is known if nobody has seen the old one's offset, or if
/// it was in another history.
fn loss(work: &Work<'_>, saga: &Saga, history: Option<&str>, offset: u64) -> Option<Loss> {
    let receipt = &saga.receipt;
    if receipt.old_offset == 0 || (history.is_some() && receipt.old_history.as_deref() != history) {
        return None;
    }
    let bytes = receipt.old_offset.saturating_sub(offset);
    Some(Loss { bytes, writes: (work.writes_since)(&saga.old, offset, receipt.last_good_ms) })
}

/// The candidate is no good any more. A planned change whose old master lives is given up: that one is complete.
async fn another(work: &Work<'_>, saga: Versioned<Saga>, why: &str) -> Result<(), Failure> {
    let group = work.group(saga.group).await?;
    let views = look(work.cx, &group, Some(&saga)).await;
    let old_lives = views.get(&saga.old).is_some_and(|view| view.is_reachable());
    let moving = work.cx.load().await?.slots_using(saga.group).any(|slot| slot.moving().is_some());
    let mut verdicts = choose(&group, &saga.old, &views, work.policy, moving, Some(&saga), work.now_ms());
    verdicts.retain(|verdict| verdict.addr != saga.new || verdict.unfit.is_some());
    let best = verdicts.iter().find(|verdict| verdict.unfit.is_none());
    let Some(best) = best.filter(|_| saga.kind == SagaKind::Failover || !old_lives) else {
        let why = format!("{} {why}, and nobody else can be the master", saga.new);
        return planned::give_up(work, saga, &why).await;
    };
    let run_id = views.get(&best.addr).and_then(|view| view.facts.as_ref()).map(|facts| facts.run_id.clone());
    work.note(format!("{} {why}; now {}", saga.new, best.addr));
    work.put(&saga, |saga| {
        saga.kind = SagaKind::Failover;
        saga.stage = Stage::Intent;
        saga.epoch += 1;
        saga.new = best.addr.clone();
        saga.run_id = run_id.unwrap_or_default();
        saga.receipt.candidates = verdicts.iter().map(ToString::to_string).collect();
        saga.receipt.lost = None;
    })
    .await
    .map(drop)
}
