//! The same by hand: `group promote` and `group sync`, with an agent or without.
//!
//! Only one program changes masters at a time: the leader of the agents. A command leads itself while it works if nobody
//! else does; if an agent leads, the command writes down what is wanted and the agent does it.

use std::{path::PathBuf, time::Duration};

use codis_core::{
    Addr, GroupId, Role, Versioned,
    ha::{Picture, Policy, Saga, SagaKind, Stage, Upkeep, upkeep},
    plan::ChangeMaster,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Lead, Work, begin::journal, lead::led_by, look, upkeep as upkeeping};
use crate::{Context, Event, Events, Failure, FailureKind, context};

/// How long the lead of a program that has died may stand, and how long an agent may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often we try to lead.
const ASK: Duration = Duration::from_millis(100);

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
                let policy = Policy::default();
                let done = {
                    let work = by_hand(cx, &lead, &policy, events);
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
    let policy = Policy::default();
    let before_saga = before.map(|saga| &saga.value);
    let mut saga = journal(group, before_saga, change.kind, &change.old, &change.new, &policy);
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

/// What was put right by hand.
#[derive(Debug, Clone, Default)]
pub struct SyncReport {
    /// One line for each thing that was done.
    pub done: Vec<String>,
    /// One line for each thing that is not right yet, and why.
    pub left: Vec<String>,
}

/// Puts a group right: goes on with a change that was begun, attaches slaves that follow another server, and brings offline
/// servers back that answer. The data of one that may have writes of its own is first kept in a file in `backups`.
///
/// # Errors
/// `Unsafe` if an agent leads: it does the same by itself.
pub async fn sync(
    cx: &Context,
    group: GroupId,
    policy: &Policy,
    backups: PathBuf,
    events: &Events,
) -> Result<SyncReport, Failure> {
    let what = format!("cannot put group {group} right");
    let deadline = Instant::now() + PATIENCE;
    let lead = loop {
        match Lead::take(cx, &context::who()).await? {
            Ok(lead) => break lead,
            Err(leader) if Instant::now() > deadline || leader.pid != i64::from(std::process::id()) => {
                return Err(led_by(&leader, what));
            }
            Err(_) => sleep(ASK).await,
        }
    };
    let policy = Policy { auto_rejoin: true, ..policy.clone() };
    let synced = {
        let work = Work { backups: &backups, ..by_hand(cx, &lead, &policy, events) };
        sync_led(&work, group, deadline).await
    };
    lead.release().await;
    synced
}

async fn sync_led(work: &Work<'_>, id: GroupId, deadline: Instant) -> Result<SyncReport, Failure> {
    let mut report = SyncReport::default();
    let mut tried: Vec<Upkeep> = Vec::new();
    loop {
        let (saga, _) = work
            .cx
            .product
            .watch_saga(id)
            .await
            .map_err(|error| Failure::store(format!("cannot read the journal of group {id}"), &error))?;
        if saga.as_ref().is_some_and(|saga| !saga.stage.is_over()) {
            let saga = work.carry_on(id).await?;
            report.done.push(format!("the change to {} is {}", saga.new, saga.stage));
            continue;
        }
        let group = work.group(id).await?;
        let views = look(work.cx, &group, None).await;
        // All that are offline are meant: somebody has asked for exactly this.
        let mut asked = saga.map(|saga| saga.value);
        let offline = group.servers.iter().filter(|server| server.role == Role::Offline);
        let offline: Vec<Addr> = offline.map(|server| server.addr.clone()).collect();
        if let (Some(master), false) = (group.master(), offline.is_empty()) {
            let blank = || journal(&group, None, SagaKind::Planned, &master.addr, &master.addr, work.policy);
            let saga = asked.get_or_insert_with(|| Saga { stage: Stage::Ended, ..blank() });
            for addr in &offline {
                if !saga.demoted.iter().any(|server| &server.addr == addr) {
                    let (history, open) = (None, false);
                    saga.demoted.push(codis_core::ha::Demoted {
                        addr: addr.clone(),
                        history,
                        offset: 0,
                        open,
                    });
                }
            }
        }
        if let Some(master) = group.master()
            && upkeeping::lift_left_stop(work, &master.addr).await?
        {
            report.done.push(format!("{} takes writes again", master.addr));
        }
        let picture = Picture {
            group: &group,
            servers: &views,
            agents: &[],
            witnesses: &[],
            saga: asked.as_ref(),
            moving: false,
            paused: None,
            session_healthy: true,
            now_ms: context::now_ms(),
        };
        let todo: Vec<Upkeep> =
            upkeep(&picture, work.policy).into_iter().filter(|one| !tried.contains(one)).collect();
        for one in &todo {
            match work_on(work, id, one).await {
                Ok(done) => report.done.extend(done),
                Err(failure) => report.left.push(failure.to_string()),
            }
            tried.push(one.clone());
        }
        let syncing = offline.iter().any(|addr| {
            let facts = views.get(addr).and_then(|view| view.facts.as_ref());
            facts.is_some_and(|facts| !facts.is_master)
        });
        if todo.is_empty() && (!syncing || Instant::now() > deadline) {
            for addr in offline {
                let view = &views[&addr];
                let silence =
                    view.silence.as_ref().map(|silence| silence.why.clone()).or(view.refusal.clone());
                report
                    .left
                    .push(format!("{addr} is offline: {}", silence.unwrap_or("not in sync yet".to_owned())));
            }
            return Ok(report);
        }
        sleep(ASK).await;
    }
}

async fn work_on(work: &Work<'_>, group: GroupId, one: &Upkeep) -> Result<Option<String>, Failure> {
    let outcome = upkeeping::carry_out(work, group, one).await?;
    Ok(match (one, outcome) {
        (Upkeep::Reattach { server, master }, _) => Some(format!("{server} replicates from {master}")),
        (Upkeep::Rejoin { server, master, .. }, upkeeping::Outcome::Attached(Some(file))) => {
            Some(format!("{server} replicates from {master}; what it held is in {}", file.display()))
        }
        (Upkeep::Rejoin { server, master, .. }, _) => Some(format!("{server} replicates from {master}")),
        (Upkeep::ListAsSlave { server }, _) => Some(format!("{server} is a slave of the group")),
        _ => None,
    })
}

fn by_hand<'a>(cx: &'a Context, lead: &'a Lead, policy: &'a Policy, events: &'a Events) -> Work<'a> {
    Work {
        cx,
        lead,
        policy,
        owner: "codisctl",
        events,
        writes_since: &|_, _| None,
        backups: std::path::Path::new("rejoin-backups"),
    }
}
