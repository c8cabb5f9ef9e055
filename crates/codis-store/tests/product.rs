//! The product level on both stores: snapshots, guarded writes, actions, locks, leases, queues, audit.

use std::time::{Duration, Instant};

use codis_core::duty::snapshots::Kept;
use codis_core::notice::{Alert, Facts, Kind, Record, Silence};
use codis_core::{
    Action, ActionKind, Extra, GoTask, GroupId, LockEntry, Move, MoveState, Proxy, ProxyId, ProxyState, Role,
    Server, Sight, Slot, SlotId, SlotStatus, Switch, SwitchStep, Versioned, Witness,
};
use codis_store::{
    Acl, AlertChange, AuditRecord, CreateMode, ErrorKind, Fired, Op, Product, SessionState, Store, StoreError,
};
use codis_testkit::eventually_async;

use crate::common::{Ground, PATIENCE, on_both_stores};

on_both_stores! {
    a_large_product_is_read_in_few_rounds,
    a_damaged_node_is_a_gap_and_the_rest_is_read,
    fields_of_others_survive_our_rewrites,
    a_plan_made_on_an_old_picture_is_refused,
    products_are_listed,
    initialising_can_be_interrupted_and_overtaken,
    an_action_is_waited_for_until_all_have_answered_or_left,
    a_proxy_registers_with_its_fence_and_once,
    old_actions_are_collected,
    the_lock_is_taken_in_turn,
    a_foreign_lock_is_named_after_a_while,
    there_is_one_mover_and_its_epoch_grows,
    a_removed_dashboard_node_is_noticed,
    tasks_keep_their_order_and_their_versions,
    audit_records_are_bounded,
    a_switch_is_journalled_by_compare_and_set,
    a_witness_goes_with_its_session,
    alerts_are_changed_together_and_by_compare_and_set,
    a_silence_is_replaced_and_goes,
    settings_of_servers_are_kept_by_compare_and_set,
    a_host_has_one_governor,
}

pub(crate) const ROOT: &str = "/zk/codis/db_test";

pub(crate) async fn product(ground: &Ground) -> Product {
    let store = ground.connect().await;
    store.ensure_dir(ROOT).await.unwrap();
    Product::new(store, "test".parse().unwrap())
}

pub(crate) fn slot(number: u16) -> SlotId {
    SlotId::new(number).unwrap()
}

pub(crate) fn proxy(number: u16) -> Proxy {
    Proxy {
        id: format!("p{number}").parse().unwrap(),
        addr: format!("127.0.0.1:{}", 19_000 + number).parse().unwrap(),
        state: ProxyState::Offline,
        debug_var_addr: format!("127.0.0.1:{}", 11_000 + number),
        pid: 1,
        start_at: Proxy::start_mark("2026-11-22 09:00:00 +0000 UTC", "0.1.0"),
        extra: Extra::default(),
    }
}

pub(crate) async fn register_online(product: &Product, number: u16) -> ProxyId {
    let proxy = proxy(number);
    product.register_proxy(&proxy).await.unwrap();
    product.set_proxy_state(&Versioned::new(proxy.clone(), 0), ProxyState::Online).await.unwrap();
    proxy.id
}

pub(crate) fn group_action(group: u32) -> Action {
    let kind = ActionKind::GroupChanged { group: GroupId(group), servers: None };
    Action { seq: None, kind, ts: 1, receivers: Vec::new() }
}

pub(crate) async fn put(store: &Store, path: &str, data: &str) {
    store.create(path, data.as_bytes(), CreateMode::Persistent, Acl::File).await.unwrap();
}

pub(crate) fn kind<T>(result: Result<T, StoreError>) -> ErrorKind {
    result.err().unwrap().kind
}

async fn init(product: &Product) {
    let slots: Vec<Slot> = SlotId::all().map(Slot::unassigned).collect();
    product.create_slots(&slots, 1).await.unwrap();
}

async fn a_large_product_is_read_in_few_rounds(ground: Ground) {
    let product = product(&ground).await;
    init(&product).await;
    for group in 1..=64 {
        let id = GroupId(group);
        product.create_group(id).await.unwrap();
        for (role, host) in [(Role::Master, 1), (Role::Slave, 2)] {
            let addr = format!("10.0.{host}.{group}:6379").parse().unwrap();
            product.add_server(&Server::new(addr, id, role)).await.unwrap();
        }
    }
    let slots = product.slots(&SlotId::all().collect()).await.unwrap().found;
    let spread = |slot: &Versioned<Slot>| {
        Versioned::new(slot.online_at(GroupId(u32::from(slot.id.get()) % 64 + 1)), slot.version)
    };
    product.put_slots(&slots.iter().map(spread).collect::<Vec<_>>()).await.unwrap();
    for number in 1..=50 {
        product.register_proxy(&proxy(number)).await.unwrap();
    }
    for round in ["first", "second", "third"] {
        let begun = Instant::now();
        let cluster = product.load().await.unwrap();
        println!(
            "{}: 1024 slots, 64 groups, 50 proxies in {:.1?} ({round} time)",
            ground.addr,
            begun.elapsed()
        );
        assert_eq!(cluster.gaps, []);
        assert_eq!((cluster.count(SlotStatus::Online), cluster.groups.len()), (1024, 64));
        assert_eq!((cluster.proxies.len(), cluster.fences.len()), (50, 50));
        assert!(cluster.groups.values().all(|group| group.servers.len() == 2 && group.master().is_some()));
        assert!(cluster.known_slots().all(|slot| slot.version == 1));
    }
}

async fn a_damaged_node_is_a_gap_and_the_rest_is_read(ground: Ground) {
    let product = product(&ground).await;
    init(&product).await;
    let store = product.store();
    let damaged = r#"{"product_name":"test","id":7,"group_id":}"#;
    store.set(&format!("{ROOT}/slots/slot_7"), damaged.as_bytes(), 0).await.unwrap();
    store.set(&format!("{ROOT}/slots/slot_8"), b"\xff", 0).await.unwrap();
    for dir in ["servers/group_1", "servers/group_x", "proxy", "moves", "migrate_tasks", "LOCK"] {
        store.ensure_dir(&format!("{ROOT}/{dir}")).await.unwrap();
    }
    put(store, &format!("{ROOT}/servers/group_1/h:1"), r#"{"type":"boss","group_id":1,"addr":"h:1"}"#).await;
    put(store, &format!("{ROOT}/servers/group_1/h:2"), r#"{"type":"master","group_id":1,"addr":"h:2"}"#)
        .await;
    for broken in
        ["proxy/p1", "moves/0000000000", "migrate_tasks/0000000000", "LOCK/lock-0000000000", "mover"]
    {
        put(store, &format!("{ROOT}/{broken}"), "").await;
    }

    let cluster = product.load().await.unwrap();
    let gaps: Vec<(&str, &str)> =
        cluster.gaps.iter().map(|gap| (gap.path.strip_prefix(ROOT).unwrap(), gap.why.as_str())).collect();
    let empty = "EOF while parsing a value (byte 0)";
    let mut expected = [
        ("/slots/slot_7", "expected value (byte 41)"),
        ("/slots/slot_8", "the text is not UTF-8 (byte 0)"),
        ("/servers/group_x", "its name is not that of a group"),
        ("/servers/group_1/h:1", "type: `boss` is not a role (master, slave, offline) (byte 8)"),
        ("/mover", empty),
        ("/proxy/p1", empty),
        ("/moves/0000000000", empty),
        ("/migrate_tasks/0000000000", empty),
        ("/LOCK/lock-0000000000", empty),
    ];
    let mut found = gaps.clone();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(cluster.known_slots().count(), 1022);
    assert!(cluster.slot(slot(7)).is_none() && cluster.slot(slot(9)).is_some());
    assert_eq!(cluster.groups[&GroupId(1)].servers.len(), 1);

    // What must know every proxy refuses instead.
    let error = product.publish(&group_action(1)).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Corrupt { offset: 0, .. }) && error.path.ends_with("proxy/p1"));
}

async fn fields_of_others_survive_our_rewrites(ground: Ground) {
    let product = product(&ground).await;
    let store = product.store();
    store.ensure_dir(&format!("{ROOT}/slots")).await.unwrap();
    let path = format!("{ROOT}/slots/slot_7");
    let foreign = r#"{"product_name":"test","id":7,"group_id":1,"state":{"status":"online","migrate_status":{"from":-1,"to":-1},"last_op_ts":"0","by":"x"},"hold":[1,{"a":"<"}]}"#;
    put(store, &path, foreign).await;
    let read = product.slots(&[slot(7)].into_iter().collect()).await.unwrap().found.remove(0);
    product.put_slots(&[Versioned::new(read.migrate(GroupId(1), GroupId(2)), 0)]).await.unwrap();
    let expected = foreign
        .replace("\"group_id\":1", "\"group_id\":2")
        .replace("online", "migrate")
        .replace(r#"{"from":-1,"to":-1}"#, r#"{"from":1,"to":2}"#);
    assert_eq!(String::from_utf8(store.get(&path).await.unwrap().data).unwrap(), expected);
}

async fn a_plan_made_on_an_old_picture_is_refused(ground: Ground) {
    let product = product(&ground).await;
    init(&product).await;
    let read = product.slots(&[slot(1), slot(2)].into_iter().collect()).await.unwrap().found;
    let online: Vec<Versioned<Slot>> =
        read.iter().map(|slot| Versioned::new(slot.online_at(GroupId(1)), slot.version)).collect();
    product.put_slots(&online[1..]).await.unwrap();
    let error = product.put_slots(&online).await.unwrap_err();
    assert_eq!((error.kind, error.failed_op), (ErrorKind::BadVersion, Some(1)));
    assert_eq!(error.path, format!("{ROOT}/slots/slot_2"));
    let now = product.slots(&[slot(1)].into_iter().collect()).await.unwrap().found;
    assert_eq!(now[0].status, SlotStatus::Offline, "all or none");

    product.create_group(GroupId(1)).await.unwrap();
    let server = Server::new("h:1".parse().unwrap(), GroupId(1), Role::Master);
    product.add_server(&server).await.unwrap();
    assert_eq!(kind(product.add_server(&server).await), ErrorKind::NodeExists);
    assert_eq!(kind(product.create_group(GroupId(1)).await), ErrorKind::NodeExists);
    assert_eq!(kind(product.remove_group(GroupId(1)).await), ErrorKind::NotEmpty);
    let elsewhere = Server::new("h:1".parse().unwrap(), GroupId(2), Role::Master);
    assert_eq!(kind(product.add_server(&elsewhere).await), ErrorKind::NoNode);
    product.put_servers(&[Versioned::new(server.clone(), 0)]).await.unwrap();
    assert_eq!(kind(product.remove_server(&Versioned::new(server.clone(), 0)).await), ErrorKind::BadVersion);
    product.remove_server(&Versioned::new(server, 1)).await.unwrap();
    product.remove_group(GroupId(1)).await.unwrap();
    assert!(product.groups().await.unwrap().found.is_empty());
}

async fn products_are_listed(ground: Ground) {
    let store = ground.connect().await;
    assert!(Product::list(&store).await.unwrap().is_empty());
    let none = Product::new(store.clone(), "none".parse().unwrap());
    assert!(!none.exists().await.unwrap());
    for name in ["db_b", "db_a", "other"] {
        store.ensure_dir(&format!("/zk/codis/{name}")).await.unwrap();
    }
    let names: Vec<String> = Product::list(&store).await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(Product::new(store, "a".parse().unwrap()).exists().await.unwrap());
}

async fn initialising_can_be_interrupted_and_overtaken(ground: Ground) {
    let product = product(&ground).await;
    let slots: Vec<Slot> = SlotId::all().map(Slot::unassigned).collect();
    product.create_slots(&slots[..300], 1).await.unwrap();
    assert_eq!(kind(product.create_slots(&slots[299..], 1).await), ErrorKind::NodeExists);
    // Others draw numbers meanwhile.
    let other = {
        let product = Product::new(ground.connect().await, "test".parse().unwrap());
        tokio::spawn(async move {
            for group in 0..20 {
                product.publish(&group_action(group)).await.unwrap();
            }
        })
    };
    product.create_slots(&slots[300..], 1).await.unwrap();
    other.await.unwrap();
    let (actions, _) = product.watch_actions().await.unwrap();
    // The oldest have been collected by who published meanwhile.
    assert!((500..=1024 + 20).contains(&actions.len()), "{}", actions.len());
    let responses = product.store().children(&format!("{ROOT}/ActionResponse")).await.unwrap();
    let responses: Vec<u64> = responses.iter().map(|name| name.parse().unwrap()).collect();
    assert_eq!(responses, actions, "each action has its response, and nothing is left over");
    assert_eq!(product.load().await.unwrap().known_slots().count(), 1024);
    // The next number is still free.
    product.publish(&group_action(1)).await.unwrap();
}

async fn an_action_is_waited_for_until_all_have_answered_or_left(ground: Ground) {
    let control = product(&ground).await;
    let (one, two) = (product(&ground).await, product(&ground).await);
    let ids = [register_online(&one, 1).await, register_online(&two, 2).await];
    // Registered, not online: no receiver.
    one.register_proxy(&proxy(3)).await.unwrap();

    let (seen, mut actions) = one.watch_actions().await.unwrap();
    assert!(seen.is_empty());
    let published = control.publish(&group_action(1)).await.unwrap();
    assert_eq!(published.receivers, ids);
    assert_eq!(actions.fired().await, Fired::Changed);
    let (seen, _) = one.watch_actions().await.unwrap();
    assert_eq!(seen, [published.seq]);
    let action = one.action(published.seq).await.unwrap().unwrap();
    let texts: Vec<serde_json::Value> =
        action.receivers.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!((texts[0]["id"].as_str(), texts[1]["state"].as_str()), (Some("p1"), Some("online")));

    let patience = Duration::from_millis(50);
    let acks = control.await_acks(published.seq, &ids, patience).await.unwrap();
    assert_eq!((acks.acked.len(), acks.waiting), (0, ids.to_vec()));
    assert!(!one.has_acknowledged(published.seq, &ids[0]).await.unwrap());
    let waiting = {
        let (control, ids) = (control.clone(), ids.clone());
        tokio::spawn(async move { control.await_acks(published.seq, &ids, PATIENCE).await.unwrap() })
    };
    one.acknowledge(published.seq, &proxy(1)).await.unwrap();
    one.acknowledge(published.seq, &proxy(1)).await.unwrap();
    assert!(one.has_acknowledged(published.seq, &ids[0]).await.unwrap());
    two.store().close().await.unwrap();
    let acks = waiting.await.unwrap();
    assert_eq!((acks.acked, acks.gone, acks.waiting.len()), (vec![ids[0].clone()], vec![ids[1].clone()], 0));

    let next = control.publish(&group_action(2)).await.unwrap();
    assert_eq!((next.seq, next.receivers), (published.seq + 2, vec![ids[0].clone()]));
    assert_eq!(one.action(next.seq + 2).await.unwrap(), None);
    assert_eq!(kind(one.acknowledge(next.seq + 2, &proxy(1)).await), ErrorKind::NoNode);
}

async fn a_proxy_registers_with_its_fence_and_once(ground: Ground) {
    let control = product(&ground).await;
    let (one, two) = (product(&ground).await, product(&ground).await);
    let id = register_online(&one, 1).await;
    assert!(control.stale_fences().await.unwrap().is_empty());
    assert_eq!(kind(two.register_proxy(&proxy(1)).await), ErrorKind::NodeExists);
    // Another process must not take out what is not its own.
    let mut same_id = proxy(2);
    same_id.id = id.clone();
    two.unregister_proxy(&same_id).await.unwrap();
    let (registered, mut watch) = control.watch_proxy(&id).await.unwrap();
    assert_eq!(registered.unwrap().state, ProxyState::Online);
    assert!(!control.await_proxy_gone(&id, Duration::from_millis(20)).await.unwrap());

    // Its session ends without it: the fence stays and tells.
    one.store().close().await.unwrap();
    assert_eq!(watch.fired().await, Fired::Changed);
    assert!(control.await_proxy_gone(&id, PATIENCE).await.unwrap());
    assert_eq!(control.stale_fences().await.unwrap(), ["127.0.0.1:19001"]);
    // Its successor takes the fence over.
    two.register_proxy(&proxy(1)).await.unwrap();
    assert_eq!(control.stale_fences().await.unwrap(), ["127.0.0.1:19001"], "registered, but not online");
    two.unregister_proxy(&proxy(1)).await.unwrap();
    two.unregister_proxy(&proxy(1)).await.unwrap();
    assert!(control.stale_fences().await.unwrap().is_empty());
    assert_eq!(kind(control.remove_fence("127.0.0.1:19001").await), ErrorKind::NoNode);

    let (suspended, mut watch) = two.watch_suspension(&id).await.unwrap();
    assert!(!suspended);
    put(control.store(), &format!("{ROOT}/proxy_suspend/{id}"), "").await;
    assert_eq!(watch.fired().await, Fired::Changed);
    assert!(two.watch_suspension(&id).await.unwrap().0);
    two.clear_suspension(&id).await.unwrap();
    two.clear_suspension(&id).await.unwrap();
}

async fn old_actions_are_collected(ground: Ground) {
    let product = product(&ground).await;
    assert_eq!(product.gc_actions(5).await.unwrap(), 0);
    let mut seqs = Vec::new();
    for group in 0..12 {
        let published = product.publish(&group_action(group)).await.unwrap();
        product.acknowledge(published.seq, &proxy(1)).await.unwrap();
        seqs.push(published.seq);
    }
    let recent = product.recent_actions(2).await.unwrap();
    assert_eq!(recent.there, 12);
    let newest: Vec<_> = recent.newest.found.iter().map(|one| (one.action.seq, one.acked.clone())).collect();
    assert_eq!(newest, [11, 10].map(|n| (Some(seqs[n]), vec!["p1".to_owned()])), "newest first");
    // What a publisher that died half-way leaves.
    let responses = format!("{ROOT}/ActionResponse");
    let orphan = format!("{responses}/0000000001");
    put(product.store(), &orphan, "").await;
    assert_eq!(product.gc_actions(5).await.unwrap(), 7);
    assert_eq!(product.watch_actions().await.unwrap().0, seqs[7..]);
    let left = product.store().children(&responses).await.unwrap();
    assert_eq!(left.len(), 5, "{left:?}");
    assert_eq!(product.acks(seqs[7], &[proxy(1).id]).await.unwrap().acked.len(), 1);
    assert_eq!(product.gc_actions(5).await.unwrap(), 0);
    assert!(product.publish(&group_action(1)).await.unwrap().seq > seqs[11], "numbers go on");
}

async fn the_lock_is_taken_in_turn(ground: Ground) {
    let (one, two) = (product(&ground).await, product(&ground).await);
    let held = one.lock("first <change>", PATIENCE).await.unwrap().unwrap();
    let cluster = two.load().await.unwrap();
    assert_eq!(cluster.locks[0].desc, "first <change>");
    assert_eq!(cluster.locks[0].pid, i64::from(std::process::id()));

    let holder = two.lock("second", Duration::from_millis(50)).await.unwrap().unwrap_err();
    assert_eq!(holder.desc, "first <change>");
    assert_eq!(two.load().await.unwrap().locks.len(), 1, "who gives up leaves the queue");

    let waiting = {
        let two = two.clone();
        tokio::spawn(async move { two.lock("third", PATIENCE).await.unwrap().unwrap() })
    };
    eventually_async(PATIENCE, async || one.load().await.unwrap().locks.len() == 2).await;
    held.release().await.unwrap();
    let held = waiting.await.unwrap();
    // Dropping releases as well, and so does the end of a session.
    drop(held);
    let held = one.lock("fourth", PATIENCE).await.unwrap().unwrap();
    one.store().close().await.unwrap();
    two.lock("fifth", PATIENCE).await.unwrap().unwrap().release().await.unwrap();
    drop(held);
}

async fn a_foreign_lock_is_named_after_a_while(ground: Ground) {
    let product = product(&ground).await;
    product.store().ensure_dir(&format!("{ROOT}/LOCK")).await.unwrap();
    let record = r#"{"desc":"add group {Id:1}","hostname":"elsewhere","pid":42}"#;
    let mode = CreateMode::PersistentSequential;
    let path = format!("{ROOT}/LOCK/lock-");
    let path = product.store().create(&path, record.as_bytes(), mode, Acl::File).await.unwrap();
    let holder = product.lock("mine", Duration::from_millis(50)).await.unwrap().unwrap_err();
    assert_eq!((holder.hostname.as_str(), holder.pid), ("elsewhere", 42));
    assert!(path.ends_with(&holder.name) && holder.created_ms > 1_600_000_000_000);
    let other = LockEntry { created_ms: holder.created_ms + 1, ..holder.clone() };
    assert_eq!(kind(product.clear_lock(&other).await), ErrorKind::BadVersion, "a lock taken anew stays");
    product.clear_lock(&holder).await.unwrap();
    product.clear_lock(&holder).await.unwrap();
    // A node that nobody can understand locks, too: it is shown and can be cleared.
    put(product.store(), &format!("{ROOT}/LOCK/lock-0000000000"), "what?").await;
    let holder = product.lock("mine", Duration::from_millis(50)).await.unwrap().unwrap_err();
    assert_eq!(holder.desc, "unreadable: expected value (byte 0)");
    assert_eq!(product.load().await.unwrap().locks, std::slice::from_ref(&holder));
    product.clear_lock(&holder).await.unwrap();
    product.lock("mine", PATIENCE).await.unwrap().unwrap().release().await.unwrap();
}

async fn there_is_one_mover_and_its_epoch_grows(ground: Ground) {
    let (one, two) = (product(&ground).await, product(&ground).await);
    let mut lease = one.take_mover("me@here").await.unwrap().unwrap();
    assert_eq!(lease.epoch(), 1);
    lease.prove().await.unwrap();
    lease.prove().await.unwrap();
    let other = two.take_mover("you@there").await.unwrap().unwrap_err();
    assert_eq!((other.owner.as_str(), other.epoch), ("me@here", 1));
    assert_eq!(two.load().await.unwrap().mover, Some(other));
    assert!(lease.watch().await.unwrap().0);
    lease.release().await.unwrap();

    let mut lease = two.take_mover("you@there").await.unwrap().unwrap();
    assert_eq!(lease.epoch(), 2);
    let (ours, mut watch) = lease.watch().await.unwrap();
    assert!(ours);
    // Somebody takes the lease away: the next proof fails.
    one.store().delete(&format!("{ROOT}/mover"), None).await.unwrap();
    assert_eq!(watch.fired().await, Fired::Changed);
    let mut successor = one.take_mover("me@here").await.unwrap().unwrap();
    assert_eq!(successor.epoch(), 3);
    successor.prove().await.unwrap();
    assert_eq!(kind(lease.prove().await), ErrorKind::BadVersion);
    assert!(!lease.watch().await.unwrap().0);
    // With the session goes the lease.
    one.store().close().await.unwrap();
    assert_eq!(kind(successor.prove().await), ErrorKind::Expired);
    eventually_async(PATIENCE, async || two.load().await.unwrap().mover.is_none()).await;
}

async fn a_removed_dashboard_node_is_noticed(ground: Ground) {
    let (one, two) = (product(&ground).await, product(&ground).await);
    let guard = one.hold_dashboard("h:1").await.unwrap().unwrap();
    let other = two.hold_dashboard("h:2").await.unwrap().unwrap_err();
    assert_eq!((other.addr.as_str(), other.ephemeral), ("h:1", true));
    let (ours, mut watch) = guard.watch().await.unwrap();
    assert!(ours);
    two.store().delete(&format!("{ROOT}/dashboard"), None).await.unwrap();
    assert_eq!(watch.fired().await, Fired::Changed);
    let stranger = two.hold_dashboard("h:2").await.unwrap().unwrap();
    assert!(!guard.watch().await.unwrap().0);
    guard.release().await.unwrap();
    assert!(stranger.watch().await.unwrap().0, "what is not ours stays");
    stranger.release().await.unwrap();
    assert_eq!(one.load().await.unwrap().dashboard, None);
}

async fn tasks_keep_their_order_and_their_versions(ground: Ground) {
    let product = product(&ground).await;
    let task = |number| Move {
        task: 0,
        slot: slot(number),
        from: GroupId(1),
        to: GroupId(2),
        state: MoveState::Pending,
        wave: 9,
        created: 1_795_334_475,
        keys_total: None,
        keys_moved: 0,
        held: false,
        note: "a < b".to_owned(),
        extra: Extra::default(),
    };
    let (none, mut watch) = product.watch_moves().await.unwrap();
    assert!(none.found.is_empty());
    assert_eq!(product.add_moves(&[task(5), task(3)]).await.unwrap(), [0, 1]);
    assert_eq!(watch.fired().await, Fired::Changed);
    assert_eq!(product.add_moves(&[task(4)]).await.unwrap(), [2]);
    let mut queue = product.moves().await.unwrap().found;
    let order: Vec<(u64, u16)> = queue.iter().map(|task| (task.task, task.slot.get())).collect();
    assert_eq!(order, [(0, 5), (1, 3), (2, 4)]);
    assert_eq!(queue[0].note, "a < b");

    queue[0].value.state = MoveState::Migrating;
    queue[0].value.keys_total = Some(10);
    queue[0].value.keys_moved = 4;
    product.put_moves(&queue[..1]).await.unwrap();
    assert_eq!(kind(product.put_moves(&queue[..1]).await), ErrorKind::BadVersion);
    assert_eq!(kind(product.delete_moves(&queue).await), ErrorKind::BadVersion);
    let cluster = product.load().await.unwrap();
    assert_eq!(cluster.moves.len(), 3);
    assert_eq!((cluster.moves[0].percent(), cluster.moves[0].version), (40, 1));
    product.delete_moves(&cluster.moves).await.unwrap();
    assert!(product.moves().await.unwrap().found.is_empty());

    let dir = format!("{ROOT}/migrate_tasks");
    product.store().ensure_dir(&dir).await.unwrap();
    let go =
        r#"{"slot_id":7,"new_group":2,"delay":1500,"create_at":"1795334475","percent":0,"status":"pending"}"#;
    put(product.store(), &format!("{dir}/0000000000"), go).await;
    let tasks = product.load().await.unwrap().go_tasks;
    assert_eq!((tasks[0].slot, tasks[0].to), (slot(7), GroupId(2)));
    product.delete_go_tasks(&tasks).await.unwrap();

    // Ours are written as the original writes them, and fields of others stay.
    let task = |number| GoTask {
        name: String::new(),
        slot: slot(number),
        to: GroupId(2),
        delay_ms: 10,
        created: 1_795_334_475,
        status: "pending".to_owned(),
        extra: Extra::default(),
    };
    let names = product.add_go_tasks(&[task(9), task(8)]).await.unwrap();
    assert_eq!(names, ["0000000001", "0000000002"]);
    let node = product.store().get(&format!("{dir}/0000000001")).await.unwrap();
    let written =
        r#"{"slot_id":9,"new_group":2,"delay":10,"create_at":"1795334475","percent":0,"status":"pending"}"#;
    assert_eq!(String::from_utf8(node.data).unwrap(), written);
    let foreign = written.replace('}', r#","by":"x"}"#);
    product.store().set(&format!("{dir}/0000000001"), foreign.as_bytes(), 0).await.unwrap();
    let mut tasks = product.load().await.unwrap().go_tasks;
    assert_eq!(tasks.iter().map(|task| task.slot.get()).collect::<Vec<_>>(), [9, 8]);
    for task in &mut tasks {
        task.value.status = "migrating".to_owned();
    }
    product.put_go_tasks(&tasks).await.unwrap();
    assert_eq!(kind(product.put_go_tasks(&tasks).await), ErrorKind::BadVersion);
    assert_eq!(kind(product.delete_go_tasks(&tasks).await), ErrorKind::BadVersion);
    let node = product.store().get(&format!("{dir}/0000000001")).await.unwrap();
    assert_eq!(String::from_utf8(node.data).unwrap(), foreign.replace("pending", "migrating"));
    product.delete_go_tasks(&product.load().await.unwrap().go_tasks).await.unwrap();
    assert!(product.load().await.unwrap().go_tasks.is_empty());
}

async fn audit_records_are_bounded(ground: Ground) {
    let product = product(&ground).await;
    assert!(product.audit_list(10).await.unwrap().is_empty());
    let record = |number: u64| AuditRecord {
        ts_ms: number,
        who: "me@here".to_owned(),
        consent: "asked".to_owned(),
        argv: "codisctl slot assign".to_owned(),
        plan: "p".repeat(if number == 0 { 200_000 } else { 10 }),
        outcome: "done".to_owned(),
        took_ms: 12,
        pid: 7,
    };
    product.audit_append(&record(0)).await.unwrap();
    let first = product.audit_list(10).await.unwrap().remove(0);
    assert!(first.plan.len() < 70_000 && first.plan.ends_with("bytes left out)"));
    product.audit_append(&record(1)).await.unwrap();
    assert_eq!(product.audit_list(1).await.unwrap(), [record(1)]);
    // Many others, then enough to come by a sweep.
    let filler = Op::Create {
        path: format!("{ROOT}/audit/"),
        data: Vec::new(),
        mode: CreateMode::PersistentSequential,
        acl: Acl::File,
    };
    product.store().commit(vec![filler; 1040]).await.unwrap();
    for number in 2..60 {
        product.audit_append(&record(number)).await.unwrap();
    }
    let kept = product.store().children(&format!("{ROOT}/audit")).await.unwrap();
    assert!((1000..1050).contains(&kept.len()), "{}", kept.len());
    let newest: Vec<u64> = product.audit_list(3).await.unwrap().iter().map(|record| record.ts_ms).collect();
    assert_eq!(newest, [59, 58, 57]);
    assert_eq!(*product.store().session().borrow(), SessionState::Connected);
}

async fn a_switch_is_journalled_by_compare_and_set(ground: Ground) {
    let product = product(&ground).await;
    let group = GroupId(7);
    assert_eq!(product.watch_switch(group).await.unwrap().0, None);
    let switch = Switch {
        group,
        step: SwitchStep::Hold,
        from: "10.0.0.1:6379".parse().unwrap(),
        to: "10.0.0.2:6379".parse().unwrap(),
        owner: "ops@here".into(),
        epoch: 1,
        begun_ms: 5,
        hold_ms: 5000,
        extra: Extra::default(),
    };
    let begun = product.begin_switch(&switch).await.unwrap();
    let taken = product.begin_switch(&switch).await.unwrap_err();
    assert_eq!(taken.kind, ErrorKind::NodeExists, "one at a time");
    let (read, mut watch) = product.watch_switch(group).await.unwrap();
    assert_eq!(read, Some(begun.clone()));

    // A proxy whose patience is over, and the one who switches, are as fast as each other: one of them wins.
    let other = crate::product::product(&ground).await;
    other.step_switch(&begun, SwitchStep::Aborted).await.unwrap();
    assert_eq!(watch.fired().await, Fired::Changed);
    let late = product.step_switch(&begun, SwitchStep::Switching).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::BadVersion);

    let again = product.begin_switch(&switch).await.unwrap();
    assert_eq!(again.epoch, 2);
    let again = product.step_switch(&again, SwitchStep::Switching).await.unwrap();
    assert!(product.step_switch(&again, SwitchStep::Hold).await.is_err(), "it only goes forward");
    let done = product.step_switch(&again, SwitchStep::Done).await.unwrap();
    let all = product.switches(&[GroupId(1), group]).await.unwrap();
    assert_eq!(all.found.into_iter().collect::<Vec<_>>(), [(group, done)]);
    assert_eq!(all.gaps, []);
}

async fn a_witness_goes_with_its_session(ground: Ground) {
    let product = product(&ground).await;
    let seen = |failing| Witness {
        proxy: "px-1".parse().unwrap(),
        ts_ms: 7,
        servers: [("10.0.0.1:6379".parse().unwrap(), Sight { connections: 2, failing })].into(),
    };
    assert_eq!(product.witnesses().await.unwrap().found, []);
    for failing in [0, 1] {
        product.publish_witness(&seen(failing)).await.unwrap();
        assert_eq!(product.witnesses().await.unwrap().found, [seen(failing)]);
    }
    let successor = crate::product::product(&ground).await;
    successor.publish_witness(&seen(2)).await.unwrap();
    product.store().close().await.unwrap();
    assert_eq!(successor.witnesses().await.unwrap().found, [seen(2)], "it is the successor's now");
    let reader = crate::product::product(&ground).await;
    successor.store().close().await.unwrap();
    eventually_async(PATIENCE, || async { reader.witnesses().await.unwrap().found.is_empty() }).await;
}

fn alert_record(subject: &str) -> Record {
    let alert = Alert::new(subject, 1, Facts::Test { by: "li".into() });
    let extra = Extra::default();
    let (first_ms, last_ms, count, told_ms) = (1, 1, 1, 1);
    Record { alert, first_ms, last_ms, count, told_ms, said: true, gone_ms: None, ack: None, extra }
}

async fn alerts_are_changed_together_and_by_compare_and_set(ground: Ground) {
    let product = product(&ground).await;
    assert_eq!(product.alert_book().await.unwrap(), codis_store::AlertBook::default());
    let change = |subject: &str, version, record: Option<Record>| AlertChange {
        id: alert_record(subject).alert.id(),
        version,
        record,
    };
    let odd = "a/b%c 代理";
    let both = [change("x", None, Some(alert_record("x"))), change(odd, None, Some(alert_record(odd)))];
    product.put_alerts(&both).await.unwrap();
    let book = product.alert_book().await.unwrap();
    let subjects: Vec<_> = book.records.keys().map(|id| id.subject.as_str()).collect();
    assert_eq!((subjects, book.gaps.len()), (vec![odd, "x"], 0));

    // Of two that go on from the same picture one wins, and the other has changed nothing at all.
    let other = Product::new(ground.connect().await, "test".parse().unwrap());
    let acknowledged = Record { count: 2, ..alert_record("x") };
    other.put_alerts(&[change("x", Some(0), Some(acknowledged))]).await.unwrap();
    let late = [change(odd, Some(0), None), change("x", Some(0), None)];
    assert_eq!(kind(product.put_alerts(&late).await), ErrorKind::BadVersion);
    assert_eq!(kind(product.put_alerts(&both[..1]).await), ErrorKind::NodeExists);
    assert_eq!(product.alert_book().await.unwrap().records.len(), 2);
    product.put_alerts(&[change(odd, Some(0), None), change("x", Some(1), None)]).await.unwrap();
    assert!(product.alert_book().await.unwrap().records.is_empty());

    // One of a later version is left alone, and named.
    let path = format!("{ROOT}/alerts/weather:x");
    put(product.store(), &path, r#"{"kind":"weather"}"#).await;
    let book = product.alert_book().await.unwrap();
    assert_eq!((book.gaps[0].path.as_str(), book.records.len()), (path.as_str(), 0));
}

async fn a_silence_is_replaced_and_goes(ground: Ground) {
    let product = product(&ground).await;
    let silence = |until_ms| Silence {
        kind: Some(Kind::Memory),
        subject: "10.0.7.51:*".into(),
        until_ms,
        by: "li".into(),
        why: "OPS-812".into(),
        extra: Extra::default(),
    };
    product.put_silence(&silence(5)).await.unwrap();
    product.put_silence(&silence(6)).await.unwrap();
    let silences = product.alert_book().await.unwrap().silences;
    assert_eq!(silences, [Versioned::new(silence(6), 1)]);
    let old = Versioned::new(silence(5), 0);
    assert_eq!(kind(product.delete_silence(&old).await), ErrorKind::BadVersion);
    product.delete_silence(&silences[0]).await.unwrap();
    product.delete_silence(&silences[0]).await.unwrap();
    assert!(product.alert_book().await.unwrap().silences.is_empty());
}

async fn settings_of_servers_are_kept_by_compare_and_set(ground: Ground) {
    let product = product(&ground).await;
    assert!(product.kept().await.unwrap().found.is_empty());
    let kept = Kept {
        addr: "10.0.7.51:6381".parse().unwrap(),
        settings: [("save".to_owned(), "900 1".to_owned())].into(),
        standing: false,
        by: "ops:1".to_owned(),
        ts_ms: 5,
        extra: Extra(vec![("later".to_owned(), "1".to_owned())]),
    };
    product.keep(&kept).await.unwrap();
    assert_eq!(product.keep(&kept).await.unwrap_err().kind, ErrorKind::NodeExists);
    let read = product.kept_of(&kept.addr).await.unwrap().unwrap();
    assert_eq!(read.value, kept);
    let standing = Versioned::new(Kept { standing: true, ..kept.clone() }, read.version);
    product.keep_anew(&standing).await.unwrap();
    assert_eq!(product.keep_anew(&standing).await.unwrap_err().kind, ErrorKind::BadVersion);
    assert_eq!(product.forget_kept(&read).await.unwrap_err().kind, ErrorKind::BadVersion);
    let all = product.kept().await.unwrap();
    assert_eq!(all.found[&kept.addr].value, standing.value);
    product.forget_kept(&all.found[&kept.addr]).await.unwrap();
    product.forget_kept(&all.found[&kept.addr]).await.unwrap();
    assert_eq!(product.kept_of(&kept.addr).await.unwrap(), None);
    put(product.store(), &format!("{ROOT}/snapshots/10.0.7.51:6382"), "{}").await;
    assert_eq!(product.kept().await.unwrap().gaps.len(), 1);
}

async fn a_host_has_one_governor(ground: Ground) {
    let (one, other) = (product(&ground).await, product(&ground).await);
    assert_eq!(one.governor("10.0.7.51").await.unwrap(), None);
    let mut lease = one.take_governor("10.0.7.51", "ops:1").await.unwrap().unwrap();
    let refused = other.take_governor("10.0.7.51", "ops:2").await.unwrap().unwrap_err();
    assert_eq!((refused.owner.as_str(), refused.epoch), ("ops:1", 1));
    let elsewhere = other.take_governor("10.0.7.52", "ops:2").await.unwrap().unwrap();
    assert_eq!(elsewhere.epoch(), 2, "hosts share the counter");
    lease.prove().await.unwrap();
    one.store().close().await.unwrap();
    eventually_async(PATIENCE, async || other.governor("10.0.7.51").await.unwrap().is_none()).await;
    assert_eq!(other.take_governor("10.0.7.51", "ops:2").await.unwrap().unwrap().epoch(), 3);
}
