//! The three changes of state that proxies must follow, each under `LOCK`, and those of waves at work together one after another.

use codis_core::{ProxyId, Slot, SlotSet, SlotStatus, Versioned};

use super::{
    progress::Progress,
    queue::{Item, Wave},
    run::Run,
};
use crate::{
    Event, Failure, FailureKind, WavePhase,
    announce::{Announced, Confirm, Telling, announce_slots, fences_clean, silence},
    apply::take_lock,
};

/// From online at the source to `migrate`, or back to where it was.
///
/// 1. `pre_migrate` is written and announced: each proxy holds the requests back, lets those that run
///    finish, and acknowledges. If one does not in time, the slots go back to `online`, which needs no
///    confirmation: the proxies that have acknowledged would otherwise stay blocked. Slots that turn back go to
///    `migrate` as it was instead: keys are on both sides, and online at either would hide some.
/// 2. `migrate` is written and announced. From here on there is no way back to `online` at the source.
///
/// Stopped after 1, the next run puts the slots back to where they were; after 2 it goes on from there.
pub(crate) async fn enter(run: &Run, wave: &mut Wave, progress: &mut Progress) -> Result<(), Failure> {
    let (from, to) = (wave.from, wave.to);
    let _turn = run.switching.lock().await;
    let lock =
        take_lock(&run.cx, &format!("move slots {} from group {from} to {to}", wave.slots()), &run.events)
            .await?;
    let entered = entered(run, wave, progress).await;
    let released = lock.release().await;
    entered?;
    released.map_err(|error| Failure::store("cannot release the lock", &error))
}

async fn entered(run: &Run, wave: &mut Wave, progress: &mut Progress) -> Result<(), Failure> {
    let (from, to) = (wave.from, wave.to);
    if !wave.fresh.is_empty() {
        run.events.emit(Event::Wave(progress.phase(WavePhase::PreMigrate)));
        let slots = wave.fresh_slots();
        fences_clean(&run.cx, &format!("cannot move slots {slots} from group {from} to {to}")).await?;
        // A Go tool may have left `from` and `to` behind, which would make it look like a way back.
        let back = wave.turns_back;
        let blocked = |slot: &Slot| match back {
            true => slot.pre_migrate(),
            false => Slot { from: None, to: None, ..slot.pre_migrate() },
        };
        write(run, &mut wave.fresh, blocked, "pre_migrate").await?;
        let told = tell(run, wave.telling, &wave.fresh, Confirm::Needed, progress).await;
        let unheard = told.as_ref().map(Announced::missing).unwrap_or_default();
        if let Err(failure) = told.and_then(|told| by_all(run, &told)) {
            return Err(unblock(run, wave, &unheard, failure).await);
        }
        write(run, &mut wave.fresh, |slot| slot.migrate(from, to), "migrate").await?;
        wave.moving.append(&mut wave.fresh);
    }
    run.events.emit(Event::Wave(progress.phase(WavePhase::Migrate)));
    // All proxies that knew the slots as online have acknowledged pre_migrate; one that has died since, or has
    // come since, never sent or sends a request to the source. So neither its fence nor its silence matters.
    // A Go proxy that has come in between is told slot by slot.
    let told = tell(run, wave.telling, &wave.moving, Confirm::DespiteFences, progress).await?;
    by_those_alive(run, &told)
}

/// From `migrate` to online at the destination. Stopped in between, the next run announces it again.
pub(crate) async fn leave(run: &Run, wave: &mut Wave, progress: &mut Progress) -> Result<(), Failure> {
    let (slots, to) = (wave.slots(), wave.to);
    run.events.emit(Event::Wave(progress.phase(WavePhase::Online)));
    let _turn = run.switching.lock().await;
    let lock = take_lock(&run.cx, &format!("put slots {slots} online at group {to}"), &run.events).await?;
    let left = async {
        fences_clean(&run.cx, &format!("cannot put slots {slots} online at group {to}")).await?;
        write(run, &mut wave.moving, |slot| slot.online_at(to), "online").await?;
        let told = tell(run, wave.telling, &wave.moving, Confirm::Needed, progress).await?;
        by_all(run, &told)
    };
    let left = left.await;
    let released = lock.release().await;
    left?;
    released.map_err(|error| Failure::store("cannot release the lock", &error))
}

/// Announces slots that are online already: a run ended before all proxies had acknowledged it.
pub(crate) async fn repeat(run: &Run, items: &[Item], telling: Telling) -> Result<(), Failure> {
    let slots: Vec<Slot> = items.iter().map(|item| item.slot.value.clone()).collect();
    let set: SlotSet = slots.iter().map(|slot| slot.id).collect();
    let _turn = run.switching.lock().await;
    let lock = take_lock(&run.cx, &format!("announce slots {set} again"), &run.events).await?;
    let patience = run.options.ack_patience;
    let told = announce_slots(&run.cx, &slots, telling, Confirm::Needed, patience, &[], &run.events).await;
    let released = lock.release().await;
    by_all(run, &told?)?;
    released.map_err(|error| Failure::store("cannot release the lock", &error))
}

/// Slots that a mover left in `pre_migrate` go back to where they were. Under `LOCK`, so that no other action hides
/// this one from a Go proxy, but not for want of it: their requests wait.
pub(crate) async fn unblock_left(
    run: &Run,
    slots: Vec<Versioned<Slot>>,
    telling: Telling,
) -> Result<(), Failure> {
    let set: SlotSet = slots.iter().map(|slot| slot.id).collect();
    let _turn = run.switching.lock().await;
    let lock = match take_lock(&run.cx, &format!("put slots {set} back online"), &run.events).await {
        Ok(lock) => Some(lock),
        Err(failure) if failure.kind == FailureKind::Unsafe => {
            run.events.note(format!("{failure}; it is done without the lock"));
            None
        }
        Err(failure) => return Err(failure),
    };
    let freed = free(run, slots, telling, &[]).await;
    if let Some(lock) = lock {
        lock.release().await.map_err(|error| Failure::store("cannot release the lock", &error))?;
    }
    freed
}

/// Slots back from `pre_migrate` to where they were: online at their owner, or in `migrate` if they were about to turn back.
/// No key has moved since, so nobody needs to confirm it, and it is sent whatever fences stand. A proxy in `unheard` is not
/// waited for.
async fn free(
    run: &Run,
    slots: Vec<Versioned<Slot>>,
    telling: Telling,
    unheard: &[ProxyId],
) -> Result<(), Failure> {
    let set: SlotSet = slots.iter().map(|slot| slot.id).collect();
    let what = format!("cannot put slots {set} back to where they were");
    let freed = |slot: Versioned<Slot>| {
        let value = match slot.moving() {
            Some(_) => Slot { status: SlotStatus::Migrate, ..slot.value },
            None => Slot { status: SlotStatus::Online, from: None, to: None, ..slot.value },
        };
        Versioned::new(value, slot.version)
    };
    let freed: Vec<Versioned<Slot>> = slots.into_iter().map(freed).collect();
    run.cx.product.put_slots(&freed).await.map_err(|error| Failure::store(&what, &error))?;
    let (online, moving): (Vec<Slot>, Vec<Slot>) =
        freed.into_iter().map(|slot| slot.value).partition(|slot| slot.status == SlotStatus::Online);
    let patience = run.options.ack_patience;
    for slots in [online, moving] {
        announce_slots(&run.cx, &slots, telling, Confirm::Unneeded, patience, unheard, &run.events).await?;
    }
    Ok(())
}

/// The way back when `pre_migrate` was not acknowledged. Returns the failure to report.
async fn unblock(run: &Run, wave: &Wave, unheard: &[ProxyId], failure: Failure) -> Failure {
    let slots = wave.fresh.iter().map(|item| item.slot.clone()).collect();
    match free(run, slots, wave.telling, unheard).await {
        Ok(()) => {
            let state = if wave.turns_back { "in migrate" } else { "online" };
            let why = format!("{}; the slots are {state} at group {} again", failure.why, wave.from);
            Failure { why, ..failure }
        }
        Err(second) => Failure {
            why: format!("{}; and then: {second}; requests for these slots wait", failure.why),
            next: "codisctl migrate run    puts the slots back first".to_owned(),
            ..failure
        },
    }
}

/// Writes the slots, all together or none, against the versions they were read at.
async fn write(
    run: &Run,
    items: &mut [Item],
    change: impl Fn(&Slot) -> Slot,
    state: &str,
) -> Result<(), Failure> {
    let changed: Vec<Versioned<Slot>> =
        items.iter().map(|item| Versioned::new(change(&item.slot), item.slot.version)).collect();
    let set: SlotSet = changed.iter().map(|slot| slot.id).collect();
    let written = run.cx.product.put_slots(&changed).await;
    written.map_err(|error| Failure::store(format!("cannot set slots {set} to {state}"), &error))?;
    for (item, slot) in items.iter_mut().zip(changed) {
        item.slot = Versioned::new(slot.value, slot.version + 1);
    }
    Ok(())
}

async fn tell(
    run: &Run,
    telling: Telling,
    items: &[Item],
    confirm: Confirm,
    progress: &mut Progress,
) -> Result<Announced, Failure> {
    let slots: Vec<Slot> = items.iter().map(|item| item.slot.value.clone()).collect();
    let patience = run.options.ack_patience;
    let told = announce_slots(&run.cx, &slots, telling, confirm, patience, &[], &run.events).await?;
    let missing = told.silent.len() + told.gone.len();
    run.events.emit(Event::Wave(progress.acks(told.receivers.len() - missing, told.receivers.len())));
    Ok(told)
}

/// Every receiver has acknowledged; one that has vanished meanwhile has not.
fn by_all(run: &Run, told: &Announced) -> Result<(), Failure> {
    if told.is_complete() { Ok(()) } else { Err(refused(run, told)) }
}

/// Every receiver that is still there has acknowledged.
fn by_those_alive(run: &Run, told: &Announced) -> Result<(), Failure> {
    if told.silent.is_empty() { Ok(()) } else { Err(refused(run, told)) }
}

fn refused(run: &Run, told: &Announced) -> Failure {
    silence(told, run.options.ack_patience)
        .next(format!("codisctl proxy list    then stop or restart that proxy, and: {}", run.again()))
}
