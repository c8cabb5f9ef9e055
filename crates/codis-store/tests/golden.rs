//! Trees of real Codis 2 clusters: we leave the same ones.

use std::collections::BTreeSet;
use std::time::Duration;

use codis_core::{
    Action, ActionKind, Addr, GroupId, Proxy, ProxyId, ProxyState, Role, Server, Slot, SlotId, SlotStatus,
    Versioned,
};
use codis_store::{Product, Store};
use serde_json::Value;

use crate::common::{Ground, on_both_stores};
use crate::recorded::{self, Tree, dump, steps};

on_both_stores! {
    our_writes_leave_the_recorded_trees,
}

const ROOT: &str = "/zk/codis/db_spec";

fn slot(number: u16) -> SlotId {
    SlotId::new(number).unwrap()
}

fn addr(port: u16) -> Addr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

fn product(store: &Store) -> Product {
    Product::new(store.clone(), "spec".parse().unwrap())
}

async fn publish(product: &Product, kind: ActionKind) {
    let action = Action { seq: None, kind, ts: 1, receivers: Vec::new() };
    product.publish(&action).await.unwrap();
}

async fn group_changed(product: &Product, group: GroupId, master: Option<u16>) {
    let servers = master.map(|port| vec![Server::new(addr(port), group, Role::Master)]);
    publish(product, ActionKind::GroupChanged { group, servers }).await;
}

async fn range_set(product: &Product, from: u16, to: u16, group: GroupId) {
    let lock = product.lock("set slot range", Duration::from_secs(5)).await.unwrap().unwrap();
    let slots = product.slots(&(from..=to).map(slot).collect()).await.unwrap().found;
    let online = slots.iter().map(|slot| Versioned::new(slot.online_at(group), slot.version));
    product.put_slots(&online.collect::<Vec<_>>()).await.unwrap();
    let status = SlotStatus::Online;
    publish(
        product,
        ActionKind::MultiSlotChanged { from: slot(from), to: slot(to), status, group: Some(group) },
    )
    .await;
    lock.release().await.unwrap();
}

fn proxy(number: u16) -> Proxy {
    Proxy {
        id: format!("proxy_{number}").parse().unwrap(),
        addr: format!("127.0.1.{number}:1900{number}").parse().unwrap(),
        state: ProxyState::Offline,
        debug_var_addr: format!("127.0.1.{number}:1100{number}"),
        pid: std::process::id().into(),
        start_at: "2026-11-22 09:00:00 +0000 UTC".to_owned(),
        extra: codis_core::Extra::default(),
    }
}

async fn online(product: &Product, id: ProxyId) {
    let (registered, _) = product.watch_proxy(&id).await.unwrap();
    product.set_proxy_state(&registered.unwrap(), ProxyState::Online).await.unwrap();
}

/// What is written up to a recorded step, in the order of the original.
async fn write(product: &Product, step: usize) {
    let (one, two) = (GroupId(1), GroupId(2));
    match step {
        0 | 1 => {}
        2 => {
            let slots: Vec<Slot> = SlotId::all().map(Slot::unassigned).collect();
            product.create_slots(&slots, 1).await.unwrap();
        }
        3 => {
            let lock = product.lock("add group", Duration::from_secs(5)).await.unwrap().unwrap();
            product.create_group(one).await.unwrap();
            group_changed(product, one, None).await;
            lock.release().await.unwrap();
        }
        4 => {
            product.add_server(&Server::new(addr(7001), one, Role::Master)).await.unwrap();
            group_changed(product, one, Some(7001)).await;
        }
        5 => product.add_server(&Server::new(addr(7002), one, Role::Slave)).await.unwrap(),
        6 => {
            product.create_group(two).await.unwrap();
            group_changed(product, two, None).await;
            product.add_server(&Server::new(addr(7003), two, Role::Master)).await.unwrap();
            group_changed(product, two, Some(7003)).await;
        }
        7 => product.add_server(&Server::new(addr(7004), two, Role::Slave)).await.unwrap(),
        8 => range_set(product, 0, 511, one).await,
        9 => range_set(product, 512, 1023, two).await,
        10 => product.register_proxy(&proxy(3)).await.unwrap(),
        11 => online(product, proxy(3).id).await,
        12 => {
            for number in [1, 2] {
                product.register_proxy(&proxy(number)).await.unwrap();
                online(product, proxy(number).id).await;
            }
        }
        other => panic!("step {other} is not one of ours"),
    }
}

/// Times, process ids and start texts differ; everything else must be the same text.
fn without_run(data: &str) -> String {
    let Ok(mut record) = serde_json::from_str::<Value>(data) else { return data.to_owned() };
    for field in ["ts", "pid", "start_at"] {
        if let Some(value) = record.get_mut(field) {
            *value = Value::Null;
        }
    }
    record.to_string()
}

fn assert_same(name: &str, ours: &Tree, recorded: &Tree, total: usize) {
    // The original's dashboard is a server that registers itself; we have none.
    let dashboard = format!("{ROOT}/dashboard");
    // Nor does it ever remove actions: those that we have collected are no difference.
    let (collected, first_kept) = collected(ours);
    for (path, theirs) in recorded.iter().filter(|(path, _)| **path != dashboard) {
        if action_of(path).is_some_and(|seq| seq < first_kept) {
            continue;
        }
        let mine = ours.get(path).unwrap_or_else(|| panic!("{name}: we have no {path}"));
        assert_eq!(without_run(&mine.data), without_run(&theirs.data), "{name}: {path}");
        let facts = |node: &recorded::Stored| (node.version, node.ephemeral, node.acl);
        assert_eq!(facts(mine), facts(theirs), "{name}: version, ephemeral, access list of {path}");
    }
    // Nothing beside it: the recordings leave some slots out, and say how many nodes there were with them.
    let dashboards = usize::from(recorded.contains_key(&dashboard));
    assert_eq!(ours.len() + 2 * collected + dashboards, total, "{name}: number of nodes");
}

/// The number in the path of an action or its response.
fn action_of(path: &str) -> Option<u64> {
    let below = path.strip_prefix(ROOT)?;
    let below = below.strip_prefix("/actions/").or_else(|| below.strip_prefix("/ActionResponse/"))?;
    below.split('/').next()?.parse().ok()
}

/// How many actions have been removed, and the oldest that has not. Every second number is one, from 0.
fn collected(ours: &Tree) -> (usize, u64) {
    let actions: BTreeSet<u64> = ours.keys().filter_map(|path| action_of(path)).collect();
    let (Some(first), Some(last)) = (actions.first(), actions.last()) else { return (0, 0) };
    (usize::try_from(last / 2).unwrap() + 1 - actions.len(), *first)
}

async fn our_writes_leave_the_recorded_trees(ground: Ground) {
    let store = ground.connect().await;
    let product = product(&store);
    let mut recorded = Tree::new();
    for (number, step) in steps().into_iter().enumerate().take(13) {
        step.apply(&mut recorded);
        write(&product, number).await;
        // The original's root is made by its dashboard before there are slots.
        if number >= 2 {
            assert_same(&step.name, &dump(&ground, &store).await, &recorded, step.total_nodes);
        }
    }
}
