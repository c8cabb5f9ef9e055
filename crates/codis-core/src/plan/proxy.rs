//! Proxies: in and out of service, and the fences they leave.

use super::{Plan, Refusal, Step, plural};
use crate::{Cluster, Proxy, ProxyId, ProxyState, SlotId, SlotStatus, Versioned};

fn proxy(cluster: &Cluster, id: &ProxyId, what: &str) -> Result<Versioned<Proxy>, Refusal> {
    cluster.proxies.get(id).cloned().ok_or_else(|| {
        Refusal::missing(what, format!("proxy/{id}"), "no such proxy is registered")
            .next("codisctl proxy list")
    })
}

/// Lets a registered proxy serve clients. Every slot must be online or migrating, with a group.
pub fn online(cluster: &Cluster, id: &ProxyId) -> Result<Plan, Refusal> {
    let what = format!("cannot put proxy {id} online");
    let proxy = proxy(cluster, id, &what)?;
    for slot in SlotId::all() {
        let place = format!("slots/slot_{slot}");
        let Some(slot) = cluster.slot(slot) else {
            let gap = cluster.gaps.iter().find(|gap| gap.path.ends_with(&format!("/{place}")));
            let why = gap.map_or("the node does not exist", |gap| &gap.why);
            return Err(Refusal::unsafe_(what, place, why).next("codisctl product init"));
        };
        let served = matches!(slot.status, SlotStatus::Online | SlotStatus::Migrate);
        if !served || slot.group.is_none() {
            let why = match slot.group {
                Some(_) => format!("the slot is {}: its clients would get errors", slot.status),
                None => "the slot has no group: its clients would get errors".to_owned(),
            };
            return Err(Refusal::unsafe_(what, place, why).next("codisctl slot assign RANGES GROUP"));
        }
    }
    let mut plan = Plan::new(format!("put proxy {id} online"));
    match proxy.state {
        ProxyState::Online => plan.note("it is online already"),
        ProxyState::Offline => plan.steps.push(Step::SetProxyState { proxy, state: ProxyState::Online }),
        ProxyState::MarkOffline => {
            return Err(Refusal::unsafe_(what, format!("proxy/{id}"), "it is on its way out")
                .next("codisctl proxy list    until it is gone; then start it again"));
        }
    }
    Ok(plan)
}

/// Asks a proxy to finish its requests and leave, and waits until it has.
pub fn offline(cluster: &Cluster, id: &ProxyId) -> Result<Plan, Refusal> {
    let what = format!("cannot take proxy {id} offline");
    let proxy = proxy(cluster, id, &what)?;
    let mut plan = Plan::new(format!("take proxy {id} offline"));
    if cluster.online_proxies().all(|other| &other.id == id) {
        plan.note("it is the last one online: no client can reach the product then");
    }
    if proxy.state != ProxyState::MarkOffline {
        plan.steps.push(Step::SetProxyState { proxy, state: ProxyState::MarkOffline });
    }
    plan.steps.push(Step::AwaitProxyGone(id.clone()));
    Ok(plan)
}

/// Deletes the fences that no online proxy stands behind. Only right when those processes are gone.
pub fn clear_fences(cluster: &Cluster) -> Result<Plan, Refusal> {
    let stale = cluster.stale_fences();
    for addr in &stale {
        if let Some(proxy) = cluster.proxies.values().find(|proxy| proxy.addr.as_str() == *addr) {
            let why = format!("proxy {} is registered and alive, state {}", proxy.id, proxy.state);
            return Err(Refusal::unsafe_("cannot clear the fences", format!("fence/{addr}"), why)
                .next(format!("codisctl proxy online {}    or stop it", proxy.id)));
        }
    }
    let mut plan = Plan::new(format!("clear {}", plural(stale.len(), "stale fence", "stale fences")));
    if stale.is_empty() {
        plan.note("every fence has its online proxy");
    }
    plan.steps.extend(stale.into_iter().map(|addr| Step::ClearFence(addr.to_owned())));
    Ok(plan)
}
