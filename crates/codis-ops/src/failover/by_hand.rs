//! The same by hand: `group promote`, with an agent or without. [`super::sync`] is `group sync`.
//!
//! Only one program changes masters at a time: the leader of the agents. A command leads itself while it works if nobody
//! else does; if an agent leads, the command writes down what is wanted and the agent does it.

use std::time::Duration;

use codis_core::{
    Versioned,
    ha::{Policy, Saga, SagaKind, Stage},
    plan::ChangeMaster,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Lead, Work, begin::journal, lead::led_by, look};
use crate::{Context, Event, Events, Failure, FailureKind, context};

/// How long the lead of a program that has died may stand, and how long an agent may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// How often we try to lead.
pub(super) const ASK: Duration = Duration::from_millis(100);

/// Makes another server the master of its group.
///
/// # Errors
/// `Unsafe` with the reason if it was given up; the old master stays then.
pub(crate) async fn change_master(
    cx: &Context,
    change: &ChangeMaster,
    events: &Events,
) -> Result<(), Failure> {
    let what = format!("cannot make {} the master of group {}", change.new, change.group);
    let deadline = Instant::now() + PATIENCE;
    let mut asked = None;
    let mut given_up = false;
    loop {
        let (saga, mut watch) =
            cx.product.watch_saga(change.group).await.map_err(|error| Failure::store(&what, &error))?;
        let open = saga.as_ref().filter(|saga| !saga.stage.is_over());
        if let Some(saga) = saga.as_ref().filter(|saga| saga.stage.is_over())
            && asked.is_some_and(|epoch| saga.epoch >= epoch)
        {
            return ended(saga, &what);
        }
        // One that somebody else began is brought to its end first, and may have been given up.
        let in_its_place = match open {
            Some(saga) if asked.is_none() => has_lost_its_master(cx, change, saga).await,
            _ => false,
        };
        if open.is_none() || in_its_place {
            asked = ask(cx, change, saga.as_ref(), &what).await?;
            if asked.is_none() {
                return Ok(());
            }
            continue;
        }
        match Lead::take(cx, &context::who()).await? {
            Ok(lead) => {
                let done = {
                    let work = by_hand(cx, &lead, cx.policy(), events);
                    work.carry_on(change.group).await
                };
                lead.release().await;
                match done {
                    Ok(saga) if asked.is_some() => return ended(&saga, &what),
                    Ok(_) => {}
                    // A proxy, or somebody else, has changed the journal: what it says now counts.
                    Err(failure) if failure.stale && !given_up => given_up = true,
                    Err(failure) => return Err(failure),
                }
            }
            Err(leader) => {
                if Instant::now() > deadline {
                    return Err(led_by(&leader, what));
                }
                let on = vec![format!("{}, who leads the agents", leader.owner)];
                events.emit(Event::Waiting { on, ms: 0 });
                // It may have died, and then we lead.
                let soon = (Instant::now() + ASK).min(deadline);
                let _ = timeout_at(soon, watch.fired()).await;
                sleep(ASK / 10).await;
            }
        }
    }
}

/// True if what is wanted takes the place of a change that is open: its new master, which the store names already, is lost as well.
async fn has_lost_its_master(cx: &Context, change: &ChangeMaster, open: &Saga) -> bool {
    let is_same = open.stage.is_stored() && open.new == change.old;
    change.kind == SagaKind::Failover && is_same && !look::one(cx, &open.new).await.is_reachable()
}

/// Writes down what is wanted. Returns the journal's epoch; nothing if it is so already.
async fn ask(
    cx: &Context,
    change: &ChangeMaster,
    before: Option<&Versioned<Saga>>,
    what: &str,
) -> Result<Option<u64>, Failure> {
    let cluster = cx.load().await?;
    let place = format!("servers/group_{}", change.group);
    let Some(group) = cluster.groups.get(&change.group) else {
        return Err(Failure::new(FailureKind::Failed, what, place, "there is no such group"));
    };
    match group.master().map(|master| &master.addr) {
        Some(master) if *master == change.new => return Ok(None),
        Some(master) if *master == change.old => {}
        _ => {
            let why = format!("{} is not its master any more", change.old);
            return Err(Failure::new(FailureKind::Failed, what, place, why)
                .next("run the same command again: it looks at the new state before it acts"));
        }
    }
    let before_saga = before.map(|saga| &saga.value);
    let mut saga = journal(group, before_saga, change.kind, &change.old, &change.new, cx.policy());
    saga.why = format!("asked for by {}", context::who());
    if change.kind == SagaKind::Failover {
        let views = look(cx, group, None).await;
        let new = views.get(&change.new);
        let Some(facts) = new.and_then(|view| view.facts.as_ref()) else {
            return Err(Failure::new(FailureKind::Unreachable, what, &change.new, "it does not answer")
                .next(format!("codisctl server info {}", change.new)));
        };
        saga.run_id.clone_from(&facts.run_id);
        let now_ms = context::now_ms();
        (saga.receipt.last_good_ms, saga.receipt.decided_ms) = (now_ms, now_ms);
        if let Some((history, offset)) = views.get(&change.old).and_then(|view| view.furthest.clone()) {
            (saga.receipt.old_history, saga.receipt.old_offset) = (history, offset);
        }
    }
    let begun = cx.product.begin_saga(&saga, before).await.map_err(|error| Failure::store(what, &error))?;
    Ok(Some(begun.epoch))
}

fn ended(saga: &Saga, what: &str) -> Result<(), Failure> {
    match saga.stage {
        Stage::Aborted => {
            let place = format!("failover/group_{}", saga.group);
            let next = match saga.kind {
                SagaKind::Planned => {
                    "nothing was changed; when the reason is gone, run this again    if the master is dead: add --force"
                }
                SagaKind::Failover => "codisctl ha explain    shows each server and what is wrong with it",
            };
            let why = if saga.why.is_empty() { "a proxy waited too long and gave it up" } else { &saga.why };
            Err(Failure::new(FailureKind::Unsafe, what, place, why).next(next))
        }
        _ => Ok(()),
    }
}

pub(super) fn by_hand<'a>(
    cx: &'a Context,
    lead: &'a Lead,
    policy: &'a Policy,
    events: &'a Events,
) -> Work<'a> {
    Work {
        cx,
        lead,
        policy,
        owner: "codisctl",
        events,
        writes_since: &|_, _, _| None,
        backups: std::path::Path::new("rejoin-backups"),
    }
}
