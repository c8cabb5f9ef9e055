//! Stores that are away, slow, broken, or come back.

use std::error::Error as _;
use std::time::{Duration, Instant};

use codis_store::{Acl, ConnectOptions, CreateMode, ErrorKind, Fired, Op, SessionState, Store, StoreAddr};
use codis_testkit::{PortLease, ZooKeeper, eventually_async, need};

use crate::common::{PATIENCE, options};

async fn refusal(addr: &str, options: &ConnectOptions) -> (ErrorKind, String) {
    let addr: StoreAddr = addr.parse().unwrap();
    let error = Store::connect(&addr, options).await.unwrap_err();
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    (error.kind.clone(), format!("{error}: {cause}"))
}

#[tokio::test]
async fn nobody_listening_is_said_at_once_with_the_address() {
    let lease = PortLease::take().unwrap();
    let begun = Instant::now();
    let addr = format!("zk://{}/codis", lease.addr());
    let (kind, text) = refusal(&addr, &ConnectOptions::control()).await;
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(text.starts_with(&format!("connect to {addr}: the store cannot be reached")), "{text}");
    assert!(begun.elapsed() < ConnectOptions::control().connect_timeout);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ConnectOptions { connect_timeout: Duration::from_millis(300), ..ConnectOptions::control() };
    let (kind, text) = refusal(&format!("zk://{}", silent.local_addr().unwrap()), &options).await;
    assert_eq!(kind, ErrorKind::Unreachable);
    assert!(text.contains("no answer within 300 ms"), "{text}");
}

#[tokio::test]
async fn a_local_store_that_cannot_be_one_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| format!("local:{}", folder.path().join(name).display());
    let (kind, text) = refusal(&place("none.db"), &ConnectOptions::control()).await;
    assert_eq!(kind, ErrorKind::NoNode);
    assert!(text.contains("there is no file") && text.contains("none.db"), "{text}");
    assert!(!folder.path().join("none.db").exists(), "a look makes nothing");

    std::fs::write(folder.path().join("text.db"), "this is no database ".repeat(100)).unwrap();
    let (kind, text) = refusal(&place("text.db"), &options()).await;
    assert!(matches!(kind, ErrorKind::Corrupt { .. }), "{text}");
    assert!(text.contains("not an SQLite file"), "{text}");

    let (kind, text) = refusal(&format!("local:{}", folder.path().display()), &options()).await;
    assert_eq!(kind, ErrorKind::Unreachable, "{text}");
}

#[tokio::test]
async fn a_local_store_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let addr = StoreAddr::Local { path: path.clone() };
    Store::connect(&addr, &options()).await.unwrap().close().await.unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let later = "INSERT INTO refinery_schema_history VALUES (999, 'later', '2026-11-22T00:00:00Z', '1')";
    db.execute(later, []).unwrap();
    drop(db);
    let error = Store::connect(&addr, &options()).await.unwrap_err();
    let cause = error.source().unwrap();
    assert_eq!(cause.to_string(), "its schema cannot be brought up to date");
    assert!(cause.source().unwrap().to_string().contains("999"), "{:?}", cause.source());
}

#[tokio::test]
async fn a_session_outlives_a_restart_of_its_server() {
    need!("zookeeper");
    let mut server = ZooKeeper::start();
    let addr: StoreAddr = server.url().parse().unwrap();
    let quick = ConnectOptions { op_timeout: Duration::from_millis(500), ..ConnectOptions::control() };
    let store = Store::connect(&addr, &quick).await.unwrap();
    let id = store.session_id();
    store.create("/e", b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
    store.create("/n", b"0", CreateMode::Persistent, Acl::File).await.unwrap();
    let (_, mut watch) = store.watch_node("/n").await.unwrap();

    let mut session = store.session();
    server.kill();
    session.wait_for(|state| *state == SessionState::Disconnected).await.unwrap();
    let begun = Instant::now();
    assert_eq!(store.get("/n").await.unwrap_err().kind, ErrorKind::Unreachable);
    let error = store.set("/n", b"1", 0).await.unwrap_err();
    // It was not even sent: no doubt about its fate.
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(begun.elapsed() < PATIENCE);

    tokio::task::spawn_blocking(move || {
        server.restart();
        server
    })
    .await
    .map(|server| async move {
        session.wait_for(|state| *state == SessionState::Connected).await.unwrap();
        assert_eq!(store.session_id(), id);
        assert_eq!(store.get("/n").await.unwrap().version, 0);
        assert_eq!(store.get("/e").await.unwrap().owner, id);
        // The watch was set again.
        let other = Store::connect(&addr, &options()).await.unwrap();
        other.set("/n", b"1", 0).await.unwrap();
        assert_eq!(tokio::time::timeout(PATIENCE, watch.fired()).await.unwrap(), Fired::Changed);
        drop(server);
    })
    .unwrap()
    .await;
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_done_once() {
    need!("zookeeper");
    let mut server = ZooKeeper::start();
    let addr: StoreAddr = server.url().parse().unwrap();
    let store = Store::connect(&addr, &options()).await.unwrap();
    store.create("/count", b"0", CreateMode::Persistent, Acl::File).await.unwrap();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            // Each write is made against the result of the one before: a lost or a doubled one would be refused.
            for version in 0..400 {
                let data = (version + 1).to_string().into_bytes();
                let set = Op::Set { path: "/count".into(), data, version };
                store.commit_settled(vec![set]).await.unwrap();
            }
        })
    };
    let mut disturbed = 0;
    while !writer.is_finished() {
        eventually_async(PATIENCE, async || writer.is_finished() || progress(&store).await > disturbed * 100)
            .await;
        if disturbed < 3 && !writer.is_finished() {
            disturbed += 1;
            server = tokio::task::spawn_blocking(move || {
                server.restart();
                server
            })
            .await
            .unwrap();
        }
    }
    writer.await.unwrap();
    assert!(disturbed > 0);
    let node = store.get("/count").await.unwrap();
    assert_eq!((node.data.as_slice(), node.version), (b"400".as_slice(), 400));
}

async fn progress(store: &Store) -> i32 {
    store.get("/count").await.map_or(0, |node| node.version)
}
