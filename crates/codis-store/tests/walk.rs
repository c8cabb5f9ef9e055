//! Going through trees, and removing one.

use std::time::Instant;

use codis_core::{GroupId, Role, Server, Slot, SlotId};
use codis_store::{Acl, CreateMode, ErrorKind, Listed, Product, Store};
use codis_testkit::{Process, Sandbox, eventually_async};

use crate::common::{Ground, PATIENCE, on_both_stores, options};
use crate::product::{ROOT, group_action, kind, product, proxy, register_online};

on_both_stores! {
    a_walk_shows_every_node_with_its_facts,
    pages_are_bounded_in_number_and_in_bytes,
    what_goes_meanwhile_is_left_out,
    a_product_is_removed_with_everything_below_it,
    removing_a_product_says_who_still_writes,
    an_interrupted_removal_is_still_a_product_and_goes_on,
}

async fn all(store: &Store, path: &str, depth: usize, content: bool) -> Vec<Listed> {
    let mut walk = store.walk(path, depth, content);
    let mut found = Vec::new();
    while let Some(page) = walk.next_page().await.unwrap() {
        assert!(!page.is_empty() && page.len() <= 512);
        found.extend(page);
    }
    found
}

async fn filled(ground: &Ground) -> Product {
    let product = product(ground).await;
    let slots: Vec<Slot> = SlotId::all().map(Slot::unassigned).collect();
    product.create_slots(&slots, 1).await.unwrap();
    for group in [1, 2] {
        product.create_group(GroupId(group)).await.unwrap();
        let addr = format!("h:{group}").parse().unwrap();
        product.add_server(&Server::new(addr, GroupId(group), Role::Master)).await.unwrap();
    }
    for action in 0..3 {
        let published = product.publish(&group_action(action)).await.unwrap();
        product.acknowledge(published.seq, &proxy(1)).await.unwrap();
    }
    product
}

async fn a_walk_shows_every_node_with_its_facts(ground: Ground) {
    let product = filled(&ground).await;
    let store = product.store();
    register_online(&product, 1).await;

    let begun = Instant::now();
    let slots = all(store, &format!("{ROOT}/slots"), 1, true).await;
    println!("{}: 1024 slots with facts and content in {:.1?}", ground.addr, begun.elapsed());
    assert_eq!(slots.len(), 1025);
    assert_eq!((slots[0].depth, slots[0].stat.children, slots[0].stat.acl), (0, 1024, Some(31)));
    let first = slots.iter().find(|node| node.path.ends_with("/slot_7")).unwrap();
    assert_eq!((first.depth, first.stat.version, first.stat.acl, first.stat.owner), (1, 0, Some(19), 0));
    assert_eq!(first.stat.bytes, first.data.len() as u64);
    assert!(first.data.starts_with(b"{\"product_name\":\"test\",\"id\":7,"));

    let proxies = all(store, &format!("{ROOT}/proxy"), 5, false).await;
    let [_, proxy] = proxies.as_slice() else { panic!("{proxies:?}") };
    assert_eq!((proxy.stat.version, proxy.stat.owner), (1, store.session_id()));
    assert!(proxy.data.is_empty() && proxy.stat.bytes > 100);
    assert!(proxy.stat.created_ms > 1_600_000_000_000 && proxy.stat.modified_ms >= proxy.stat.created_ms);

    assert_eq!(all(store, ROOT, 0, true).await.len(), 1);
    let tree = all(store, "/", usize::MAX, false).await;
    let place = |path: &str| tree.iter().position(|node| node.path == path);
    for node in &tree {
        let parent = node.path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty());
        assert!(parent.is_none_or(|parent| place(parent) < place(&node.path)), "{}", node.path);
    }
    assert!(place("/zk/codis").is_some() && place(&format!("{ROOT}/servers/group_2/h:2")).is_some());
    let mut paths: Vec<&str> = tree.iter().map(|node| node.path.as_str()).collect();
    paths.sort_unstable();
    let before = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), before, "every node once");

    assert_eq!(kind(store.walk("/none", 1, true).next_page().await), ErrorKind::NoNode);
}

async fn pages_are_bounded_in_number_and_in_bytes(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/big").await.unwrap();
    let big = vec![b'x'; 900_000];
    for number in 0..20 {
        store.create(&format!("/big/{number:02}"), &big, CreateMode::Persistent, Acl::Dir).await.unwrap();
    }
    for number in 0..600 {
        let path = format!("/big/{:02}/{number}", 3);
        store.create(&path, b"y", CreateMode::Persistent, Acl::File).await.unwrap();
    }
    let (mut walk, mut pages) = (store.walk("/big", usize::MAX, true), Vec::new());
    while let Some(page) = walk.next_page().await.unwrap() {
        let bytes: usize = page.iter().map(|node| node.data.len()).sum();
        assert!(bytes <= 8 << 20, "{bytes}");
        pages.push(page.len());
    }
    assert_eq!(pages.iter().sum::<usize>(), 621);
    // The root; 9 + 9 + 2 of the large ones; 512 and 88 small ones.
    assert_eq!(pages, [1, 9, 9, 2, 512, 88]);
}

async fn what_goes_meanwhile_is_left_out(ground: Ground) {
    let store = ground.connect().await;
    for path in ["/v/a/x", "/v/b/x", "/v/c"] {
        store.ensure_dir(path).await.unwrap();
    }
    let mut walk = store.walk("/v", usize::MAX, true);
    assert_eq!(walk.next_page().await.unwrap().unwrap()[0].path, "/v");
    assert_eq!(walk.next_page().await.unwrap().unwrap().len(), 3);
    store.delete("/v/a/x", None).await.unwrap();
    store.delete("/v/a", None).await.unwrap();
    let page = walk.next_page().await.unwrap().unwrap();
    assert_eq!(page.iter().map(|node| node.path.as_str()).collect::<Vec<_>>(), ["/v/b/x"]);
    assert_eq!(walk.next_page().await.unwrap(), None);
}

async fn a_product_is_removed_with_everything_below_it(ground: Ground) {
    let product = filled(&ground).await;
    let store = product.store();
    register_online(&product, 1).await;
    store.ensure_dir(&format!("{ROOT}/of/others/deep/down")).await.unwrap();
    store.ensure_dir("/zk/codis/db_other/slots").await.unwrap();
    let lock = product.lock("remove product", PATIENCE).await.unwrap().unwrap();
    let nodes = all(store, ROOT, usize::MAX, false).await.len();
    let mut told = Vec::new();
    let begun = Instant::now();
    assert_eq!(product.remove(|gone| told.push(gone)).await.unwrap(), nodes);
    println!("{}: {nodes} nodes removed in {:.1?}", ground.addr, begun.elapsed());
    assert!(told.is_sorted() && told.last() == Some(&nodes) && told.len() > 10);
    assert!(!product.exists().await.unwrap());
    lock.release().await.unwrap();
    assert_eq!(product.remove(|_| {}).await.unwrap(), 0);
    assert_eq!(store.children("/zk/codis").await.unwrap(), ["db_other"]);
}

async fn removing_a_product_says_who_still_writes(ground: Ground) {
    let product = filled(&ground).await;
    // Each time that something has gone, another session creates a group, before the removal goes on.
    let (ask, asked) = std::sync::mpsc::channel();
    let (told, answer) = std::sync::mpsc::channel();
    let addr = ground.addr.clone();
    let writer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = runtime.block_on(Store::connect(&addr, &options())).unwrap();
        let writing = Product::new(store, "test".parse().unwrap());
        while asked.recv().is_ok() {
            let created = runtime.block_on(writing.create_group(GroupId(9)));
            assert!(created.is_ok() || kind(created) == ErrorKind::NodeExists);
            told.send(()).unwrap();
        }
    });
    let disturb = |_| {
        ask.send(()).unwrap();
        answer.recv_timeout(PATIENCE).unwrap();
    };
    let error = product.remove(disturb).await.unwrap_err();
    assert_eq!((error.kind, error.path), (ErrorKind::NotEmpty, format!("{ROOT}/servers")));
    assert_eq!(all(product.store(), &format!("{ROOT}/slots"), 1, false).await.len(), 1025);
    drop(ask);
    tokio::task::spawn_blocking(move || writer.join().unwrap()).await.unwrap();
    product.remove(|_| {}).await.unwrap();
    assert!(!product.exists().await.unwrap());
}

/// This test program once more: removes the product, and is killed in between.
#[tokio::test]
#[ignore = "what another test starts as another process"]
async fn removes() {
    let Ok(addr) = std::env::var("CODIS_TEST_STORE") else { return };
    let store = Store::connect(&addr.parse().unwrap(), &options()).await.unwrap();
    Product::new(store, "test".parse().unwrap()).remove(|_| {}).await.unwrap();
}

async fn an_interrupted_removal_is_still_a_product_and_goes_on(ground: Ground) {
    let product = filled(&ground).await;
    let store = product.store();
    let addr = ground.addr.to_string();
    let args = ["--exact", "walk::removes", "--ignored", "--nocapture"];
    let (mut ends, mut last) = (0, usize::MAX);
    for write in [1, 2, 5, 9, 12, 15, 100_000] {
        let sandbox = Sandbox::create("store-removal").unwrap();
        let write = write.to_string();
        let env = [("CODIS_TEST_STORE", addr.as_str()), ("CODIS_CRASH_AT", write.as_str())];
        let process =
            Process::start("removes", &std::env::current_exe().unwrap(), args, &env, &sandbox).unwrap();
        let status = process.wait(PATIENCE).expect("it did not end");
        if status.success() {
            break;
        }
        ends += 1;
        let left = all(store, ROOT, usize::MAX, false).await.len();
        assert!(left <= last, "{left} of {last} nodes after a crash before write {write}");
        last = left;
        assert_eq!(Product::list(store).await.unwrap().len(), 1, "still listed");
        store.get(&format!("{ROOT}/slots")).await.unwrap();
    }
    assert!(ends >= 4, "{ends}");
    eventually_async(PATIENCE, async || !product.exists().await.unwrap()).await;
    assert!(Product::list(store).await.unwrap().is_empty());
}
