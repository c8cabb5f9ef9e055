//! Whether a proxy routes as the store says.

use std::time::Duration;

use codis_admin::{AdminClient, AdminError, SlotRoute};
use codis_core::{Cluster, GroupId, Proxy, ProxyKind, Slot, SlotId, SlotStatus};

use super::text_of;
use crate::{Failure, FailureKind};

/// A slot that a proxy routes unlike the store says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differing {
    /// The slot.
    pub slot: SlotId,
    /// What the store says, in words: state and group.
    pub store: String,
    /// What the proxy does.
    pub proxy: String,
}

/// Compares where a proxy sends requests with the store. Of a Go proxy it is not known whether it holds
/// requests back.
///
/// # Errors
/// `Unreachable` if the proxy does not answer.
pub async fn differing(
    cluster: &Cluster,
    proxy: &Proxy,
    patience: Duration,
) -> Result<Vec<Differing>, Failure> {
    let client = AdminClient::new(patience);
    let addr = &proxy.debug_var_addr;
    let go = proxy.kind() == ProxyKind::Go;
    let routes = if go {
        client.slots_info(addr).await.map(|page| page.slots.sinfo.into_iter().map(of_go).collect())
    } else {
        client.slots(addr).await.map(|page| page.slots)
    };
    let silent = |error: AdminError| {
        let place = format!("proxy {}", proxy.id);
        Failure::new(FailureKind::Unreachable, "the proxy does not answer", place, text_of(&error))
            .next("codisctl proxy list")
    };
    Ok(compare(cluster, &routes.map_err(silent)?, go))
}

fn of_go(slot: codis_admin::go::SlotInfo) -> SlotRoute {
    let given = |addr: String| Some(addr).filter(|addr| !addr.is_empty());
    let state = match (slot.ismgrt, slot.master.is_empty()) {
        (1, _) => "migrate",
        (_, true) => "offline",
        _ => "online",
    };
    SlotRoute {
        slot: slot.slotid,
        state: state.to_owned(),
        master: given(slot.master),
        from: given(slot.mgrtfrom),
    }
}

/// The digest of a proxy that routes all slots as the store says.
pub(crate) fn digest(cluster: &Cluster) -> String {
    let slots = SlotId::all().filter_map(|id| cluster.slot(id));
    codis_admin::SlotsPage::new(0, slots.map(|slot| expected(cluster, slot)).collect()).digest
}

fn compare(cluster: &Cluster, routes: &[SlotRoute], go: bool) -> Vec<Differing> {
    let one = |id: SlotId| {
        let store = cluster.slot(id).map(|slot| expected(cluster, slot));
        let proxy = routes.iter().find(|route| route.slot == id.get());
        let same = match (&store, proxy) {
            (Some(store), Some(proxy)) => {
                let state = go && store.state == "pre_migrate" || store.state == proxy.state;
                state && store.master == proxy.master && store.from == proxy.from
            }
            (None, None) => true,
            _ => false,
        };
        let words = |route: Option<&SlotRoute>| route.map_or("nothing".to_owned(), |r| words(cluster, r));
        (!same).then(|| Differing { slot: id, store: words(store.as_ref()), proxy: words(proxy) })
    };
    SlotId::all().filter_map(one).collect()
}

/// How a proxy that follows the store routes a slot.
fn expected(cluster: &Cluster, slot: &Slot) -> SlotRoute {
    let master = |group: Option<GroupId>| {
        let group = cluster.groups.get(&group?)?;
        group.master().map(|server| server.addr.to_string())
    };
    let (to, from) = match slot.status {
        SlotStatus::Offline => (None, None),
        SlotStatus::Online | SlotStatus::PreMigrate => (slot.group, None),
        SlotStatus::Migrate => (slot.group, slot.from),
    };
    SlotRoute {
        slot: slot.id.get(),
        state: slot.status.as_str().to_owned(),
        master: master(to),
        from: master(from),
    }
}

/// State and group, `migrate 1 → 2`; the address of a server that leads no group.
fn words(cluster: &Cluster, route: &SlotRoute) -> String {
    let name = |addr: &String| {
        let led = |group: &&codis_core::Group| group.master().is_some_and(|m| m.addr.as_str() == addr);
        cluster.groups.values().find(led).map_or_else(|| addr.clone(), |group| group.id.to_string())
    };
    match (route.from.as_ref().map(name), route.master.as_ref().map(name)) {
        (Some(from), Some(to)) => format!("{} {from} → {to}", route.state),
        (_, Some(master)) => format!("{} {master}", route.state),
        (_, None) if route.state == "offline" => route.state.clone(),
        (_, None) => format!("{} without a master", route.state),
    }
}

#[cfg(test)]
mod tests {
    use codis_core::{Addr, Group, Role, Server, Versioned};

    use super::*;

    fn cluster() -> Cluster {
        let mut cluster = Cluster::empty("feed".parse().unwrap());
        for (id, port) in [(1, 7001), (2, 7002)] {
            let addr: Addr = format!("h:{port}").parse().unwrap();
            let servers = vec![Versioned::new(Server::new(addr, GroupId(id), Role::Master), 0)];
            cluster.groups.insert(GroupId(id), Group { id: GroupId(id), servers });
        }
        let online = |id: SlotId| Slot::unassigned(id).online_at(GroupId(1));
        cluster.slots = SlotId::all().map(|id| Some(Versioned::new(online(id), 0))).collect();
        cluster
    }

    fn routes() -> Vec<SlotRoute> {
        let one =
            |slot| SlotRoute { slot, state: "online".into(), master: Some("h:7001".into()), from: None };
        (0..1024).map(one).collect()
    }

    #[test]
    fn every_part_of_a_route_is_compared() {
        let mut cluster = cluster();
        assert_eq!(compare(&cluster, &routes(), false), []);
        let set = |cluster: &mut Cluster, id: u16, change: &dyn Fn(&Slot) -> Slot| {
            let slot = cluster.slots[usize::from(id)].as_mut().unwrap();
            slot.value = change(&slot.value);
        };
        set(&mut cluster, 3, &Slot::pre_migrate);
        set(&mut cluster, 4, &|slot| slot.migrate(GroupId(1), GroupId(2)));
        set(&mut cluster, 5, &|slot| slot.online_at(GroupId(2)));
        let told = |differing: &[Differing]| -> Vec<String> {
            differing.iter().map(|one| format!("{}: {} | {}", one.slot, one.store, one.proxy)).collect()
        };
        let differing = compare(&cluster, &routes(), false);
        assert_eq!(
            told(&differing),
            ["3: pre_migrate 1 | online 1", "4: migrate 1 → 2 | online 1", "5: online 2 | online 1"]
        );
        let of_go = compare(&cluster, &routes(), true);
        assert_eq!(told(&of_go), ["4: migrate 1 → 2 | online 1", "5: online 2 | online 1"]);
        let mut moved = routes();
        moved[7].master = Some("h:9".into());
        assert_eq!(told(&compare(&cluster, &moved, false)).last().unwrap(), "7: online 1 | online h:9");
    }
}
