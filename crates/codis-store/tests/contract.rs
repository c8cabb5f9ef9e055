//! What both stores promise, shown on both.

use std::time::{Duration, Instant};

use codis_store::{Acl, CreateMode, ErrorKind, Fired, Op, OpDone, SessionState, Store, StoreError, Watch};
use codis_testkit::{Process, Sandbox, eventually_async};

use crate::common::{Ground, PATIENCE, on_both_stores, options};

on_both_stores! {
    versions_count_rewrites_and_guard_them,
    creation_needs_a_parent_and_an_unused_path,
    access_lists_bind,
    sequence_digits_come_from_the_parents_creations,
    a_transaction_is_done_whole_or_not_at_all,
    a_transaction_may_build_on_its_own_steps,
    many_nodes_are_read_at_once,
    a_watch_fires_once_on_what_it_watches,
    a_change_while_a_watch_is_set_is_listed_or_told,
    a_dropped_watch_is_forgotten,
    ephemerals_go_with_a_closed_session,
    ephemerals_go_when_their_process_is_killed,
    two_processes_see_each_other,
    a_process_that_hangs_loses_its_session_and_learns_it,
    contended_counting_loses_nothing,
    an_expired_session_can_be_replaced,
}

async fn add(store: &Store, path: &str, data: &str) -> String {
    store.create(path, data.as_bytes(), CreateMode::Persistent, Acl::Dir).await.unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> ErrorKind {
    result.unwrap_err().kind
}

async fn fires(watch: &mut Watch) -> Fired {
    tokio::time::timeout(PATIENCE, watch.fired()).await.expect("the watch did not fire")
}

async fn versions_count_rewrites_and_guard_them(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/a").await.unwrap();
    add(&store, "/a/n", "one").await;
    let node = store.get("/a/n").await.unwrap();
    assert_eq!((node.data.as_slice(), node.version, node.ephemeral), (b"one".as_slice(), 0, false));
    assert!(node.created_ms > 1_600_000_000_000);

    assert_eq!(store.set("/a/n", b"two", 0).await.unwrap(), 1);
    assert_eq!(kind(store.set("/a/n", b"late", 0).await), ErrorKind::BadVersion);
    assert_eq!(kind(store.delete("/a/n", Some(0)).await), ErrorKind::BadVersion);
    assert_eq!(store.get("/a/n").await.unwrap().data, b"two");

    store.delete("/a/n", Some(1)).await.unwrap();
    assert_eq!(kind(store.get("/a/n").await), ErrorKind::NoNode);
    assert_eq!(kind(store.set("/a/n", b"x", 0).await), ErrorKind::NoNode);
    assert_eq!(kind(store.delete("/a/n", None).await), ErrorKind::NoNode);
    add(&store, "/a/n", "again").await;
    assert_eq!(store.get("/a/n").await.unwrap().version, 0, "a new node begins anew");
}

async fn creation_needs_a_parent_and_an_unused_path(ground: Ground) {
    let store = ground.connect().await;
    assert_eq!(
        kind(store.create("/no/parent", b"", CreateMode::Persistent, Acl::Dir).await),
        ErrorKind::NoNode
    );
    store.ensure_dir("/b/c/d").await.unwrap();
    store.ensure_dir("/b/c/d").await.unwrap();
    assert_eq!(
        kind(store.create("/b/c", b"", CreateMode::Persistent, Acl::Dir).await),
        ErrorKind::NodeExists
    );
    assert_eq!(kind(store.delete("/b/c", None).await), ErrorKind::NotEmpty);
    assert_eq!(store.children("/b").await.unwrap(), ["c"]);
    assert!(store.children("/").await.unwrap().contains(&"b".to_owned()));
    assert_eq!(kind(store.children("/no").await), ErrorKind::NoNode);
    for bad in ["b", "/b/", "/b//c", "/b/../c", ""] {
        let error = store.create(bad, b"", CreateMode::Persistent, Acl::Dir).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Other, "{bad:?}: {error}");
    }

    store.create("/b/e", b"", CreateMode::Ephemeral, Acl::Dir).await.unwrap();
    assert_eq!(
        kind(store.create("/b/e/f", b"", CreateMode::Persistent, Acl::Dir).await),
        ErrorKind::EphemeralParent
    );
}

async fn access_lists_bind(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/d").await.unwrap();
    store.create("/d/file", b"", CreateMode::Persistent, Acl::File).await.unwrap();
    assert_eq!(
        kind(store.create("/d/file/x", b"", CreateMode::Persistent, Acl::File).await),
        ErrorKind::NoAuth
    );
    // Deleting is the parent's permission.
    store.delete("/d/file", Some(0)).await.unwrap();
}

async fn sequence_digits_come_from_the_parents_creations(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/seq").await.unwrap();
    let sequential =
        async |path: &str| store.create(path, b"", CreateMode::PersistentSequential, Acl::Dir).await.unwrap();
    assert_eq!(sequential("/seq/").await, "/seq/0000000000");
    assert_eq!(sequential("/seq/lock-").await, "/seq/lock-0000000001");
    // Plain creations count, deletions do not.
    add(&store, "/seq/plain", "").await;
    store.delete("/seq/plain", None).await.unwrap();
    store.delete("/seq/0000000000", None).await.unwrap();
    add(&store, "/seq/0000000000", "").await;
    assert_eq!(sequential("/seq/").await, "/seq/0000000004");
    // A refused creation does not count.
    assert_eq!(
        kind(store.create("/seq/0000000000", b"", CreateMode::Persistent, Acl::Dir).await),
        ErrorKind::NodeExists
    );
    assert_eq!(sequential("/seq/").await, "/seq/0000000005");
}

async fn a_transaction_is_done_whole_or_not_at_all(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/t").await.unwrap();
    add(&store, "/t/a", "0").await;
    add(&store, "/t/b", "0").await;
    let create = |path: &str| Op::Create {
        path: path.to_owned(),
        data: b"new".to_vec(),
        mode: CreateMode::Persistent,
        acl: Acl::File,
    };
    let set = |path: &str, version| Op::Set { path: path.to_owned(), data: b"1".to_vec(), version };

    let refused =
        store.commit(vec![set("/t/a", 0), create("/t/c"), set("/t/b", 7), create("/t/d")]).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.failed_op, refused.path.as_str()),
        (ErrorKind::BadVersion, Some(2), "/t/b")
    );
    assert_eq!(store.get("/t/a").await.unwrap().version, 0);
    assert_eq!(store.children("/t").await.unwrap(), ["a", "b"]);

    let done = store
        .commit(vec![
            Op::Check { path: "/t".into(), version: 0 },
            set("/t/a", 0),
            create("/t/c"),
            Op::Delete { path: "/t/b".into(), version: Some(0) },
        ])
        .await
        .unwrap();
    assert_eq!(done, [OpDone::Checked, OpDone::Set(1), OpDone::Created("/t/c".into()), OpDone::Deleted]);
    assert_eq!(store.children("/t").await.unwrap(), ["a", "c"]);

    let stale = store.commit(vec![Op::Check { path: "/t/a".into(), version: 0 }, create("/t/x")]).await;
    assert_eq!(stale.unwrap_err().failed_op, Some(0));
    assert!(store.commit(Vec::new()).await.unwrap().is_empty());
}

async fn a_transaction_may_build_on_its_own_steps(ground: Ground) {
    let store = ground.connect().await;
    let create =
        |path: &str, mode| Op::Create { path: path.to_owned(), data: Vec::new(), mode, acl: Acl::Dir };
    store.ensure_dir("/u").await.unwrap();
    let done = store
        .commit(vec![
            create("/u/dir", CreateMode::Persistent),
            create("/u/dir/n-", CreateMode::PersistentSequential),
            create("/u/dir/mine", CreateMode::Ephemeral),
        ])
        .await
        .unwrap();
    assert_eq!(done[1], OpDone::Created("/u/dir/n-0000000000".into()));
    let mine = store.get("/u/dir/mine").await.unwrap();
    assert_eq!((mine.ephemeral, mine.owner), (true, store.session_id()));
}

async fn many_nodes_are_read_at_once(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/many").await.unwrap();
    let path = |n: usize| format!("/many/slot_{n}");
    for chunk in (0..1024).collect::<Vec<_>>().chunks(128) {
        let ops = chunk.iter().map(|&n| Op::Create {
            path: path(n),
            data: format!("{{\"id\":{n}}}").into_bytes(),
            mode: CreateMode::Persistent,
            acl: Acl::File,
        });
        store.commit(ops.collect()).await.unwrap();
    }
    let mut paths: Vec<String> = (0..1024).map(path).collect();
    paths.insert(512, "/many/missing".to_owned());
    for round in ["first", "second", "third"] {
        let begun = Instant::now();
        let nodes = store.get_many(&paths).await.unwrap();
        println!("{}: 1024 nodes in {:.1?} ({round} time)", ground.addr, begun.elapsed());
        assert_eq!(nodes.len(), 1025);
        assert_eq!(nodes[512], None);
        assert_eq!(nodes[1024].as_ref().unwrap().data, b"{\"id\":1023}");
        assert_eq!(nodes.iter().flatten().count(), 1024);
    }
    let lists = store.children_many(&["/many".to_owned(), "/none".to_owned()]).await.unwrap();
    assert_eq!(lists[0].as_ref().map(Vec::len), Some(1024));
    assert_eq!(lists[1], None);
}

async fn a_watch_fires_once_on_what_it_watches(ground: Ground) {
    let watching = ground.connect().await;
    let acting = ground.connect().await;
    watching.ensure_dir("/w").await.unwrap();

    let (node, mut created) = watching.watch_node("/w/n").await.unwrap();
    assert_eq!(node, None);
    let (children, mut listed) = watching.watch_children("/w").await.unwrap();
    assert!(children.is_empty());
    let begun = Instant::now();
    add(&acting, "/w/n", "0").await;
    assert_eq!(fires(&mut created).await, Fired::Changed);
    assert_eq!(fires(&mut listed).await, Fired::Changed);
    println!("{}: a watch fired {:.1?} after the write began", ground.addr, begun.elapsed());

    let (node, mut changed) = watching.watch_node("/w/n").await.unwrap();
    assert_eq!(node.unwrap().version, 0);
    let (_, mut siblings) = watching.watch_children("/w").await.unwrap();
    acting.set("/w/n", b"1", 0).await.unwrap();
    assert_eq!(fires(&mut changed).await, Fired::Changed);
    // The rewrite of a child is no news to its parent; the next event is the deletion.
    let (_, mut deleted) = watching.watch_node("/w/n").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(150), siblings.fired()).await.is_err());
    acting.delete("/w/n", Some(1)).await.unwrap();
    assert_eq!(fires(&mut deleted).await, Fired::Changed);
    assert_eq!(fires(&mut siblings).await, Fired::Changed);

    let (_, mut gone) = watching.watch_children("/w").await.unwrap();
    acting.delete("/w", None).await.unwrap();
    assert_eq!(fires(&mut gone).await, Fired::Changed);
    assert_eq!(kind(watching.watch_children("/w").await), ErrorKind::NoNode);

    // Our own writes are news as well, and so is a change that is undone.
    add(&acting, "/w", "0").await;
    let (_, mut own) = acting.watch_node("/w").await.unwrap();
    acting.delete("/w", None).await.unwrap();
    add(&acting, "/w", "0").await;
    assert_eq!(fires(&mut own).await, Fired::Changed);
}

/// A proxy once missed an action that came in this very moment, and never acknowledged it.
async fn a_change_while_a_watch_is_set_is_listed_or_told(ground: Ground) {
    let watching = ground.connect().await;
    let acting = ground.connect().await;
    watching.ensure_dir("/r").await.unwrap();
    for n in 0..400 {
        let path = format!("/r/{n}");
        let (watched, ()) = tokio::join!(watching.watch_children("/r"), async {
            // Spread over the time that setting the watch takes.
            for _ in 0..n % 20 {
                tokio::task::yield_now().await;
            }
            add(&acting, &path, "").await;
        });
        let (children, mut watch) = watched.unwrap();
        if children.len() == n {
            assert_eq!(fires(&mut watch).await, Fired::Changed, "child {n}");
        }
        assert_eq!(watching.children("/r").await.unwrap().len(), n + 1);
    }
}

async fn a_dropped_watch_is_forgotten(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/x").await.unwrap();
    for _ in 0..100 {
        let (_, watch) = store.watch_children("/x").await.unwrap();
        drop(watch);
    }
    let (_, mut kept) = store.watch_children("/x").await.unwrap();
    add(&store, "/x/n", "").await;
    assert_eq!(fires(&mut kept).await, Fired::Changed);
}

async fn ephemerals_go_with_a_closed_session(ground: Ground) {
    let watching = ground.connect().await;
    let owning = ground.connect().await;
    watching.ensure_dir("/e").await.unwrap();
    let (_, mut watch) = watching.watch_children("/e").await.unwrap();
    let path = owning.create("/e/lock-", b"me", CreateMode::EphemeralSequential, Acl::File).await.unwrap();
    assert_eq!(path, "/e/lock-0000000000");
    fires(&mut watch).await;
    let node = watching.get(&path).await.unwrap();
    assert!(node.ephemeral && node.owner == owning.session_id() && node.owner != watching.session_id());

    let (_, mut watch) = watching.watch_children("/e").await.unwrap();
    owning.close().await.unwrap();
    fires(&mut watch).await;
    assert!(watching.children("/e").await.unwrap().is_empty());
    assert_eq!(*owning.session().borrow(), SessionState::Closed);
    assert_eq!(kind(owning.get("/e").await), ErrorKind::Expired);
    assert_eq!(kind(owning.reopen().await), ErrorKind::Expired);
}

/// This test program once more, as another process that opens the ground and plays a part.
fn other_process(ground: &Ground, part: &str) -> Process {
    let sandbox = Sandbox::create("store-contract").unwrap();
    let args = ["--exact", "contract::another_process", "--ignored", "--nocapture"];
    let addr = ground.addr.to_string();
    let env = [("CODIS_TEST_STORE", addr.as_str()), ("CODIS_TEST_PART", part)];
    Process::start(part, &std::env::current_exe().unwrap(), args, &env, &sandbox).unwrap()
}

#[tokio::test]
#[ignore = "what other tests start as another process"]
async fn another_process() {
    let (Ok(addr), Ok(part)) = (std::env::var("CODIS_TEST_STORE"), std::env::var("CODIS_TEST_PART")) else {
        return;
    };
    let options = codis_store::ConnectOptions { session_timeout: Duration::from_secs(2), ..options() };
    let store = Store::connect(&addr.parse().unwrap(), &options).await.unwrap();
    match part.as_str() {
        "holds" => {
            store.create("/p/held", b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
            let mut session = store.session();
            session.wait_for(|state| *state == SessionState::Expired).await.unwrap();
            println!("told: expired");
            let error = store.set("/p", b"late", 0).await.unwrap_err();
            println!("refused: {}", error.kind == ErrorKind::Expired);
            store.reopen().await.unwrap();
            store.create("/p/back", b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
            std::future::pending::<()>().await;
        }
        "counts" => count(&store, 100).await,
        other => panic!("no part {other}"),
    }
}

async fn ephemerals_go_when_their_process_is_killed(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/p").await.unwrap();
    let holder = other_process(&ground, "holds");
    eventually_async(PATIENCE, async || store.get("/p/held").await.is_ok()).await;
    let (_, mut watch) = store.watch_node("/p/held").await.unwrap();
    let begun = Instant::now();
    holder.kill();
    fires(&mut watch).await;
    println!("{}: noticed a killed process after {:.1?}", ground.addr, begun.elapsed());
    assert_eq!(kind(store.get("/p/held").await), ErrorKind::NoNode);
    assert!(store.children("/p").await.unwrap().is_empty());
}

async fn a_process_that_hangs_loses_its_session_and_learns_it(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/p").await.unwrap();
    let holder = other_process(&ground, "holds");
    eventually_async(PATIENCE, async || store.get("/p/held").await.is_ok()).await;
    let (_, mut watch) = store.watch_node("/p/held").await.unwrap();
    holder.stop();
    fires(&mut watch).await;
    assert_eq!(kind(store.get("/p/held").await), ErrorKind::NoNode);
    assert_eq!(store.get("/p").await.unwrap().version, 0);
    holder.cont();
    eventually_async(PATIENCE, async || store.get("/p/back").await.is_ok()).await;
    let log = holder.log();
    assert!(log.contains("told: expired") && log.contains("refused: true"), "{log}");
    assert_eq!(store.get("/p").await.unwrap().version, 0, "an expired session writes nothing");
}

async fn two_processes_see_each_other(ground: Ground) {
    let store = ground.connect().await;
    store.ensure_dir("/p").await.unwrap();
    add(&store, "/count", "0").await;
    let other = other_process(&ground, "counts");
    count(&store, 100).await;
    let status = other.wait(PATIENCE).expect("the other process did not end");
    assert!(status.success(), "{}", other.log());
    assert_eq!(store.get("/count").await.unwrap().data, b"200");
}

async fn contended_counting_loses_nothing(ground: Ground) {
    let store = ground.connect().await;
    add_root(&store, "/count", "0").await;
    let mut counters = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = ground.connect().await;
        counters.spawn(async move { count(&store, 25).await });
    }
    counters.join_all().await;
    let node = store.get("/count").await.unwrap();
    assert_eq!((node.data.as_slice(), node.version), (b"100".as_slice(), 100));
}

async fn add_root(store: &Store, path: &str, data: &str) {
    store.ensure_dir("/p").await.unwrap();
    add(store, path, data).await;
}

/// Adds one, `times` over, each by compare-and-set.
async fn count(store: &Store, times: usize) {
    let mut done = 0;
    while done < times {
        let node = store.get("/count").await.unwrap();
        let next = String::from_utf8(node.data).unwrap().parse::<usize>().unwrap() + 1;
        match store.set("/count", next.to_string().as_bytes(), node.version).await {
            Ok(_) => done += 1,
            Err(error) => assert_eq!(error.kind, ErrorKind::BadVersion, "{error}"),
        }
    }
}

async fn an_expired_session_can_be_replaced(ground: Ground) {
    // A session that holds is left as it is.
    let store = ground.connect().await;
    let before = store.session_id();
    store.reopen().await.unwrap();
    assert_eq!(store.session_id(), before);
    assert_eq!(*store.session().borrow(), SessionState::Connected);
}
