//! Deleting a product.

use super::{Plan, Refusal, Step, plural, refusal::fences_clean};
use crate::{Cluster, Gap, Slot, SlotStatus};

/// Parts of the tree in which somebody at work is found. What cannot be read there may be one.
const TELLING: [&str; 4] = ["/slots", "/proxy", "/dashboard", "/mover"];

/// Deletes everything that the store has of a product. The servers keep running with their data.
///
/// Refused while anybody could still work with it: a registered proxy or one that left a fence, a slot
/// on its way, a mover, a dashboard, a lock. An interrupted removal is completed by asking again: a
/// product without slots can be removed like any other.
pub fn remove_product(cluster: &Cluster) -> Result<Plan, Refusal> {
    let what = format!("cannot remove product {}", cluster.product);
    if let Some(gap) = cluster.gaps.iter().find(|gap| tells(gap)) {
        return Err(Refusal::missing(what, &gap.path, &gap.why)
            .next("correct or delete the node: whether somebody is at work cannot be told without it"));
    }
    if let Some(proxy) = cluster.proxies.values().next() {
        let why = format!("a proxy is registered, state {}: it serves clients, or may soon", proxy.state);
        return Err(Refusal::unsafe_(what, format!("proxy/{}", proxy.id), why)
            .next(format!("codisctl proxy offline {}", proxy.id)));
    }
    fences_clean(cluster, &what)?;
    if let Some(mover) = &cluster.mover {
        let why = format!("{} (pid {}) moves slots", mover.owner, mover.pid);
        return Err(Refusal::unsafe_(what, "mover", why).next("codisctl migrate watch    until it is done"));
    }
    if let Some(dashboard) = &cluster.dashboard {
        let why = format!("a dashboard is registered at {} (pid {})", dashboard.addr, dashboard.pid);
        return Err(Refusal::unsafe_(what, "dashboard", why)
            .next("stop it; if it is dead: codisctl lock clear dashboard"));
    }
    if let Some(slot) = cluster.known_slots().find(|slot| on_its_way(slot)) {
        let why = format!("the slot is in {}: its keys are on their way", slot.status);
        return Err(Refusal::unsafe_(what, format!("slots/slot_{}", slot.id), why)
            .next("codisctl migrate run    finishes the move"));
    }
    if let Some(lock) = cluster.locks.first() {
        let why = format!("{} holds the lock: {}", lock.owner(), lock.desc);
        return Err(Refusal::unsafe_(what, format!("LOCK/{}", lock.name), why).next("codisctl lock show"));
    }
    let mut plan = Plan::new(format!("remove product {}", cluster.product));
    let servers: usize = cluster.groups.values().map(|group| group.servers.len()).sum();
    if servers > 0 {
        let servers = plural(servers, "server keeps", "servers keep");
        plan.note(format!("{servers} running, with the data there is"));
    }
    if !cluster.moves.is_empty() {
        plan.note(format!("{} in the queue will not be done", plural(cluster.moves.len(), "task", "tasks")));
    }
    plan.note("its audit records go with it: codisctl store export keeps a copy of everything");
    plan.steps.push(Step::RemoveProduct(cluster.product.clone()));
    Ok(plan)
}

fn tells(gap: &Gap) -> bool {
    TELLING.iter().any(|part| gap.path.ends_with(part) || gap.path.contains(&format!("{part}/")))
}

fn on_its_way(slot: &Slot) -> bool {
    matches!(slot.status, SlotStatus::PreMigrate | SlotStatus::Migrate)
}
