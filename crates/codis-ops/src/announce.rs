//! Telling the proxies, and waiting until they have followed.

use std::time::Duration;

use codis_core::{Action, ActionKind, ProxyId, ProxyKind, Slot, SlotSet, SlotStatus};
use codis_store::Published;
use tokio::time::Instant;

use crate::{Context, Event, Events, Failure, FailureKind, context::now_ms};

/// How long the proxies may take to acknowledge. A Go proxy can be busy with a dead backend for
/// several seconds; ours answer within milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a wait is reported.
const REPORT: Duration = Duration::from_millis(250);

/// How an announcement ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Announced {
    /// Number of the action; of the last one, where several were needed.
    pub(crate) seq: u64,
    /// Its type.
    pub(crate) kind: String,
    /// Proxies that should have acknowledged.
    pub(crate) receivers: Vec<ProxyId>,
    /// Those that have not and are still registered.
    pub(crate) silent: Vec<ProxyId>,
    /// Those that have not and have vanished meanwhile: they count as not having acknowledged.
    pub(crate) gone: Vec<ProxyId>,
}

/// Whether an announcement waits for the proxies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confirm {
    /// No.
    Unneeded,
    /// Yes, and it is refused while a fence stands without an online proxy.
    Needed,
    /// Yes, whatever fences stand: for the second half of a change of which no proxy that left a fence
    /// can have missed the first.
    DespiteFences,
}

/// How several slots that change together are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// In one action of ours, unless a Go proxy would receive it.
    Together,
    /// Each in one of Codis's own actions, the next one when the last one has been answered: a Go proxy looks at
    /// the newest action only.
    OneByOne,
}

/// Publishes an action and, if it needs confirmation, waits at most `patience` for every proxy that was online.
///
/// The nodes that it speaks of must have been written before: a proxy reads them when it hears of
/// the action, and one that registers later reads them when it starts.
///
/// # Errors
/// If the store does not answer; `Unsafe` if it is `Needed` and there is a fence without an online
/// proxy, in which case nothing was published. A proxy that keeps silent is not an error here:
/// what that means depends on the change.
pub(crate) async fn announce(
    cx: &Context,
    kind: &ActionKind,
    confirm: Confirm,
    patience: Duration,
    events: &Events,
) -> Result<Announced, Failure> {
    let what = format!("cannot publish {}", kind.type_name());
    if confirm == Confirm::Needed {
        fences_clean(cx, &what).await?;
    }
    let published = cx.product.publish(&action(kind)).await;
    let published = published.map_err(|error| Failure::store(&what, &error))?;
    match confirm {
        Confirm::Unneeded => Ok(Announced::of(kind, published)),
        Confirm::Needed | Confirm::DespiteFences => answers(cx, kind, published, &[], patience, events).await,
    }
}

/// Tells of slots that have just been written, all in the same state.
///
/// Told one by one, a proxy that has once kept silent is not waited for again, nor is one that the caller has
/// `unheard` before. Slots in `pre_migrate` end with the first that is not acknowledged: the caller takes all of them back.
///
/// # Errors
/// As [`announce`]. Also, for slots in `pre_migrate` that were to be told together, when a Go proxy has come online: it
/// would have to be told one by one, and whether the slots may move at all has to be looked at anew.
pub(crate) async fn announce_slots(
    cx: &Context,
    slots: &[Slot],
    telling: Telling,
    confirm: Confirm,
    patience: Duration,
    unheard: &[ProxyId],
    events: &Events,
) -> Result<Announced, Failure> {
    let Some(status) = slots.first().map(|slot| slot.status) else { return Ok(Announced::default()) };
    if telling == Telling::Together {
        let set: SlotSet = slots.iter().map(|slot| slot.id).collect();
        let kind = ActionKind::Wave { slots: set.clone(), status };
        let what = format!("cannot publish {}", kind.type_name());
        if confirm == Confirm::Needed {
            fences_clean(cx, &what).await?;
        }
        let published =
            cx.product.publish_unless(&action(&kind), |proxy| proxy.kind() == ProxyKind::Go).await;
        match published.map_err(|error| Failure::store(&what, &error))? {
            Ok(published) if confirm == Confirm::Unneeded => return Ok(Announced::of(&kind, published)),
            Ok(published) => return answers(cx, &kind, published, &[], patience, events).await,
            Err(proxy) if status == SlotStatus::PreMigrate => {
                let why = "a Go proxy has come online, which cannot be told of several slots at once";
                let what = format!("slots {set} do not go to {status}");
                return Err(Failure::new(FailureKind::Unsafe, what, format!("proxy/{}", proxy.id), why)
                    .next("codisctl migrate run")
                    .stale());
            }
            Err(proxy) => events.note(format!("Go proxy {} is online: slots are told one by one", proxy.id)),
        }
    }
    let mut all = Announced::default();
    for slot in slots {
        let kind = kind_of(slot);
        let what = format!("cannot publish {} for slot {}", kind.type_name(), slot.id);
        if confirm == Confirm::Needed {
            fences_clean(cx, &what).await?;
        }
        let published = cx.product.publish(&action(&kind)).await;
        let published = published.map_err(|error| Failure::store(&what, &error))?;
        let unheard = [unheard, &all.silent, &all.gone].concat();
        all.add(answers(cx, &kind, published, &unheard, patience, events).await?);
        if status == SlotStatus::PreMigrate && !all.is_complete() {
            break;
        }
    }
    Ok(all)
}

/// The original's action for a slot in its state.
fn kind_of(slot: &Slot) -> ActionKind {
    match slot.status {
        SlotStatus::PreMigrate => ActionKind::SlotPreMigrate(slot.clone()),
        SlotStatus::Migrate => ActionKind::SlotMigrate(slot.clone()),
        SlotStatus::Online | SlotStatus::Offline => ActionKind::SlotChanged(slot.clone()),
    }
}

fn action(kind: &ActionKind) -> Action {
    Action { seq: None, kind: kind.clone(), ts: now_ms() / 1000, receivers: Vec::new() }
}

/// Waits for the receivers, those in `unheard` excepted: they count as silent.
async fn answers(
    cx: &Context,
    kind: &ActionKind,
    published: Published,
    unheard: &[ProxyId],
    patience: Duration,
    events: &Events,
) -> Result<Announced, Failure> {
    let mut announced = Announced::of(kind, published);
    let (unheard, awaited): (Vec<_>, Vec<_>) =
        announced.receivers.iter().cloned().partition(|id| unheard.contains(id));
    announced.silent = unheard;
    if awaited.is_empty() {
        return Ok(announced);
    }
    let begun = Instant::now();
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        let acks = cx.product.await_acks(announced.seq, &awaited, left.min(REPORT)).await;
        let acks = acks.map_err(|error| {
            Failure::store(format!("cannot see who has acknowledged {}", kind.type_name()), &error)
        })?;
        if acks.waiting.is_empty() || left.is_zero() {
            announced.silent.extend(acks.waiting);
            announced.gone = acks.gone;
            return Ok(announced);
        }
        let on = acks.waiting.iter().chain(&acks.gone).map(ToString::to_string).collect();
        events.emit(Event::Waiting { on, ms: begun.elapsed().as_millis() as u64 });
    }
}

/// The same as [`announce`], for changes that are only done when every proxy follows.
pub(crate) async fn announce_to_all(
    cx: &Context,
    kind: &ActionKind,
    confirm: bool,
    events: &Events,
) -> Result<Announced, Failure> {
    let confirm = if confirm { Confirm::Needed } else { Confirm::Unneeded };
    let announced = announce(cx, kind, confirm, PATIENCE, events).await?;
    match announced.silent.iter().chain(&announced.gone).next() {
        None => Ok(announced),
        Some(first) => Err(silence(&announced, PATIENCE).next(format!(
            "codisctl proxy list    then stop {first} or wait for it, and run the same command again"
        ))),
    }
}

impl Announced {
    fn of(kind: &ActionKind, published: Published) -> Self {
        let Published { seq, receivers } = published;
        Self { seq, kind: kind.type_name().to_owned(), receivers, silent: Vec::new(), gone: Vec::new() }
    }

    /// Every receiver has acknowledged; one that has vanished meanwhile has not.
    pub(crate) fn is_complete(&self) -> bool {
        self.silent.is_empty() && self.gone.is_empty()
    }

    /// Those that have not acknowledged, for whatever reason.
    pub(crate) fn missing(&self) -> Vec<ProxyId> {
        self.silent.iter().chain(&self.gone).cloned().collect()
    }

    /// Takes the next of several announcements in. The number stays that of the first one that somebody missed.
    fn add(&mut self, next: Self) {
        if self.is_complete() {
            (self.seq, self.kind) = (next.seq, next.kind);
        }
        let lists = [
            (&mut self.receivers, next.receivers),
            (&mut self.silent, next.silent),
            (&mut self.gone, next.gone),
        ];
        for (list, more) in lists {
            let new: Vec<ProxyId> = more.into_iter().filter(|id| !list.contains(id)).collect();
            list.extend(new);
        }
        // A silent one has gone in the meantime.
        self.silent.retain(|id| !self.gone.contains(id));
    }
}

/// Who has not acknowledged within `patience`, and who has.
pub(crate) fn silence(announced: &Announced, patience: Duration) -> Failure {
    let names = |ids: &[ProxyId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let missing = announced.missing();
    let what = format!("proxy {} did not acknowledge {}", names(&missing), announced.kind);
    let answered: Vec<ProxyId> =
        announced.receivers.iter().filter(|id| !missing.contains(id)).cloned().collect();
    let answered = if answered.is_empty() { "nobody".to_owned() } else { names(&answered) };
    let why = format!("waited {} s; acknowledged by {answered}", patience.as_secs_f64());
    Failure::new(FailureKind::Failed, what, format!("actions/{:010}", announced.seq), why)
}

/// Refuses while a proxy that is not online has a fence: before nodes are written of which it must hear.
pub(crate) async fn fences_clean(cx: &Context, what: &str) -> Result<(), Failure> {
    let fail = |error| Failure::store(what, &error);
    let stale = cx.product.stale_fences().await.map_err(fail)?;
    if stale.is_empty() {
        return Ok(());
    }
    let why =
        "a proxy that is not online left a fence: it may still serve the old routes, and cannot be asked";
    Err(Failure::new(FailureKind::Unsafe, what, format!("fence/{}", stale.join(", fence/")), why)
        .next("codisctl proxy fence list    then, when that process is gone: codisctl proxy fence clear"))
}
