//! Creating the 1024 slots of a product.

use super::{Plan, Refusal, Step, plural};
use crate::{Cluster, Proxy, ProxyKind, SlotId, SlotSet, SlotStatus};

/// Creates the slot nodes that do not exist. Run again after an interruption it creates the rest; in a
/// product in use it puts back nodes that have got lost, offline and without a group.
///
/// Refused when no node is missing and slots are in use, or while a proxy is online that cannot bear a
/// slot without a group: a Go proxy exits when it hears of one.
pub fn init(cluster: &Cluster) -> Result<Plan, Refusal> {
    let what = format!("cannot initialise product {}", cluster.product);
    if let Some(gap) = cluster.gaps.first() {
        return Err(Refusal::missing(what, &gap.path, &gap.why).next("codisctl slot list"));
    }
    let missing: SlotSet = SlotId::all().filter(|id| cluster.slot(*id).is_none()).collect();
    let used = cluster.known_slots().find(|s| s.status != SlotStatus::Offline || s.group.is_some());
    let mut plan = Plan::new(format!("initialise product {} with 1024 slots", cluster.product));
    match used {
        Some(slot) if missing.is_empty() => {
            let why = format!("the slot is {}: the product is in use", slot.status);
            let place = format!("slots/slot_{}", slot.id);
            return Err(Refusal::unsafe_(what, place, why).next("codisctl slot map"));
        }
        Some(_) => {
            let nodes = plural(missing.len(), "slot node", "slot nodes");
            plan.title = format!("put back {nodes} of product {}", cluster.product);
            plan.note("the product is in use: assign them to the group that has their keys");
        }
        None if missing.is_empty() => {
            plan.note("all 1024 slots exist already");
            return Ok(plan);
        }
        None => {}
    }
    let bears = |proxy: &Proxy| used.is_some() && proxy.kind() != ProxyKind::Go;
    if let Some(proxy) = cluster.online_proxies().find(|proxy| !bears(proxy)) {
        return Err(Refusal::unsafe_(what, format!("proxy/{}", proxy.id), "a proxy is online")
            .next(format!("codisctl proxy offline {}", proxy.id)));
    }
    plan.steps.push(Step::CreateSlots(missing));
    Ok(plan)
}
