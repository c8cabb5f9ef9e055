//! Beside the Go tools: their proxies stay right, their queue and their dashboard are respected.

use std::time::{Duration, Instant};

use codis_core::{Cluster, GroupId, SlotSet, SlotStatus, slot_of_key};
use codis_redis::Password;
use codis_redis::ledger::{self, Ledger, LedgerConfig};
use codis_store::{Acl, ConnectOptions, CreateMode, Store as Nodes};
use codis_testkit::{
    NativeServer, ProxyProcess, RedisServer, RespClient, eventually, eventually_async, need,
};
use codis_tests::{PRODUCT, Product, Servers, Store, go::GoProxy};

use crate::support::{prefixes, snapshot};

const SOON: Duration = Duration::from_secs(30);

/// Two groups of native servers with a slave each; one proxy of ours and some Go proxies, all online.
struct Beside {
    product: Product,
    go: Vec<GoProxy>,
    groups: Vec<[NativeServer; 2]>,
}

impl Beside {
    fn start() -> Self {
        Self::with(&["go-1", "go-2"])
    }

    fn with(go: &[&str]) -> Self {
        Self::in_store(Store::zk(), go)
    }

    fn in_store(store: Store, go: &[&str]) -> Self {
        let mut product = Product::nothing_in(store);
        let groups: Vec<[NativeServer; 2]> = (0..2)
            .map(|_| {
                let master = NativeServer::start();
                let slave = NativeServer::builder().slave_of(&master).start();
                [master, slave]
            })
            .collect();
        product.ctl_ok(&["product", "init", PRODUCT]);
        for (number, [master, slave]) in (1..).zip(&groups) {
            let number = number.to_string();
            product.ctl_ok(&["group", "add", &number, "--master", &master.addr(), "--slave", &slave.addr()]);
        }
        product.ctl_ok(&["slot", "assign", "0-1023", "1"]);
        product.proxies.push(ProxyProcess::following(&product.store.url(), PRODUCT, "px-1").start());
        product.ctl_ok(&["proxy", "online", "px-1"]);
        let go = go.iter().map(|id| add_go(&product, id)).collect();
        Self { product, go, groups }
    }

    fn addrs(&self) -> Vec<codis_core::Addr> {
        let ours = self.product.proxies.iter().map(ProxyProcess::addr);
        ours.chain(self.go.iter().map(GoProxy::addr)).map(|addr| addr.parse().unwrap()).collect()
    }

    async fn fill(&self, slots: &SlotSet, keys: u64) {
        for prefix in prefixes(slots) {
            ledger::load(&self.addrs(), &Password::none(), &prefix, keys).await.unwrap();
        }
    }

    /// Through every proxy.
    async fn assert_filled(&self, slots: &SlotSet, keys: u64) {
        for prefix in prefixes(slots) {
            let read = ledger::verify(&self.addrs(), &Password::none(), &prefix, keys).await.unwrap();
            assert!(read.holds(), "{} missing, {} wrong: {:?}", read.missing, read.wrong, read.named);
        }
    }

    fn ledger(&self, slots: &SlotSet) -> Ledger {
        let mut config = LedgerConfig::new(self.addrs());
        config.slots = Some(slots.clone());
        config.pause = Duration::from_millis(2);
        Ledger::start(config)
    }

    fn assert_alive(&self) {
        for proxy in &self.go {
            assert!(proxy.process().is_running(), "{}", proxy.process().log());
        }
    }

    /// The store, past the product level.
    async fn nodes(&self) -> Nodes {
        let url = self.product.store.url().parse().unwrap();
        Nodes::connect(&url, &ConnectOptions::control()).await.unwrap()
    }

    fn client(&self) -> RespClient {
        self.product.proxies[0].client()
    }
}

fn add_go(product: &Product, id: &str) -> GoProxy {
    let proxy = GoProxy::of(&product.store.url(), PRODUCT, id).start();
    product.ctl_ok(&["proxy", "online", id]);
    proxy.await_online();
    proxy
}

fn slots(text: &str) -> SlotSet {
    text.parse().unwrap()
}

fn path(node: &str) -> String {
    format!("/zk/codis/db_{PRODUCT}/{node}")
}

fn assert_owner(cluster: &Cluster, slots: &SlotSet, group: u32) {
    for id in slots.iter() {
        let slot = cluster.slot(id).unwrap();
        assert_eq!((slot.status, slot.group), (SlotStatus::Online, Some(GroupId(group))), "slot {id}");
        assert_eq!((slot.from, slot.to), (None, None), "slot {id}");
    }
}

/// Which types of action there are, newest last.
async fn action_types(nodes: &Nodes) -> Vec<String> {
    let names = nodes.children(&path("actions")).await.unwrap();
    let paths: Vec<String> = names.iter().map(|name| path(&format!("actions/{name}"))).collect();
    let kind = |data: Vec<u8>| {
        let text = String::from_utf8(data).unwrap();
        text.strip_prefix(r#"{"type":""#).unwrap().split('"').next().unwrap().to_owned()
    };
    nodes.get_many(&paths).await.unwrap().into_iter().map(|node| kind(node.unwrap().data)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn go_proxies_under_load_stay_right_through_assign_promote_and_move() {
    need!("redis", "zookeeper");
    let beside = Beside::start();
    let moved = slots("0-9");
    beside.fill(&moved, 50).await;
    let ledger = beside.ledger(&moved);
    let product = &beside.product;

    product.ctl_ok(&["slot", "assign", "0-1023", "1"]);
    product.ctl_ok(&["group", "promote", "1", &beside.groups[0][1].addr()]);
    product.ctl_ok(&["server", "add", "1", &beside.groups[0][0].addr(), "--role", "slave"]);
    product.ctl_ok(&["migrate", "start", "--slots", "0-5", "--to", "2"]);
    product.ctl_ok(&["migrate", "run"]);
    product.ctl_ok(&["migrate", "start", "--slots", "6-9", "--to", "2", "--as", "codis2"]);
    product.ctl_ok(&["migrate", "run", "--as", "codis2"]);

    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert!(account.acknowledged > 100, "{account:#?}");
    beside.assert_filled(&moved, 50).await;
    let cluster = snapshot(product).await;
    assert_owner(&cluster, &moved, 2);
    assert_eq!((cluster.moves.len(), cluster.go_tasks.len(), cluster.dashboard), (0, 0, None));
    beside.assert_alive();
    let nodes = beside.nodes().await;
    let types = action_types(&nodes).await;
    assert!(!types.iter().any(|kind| kind == "slots_changed"), "{types:?}");
    let count = |wanted: &str| types.iter().filter(|kind| *kind == wanted).count();
    assert_eq!((count("slot_premigrate"), count("slot_migrate")), (10, 10));
    nodes.close().await.unwrap();
    // Nothing of the moved slots was left on the source, whichever way it went.
    let info = beside.groups[0][1].client().call(&["SLOTSINFO", "0", "10"]).unwrap();
    assert_eq!(info, codis_testkit::Reply::Array(Some(Vec::new())));
}

/// All proxies are ours: native servers move in waves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn native_servers_move_in_one_wave_under_the_ledger() {
    need!("redis", "zookeeper");
    let beside = Beside::with(&[]);
    let (moved, product) = (slots("0-63"), &beside.product);
    beside.fill(&moved, 50).await;
    let ledger = beside.ledger(&moved);
    let planned = product.ctl(&["migrate", "start", "--slots", "0-63", "--to", "2"]);
    let said = String::from_utf8_lossy(&planned.stderr).into_owned();
    assert!(said.contains("waits for no slave") && said.contains("lose or revive keys"), "{said}");
    product.ctl_ok(&["migrate", "run"]);
    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_eq!(account.error_count(), 0, "{:#?}", account.errors);
    beside.assert_filled(&moved, 50).await;
    assert_owner(&snapshot(product).await, &moved, 2);
    let nodes = beside.nodes().await;
    let types = action_types(&nodes).await;
    assert_eq!(types.iter().filter(|kind| *kind == "slots_changed").count(), 3, "{types:?}");
    nodes.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_on_a_native_destination_is_found_before_anything_is_written() {
    need!("redis", "zookeeper");
    let beside = Beside::with(&[]);
    let product = &beside.product;
    let stray = format!("{}:stray", prefixes(&slots("7"))[0]);
    beside.groups[1][0].client().call(&["SET", &stray, "x"]).unwrap();
    product.ctl_ok(&["migrate", "start", "--slots", "7-8", "--to", "2"]);
    let output = product.ctl(&["migrate", "run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("1 keys of slots 7") && said.contains(&beside.groups[1][0].addr()), "{said}");
    assert_owner(&snapshot(product).await, &slots("7-8"), 1);
}

/// Where the original put the slot online at the destination, and the keys that had not moved were gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_native_destination_that_stalls_leaves_the_slot_in_migrate() {
    need!("redis", "zookeeper");
    let beside = Beside::start();
    let (slot, product) = (slots("20"), &beside.product);
    let names = (0..).map(|n| format!("plain:{n}"));
    let keys: Vec<String> =
        names.filter(|name| slot.contains(slot_of_key(name.as_bytes()))).take(60).collect();
    for key in &keys {
        beside.client().call(&["SET", key, key]).unwrap();
    }
    product.ctl_ok(&["migrate", "start", "--slots", "20", "--to", "2", "--as", "codis2", "--delay", "30ms"]);
    let mover = product.ctl_start(&["migrate", "run", "--as", "codis2"]);
    let [destination, _] = &beside.groups[1];
    let mut client = destination.client();
    eventually(SOON, || client.call(&["DBSIZE"]).unwrap().text() != "0");
    destination.stop();
    let status = mover.wait(Duration::from_secs(60)).expect("it does not give up");
    assert_eq!(status.code(), Some(5), "{}", mover.log());
    let cluster = snapshot(product).await;
    let left = cluster.slot(slot.iter().next().unwrap()).unwrap();
    assert_eq!((left.status, left.moving()), (SlotStatus::Migrate, Some((GroupId(1), GroupId(2)))));
    assert_eq!(cluster.go_tasks[0].status, "error");

    destination.cont();
    for addr in beside.addrs() {
        for key in &keys {
            // Ours tries again after a pause; a Go proxy closes the connection at each failure.
            eventually(SOON, || {
                let client = RespClient::connect(addr.port(), SOON);
                client
                    .and_then(|mut client| client.call(&["GET", key]))
                    .is_ok_and(|reply| &reply.text() == key)
            });
        }
    }
    product.ctl_ok(&["migrate", "run", "--as", "codis2"]);
    assert_owner(&snapshot(product).await, &slot, 2);
}

/// With a local store: there a killed mover is forgotten at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_as_codis_2_does_it_is_completed_after_every_write() {
    need!("redis");
    let beside = Beside::in_store(Store::local(), &["go-1"]);
    let (moved, product) = (slots("0-1"), &beside.product);
    beside.fill(&moved, 10).await;
    let ledger = beside.ledger(&moved);
    let run = ["migrate", "run", "--as", "codis2"];
    let mut to = 2;
    for nth in 1.. {
        product.ctl_ok(&["migrate", "start", "--slots", "0-1", "--to", &to.to_string(), "--as", "codis2"]);
        let died = product.ctl_dies_at(nth, &run);
        if died {
            product.ctl_ok(&run);
        }
        let cluster = snapshot(product).await;
        assert_owner(&cluster, &moved, to);
        assert!(cluster.go_tasks.is_empty(), "write {nth}: {:?}", cluster.go_tasks);
        let figures = ledger.figures();
        assert!(figures.holds(), "write {nth}: {:#?}", figures.violations);
        if !died {
            println!("{} crash points: codisctl {}", nth - 1, run.join(" "));
            assert!(nth > 25, "{nth}: lease, guard, and seven writes for each of two slots at least");
            break;
        }
        to = 3 - to;
    }
    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    beside.assert_filled(&moved, 10).await;
    beside.assert_alive();
}

/// What the original does not survive: it blocked the slot on every proxy that had answered, for ever.
async fn silent(which: impl Fn(&Beside) -> &codis_testkit::Process, id: &str) {
    let beside = Beside::start();
    let slot = slots("7");
    beside.fill(&slot, 20).await;
    beside.product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    let key = format!("{}:0", prefixes(&slot)[0]);
    let stopped = which(&beside);
    stopped.stop();

    let begun = Instant::now();
    let output = beside.product.ctl(&["migrate", "run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let expected = format!("proxy {id} did not acknowledge slot_premigrate");
    assert!(said.contains(&expected) && said.contains("codisctl proxy list"), "{said}");
    assert_owner(&snapshot(&beside.product).await, &slot, 1);
    let mut others: Vec<RespClient> = Vec::new();
    for (proxy, client) in [
        (beside.product.proxies[0].process(), beside.product.proxies[0].port()),
        (beside.go[0].process(), beside.addrs()[1].port()),
        (beside.go[1].process(), beside.addrs()[2].port()),
    ] {
        if proxy.pid() != stopped.pid() {
            others.push(RespClient::connect(client, Duration::from_secs(5)).unwrap());
        }
    }
    assert_eq!(others.len(), 2);
    for client in &mut others {
        assert!(!client.call(&["GET", &key]).unwrap().is_error(), "the slot is not back in service");
    }

    // Awake again it looks at the newest action, and the move can be repeated.
    stopped.cont();
    // On a busy machine its session may have run out meanwhile: then it registers again.
    eventually_async(SOON, async || {
        let cluster = snapshot(&beside.product).await;
        cluster.online_proxies().count() == 3 && cluster.stale_fences().is_empty()
    })
    .await;
    beside.product.ctl_ok(&["migrate", "run"]);
    assert_owner(&snapshot(&beside.product).await, &slot, 2);
    beside.assert_filled(&slot, 20).await;
    beside.assert_alive();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_go_proxy_does_not_keep_a_slot_blocked() {
    need!("redis", "zookeeper");
    silent(|beside| beside.go[0].process(), "go-1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_proxy_of_ours_does_not_keep_a_slot_blocked() {
    need!("redis", "zookeeper");
    silent(|beside| beside.product.proxies[0].process(), "px-1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_proxy_ends_a_task_of_the_go_queue_in_error() {
    need!("redis", "zookeeper");
    let beside = Beside::start();
    let product = &beside.product;
    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2", "--as", "codis2"]);
    beside.go[1].process().stop();
    let output = product.ctl(&["migrate", "run", "--as", "codis2"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("go-2") && said.contains("migrate run --as codis2"), "{said}");
    beside.go[1].process().cont();
    let cluster = snapshot(product).await;
    assert_owner(&cluster, &slots("7"), 1);
    assert_eq!(cluster.go_tasks[0].status, "error");
    let listed = product.ctl_ok(&["task", "list"]);
    assert!(listed.contains("error"), "{listed}");
    product.ctl_ok(&["task", "delete", "--as", "codis2", "0"]);
    assert!(snapshot(product).await.go_tasks.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_go_proxy_and_a_stock_source_are_refused_before_anything_is_written() {
    need!("redis", "zookeeper");
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 0)).collect();
    let product = Product::start(Store::zk(), groups, 1);
    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    let _go = add_go(&product, "go-1");
    let before = snapshot(&product).await;
    for args in [&["migrate", "run"][..], &["migrate", "start", "--slots", "8", "--to", "2"]] {
        let output = product.ctl(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{args:?}: {said}");
        assert!(said.contains("go-1") && said.contains("stock server"), "{said}");
    }
    let output = product.ctl(&["migrate", "start", "--slots", "8", "--to", "2", "--as", "codis2"]);
    assert_eq!(output.status.code(), Some(4));
    let after = snapshot(&product).await;
    assert_eq!(
        (&before.slots, before.go_tasks, before.moves.len()),
        (&after.slots, after.go_tasks, after.moves.len())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_the_go_tools_is_never_run_behind_our_back() {
    need!("redis", "zookeeper");
    let beside = Beside::start();
    let product = &beside.product;
    let nodes = beside.nodes().await;
    let record =
        br#"{"slot_id":30,"new_group":2,"delay":0,"create_at":"1795334475","percent":0,"status":"pending"}"#;
    nodes.ensure_dir(&path("migrate_tasks")).await.unwrap();
    let task = path("migrate_tasks/");
    let task = nodes.create(&task, record, CreateMode::PersistentSequential, Acl::File).await.unwrap();

    let output = product.ctl(&["migrate", "run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("1 task is in the queue of the Go tools"), "{said}");
    assert!(said.contains("migrate run --as codis2") && said.contains("task delete --as codis2"), "{said}");
    product.ctl_ok(&["migrate", "start", "--slots", "31", "--to", "2"]);
    product.ctl_ok(&["migrate", "run"]);
    let node = nodes.get(&task).await.unwrap();
    assert_eq!((node.data.as_slice(), node.version), (&record[..], 0));
    let cluster = snapshot(product).await;
    assert_owner(&cluster, &slots("30"), 1);
    assert_owner(&cluster, &slots("31"), 2);
    nodes.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_go_dashboard_that_is_there_is_left_to_itself() {
    need!("redis", "zookeeper");
    let beside = Beside::start();
    let product = &beside.product;
    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2"]);
    let nodes = beside.nodes().await;
    let record = br#"{"addr":"10.0.0.1:18087","pid":4242}"#;
    nodes.create(&path("dashboard"), record, CreateMode::Persistent, Acl::File).await.unwrap();
    let before = snapshot(product).await;
    let output = product.ctl(&["migrate", "run"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("10.0.0.1:18087") && said.contains("4242"), "{said}");
    let after = snapshot(product).await;
    assert_eq!((before.slots, before.moves), (after.slots, after.moves));
    nodes.close().await.unwrap();
}

/// A Go dashboard that is configured with our very address takes the node for its own old one: it deletes it and
/// puts up its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_go_dashboard_with_our_address_stops_the_mover_at_a_safe_point() {
    need!("redis", "zookeeper");
    let beside = Beside::start();
    let product = &beside.product;
    let slot = slots("7");
    // Without tags: each moves by itself, with a pause after it.
    let names = (0..).map(|n| format!("plain:{n}"));
    let keys: Vec<String> =
        names.filter(|name| slot.contains(slot_of_key(name.as_bytes()))).take(150).collect();
    for key in &keys {
        beside.client().call(&["SET", key, key]).unwrap();
    }
    let readable = || {
        for addr in beside.addrs() {
            let mut client = RespClient::connect(addr.port(), SOON).unwrap();
            keys.iter().for_each(|key| assert_eq!(&client.call(&["GET", key]).unwrap().text(), key));
        }
    };
    product.ctl_ok(&["migrate", "start", "--slots", "7", "--to", "2", "--as", "codis2", "--delay", "20ms"]);
    let mover = product.ctl_start(&["migrate", "run", "--as", "codis2"]);
    let nodes = beside.nodes().await;
    let dashboard = path("dashboard");
    eventually_async(SOON, async || {
        let cluster = snapshot(product).await;
        cluster.slot(slot.iter().next().unwrap()).unwrap().status == SlotStatus::Migrate
    })
    .await;
    let ours = nodes.get(&dashboard).await.unwrap();
    assert!(ours.ephemeral);
    nodes.delete(&dashboard, Some(0)).await.unwrap();
    nodes.create(&dashboard, &ours.data, CreateMode::Persistent, Acl::File).await.unwrap();

    let status = mover.wait(SOON).expect("the mover goes on beside a dashboard");
    assert_eq!(status.code(), Some(4), "{}", mover.log());
    assert!(mover.log().contains("dashboard"), "{}", mover.log());
    let cluster = snapshot(product).await;
    assert_eq!(cluster.slot(slot.iter().next().unwrap()).unwrap().status, SlotStatus::Migrate);
    assert_eq!(nodes.get(&dashboard).await.unwrap().data, ours.data, "theirs is theirs");
    // Every key is reachable all the time, through all proxies.
    readable();

    nodes.delete(&dashboard, Some(0)).await.unwrap();
    product.ctl_ok(&["migrate", "run", "--as", "codis2", "--delay", "1ms"]);
    assert_owner(&snapshot(product).await, &slot, 2);
    readable();
    nodes.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_go_proxy_ends_where_the_original_ends() {
    need!("redis", "zookeeper");
    let beside = Beside::start();
    // A type that it does not know.
    let nodes = beside.nodes().await;
    let receivers = nodes.get(&path("proxy/go-1")).await.unwrap();
    let receiver = String::from_utf8(receivers.data).unwrap().replace('"', "\\\"");
    let action =
        format!(r#"{{"type":"slots_changed","desc":"","target":{{}},"ts":"1","receivers":["{receiver}"]}}"#);
    let number = path("actions/4000000000");
    nodes.create(&number, action.as_bytes(), CreateMode::Persistent, Acl::File).await.unwrap();
    let status = beside.go[0].process().wait(SOON).expect("it lives on");
    assert_eq!(status.code(), Some(2), "{}", beside.go[0].process().log());
    nodes.delete(&number, None).await.unwrap();
    // A master that is none.
    let (master, other) = (&beside.groups[0][0], &beside.groups[1][0]);
    let port = other.port().to_string();
    master.client().call(&["SLAVEOF", "127.0.0.1", &port]).unwrap();
    let status = beside.go[1].process().wait(SOON).expect("it lives on");
    assert_eq!(status.code(), Some(255), "{}", beside.go[1].process().log());
    // Ours stays.
    eventually(SOON, || beside.client().call(&["PING"]).is_ok());
    nodes.close().await.unwrap();
}
