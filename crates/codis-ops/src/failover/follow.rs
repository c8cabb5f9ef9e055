//! The proxies are told of the new master.

use codis_core::{
    ActionKind, ProxyId, Versioned,
    ha::{Saga, SagaKind, Stage},
};

use super::{Work, lead::PATIENCE, planned, write_stop};
use crate::{
    Failure,
    announce::{self, Confirm, announce},
};

/// Step 5. A proxy that keeps silent, and one that has left a fence, are named and not waited for any longer: what they
/// still write to the old master is lost when that comes back, so the receipt stays open until then.
pub(super) async fn follow(work: &Work<'_>, saga: Versioned<Saga>) -> Result<(), Failure> {
    if saga.kind == SagaKind::Planned {
        drop_paused(work, &saga).await;
    }
    let kind =
        ActionKind::GroupChanged { group: saga.group, servers: Some(planned::listed(work, &saga).await?) };
    let told = announce(work.cx, &kind, Confirm::DespiteFences, announce::PATIENCE, work.events).await?;
    let silent = told.missing();
    let fences = work.cx.product.stale_fences().await;
    let fences = fences.map_err(|error| Failure::store("cannot read the fences", &error))?;
    suspend(work, &silent, &fences).await?;
    if saga.kind == SagaKind::Planned {
        let mut new = work.lead.connect(work.cx, &saga.new, PATIENCE).await?;
        write_stop::lift(&mut new, &format!("cannot allow writes on {}", saga.new)).await?;
    }
    let now_ms = work.now_ms();
    work.put(&saga, |saga| {
        saga.stage = Stage::Attach;
        saga.receipt.followed_ms = now_ms;
        saga.receipt.confirmed = (told.receivers.len() - silent.len()) as u64;
        saga.receipt.unconfirmed = silent.iter().map(ToString::to_string).chain(fences.clone()).collect();
        let open = !saga.receipt.unconfirmed.is_empty();
        if let Some(server) = saga.demoted.iter_mut().find(|server| server.addr == saga.old) {
            server.open = open;
        }
    })
    .await
    .map(drop)
}

/// What a pause holds back on the old master is not to run there when it ends, and a proxy acknowledges only when
/// nothing of its own is in flight: those connections are closed, what waits unexecuted.
async fn drop_paused(work: &Work<'_>, saga: &Saga) {
    let dropped = async {
        let cluster = work.cx.load().await?;
        if cluster.all_ours() {
            return Ok(());
        }
        let mut old = work.lead.connect(work.cx, &saga.old, PATIENCE).await?;
        let what = format!("cannot close the clients of {}", saga.old);
        old.redis().await?.close_clients().await.map_err(|error| Failure::redis(what, &error))
    };
    if let Err(failure) = dropped.await {
        // The write stop refuses them all the same, when the pause runs out.
        tracing::warn!(%failure, "what waits there is refused later");
    }
}

/// Asks those that may not have heard to read everything anew, as soon as they see anything of the store again.
async fn suspend(work: &Work<'_>, silent: &[ProxyId], fences: &[String]) -> Result<(), Failure> {
    let cluster = if fences.is_empty() { None } else { Some(work.cx.load().await?) };
    let behind = cluster.iter().flat_map(|cluster| cluster.proxies.values());
    let behind = behind.filter(|proxy| fences.iter().any(|fence| fence == proxy.addr.as_str()));
    let behind: Vec<ProxyId> = behind.map(|proxy| proxy.id.clone()).collect();
    for id in silent.iter().chain(&behind) {
        let done = work.cx.product.suspend_proxy(id).await;
        done.map_err(|error| Failure::store(format!("cannot suspend proxy {id}"), &error))?;
    }
    Ok(())
}
