//! A ZooKeeper server that restarts, stays away, or ends our session.

use std::time::{Duration, Instant};

use codis_store::{
    Acl, ConnectOptions, CreateMode, ErrorKind, Fired, Op, SessionState, Store, StoreAddr, StoreError,
};
use codis_testkit::{ZooKeeper, eventually_async, need};

use crate::common::{PATIENCE, options};

fn addr(server: &ZooKeeper) -> StoreAddr {
    server.url().parse().unwrap()
}

/// The server again, started from a thread of its own: the store goes on meanwhile.
async fn restarted(mut server: ZooKeeper) -> ZooKeeper {
    tokio::task::spawn_blocking(move || {
        server.restart();
        server
    })
    .await
    .unwrap()
}

async fn becomes(store: &Store, wanted: SessionState) {
    let mut session = store.session();
    tokio::time::timeout(PATIENCE, session.wait_for(|state| *state == wanted)).await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_during_a_restart_are_slow_and_not_wrong() {
    need!("zookeeper");
    let server = ZooKeeper::start();
    let long = ConnectOptions { session_timeout: Duration::from_secs(10), ..options() };
    let store = Store::connect(&addr(&server), &long).await.unwrap();
    let id = store.session_id();
    store.ensure_dir("/c").await.unwrap();
    store.create("/c/mine", b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
    store.create("/c/other", b"", CreateMode::Persistent, Acl::File).await.unwrap();
    let (_, mut watch) = store.watch_node("/c/other").await.unwrap();
    let running = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..6 {
        let (store, running) = (store.clone(), running.clone());
        callers.spawn(async move {
            let path = format!("/c/{caller}");
            store.create(&path, b"", CreateMode::Persistent, Acl::File).await.unwrap();
            let mut version = 0;
            while running.load(std::sync::atomic::Ordering::Relaxed) {
                let data = version.to_string().into_bytes();
                store.commit_settled(vec![Op::Set { path: path.clone(), data, version }]).await.unwrap();
                version += 1;
                assert_eq!(store.get(&path).await.unwrap().version, version);
                assert!(store.children("/c").await.unwrap().len() >= 2);
                store.ensure_dir("/c/dir/of/mine").await.unwrap();
                drop(store.watch_children("/c").await.unwrap());
            }
            version
        });
    }
    eventually_async(PATIENCE, async || store.get("/c/5").await.is_ok_and(|node| node.version > 3)).await;
    let server = restarted(server).await;
    let seen = store.get("/c/5").await.unwrap().version;
    eventually_async(PATIENCE, async || store.get("/c/5").await.is_ok_and(|node| node.version > seen + 3))
        .await;
    running.store(false, std::sync::atomic::Ordering::Relaxed);
    let written = callers.join_all().await;
    assert!(written.iter().all(|count| *count > 0), "{written:?}");
    assert_eq!((store.session_id(), store.get("/c/mine").await.unwrap().owner), (id, id));
    store.set("/c/other", b"x", 0).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, watch.fired()).await.unwrap(), Fired::Changed);
    drop(server);
}

#[tokio::test]
async fn a_store_that_is_away_for_longer_than_the_session_ends_it() {
    need!("zookeeper");
    let server = ZooKeeper::start();
    let short = ConnectOptions {
        session_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        op_timeout: Duration::from_millis(300),
        create_local: false,
    };
    let store = Store::connect(&addr(&server), &short).await.unwrap();
    let before = store.session_id();
    store.create("/mine", b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
    let (_, mut watch) = store.watch_node("/mine").await.unwrap();
    server.kill();
    becomes(&store, SessionState::Expired).await;
    assert_eq!(tokio::time::timeout(PATIENCE, watch.fired()).await.unwrap(), Fired::SessionOver);
    for error in [store.get("/mine").await.unwrap_err(), store.set("/mine", b"", 0).await.unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::Expired, "{error}");
    }
    let begun = Instant::now();
    let error = store.reopen().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(*store.session().borrow(), SessionState::Expired, "still: reopen again");

    let server = restarted(server).await;
    eventually_async(PATIENCE, async || store.reopen().await.is_ok()).await;
    assert_ne!(store.session_id(), before);
    // The server counts the old session's time from its own start.
    eventually_async(PATIENCE, async || {
        store.get("/mine").await.is_err_and(|error: StoreError| error.kind == ErrorKind::NoNode)
    })
    .await;
    let mine = create(&store).await;
    assert_eq!(mine.unwrap(), "/mine");
    assert_eq!(store.get("/mine").await.unwrap().owner, store.session_id());
    drop(server);
}

async fn create(store: &Store) -> Result<String, StoreError> {
    store.create("/mine", b"", CreateMode::Ephemeral, Acl::File).await
}

#[tokio::test]
async fn an_expired_session_is_noticed_at_once_and_replaced() {
    need!("zookeeper");
    let server = ZooKeeper::start();
    let store = Store::connect(&addr(&server), &options()).await.unwrap();
    let other = Store::connect(&addr(&server), &options()).await.unwrap();
    let before = store.session_id();
    create(&store).await.unwrap();
    let (_, mut watch) = store.watch_node("/elsewhere").await.unwrap();
    let (_, mut gone) = other.watch_node("/mine").await.unwrap();
    let expired = tokio::task::spawn_blocking(move || {
        server.expire(before);
        server
    });
    let server = expired.await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, gone.fired()).await.unwrap(), Fired::Changed);
    becomes(&store, SessionState::Expired).await;
    assert_eq!(tokio::time::timeout(PATIENCE, watch.fired()).await.unwrap(), Fired::SessionOver);
    assert_eq!(store.get("/").await.unwrap_err().kind, ErrorKind::Expired);
    assert_eq!(
        store.commit_settled(vec![Op::Delete { path: "/x".into(), version: None }]).await.unwrap_err().kind,
        ErrorKind::Expired
    );

    // Several who notice at once open one session.
    let (one, two) = (store.clone(), store.clone());
    let (one, two) = tokio::join!(one.reopen(), two.reopen());
    one.unwrap();
    two.unwrap();
    assert_eq!(*store.session().borrow(), SessionState::Connected);
    assert_ne!(store.session_id(), before);
    create(&store).await.unwrap();
    let (_, mut watch) = store.watch_node("/elsewhere").await.unwrap();
    other.create("/elsewhere", b"", CreateMode::Persistent, Acl::File).await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, watch.fired()).await.unwrap(), Fired::Changed);
    store.close().await.unwrap();
    assert_eq!(store.reopen().await.unwrap_err().kind, ErrorKind::Expired, "closed is closed");
    drop(server);
}

#[tokio::test]
async fn a_server_that_hangs_makes_calls_end_in_time() {
    need!("zookeeper");
    let server = ZooKeeper::start();
    let quick = ConnectOptions {
        session_timeout: Duration::from_secs(10),
        op_timeout: Duration::from_millis(500),
        ..options()
    };
    let store = Store::connect(&addr(&server), &quick).await.unwrap();
    store.create("/n", b"", CreateMode::Persistent, Acl::File).await.unwrap();
    server.stop();
    let begun = Instant::now();
    let read = store.get("/n").await.unwrap_err();
    assert_eq!(read.kind, ErrorKind::Timeout, "{read}");
    let written = store.set("/n", b"1", 0).await.unwrap_err();
    assert_eq!(written.kind, ErrorKind::Ambiguous, "{written}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let settling = {
        let store = store.clone();
        let set = Op::Set { path: "/n".into(), data: b"2".to_vec(), version: 1 };
        tokio::spawn(async move { store.commit_settled(vec![set]).await })
    };
    server.cont();
    // The first write was done when the server went on, or is before the second one is.
    settling.await.unwrap().unwrap();
    let node = store.get("/n").await.unwrap();
    assert_eq!((node.version, node.data.as_slice()), (2, b"2".as_slice()));
}
