//! Writes whose answer, or whose request, is lost or late on its way to a real ZooKeeper: done once all the same.

use std::time::Duration;

use codis_core::{Extra, GroupId, Move, MoveState};
use codis_store::{
    Acl, ConnectOptions, CreateMode, ErrorKind, Op, OpDone, Product, Store, StoreAddr, StoreError,
};
use codis_testkit::{Relay, eventually_async, need};

use crate::common::{Ground, PATIENCE, options};
use crate::product::{group_action, slot};

/// A tree of its own, reached directly and through a relay.
struct Detour {
    _ground: Ground,
    relay: Relay,
    near: Store,
    far: Store,
}

impl Detour {
    async fn new() -> Self {
        let ground = Ground::zk();
        let StoreAddr::Zk { hosts, chroot } = ground.addr.clone() else { panic!("{}", ground.addr) };
        let port = hosts[0].rsplit_once(':').unwrap().1.parse().unwrap();
        let relay = Relay::to(port);
        let far = StoreAddr::Zk { hosts: vec![relay.addr()], chroot };
        // The server's longest session: the machine may be busy while the connection is down.
        let options = ConnectOptions { session_timeout: Duration::from_secs(10), ..options() };
        let far = Store::connect(&far, &options).await.unwrap();
        let near = ground.connect().await;
        near.ensure_dir("/n").await.unwrap();
        Self { _ground: ground, relay, near, far }
    }

    /// Runs a call whose answer gets lost: the server has done it (`done`), then the connection breaks.
    async fn answer_lost<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
        done: impl AsyncFn(&Store) -> bool,
    ) -> T {
        self.relay.hold_replies();
        let call = tokio::spawn(call);
        eventually_async(PATIENCE, async || done(&self.near).await).await;
        self.relay.cut();
        self.relay.release();
        tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap()
    }

    /// Runs a call whose request, known by `mark`, does not arrive; or late, when it has long been made again.
    async fn request_lost<T: Send + 'static>(
        &self,
        mark: &str,
        late: bool,
        call: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.relay.delay_next(mark.as_bytes());
        let call = tokio::spawn(call);
        eventually_async(PATIENCE, async || self.relay.held() > 0).await;
        if late {
            self.relay.cut_clients()
        } else {
            self.relay.cut()
        }
        let result = tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap();
        self.relay.release();
        // What was kept has arrived, or has met a closed door.
        eventually_async(PATIENCE, async || self.relay.held() == 0 && self.relay.open() <= 1).await;
        result
    }

    async fn children(&self) -> Vec<String> {
        self.near.children("/n").await.unwrap()
    }
}

fn create(path: &str, data: &str, mode: CreateMode) -> Op {
    Op::Create { path: path.to_owned(), data: data.as_bytes().to_vec(), mode, acl: Acl::Dir }
}

fn set(path: &str, data: &str, version: i32) -> Op {
    Op::Set { path: path.to_owned(), data: data.as_bytes().to_vec(), version }
}

fn delete(path: &str, version: i32) -> Op {
    Op::Delete { path: path.to_owned(), version: Some(version) }
}

fn settled(store: &Store, ops: Vec<Op>) -> impl Future<Output = Result<Vec<OpDone>, StoreError>> + use<> {
    let store = store.clone();
    async move { store.commit_settled(ops).await }
}

/// A transaction, what it answers, and what the tree shows when it was done once.
type Case = (&'static str, Vec<Op>, Vec<OpDone>, &'static [(&'static str, i32)]);

fn cases() -> Vec<Case> {
    let created = |path: &str| OpDone::Created(path.to_owned());
    vec![
        (
            "create",
            vec![create("/n/a", "mark-create", CreateMode::Persistent)],
            vec![created("/n/a")],
            &[("/n/a", 0)],
        ),
        ("set", vec![set("/n/a", "mark-set", 0)], vec![OpDone::Set(1)], &[("/n/a", 1)]),
        (
            "several",
            vec![
                Op::Check { path: "/n".into(), version: 0 },
                set("/n/a", "mark-several", 1),
                create("/n/b", "", CreateMode::Persistent),
                create("/n/b/mine", "", CreateMode::Ephemeral),
            ],
            vec![OpDone::Checked, OpDone::Set(2), created("/n/b"), created("/n/b/mine")],
            &[("/n/a", 2), ("/n/b", 0)],
        ),
        (
            "sequential",
            vec![create("/n/seq-", "mark-sequential", CreateMode::PersistentSequential)],
            vec![created("/n/seq-0000000002")],
            &[("/n/a", 2), ("/n/b", 0), ("/n/seq-0000000002", 0)],
        ),
        (
            "several sequential",
            vec![
                create("/n/seq-", "mark-one", CreateMode::PersistentSequential),
                create("/n/seq-", "same", CreateMode::PersistentSequential),
                create("/n/seq-", "same", CreateMode::EphemeralSequential),
            ],
            vec![created("/n/seq-0000000003"), created("/n/seq-0000000004"), created("/n/seq-0000000005")],
            &[
                ("/n/a", 2),
                ("/n/b", 0),
                ("/n/seq-0000000002", 0),
                ("/n/seq-0000000003", 0),
                ("/n/seq-0000000004", 0),
                ("/n/seq-0000000005", 0),
            ],
        ),
        (
            "delete",
            vec![
                delete("/n/a", 2),
                delete("/n/seq-0000000002", 0),
                delete("/n/seq-0000000003", 0),
                delete("/n/seq-0000000004", 0),
                delete("/n/seq-0000000005", 0),
            ],
            vec![OpDone::Deleted; 5],
            &[("/n/b", 0)],
        ),
    ]
}

async fn check(store: &Store, name: &str, expected: &[(&str, i32)]) {
    let names: Vec<String> =
        store.children("/n").await.unwrap().iter().map(|name| format!("/n/{name}")).collect();
    let nodes = store.get_many(&names).await.unwrap();
    let found: Vec<(&str, i32)> = names
        .iter()
        .zip(&nodes)
        .map(|(path, node)| (path.as_str(), node.as_ref().unwrap().version))
        .collect();
    assert_eq!(found, expected, "{name}");
}

#[tokio::test]
async fn a_write_is_done_once_though_its_answer_is_lost() {
    need!("zookeeper");
    let detour = Detour::new().await;
    for (name, ops, answer, tree) in cases() {
        let last = ops.last().unwrap().clone();
        let before = detour.children().await.len();
        let done = async |near: &Store| match &last {
            Op::Set { path, version, .. } => near.get(path).await.unwrap().version > *version,
            Op::Delete { path, .. } => near.get(path).await.is_err(),
            Op::Create { path, mode, .. } if !mode.is_sequential() => near.get(path).await.is_ok(),
            _ => near.children("/n").await.unwrap().len() > before,
        };
        let result = detour.answer_lost(settled(&detour.far, ops), done).await;
        assert_eq!(result.unwrap(), answer, "{name}");
        check(&detour.near, name, tree).await;
    }
}

#[tokio::test]
async fn a_write_is_done_once_though_its_request_is_lost() {
    need!("zookeeper");
    requests_lost(false).await;
}

#[tokio::test]
async fn a_write_is_done_once_though_its_request_comes_late() {
    need!("zookeeper");
    requests_lost(true).await;
}

async fn requests_lost(late: bool) {
    let detour = Detour::new().await;
    for (name, ops, answer, tree) in cases() {
        let mark = match &ops[0] {
            Op::Create { data, .. } | Op::Set { data, .. } => String::from_utf8(data.clone()).unwrap(),
            Op::Check { .. } => "mark-several".to_owned(),
            Op::Delete { path, .. } => path.clone(),
        };
        let result = detour.request_lost(&mark, late, settled(&detour.far, ops)).await;
        assert_eq!(result.unwrap(), answer, "{name}");
        check(&detour.near, name, tree).await;
    }
}

#[tokio::test]
async fn a_plain_write_says_that_nobody_knows() {
    need!("zookeeper");
    let detour = Detour::new().await;
    let far = detour.far.clone();
    let create = async move { far.create("/n/x", b"", CreateMode::Persistent, Acl::Dir).await };
    let error = detour.answer_lost(create, async |near| near.get("/n/x").await.is_ok()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Ambiguous);
    assert!(error.is_transient());
    // What others have changed since, nobody can tell: it is not written over.
    detour.far.get("/n/x").await.unwrap();
    let set = settled(&detour.far, vec![set("/n/x", "mine", 0)]);
    detour.relay.hold_replies();
    let set = tokio::spawn(set);
    eventually_async(PATIENCE, async || detour.near.get("/n/x").await.unwrap().version == 1).await;
    detour.near.set("/n/x", b"theirs", 1).await.unwrap();
    detour.relay.cut();
    detour.relay.release();
    let error = tokio::time::timeout(PATIENCE, set).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Ambiguous, "{error}");
    assert_eq!(detour.near.get("/n/x").await.unwrap().data, b"theirs");
}

#[tokio::test]
async fn actions_tasks_and_locks_are_made_once() {
    need!("zookeeper");
    let detour = Detour::new().await;
    let name: codis_core::ProductName = "test".parse().unwrap();
    let far = Product::new(detour.far.clone(), name.clone());
    let near = Product::new(detour.near.clone(), name);
    near.publish(&group_action(1)).await.unwrap();

    // The answer to the drawn number is lost, then that to the publication.
    let publishing = far.clone();
    let publish = async move { publishing.publish(&group_action(2)).await };
    let responses = format!("{}/ActionResponse", near.root());
    let drawn = async |near: &Store| near.children(&responses).await.unwrap().len() > 1;
    let first = detour.answer_lost(publish, drawn).await.unwrap().seq;
    let publishing = far.clone();
    let publish = async move { publishing.publish(&group_action(3)).await };
    // The transaction alone creates below `actions`.
    let second = detour.request_lost("/db_test/actions/0", false, publish).await.unwrap().seq;
    let (actions, _) = near.watch_actions().await.unwrap();
    assert_eq!(actions, [0, first, second]);

    let task = Move {
        task: 0,
        slot: slot(5),
        from: GroupId(1),
        to: GroupId(2),
        state: MoveState::Pending,
        wave: 9,
        created: 1,
        keys_total: None,
        keys_moved: 0,
        held: false,
        note: String::new(),
        extra: Extra::default(),
    };
    near.add_moves(&[Move { wave: 8, ..task.clone() }]).await.unwrap();
    let adding = far.clone();
    let add = async move { adding.add_moves(&[Move { slot: slot(6), ..task.clone() }, task]).await };
    assert_eq!(detour.request_lost("\"wave\":9", true, add).await.unwrap(), [1, 2]);
    assert_eq!(near.moves().await.unwrap().found.len(), 3);

    near.lock("first", PATIENCE).await.unwrap().unwrap().release().await.unwrap();
    let locking = far.clone();
    let lock = async move { locking.lock("promote", PATIENCE).await };
    let queued = async |_: &Store| !near.load().await.unwrap().locks.is_empty();
    let lock = detour.answer_lost(lock, queued).await.unwrap().unwrap();
    assert_eq!(near.load().await.unwrap().locks.len(), 1);
    lock.release().await.unwrap();
    assert!(near.load().await.unwrap().locks.is_empty());
}
