//! Carrying out a plan: its steps in order, each a compare-and-set on what the plan was made from.
//!
//! Stopping after any step leaves the product usable. What is left to do is found by planning
//! again: planners leave out what is done and repeat announcements. So there is no journal here, but for a change
//! of a master ([`crate::failover`]); the store is the journal.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use codis_core::{
    LockEntry, ProxyId, Slot, SlotSet,
    plan::{Plan, Step},
};
use codis_store::{ErrorKind, StoreError, TopologyLock};

use crate::{
    Context, Event, Events, Failure, FailureKind, Permit, announce::announce_to_all, audit, context,
    failover::change_master, removal, replication::replicate,
};

/// How long the holder of `LOCK` is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How often a wait is reported.
const REPORT: Duration = Duration::from_millis(500);
/// How long a proxy that was asked to leave may take to finish its requests.
const LEAVE_PATIENCE: Duration = Duration::from_secs(30);

/// What was done.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// How many steps were taken.
    pub steps: usize,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// Carries out a plan that somebody has consented to, with an audit record: begun before the first step, completed
/// after the last.
///
/// Changes of the topology are made under `LOCK`, waited for at most 10 s.
///
/// # Errors
/// The first step that fails, with what was tried; the steps before it stand. `Unsafe` if the permit
/// is for another plan or somebody else holds the lock.
pub async fn apply(cx: &Context, plan: &Plan, permit: Permit, events: &Events) -> Result<Receipt, Failure> {
    permit.covers(plan)?;
    let begun = Instant::now();
    if plan.steps.is_empty() {
        return Ok(Receipt { steps: 0, took_ms: 0 });
    }
    let record = audit::begin(cx, audit::text_of(plan), permit.consent()).await?;
    let outcome = locked(cx, plan, events).await;
    let recorded = record.end(cx, &outcome).await;
    outcome?;
    recorded?;
    Ok(Receipt { steps: plan.steps.len(), took_ms: begun.elapsed().as_millis() as u64 })
}

async fn locked(cx: &Context, plan: &Plan, events: &Events) -> Result<(), Failure> {
    if !plan.steps.iter().any(changes_topology) {
        return carry_out(cx, plan, events).await;
    }
    let lock = take_lock(cx, &plan.title, events).await?;
    let outcome = carry_out(cx, plan, events).await;
    let released = lock.release().await;
    outcome?;
    released.map_err(|error| Failure::store("cannot release the lock", &error))
}

fn changes_topology(step: &Step) -> bool {
    !matches!(
        step,
        Step::SetProxyState { .. }
            | Step::AwaitProxyGone(_)
            | Step::QueueMoves(_)
            | Step::PutMoves(_)
            | Step::DeleteMoves(_)
            | Step::QueueGoTasks(_)
            | Step::DeleteGoTasks(_)
            | Step::ClearLock(_)
            | Step::ClearDashboard(_)
    )
}

/// Takes `LOCK`, or says who has it.
///
/// # Errors
/// `Unsafe` with the holder if it is not free within 10 s.
pub(crate) async fn take_lock(cx: &Context, desc: &str, events: &Events) -> Result<TopologyLock, Failure> {
    let what = format!("cannot {desc}: the topology is locked by someone else");
    let begun = Instant::now();
    let mut locking = pin!(cx.product.lock(desc, LOCK_PATIENCE));
    let locked = loop {
        match tokio::time::timeout(REPORT, &mut locking).await {
            Ok(locked) => break locked,
            Err(_) => {
                let ms = begun.elapsed().as_millis() as u64;
                events.emit(Event::Waiting { on: vec!["the topology lock".to_owned()], ms });
            }
        }
    };
    match locked {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(holder)) => {
            let age = context::now_ms().saturating_sub(holder.created_ms) / 1000;
            let why = format!(
                "{} s old, by {}: {}; waited {} s",
                age,
                holder.owner(),
                holder.desc,
                LOCK_PATIENCE.as_secs()
            );
            Err(Failure::new(FailureKind::Unsafe, what, format!("LOCK/{}", holder.name), why)
                .next(who_next(&holder)))
        }
        Err(error) => Err(Failure::store(format!("cannot take the lock to {desc}"), &error)),
    }
}

/// How to go on when somebody else holds the lock.
fn who_next(lock: &LockEntry) -> String {
    match lock.ephemeral {
        true => "codisctl lock show    it goes when that program ends; then run this again".to_owned(),
        false => {
            format!("codisctl lock show    then, if {} is gone: codisctl lock clear", lock.owner())
        }
    }
}

async fn carry_out(cx: &Context, plan: &Plan, events: &Events) -> Result<(), Failure> {
    let of = plan.steps.len();
    for (n, step) in plan.steps.iter().enumerate() {
        let n = n + 1;
        events.emit(Event::StepStarted { n, of, text: step.to_string() });
        let begun = Instant::now();
        take(cx, step, events).await?;
        events.emit(Event::StepDone { n, of, took_ms: begun.elapsed().as_millis() as u64 });
    }
    Ok(())
}

async fn take(cx: &Context, step: &Step, events: &Events) -> Result<(), Failure> {
    let product = &cx.product;
    let stored = match step {
        Step::CreateSlots(slots) => return create_slots(cx, slots).await,
        Step::Replicate { server, master } => return replicate(cx, server, master.as_ref()).await,
        Step::ChangeMaster(change) => return Box::pin(change_master(cx, change, events)).await,
        Step::Announce { kind, confirm } => {
            return announce_to_all(cx, kind, *confirm, events).await.map(drop);
        }
        Step::RemoveProduct(_) => return removal::remove(cx, events).await,
        Step::AwaitProxyGone(id) => return await_gone(cx, id, events).await,
        Step::CreateGroup(id) => ignore(product.create_group(*id).await, &ErrorKind::NodeExists),
        Step::RemoveGroup(id) => ignore(product.remove_group(*id).await, &ErrorKind::NoNode),
        Step::AddServer(server) => product.add_server(server).await,
        Step::PutServers(servers) => product.put_servers(servers).await,
        Step::RemoveServer(server) => product.remove_server(server).await,
        Step::PutSlots(slots) => product.put_slots(slots).await,
        Step::SetProxyState { proxy, state } => product.set_proxy_state(proxy, *state).await.map(drop),
        Step::ClearFence(addr) => ignore(product.remove_fence(addr).await, &ErrorKind::NoNode),
        Step::ClearLock(lock) => product.clear_lock(lock).await,
        Step::ClearDashboard(dashboard) => product.clear_dashboard(dashboard).await,
        Step::CollectActions { keep, .. } => product.gc_actions(*keep).await.map(drop),
        Step::QueueMoves(moves) => product.add_moves(moves).await.map(drop),
        Step::PutMoves(moves) => product.put_moves(moves).await,
        Step::DeleteMoves(moves) => product.delete_moves(moves).await,
        Step::QueueGoTasks(tasks) => product.add_go_tasks(tasks).await.map(drop),
        Step::DeleteGoTasks(tasks) => product.delete_go_tasks(tasks).await,
    };
    stored.map_err(|error| Failure::store(format!("cannot complete this step: {step}"), &error))
}

/// An outcome that an interrupted run of the same step explains.
fn ignore(outcome: Result<(), StoreError>, expected: &ErrorKind) -> Result<(), StoreError> {
    match outcome {
        Err(error) if &error.kind == expected => Ok(()),
        other => other,
    }
}

/// Slots and their actions, several in a transaction, in the order in which Codis writes them.
async fn create_slots(cx: &Context, slots: &SlotSet) -> Result<(), Failure> {
    let what = format!("cannot initialise product {}", cx.product_name());
    let slots: Vec<Slot> = slots.iter().map(Slot::unassigned).collect();
    let created = cx.product.create_slots(&slots, context::now_ms() / 1000).await;
    created.map_err(|error| Failure::store(what, &error))
}

async fn await_gone(cx: &Context, id: &ProxyId, events: &Events) -> Result<(), Failure> {
    let what = format!("proxy {id} does not leave");
    let begun = Instant::now();
    while begun.elapsed() < LEAVE_PATIENCE {
        let gone = cx.product.await_proxy_gone(id, REPORT).await;
        if gone.map_err(|error| Failure::store(&what, &error))? {
            return Ok(());
        }
        events.emit(Event::Waiting { on: vec![id.to_string()], ms: begun.elapsed().as_millis() as u64 });
    }
    let why =
        format!("it is still registered after {} s; its state is mark_offline", LEAVE_PATIENCE.as_secs());
    Err(Failure::new(FailureKind::Failed, what, format!("proxy/{id}"), why)
        .next("stop its process, then: codisctl proxy fence list"))
}
