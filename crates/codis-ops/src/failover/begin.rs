//! The first entry of a journal.

use codis_core::{
    Addr, Extra, Group, GroupId, Role, Versioned,
    ha::{Choice, Demoted, Policy, Receipt, Saga, SagaKind, ServerView, Stage},
};

use super::look;
use crate::{Context, Failure, FailureKind, context};

/// A journal for a change, with what the one before still has to say: servers that were master and are not back.
pub(crate) fn journal(
    group: &Group,
    before: Option<&Saga>,
    kind: SagaKind,
    old: &Addr,
    new: &Addr,
    policy: &Policy,
) -> Saga {
    let waits = |server: &&Demoted| {
        &server.addr != new && group.server(&server.addr).is_some_and(|listed| listed.role == Role::Offline)
    };
    let mut demoted: Vec<Demoted> =
        before.iter().flat_map(|saga| &saga.demoted).filter(waits).cloned().collect();
    // The one before had not ended: its old master has not come back either.
    if let Some(open) = before.filter(|saga| !saga.stage.is_over() && saga.stage.is_stored())
        && !demoted.iter().any(|server| server.addr == open.old)
        && &open.old != new
    {
        demoted.push(Demoted { open: true, ..Demoted::new(open.old.clone(), None, 0) });
    }
    Saga {
        group: group.id,
        kind,
        stage: Stage::Asked,
        old: old.clone(),
        new: new.clone(),
        owner: String::new(),
        epoch: before.map_or(0, |saga| saga.epoch) + 1,
        begun_ms: context::now_ms(),
        hold_ms: policy.hold_ms,
        run_id: String::new(),
        why: String::new(),
        receipt: Receipt::default(),
        demoted,
        extra: Extra::default(),
    }
}

/// Writes the intent of a failover that was decided on.
///
/// # Errors
/// If somebody else has changed the journal meanwhile, or the store does not answer.
pub(crate) async fn begin(
    cx: &Context,
    group: &Group,
    before: Option<&Versioned<Saga>>,
    choice: &Choice,
    lost: &ServerView,
    policy: &Policy,
    owner: &str,
) -> Result<GroupId, Failure> {
    if let Some(keys_before) = choice.down.emptied {
        still_has_the_data(cx, &choice.new, keys_before).await?;
    }
    let now_ms = context::now_ms();
    let mut saga =
        journal(group, before.map(|saga| &saga.value), SagaKind::Failover, &choice.old, &choice.new, policy);
    let (old_history, old_offset) = lost.furthest.clone().unwrap_or_default();
    saga.stage = Stage::Intent;
    saga.run_id.clone_from(&choice.run_id);
    saga.owner = owner.to_owned();
    saga.why = match choice.down.emptied {
        Some(keys) => format!("it restarted without its {keys} keys"),
        None => format!("no answer for {:.1} s", choice.down.silent_ms as f64 / 1000.0),
    };
    saga.receipt = Receipt {
        last_good_ms: now_ms - choice.down.silent_ms.min(now_ms),
        decided_ms: now_ms,
        candidates: choice.candidates.iter().map(ToString::to_string).collect(),
        agents: (choice.down.say as u64, choice.down.of as u64),
        proxies: (choice.down.proxies_say as u64, choice.down.proxies_of as u64),
        old_offset,
        old_history,
        ..Receipt::default()
    };
    let begun = cx.product.begin_saga(&saga, before).await;
    begun.map_err(|error| {
        Failure::store(format!("cannot begin the failover of group {}", group.id), &error)
    })?;
    Ok(group.id)
}

/// Slaves of a master that has lost its data copy that within a second: what was seen of one may be older than its copy.
async fn still_has_the_data(cx: &Context, slave: &Addr, keys_before: u64) -> Result<(), Failure> {
    let facts = look::one(cx, slave).await.facts;
    if facts.is_some_and(|facts| !facts.syncing && facts.keys > 0 && facts.keys * 2 >= keys_before) {
        return Ok(());
    }
    let what = format!("cannot make {slave} a master");
    let why = "it has copied the empty master since it was looked at, or does not answer";
    Err(Failure::new(FailureKind::Failed, what, slave, why).stale())
}
