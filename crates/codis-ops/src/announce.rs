//! Telling the proxies, and waiting until they have followed.

use std::time::Duration;

use codis_core::{Action, ActionKind, ProxyId};
use tokio::time::Instant;

use crate::{Context, Event, Events, Failure, FailureKind, context::now_ms};

/// How long the proxies may take to acknowledge. A Go proxy can be busy with a dead backend for
/// several seconds; ours answer within milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often a wait is reported.
const REPORT: Duration = Duration::from_millis(250);

/// How an announcement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    /// Number of the action.
    pub(crate) seq: u64,
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
    let fail = |error| Failure::store(&what, &error);
    if confirm == Confirm::Needed {
        fences_clean(cx, &what).await?;
    }
    let action = Action { seq: None, kind: kind.clone(), ts: now_ms() / 1000, receivers: Vec::new() };
    let published = cx.product.publish(&action).await.map_err(fail)?;
    let (seq, receivers) = (published.seq, published.receivers);
    let announced = Announced { seq, receivers, silent: Vec::new(), gone: Vec::new() };
    if confirm == Confirm::Unneeded || announced.receivers.is_empty() {
        return Ok(announced);
    }
    let begun = Instant::now();
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        let acks = cx
            .product
            .await_acks(announced.seq, &announced.receivers, left.min(REPORT))
            .await
            .map_err(fail)?;
        if acks.waiting.is_empty() || left.is_zero() {
            return Ok(Announced { silent: acks.waiting, gone: acks.gone, ..announced });
        }
        let on = acks.waiting.iter().chain(&acks.gone).map(ToString::to_string).collect();
        events.emit(Event::Waiting { on, ms: begun.elapsed().as_millis() as u64 });
    }
}

/// The same, for changes that are only done when every proxy follows.
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
        Some(first) => Err(silence(&announced, kind, PATIENCE).next(format!(
            "codisctl proxy list    then stop {first} or wait for it, and run the same command again"
        ))),
    }
}

/// Who has not acknowledged within `patience`, and who has.
pub(crate) fn silence(announced: &Announced, kind: &ActionKind, patience: Duration) -> Failure {
    let names = |ids: &[ProxyId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let missing: Vec<ProxyId> = announced.silent.iter().chain(&announced.gone).cloned().collect();
    let what = format!("proxy {} did not acknowledge {}", names(&missing), kind.type_name());
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
