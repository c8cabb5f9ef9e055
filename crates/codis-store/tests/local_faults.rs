//! The local store when another process hangs or dies while it writes, and when the disk is full.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use codis_store::{
    Acl, ConnectOptions, CreateMode, ErrorKind, Op, SessionState, Store, StoreAddr, StoreError,
};
use codis_testkit::{Process, Sandbox, eventually_async, need};

use crate::common::{Ground, PATIENCE, options};

/// Nodes that the other process rewrites in each of its transactions.
const NODES: usize = 1500;

fn file(ground: &Ground) -> PathBuf {
    match &ground.addr {
        StoreAddr::Local { path } => path.clone(),
        other @ StoreAddr::Zk { .. } => panic!("{other}"),
    }
}

/// This test program once more: rewrites all nodes in one transaction, again and again.
fn writer(ground: &Ground) -> Process {
    let sandbox = Sandbox::create("store-writer").unwrap();
    let args = ["--exact", "local_faults::writes", "--ignored", "--nocapture"];
    let addr = ground.addr.to_string();
    let env = [("CODIS_TEST_STORE", addr.as_str())];
    Process::start("writer", &std::env::current_exe().unwrap(), args, &env, &sandbox).unwrap()
}

#[tokio::test]
#[ignore = "what other tests start as another process"]
async fn writes() {
    let Ok(addr) = std::env::var("CODIS_TEST_STORE") else { return };
    let store = Store::connect(&addr.parse().unwrap(), &options()).await.unwrap();
    store.create("/alive", b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
    loop {
        let version = store.get("/n/0").await.unwrap().version;
        let set = |node| Op::Set { path: format!("/n/{node}"), data: vec![b'x'; 200], version };
        match store.commit((0..NODES).map(set).collect()).await {
            Ok(_) => {}
            // Stopped for so long that its session has ended.
            Err(error) if error.kind == ErrorKind::Expired => store.reopen().await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
}

async fn prepared() -> (Ground, Store) {
    let ground = Ground::local();
    let store = ground.connect().await;
    store.ensure_dir("/n").await.unwrap();
    store.create("/other", b"", CreateMode::Persistent, Acl::File).await.unwrap();
    for page in (0..NODES).collect::<Vec<_>>().chunks(500) {
        let create = |node: &usize| Op::Create {
            path: format!("/n/{node}"),
            data: Vec::new(),
            mode: CreateMode::Persistent,
            acl: Acl::File,
        };
        store.commit(page.iter().map(create).collect()).await.unwrap();
    }
    (ground, store)
}

/// True if the process holds the lock that SQLite writes under.
fn is_writing(pid: u32) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.contains(&"POSIX")
            && words.contains(&"WRITE")
            && words[4] == pid.to_string()
            && words[6] == "120"
    })
}

/// Stops it in the middle of a transaction.
async fn stop_while_it_writes(writer: &Process) {
    eventually_async(PATIENCE, async || {
        writer.stop();
        let caught = is_writing(writer.pid());
        if !caught {
            writer.cont();
        }
        caught
    })
    .await;
}

async fn write(store: &Store) -> Result<i32, StoreError> {
    let version = store.get("/other").await?.version;
    store.set("/other", b"x", version).await
}

/// Every node has been rewritten equally often, and the file is whole.
async fn check(store: &Store, file: &Path) -> i32 {
    let paths: Vec<String> = (0..NODES).map(|node| format!("/n/{node}")).collect();
    let nodes = store.get_many(&paths).await.unwrap();
    let versions: Vec<i32> = nodes.into_iter().map(|node| node.unwrap().version).collect();
    assert!(versions.iter().all(|version| *version == versions[0]), "half a transaction: {versions:?}");
    let db = rusqlite::Connection::open(file).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    versions[0]
}

#[tokio::test]
async fn a_writer_stopped_in_a_transaction_is_named_and_outlived() {
    let (ground, store) = prepared().await;
    let writer = writer(&ground);
    eventually_async(PATIENCE, async || store.get("/alive").await.is_ok()).await;
    for ending in ["goes on", "is killed"] {
        stop_while_it_writes(&writer).await;
        let seen = store.get("/n/0").await.unwrap().version;
        let begun = Instant::now();
        let error = write(&store).await.unwrap_err();
        let first = begun.elapsed();
        assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
        let why = error.source().unwrap().to_string();
        let pid = writer.pid();
        assert!(
            why.starts_with(&format!("process {pid} (")) && why.contains("has the write lock and is stopped"),
            "{why}"
        );
        assert!(why.contains(&format!("kill -CONT {pid}")), "{why}");
        assert!((Duration::from_secs(1)..PATIENCE).contains(&first), "{first:?}");

        // Those that come after it are told soon, and reads go on.
        let begun = Instant::now();
        let (one, two, read) = tokio::join!(write(&store), write(&store), store.get("/n/0"));
        assert!(begun.elapsed() < first, "{:?}", begun.elapsed());
        assert_eq!((one.unwrap_err().kind, two.unwrap_err().kind), (ErrorKind::Timeout, ErrorKind::Timeout));
        assert_eq!(read.unwrap().version, seen);
        // Nor can a new process come in; it says why.
        let begun = Instant::now();
        let options = ConnectOptions { connect_timeout: Duration::from_secs(2), ..ConnectOptions::control() };
        let error = Store::connect(&ground.addr, &options).await.unwrap_err();
        assert!(
            error.source().unwrap().to_string().starts_with(&format!("process {pid} (")),
            "{:?}",
            error.source()
        );
        assert!(begun.elapsed() < PATIENCE);
        // Our own heart has gone on beating.
        assert_eq!(*store.session().borrow(), SessionState::Connected);

        if ending == "goes on" {
            writer.cont();
            eventually_async(PATIENCE, async || store.get("/n/0").await.unwrap().version > seen).await;
        } else {
            writer.kill();
        }
        eventually_async(PATIENCE, async || write(&store).await.is_ok()).await;
    }
    let written = check(&store, &file(&ground)).await;
    assert!(written > 0);
    eventually_async(PATIENCE, async || store.get("/alive").await.is_err()).await;
    assert_eq!(*store.session().borrow(), SessionState::Connected);
}

#[tokio::test]
async fn a_writer_killed_at_any_moment_leaves_whole_transactions() {
    let (ground, store) = prepared().await;
    let mut before = 0;
    for round in 0..6 {
        let writer = writer(&ground);
        eventually_async(PATIENCE, async || store.get("/n/0").await.unwrap().version > before + round).await;
        if round % 2 == 0 {
            stop_while_it_writes(&writer).await;
        }
        writer.kill();
        eventually_async(PATIENCE, async || store.get("/alive").await.is_err()).await;
        before = check(&store, &file(&ground)).await;
        write(&store).await.unwrap();
    }
}

#[tokio::test]
async fn a_process_that_hangs_while_it_opens_the_store_is_named() {
    use rustix::fs::{FlockOperation, flock};
    let (ground, store) = prepared().await;
    let mut preparing = file(&ground).into_os_string();
    preparing.push(".sessions/preparing");
    let held = std::fs::File::open(preparing).unwrap();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let options = ConnectOptions { connect_timeout: Duration::from_millis(500), ..ConnectOptions::control() };
    let error = Store::connect(&ground.addr, &options).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    let why = error.source().unwrap().to_string();
    assert!(why.starts_with(&format!("process {} (", std::process::id())), "{why}");
    assert!(why.contains("has the lock for opening it"), "{why}");
    write(&store).await.unwrap();
    drop(held);
    Store::connect(&ground.addr, &options).await.unwrap().close().await.unwrap();
}

/// A file system of 8 MB in memory; unmounted when this is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where not even root may mount, as in some containers: a skip, or a failure where root is required.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder.path())
            .status()
            .unwrap();
        if done.success() {
            return Some(Self(folder));
        }
        let required = std::env::var("CODIS_TEST_REQUIRE").unwrap_or_default();
        let why = "a file system of 8 MB cannot be mounted";
        assert!(!required.split(',').any(|part| matches!(part.trim(), "all" | "root")), "{why}");
        println!("SKIPPED a full disk: {why}");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also while files are open.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_as_a_whole_and_keeps_the_rest() {
    need!("root");
    let Some(disk) = SmallDisk::mount() else { return };
    let path = disk.0.path().join("store.db");
    let addr = StoreAddr::Local { path: path.clone() };
    let store = Store::connect(&addr, &options()).await.unwrap();
    let id = store.session_id();
    store.create("/small", b"kept", CreateMode::Persistent, Acl::File).await.unwrap();
    store.create("/mine", b"", CreateMode::Ephemeral, Acl::File).await.unwrap();
    // Others have filled the disk but for some hundred kilobytes.
    let filler = disk.0.path().join("filler");
    std::fs::write(&filler, vec![0; 15 << 19]).unwrap();
    let large = |path: &str| Op::Create {
        path: path.to_owned(),
        data: vec![b'x'; 400_000],
        mode: CreateMode::Persistent,
        acl: Acl::File,
    };
    let small = Op::Set { path: "/small".into(), data: b"changed".to_vec(), version: 0 };
    let error = store.commit_settled(vec![small.clone(), large("/a"), large("/b")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DiskFull, "{error:?}");
    assert!(error.to_string().ends_with("the disk is full; nothing was written"), "{error}");
    assert!(!error.is_transient());

    // Nothing of it is there, and reading goes on; so does what fits.
    assert_eq!(store.get("/small").await.unwrap().data, b"kept");
    assert_eq!(store.children("/").await.unwrap(), ["mine", "small"]);
    let mut written = Vec::new();
    let error = loop {
        let path = format!("/n{}", written.len());
        match store.create(&path, &[b'y'; 20_000], CreateMode::Persistent, Acl::File).await {
            Ok(path) => written.push(path),
            Err(error) => break error,
        }
        assert!(written.len() < 1000);
    };
    assert_eq!(error.kind, ErrorKind::DiskFull, "{error:?}");
    let nodes = store.get_many(&written).await.unwrap();
    assert!(nodes.iter().all(|node| node.as_ref().is_some_and(|node| node.data.len() == 20_000)));
    assert!(store.get(&format!("/n{}", written.len())).await.is_err());
    // A new process is told, too.
    std::fs::write(disk.0.path().join("rest"), vec![0; 2 << 20]).unwrap_err();
    let refused = Store::connect(&addr, &options()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::DiskFull, "{refused:?}");

    // With room again everything goes on, in the same session.
    std::fs::remove_file(filler).unwrap();
    store.commit_settled(vec![small, large("/a"), large("/b")]).await.unwrap();
    assert_eq!(store.get("/small").await.unwrap().data, b"changed");
    assert_eq!((store.session_id(), store.get("/mine").await.unwrap().owner), (id, id));
    let other = Store::connect(&addr, &options()).await.unwrap();
    assert_eq!(other.get("/b").await.unwrap().data.len(), 400_000);
    other.close().await.unwrap();
    store.close().await.unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}
