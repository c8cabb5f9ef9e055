//! Trees that are not as they should be: what is wrong is said with its place, and the rest is read.

use std::error::Error as _;

use codis_core::{GroupId, Role, Severity, Slot, SlotId, SlotSet, findings};
use codis_store::{Acl, CreateMode, ErrorKind, Op, Product, SessionState};

use crate::common::{Ground, on_both_stores};
use crate::product::{ROOT, proxy, put, slot};

on_both_stores! {
    missing_and_contradicting_nodes_are_found,
    names_that_are_not_ours_are_named_or_left_alone,
    large_nodes_are_read_and_too_large_ones_are_refused_before_they_are_sent,
    a_group_without_children_rights_is_named,
}

async fn product(ground: &Ground) -> Product {
    let product = crate::product::product(ground).await;
    let slots: Vec<Slot> = SlotId::all().map(Slot::unassigned).collect();
    product.create_slots(&slots, 1).await.unwrap();
    for dir in ["servers/group_1", "servers/group_2", "proxy", "fence", "LOCK", "migrate_tasks", "moves"] {
        product.store().ensure_dir(&format!("{ROOT}/{dir}")).await.unwrap();
    }
    product
}

/// What is found wrong, without how bad it is when it is only a warning.
async fn wrong(product: &Product) -> Vec<String> {
    let found = findings(&product.load().await.unwrap());
    found
        .into_iter()
        .filter(|finding| !finding.what.ends_with("not served"))
        .map(|finding| {
            let bad = if finding.severity == Severity::Critical { "critical " } else { "" };
            format!("{bad}{} at {}", finding.what, finding.place)
        })
        .collect()
}

async fn missing_and_contradicting_nodes_are_found(ground: Ground) {
    let product = product(&ground).await;
    let store = product.store();
    for number in [7, 8, 9, 1023] {
        store.delete(&format!("{ROOT}/slots/slot_{number}"), None).await.unwrap();
    }
    for addr in ["h:1", "h:2"] {
        let record = format!(r#"{{"type":"master","group_id":1,"addr":"{addr}"}}"#);
        put(store, &format!("{ROOT}/servers/group_1/{addr}"), &record).await;
    }
    for number in [1, 2] {
        let mut proxy = proxy(number);
        proxy.addr = "127.0.0.1:19001".parse().unwrap();
        product.register_proxy(&proxy).await.unwrap();
    }
    let cluster = product.load().await.unwrap();
    assert_eq!(cluster.gaps, []);
    assert_eq!(
        cluster.groups[&GroupId(1)].servers.iter().filter(|server| server.role == Role::Master).count(),
        2
    );
    assert_eq!((cluster.proxies.len(), cluster.fences.len()), (2, 1));
    assert_eq!(
        wrong(&product).await,
        [
            "critical 4 slot nodes are missing at slots 7-9,1023",
            "critical 1 fence was left by a proxy that is not online: it may still serve old routes, so nothing can be changed at fence/127.0.0.1:19001",
            "group 1 has 2 masters at servers/group_1",
            "group 2 has no master at servers/group_2",
            "2 proxies say that they are at one address: p1, p2 at 127.0.0.1:19001",
            "no proxy is online: no client is served at proxy",
        ]
    );
    // Nobody writes what he has not read.
    let missing: SlotSet = [slot(7)].into_iter().collect();
    assert!(product.slots(&missing).await.unwrap().found.is_empty());
    let put = codis_core::Versioned::new(Slot::unassigned(slot(7)), 0);
    let error = product.put_slots(&[put]).await.unwrap_err();
    assert_eq!((error.kind, error.path), (ErrorKind::NoNode, format!("{ROOT}/slots/slot_7")));
}

async fn names_that_are_not_ours_are_named_or_left_alone(ground: Ground) {
    let product = product(&ground).await;
    let store = product.store();
    let master = r#"{"type":"master","group_id":1,"addr":"h:1"}"#;
    for (path, data) in [
        ("servers/group_01", ""),
        ("servers/group_-1", ""),
        ("servers/notes", "text"),
        ("servers/group_1/h:1", master),
        ("servers/group_1/backup of h:1", master),
        ("slots/slot_1024", "{}"),
        ("slots/slot_07", "{}"),
        ("slots/README", "not a slot"),
        ("proxy/other", r#"{"id":"p9","addr":"h:9","state":"online"}"#),
        ("proxy/p8", r#"{"id":"p8","addr":"nowhere","state":"online"}"#),
        ("fence/no address", ""),
        (
            "moves/first",
            r#"{"slot_id":7,"from":1,"new_group":2,"status":"pending","wave":3,"create_at":"9"}"#,
        ),
        ("migrate_tasks/x", r#"{"slot_id":7000,"new_group":2,"status":"pending"}"#),
        ("actions/newest", ""),
        ("unheard_of", "\u{1F980}"),
    ] {
        put(store, &format!("{ROOT}/{path}"), data).await;
    }
    let cluster = product.load().await.unwrap();
    let mut gaps: Vec<(&str, &str)> =
        cluster.gaps.iter().map(|gap| (gap.path.strip_prefix(ROOT).unwrap(), gap.why.as_str())).collect();
    gaps.sort_unstable();
    assert_eq!(
        gaps,
        [
            ("/migrate_tasks/x", "slot_id: 7000 is not a slot (0-1023) (byte 11)"),
            ("/moves/first", "the node's name is not a number (byte 0)"),
            ("/proxy/other", "the record has another id"),
            ("/proxy/p8", "addr: `nowhere` is not an address (host:port) (byte 18)"),
            ("/servers/group_-1", "its name is not that of a group"),
            ("/servers/group_01", "its name is not that of a group"),
            ("/servers/group_1/backup of h:1", "addr: the record is of h:1 (byte 37)"),
            ("/servers/notes", "its name is not that of a group"),
        ]
    );
    // One server, all slots; a fence is kept as it is, for people to see.
    assert_eq!(cluster.groups[&GroupId(1)].servers.len(), 1);
    assert_eq!(cluster.known_slots().count(), 1024);
    assert_eq!(cluster.stale_fences(), ["no address"]);
    let (actions, _) = product.watch_actions().await.unwrap();
    assert!(actions.iter().all(|seq| seq % 2 == 0), "`newest` is no action");
}

async fn large_nodes_are_read_and_too_large_ones_are_refused_before_they_are_sent(ground: Ground) {
    let product = product(&ground).await;
    let store = product.store();
    // Most that is taken, in several nodes that are read by one request.
    let mut record = br#"{"product_name":"test","id":7,"group_id":"#.to_vec();
    record.resize(990_000, b' ');
    for number in 7..15 {
        store.set(&format!("{ROOT}/slots/slot_{number}"), &record, 0).await.unwrap();
    }
    let cluster = product.load().await.unwrap();
    assert_eq!(cluster.gaps.len(), 8);
    assert!(
        cluster.gaps.iter().all(|gap| gap.why == "EOF while parsing a value (byte 989999)"),
        "{:?}",
        cluster.gaps
    );
    assert_eq!(cluster.known_slots().count(), 1016);

    let path = format!("{ROOT}/slots/slot_7");
    record.resize(1_000_001, b' ');
    let why = "1000001 bytes are too many for one write, at most 1000000 are taken";
    let error = store.set(&path, &record, 1).await.unwrap_err();
    assert_eq!((error.kind.clone(), error.source().unwrap().to_string()), (ErrorKind::Other, why.to_owned()));
    let error = store.create("/zk/big", &record, CreateMode::Persistent, Acl::Dir).await.unwrap_err();
    assert_eq!(error.source().unwrap().to_string(), why);
    let half = record[..600_000].to_vec();
    let set = |path: &str, version| Op::Set { path: path.to_owned(), data: half.clone(), version };
    let error =
        store.commit_settled(vec![set(&path, 1), set(&format!("{ROOT}/slots/slot_8"), 1)]).await.unwrap_err();
    assert!(error.source().unwrap().to_string().starts_with("1200"), "{:?}", error.source());
    // It was not even tried: a server ends the connection of who sends more than it takes.
    assert_eq!(*store.session().borrow(), SessionState::Connected);
    assert_eq!(store.get(&path).await.unwrap().version, 1);
}

/// The access list that the Go tools give to records: rewritten and deleted by everybody, but nothing below.
async fn a_group_without_children_rights_is_named(ground: Ground) {
    let product = product(&ground).await;
    let store = product.store();
    let path = format!("{ROOT}/servers/group_9");
    store.create(&path, b"", CreateMode::Persistent, Acl::File).await.unwrap();
    store.set(&path, b"rewritten", 0).await.unwrap();
    let server = codis_core::Server::new("h:9".parse().unwrap(), GroupId(9), Role::Master);
    let error = product.add_server(&server).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoAuth);
    assert_eq!(
        error.to_string(),
        format!("commit {path}/h:9: the access list of the node, or of the one above it, forbids it")
    );
    let why = error.source().unwrap().to_string();
    assert!(
        why.starts_with(&format!("nodes below {path} are made and deleted with the rights c and d on it")),
        "{why}"
    );
    store.delete(&path, Some(1)).await.unwrap();
}
