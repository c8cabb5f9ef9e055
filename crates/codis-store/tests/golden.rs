//! Trees of real Codis 2 clusters: we leave the same ones, and can read them all.

use std::collections::BTreeSet;
use std::time::Duration;

use codis_core::{
    Action, ActionKind, Addr, Cluster, GroupId, Proxy, ProxyId, ProxyState, Role, Server, Slot, SlotId,
    SlotStatus, Versioned,
};
use codis_store::{Product, Store};
use serde_json::Value;

use crate::common::{Ground, on_both_stores};
use crate::recorded::{self, Tree, dump, steps};

on_both_stores! {
    our_writes_leave_the_recorded_trees,
    every_recorded_tree_can_be_read,
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

async fn every_recorded_tree_can_be_read(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/").await.unwrap();
    let product = product(&store);
    for (number, step) in steps().into_iter().enumerate() {
        step.apply_to(&store).await;
        let cluster = product.load().await.unwrap();
        assert_eq!(cluster.gaps, [], "{}", step.name);
        read_actions(&store, &product, &step.name).await;
        spot_check(number, &cluster);
        if number == 18 {
            acknowledgements(&store, &product).await;
        }
    }
}

async fn read_actions(store: &Store, product: &Product, name: &str) {
    let names = store.children_many(&[format!("{ROOT}/actions")]).await.unwrap().remove(0);
    let mut last = None;
    for seq in names.unwrap_or_default() {
        let action = product.action(seq.parse().unwrap()).await.unwrap().unwrap();
        assert!(!matches!(action.kind, ActionKind::Unknown(_)), "{name}: {action:?}");
        assert!(action.ts > 1_795_000_000 && action.seq > last, "{name}: {action:?}");
        last = action.seq;
    }
}

/// At step 18 one of three proxies has not acknowledged the newest action.
async fn acknowledgements(store: &Store, product: &Product) {
    let (actions, _) = product.watch_actions().await.unwrap();
    let newest = *actions.last().unwrap();
    let action = product.action(newest).await.unwrap().unwrap();
    let ActionKind::SlotPreMigrate(of) = &action.kind else { panic!("{action:?}") };
    assert_eq!(of.id, slot(7));
    assert_eq!(action.receivers.len(), 3);
    let ids: Vec<ProxyId> = (1..=3).map(|number| proxy(number).id).collect();
    let acks = product.acks(newest, &ids).await.unwrap();
    assert_eq!(acks.acked, ids[..2]);
    assert_eq!((acks.waiting, acks.gone.len()), (vec![ids[2].clone()], 0));
    // A receiver is listed as the text of its node.
    let node = store.get(&format!("{ROOT}/proxy/proxy_3")).await.unwrap();
    assert!(action.receivers.contains(&String::from_utf8(node.data).unwrap()));
}

/// What the recording says of itself.
fn spot_check(step: usize, cluster: &Cluster) {
    let of = |number| cluster.slot(slot(number)).expect("a recorded slot");
    let master = |group| cluster.groups[&GroupId(group)].master().map(|server| server.addr.port());
    let proxy_state = |number| cluster.proxies.get(&proxy(number).id).map(|proxy| proxy.state);
    let go_tasks = || cluster.go_tasks.iter().map(|task| (task.slot.get(), task.to.0)).collect::<Vec<_>>();
    match step {
        0 => assert!(cluster.dashboard.is_none() && cluster.slots.iter().all(Option::is_none)),
        1 => assert!(cluster.dashboard.as_ref().is_some_and(|dashboard| !dashboard.ephemeral)),
        2 => assert_eq!((of(7).status, of(7).group, of(7).version), (SlotStatus::Offline, None, 0)),
        12 => {
            assert_eq!((master(1), master(2)), (Some(7001), Some(7003)));
            assert_eq!((of(511).group, of(512).group), (Some(GroupId(1)), Some(GroupId(2))));
            assert_eq!(cluster.online_proxies().count(), 3);
            assert!(cluster.stale_fences().is_empty() && !cluster.all_ours());
        }
        13 => {
            assert_eq!(master(1), Some(7002));
            let old = cluster.server(&addr(7001)).unwrap();
            assert_eq!((old.role, old.group, old.version), (Role::Offline, GroupId(1), 1));
            let [lock] = cluster.locks.as_slice() else { panic!("{:?}", cluster.locks) };
            assert!(lock.desc.starts_with("promote server") && lock.hostname == "HOST", "{lock:?}");
        }
        14 => assert!(cluster.locks.is_empty()),
        15 => assert_eq!(cluster.groups[&GroupId(1)].slaves().count(), 1),
        16 => assert!(cluster.groups[&GroupId(3)].servers.is_empty()),
        17 => assert_eq!((go_tasks(), cluster.go_tasks[0].status.as_str()), (vec![(7, 2)], "pending")),
        18 => assert_eq!((of(7).status, of(7).group), (SlotStatus::PreMigrate, Some(GroupId(1)))),
        19 => assert_eq!(of(7).moving(), Some((GroupId(1), GroupId(2)))),
        20 => assert_eq!(
            (of(7).status, of(7).group, go_tasks().len()),
            (SlotStatus::Online, Some(GroupId(2)), 0)
        ),
        21 => assert_eq!(proxy_state(3), Some(ProxyState::MarkOffline)),
        22 => assert_eq!(proxy_state(3), Some(ProxyState::Online)),
        24 => assert!(!cluster.groups.contains_key(&GroupId(3))),
        27 => assert_eq!((proxy_state(2), cluster.stale_fences().contains(&"127.0.1.2:19002")), (None, true)),
        29 => assert!(cluster.stale_fences().is_empty()),
        31 => assert_eq!(of(8).status, SlotStatus::PreMigrate),
        32 => assert_eq!((of(8).status, of(8).group), (SlotStatus::Online, Some(GroupId(1)))),
        39 => {
            // Online, with what it left in from and to: that means nothing now.
            assert_eq!((of(20).status, of(20).moving()), (SlotStatus::Online, None));
            assert!(of(20).from.is_some() && of(20).to.is_some());
        }
        40 => assert_eq!(go_tasks().len(), 3),
        41 => assert!(go_tasks().is_empty()),
        45 => assert!(cluster.dashboard.is_none()),
        47 => assert!(cluster.dashboard.is_some()),
        49 => assert_eq!((of(0).status, of(0).group), (SlotStatus::Offline, None)),
        _ => {}
    }
}
