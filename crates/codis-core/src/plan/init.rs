//! Creating the 1024 slots of a product.

use super::{Plan, Refusal, Step};
use crate::{Cluster, SlotId, SlotSet, SlotStatus};

/// Creates the slot nodes that do not exist. Run again after an interruption it creates the rest.
///
/// Refused when a slot is in use already, or while a proxy is online: a Go proxy exits when it
/// hears of a slot without a group.
pub fn init(cluster: &Cluster) -> Result<Plan, Refusal> {
    let what = format!("cannot initialise product {}", cluster.product);
    if let Some(gap) = cluster.gaps.first() {
        return Err(Refusal::missing(what, &gap.path, &gap.why).next("codisctl slot list"));
    }
    let used = cluster.known_slots().find(|s| s.status != SlotStatus::Offline || s.group.is_some());
    if let Some(slot) = used {
        let why = format!("the slot is {}: the product is in use", slot.status);
        return Err(Refusal::unsafe_(what, format!("slots/slot_{}", slot.id), why).next("codisctl slot map"));
    }
    let missing: SlotSet = SlotId::all().filter(|id| cluster.slot(*id).is_none()).collect();
    let mut plan = Plan::new(format!("initialise product {} with 1024 slots", cluster.product));
    if missing.is_empty() {
        plan.note("all 1024 slots exist already");
        return Ok(plan);
    }
    if let Some(proxy) = cluster.online_proxies().next() {
        return Err(Refusal::unsafe_(what, format!("proxy/{}", proxy.id), "a proxy is online")
            .next(format!("codisctl proxy offline {}", proxy.id)));
    }
    plan.steps.push(Step::CreateSlots(missing));
    Ok(plan)
}
