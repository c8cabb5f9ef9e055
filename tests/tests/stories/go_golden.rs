//! What our operations leave in the store, and in which order they write it, beside what Codis 2's own dashboard did
//! when it was recorded: promote, acknowledge, add, migrate in its own way, take offline, remove.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use codis_store::{ConnectOptions, Store as Nodes};
use codis_testkit::{NativeServer, Process, eventually, eventually_async, need};
use codis_tests::{Product, Store, go::GoProxy};

use crate::recorded::{self, Change, ROOT, Tree, Write};

const SOON: Duration = Duration::from_secs(30);

/// What may differ from the recording, in which steps, and why. Everything else is the same.
const EXCEPTIONS: [(&str, std::ops::RangeInclusive<u32>, &str); 12] = [
    (
        "LOCK/",
        13..=24,
        "our lock nodes are ephemeral, describe the change in our words, and are held while slots switch, too",
    ),
    ("dashboard", 13..=24, "no dashboard runs; the mover puts up an ephemeral one while slots move"),
    ("mover", 13..=24, "ours: the mover's lease and the number of movers there have been"),
    ("mover_epoch", 13..=24, "ours: the number of movers there have been"),
    ("audit", 13..=24, "ours: who changed what"),
    ("witness", 13..=24, "ours: which servers fail, as proxies see it"),
    (
        "proxy/proxy_3",
        22..=24,
        "the original's proxy registers again after it was taken offline; one that works leaves",
    ),
    (
        "fence/127.0.1.3:19003",
        22..=24,
        "and takes its fence along, which the original leaves behind when it is killed",
    ),
    ("moves", 13..=24, "ours: our own queue"),
    ("failover", 13..=24, "ours: the journal of changes of masters"),
    ("agent_leader", 13..=24, "ours: who changes masters"),
    ("agent_epoch", 13..=24, "ours: the number of who changes masters"),
];

fn is_excepted(path: &str, step: u32) -> bool {
    let Some(path) = path.strip_prefix(ROOT).and_then(|path| path.strip_prefix('/')) else { return false };
    let of = |name: &str| {
        path == name.trim_end_matches('/') || path.starts_with(&format!("{}/", name.trim_end_matches('/')))
    };
    EXCEPTIONS.iter().any(|(name, steps, _)| steps.contains(&step) && of(name))
}

/// The recorded product, loaded, with its servers and proxies running under other ports.
struct Scene {
    product: Product,
    nodes: Nodes,
    servers: Vec<NativeServer>,
    proxies: Vec<GoProxy>,
    /// The tree after the last step that was looked at.
    before: Tree,
}

impl Scene {
    async fn at_step_12() -> Self {
        let product = Product::nothing_in(Store::zk());
        let mut servers: Vec<NativeServer> = (0..4).map(|_| NativeServer::start()).collect();
        // In the recording's order, which is that of a group's servers.
        servers.sort_by_key(NativeServer::addr);
        for (slave, master) in [(1, 0), (3, 2)] {
            let port = servers[master].port().to_string();
            servers[slave].client().call(&["SLAVEOF", "127.0.0.1", &port]).unwrap();
            let linked = || servers[slave].client().call(&["INFO", "replication"]).unwrap().text();
            eventually(SOON, || linked().contains("master_link_status:up"));
        }
        let url = product.store.url();
        let nodes = Nodes::connect(&url.parse().unwrap(), &ConnectOptions::control()).await.unwrap();
        let addrs: Vec<String> = servers.iter().map(NativeServer::addr).collect();
        recorded::load(&nodes, 12, |text| to_ours(&addrs, text)).await;
        let mut this = Self { product, nodes, servers, proxies: Vec::new(), before: Tree::new() };
        // As they came: 3 first.
        for n in [3, 1, 2] {
            let id = format!("proxy_{n}");
            let registered = (format!("127.0.1.{n}:1900{n}"), format!("127.0.1.{n}:1100{n}"));
            let proxy = GoProxy::of(&url, "spec", &id).registered(&registered.0, &registered.1).start();
            this.ctl(&["proxy", "online", &id]);
            proxy.await_online();
            this.proxies.push(proxy);
        }
        this.before = recorded::dump(&this.nodes).await;
        this
    }

    /// codisctl to its end, which must be a good one.
    fn ctl(&self, args: &[&str]) {
        self.product.ctl_ok(&[args, &["--product", "spec"]].concat());
    }

    fn ctl_start(&self, args: &[&str]) -> Process {
        self.product.ctl_start(&[args, &["--product", "spec"]].concat())
    }

    /// The server that was recorded with this port.
    fn server(&self, port: usize) -> String {
        self.servers[port - 7001].addr()
    }

    fn to_recorded(&self, text: &str) -> String {
        let addrs = self.servers.iter().map(NativeServer::addr);
        addrs
            .zip(7001..)
            .fold(text.to_owned(), |text, (ours, port)| text.replace(&ours, &format!("127.0.0.1:{port}")))
    }

    /// Proxies that have acknowledged the newest action.
    async fn acks(&self) -> usize {
        let newest = self.nodes.children(&format!("{ROOT}/actions")).await.unwrap().pop().unwrap();
        self.nodes.children(&format!("{ROOT}/ActionResponse/{newest}")).await.unwrap().len()
    }

    async fn await_acks(&self, actions: usize, acks: usize) {
        let begun = recorded::actions(self.before.keys()).len();
        eventually_async(SOON, async || {
            let now = self.nodes.children(&format!("{ROOT}/actions")).await.unwrap().len();
            now == begun + actions && self.acks().await == acks
        })
        .await;
    }

    /// The tree has changed since the last look as it was recorded.
    async fn assert_step(&mut self, step: u32) {
        let after = recorded::dump(&self.nodes).await;
        let change = recorded::change(&self.before, &after);
        let numbers: BTreeSet<String> = recorded::actions(after.keys());
        let ours = recorded::blank(&change, &numbers, &|text: &str| self.to_recorded(text));
        let change = recorded::change_of(step);
        // The recording's numbers, those of this step included, end where ours end.
        let theirs = recorded::blank(&change, &recorded_numbers(step), &str::to_owned);
        let kept = |change: Change| -> Change {
            change.into_iter().filter(|(path, _)| !is_excepted(path, step)).collect()
        };
        pretty_assertions(step, kept(ours), kept(theirs));
        self.before = after;
    }
}

/// All numbers of actions that the recording has had up to a step; those of `slot init` that it leaves out are not
/// in the loaded tree either.
fn recorded_numbers(step: u32) -> BTreeSet<String> {
    let mut numbers = BTreeSet::new();
    for step in 0..=step {
        numbers.extend(recorded::actions(recorded::change_of(step).keys()));
    }
    numbers
}

fn pretty_assertions(step: u32, ours: Change, theirs: Change) {
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let wrong: Vec<String> = paths
        .into_iter()
        .filter(|path| ours.get(*path) != theirs.get(*path))
        .map(|path| format!("{path}\n  ours     {:?}\n  recorded {:?}", ours.get(path), theirs.get(path)))
        .collect();
    assert!(wrong.is_empty(), "step {step}\n{}", wrong.join("\n"));
}

fn to_ours(addrs: &[String], text: &str) -> String {
    addrs
        .iter()
        .zip(7001..)
        .fold(text.to_owned(), |text, (ours, port)| text.replace(&format!("127.0.0.1:{port}"), ours))
}

/// The transactions that a ZooKeeper has logged.
fn transactions(product: &Product) -> Vec<String> {
    let Store::Zk(zookeeper) = &product.store else { panic!("not a ZooKeeper") };
    let folder = zookeeper.process().sandbox().path().join("data/version-2");
    let logs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> =
        logs.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log.")).collect();
    logs.sort();
    let jars = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";
    let toolkit = "org.apache.zookeeper.server.persistence.TxnLogToolkit";
    let text = logs.iter().map(|log| {
        let output = Command::new("java").args(["-cp", jars, toolkit]).arg(log).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    });
    recorded::transactions(&text.collect::<String>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_operations_leave_the_recorded_trees_in_the_recorded_order() {
    need!("redis", "zookeeper");
    let mut scene = Scene::at_step_12().await;
    let before_promote = transactions(&scene.product).len();

    // 13: promoting, while one proxy hangs. By force, as the original does it always: a planned change of ours tells the
    // proxies beforehand, and the old master is a slave afterwards.
    scene.proxies[0].process().stop();
    let promoting = scene.ctl_start(&["group", "promote", "1", &scene.server(7002), "--force"]);
    scene.await_acks(1, 2).await;
    scene.assert_step(13).await;
    // 14: it answers.
    scene.proxies[0].process().cont();
    let status = promoting.wait(SOON).expect("it does not end");
    assert!(status.success(), "{}", promoting.log());
    scene.assert_step(14).await;
    let promoted = recorded::logged_writes(&transactions(&scene.product)[before_promote..]);

    // 15: the old master comes back.
    scene.ctl(&["server", "add", "1", &scene.server(7001), "--role", "slave"]);
    scene.assert_step(15).await;
    // 16: an action that nobody waits for, and that all acknowledge.
    scene.ctl(&["group", "add", "3"]);
    scene.await_acks(1, 3).await;
    scene.assert_step(16).await;

    // 17: a task. Three keys without tags, so that the move takes a while.
    let names = (0..).map(|n| format!("key:{n}"));
    let keys: Vec<String> =
        names.filter(|name| codis_core::slot_of_key(name.as_bytes()).get() == 7).take(3).collect();
    let mut client = scene.proxies[1].client();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, key]).unwrap().text(), "OK");
    }
    let before_migrate = transactions(&scene.product).len();
    scene.ctl(&["migrate", "start", "--slots", "7", "--to", "2", "--as", "codis2", "--delay", "1500ms"]);
    scene.assert_step(17).await;
    // 18: pre_migrate, while one proxy hangs.
    scene.proxies[0].process().stop();
    let moving = scene.ctl_start(&["migrate", "run", "--as", "codis2"]);
    scene.await_acks(1, 2).await;
    scene.assert_step(18).await;
    // 19: migrate, and keys move.
    scene.proxies[0].process().cont();
    scene.await_acks(1, 3).await;
    scene.assert_step(19).await;
    // 20: done.
    let status = moving.wait(SOON).expect("it does not end");
    assert!(status.success(), "{}", moving.log());
    scene.assert_step(20).await;
    for key in &keys {
        assert_eq!(&client.call(&["GET", key]).unwrap().text(), key);
    }
    let moved = recorded::logged_writes(&transactions(&scene.product)[before_migrate..]);

    // 21: a proxy that hangs is taken offline; 22: it leaves.
    scene.proxies[0].process().stop();
    let leaving = scene.ctl_start(&["proxy", "offline", "proxy_3"]);
    eventually_async(SOON, async || {
        let node = scene.nodes.get(&format!("{ROOT}/proxy/proxy_3")).await.unwrap();
        String::from_utf8(node.data).unwrap().contains("mark_offline")
    })
    .await;
    scene.assert_step(21).await;
    scene.proxies[0].process().cont();
    assert!(leaving.wait(SOON).expect("it does not end").success(), "{}", leaving.log());
    let left = scene.proxies[0].process().wait(SOON).expect("the proxy does not end");
    assert_eq!(left.code(), Some(0));
    scene.assert_step(22).await;

    // 23 and 24: a slave and a group go.
    scene.ctl(&["server", "remove", "2", &scene.server(7004)]);
    scene.await_acks(1, 2).await;
    scene.assert_step(23).await;
    scene.ctl(&["group", "remove", "3"]);
    scene.await_acks(1, 2).await;
    scene.assert_step(24).await;

    assert_writes(&scene, "promote-g1", promoted);
    assert_writes(&scene, "migrate-slot7", moved);
}

/// The writes are the recorded ones in the recorded order.
fn assert_writes(scene: &Scene, name: &str, ours: Vec<Write>) {
    let kept = |writes: Vec<Write>| -> Vec<Write> {
        writes.into_iter().filter(|write| !is_excepted(&format!("{ROOT}/{}", write.path), 13)).collect()
    };
    let ours: Vec<Write> =
        ours.into_iter().map(|write| Write { path: scene.to_recorded(&write.path), ..write }).collect();
    let (ours, theirs) = (kept(ours), kept(recorded::recorded_writes(name, &str::to_owned)));
    let lines = |writes: &[Write]| -> Vec<String> {
        writes.iter().map(|write| format!("{} {} {}", write.op, write.path, write.status)).collect()
    };
    assert_eq!(lines(&ours), lines(&theirs), "{name}");
}

/// What one of our operations writes below the root, exceptions left out.
fn writes_of(product: &Product, operation: impl FnOnce()) -> Vec<Write> {
    let before = transactions(product).len();
    operation();
    let writes = recorded::logged_writes(&transactions(product)[before..]);
    writes.into_iter().filter(|write| !is_excepted(&format!("{ROOT}/{}", write.path), 13)).collect()
}

/// Where in the list a node is first written.
fn place(writes: &[Write], path: &str) -> usize {
    writes
        .iter()
        .position(|write| write.path == path)
        .unwrap_or_else(|| panic!("{path} is not in {writes:?}"))
}

/// Here several of our writes are one transaction, so their order among themselves cannot be seen: what counts is that the
/// same nodes are written, and what precedes the action.
#[test]
fn init_assign_and_registration_write_what_was_recorded() {
    need!("redis", "zookeeper");
    let product = Product::nothing_in(Store::zk());
    let spec = |args: &[&str]| drop(product.ctl_ok(&[args, &["--product", "spec"]].concat()));
    let recorded = |name| -> BTreeSet<Write> {
        let writes = recorded::recorded_writes(name, &str::to_owned);
        writes.into_iter().filter(|write| !is_excepted(&format!("{ROOT}/{}", write.path), 13)).collect()
    };

    let ours = writes_of(&product, || spec(&["product", "init", "spec"]));
    let all: BTreeSet<Write> = ours.iter().cloned().collect();
    for write in recorded("slot-init-first-two") {
        assert!(all.contains(&write), "{write:?} is not among {} writes", ours.len());
    }
    for slot in 0..1024 {
        assert!(place(&ours, &format!("ActionResponse/#{slot}")) < place(&ours, &format!("actions/#{slot}")));
    }

    let server = NativeServer::start();
    spec(&["group", "add", "1", "--master", &server.addr()]);
    let ours = writes_of(&product, || spec(&["slot", "assign", "0-511", "1"]));
    let slots: Vec<&str> = ours.iter().take(512).map(|write| write.path.as_str()).collect();
    assert_eq!(slots, (0..512).map(|slot| format!("slots/slot_{slot}")).collect::<Vec<_>>());
    assert!(recorded("range-set-head").iter().all(|write| ours[..2].contains(write)), "{:?}", &ours[..2]);
    assert_eq!(place(&ours, "ActionResponse/#0"), 512, "the slots are written before they are told of");
    spec(&["slot", "assign", "512-1023", "1"]);

    let mut proxy = None;
    let ours = writes_of(&product, || {
        let started = codis_testkit::ProxyProcess::following(&product.store.url(), "spec", "proxy_3");
        let started = proxy.insert(started.start());
        spec(&["proxy", "online", "proxy_3"]);
        eventually(SOON, || started.client().call(&["EXISTS", "any"]).is_ok_and(|reply| !reply.is_error()));
    });
    let fence = format!("fence/{}", proxy.as_ref().unwrap().addr());
    let named = |write: Write| Write { path: write.path.replace("fence/127.0.1.3:19003", &fence), ..write };
    let expected: BTreeSet<Write> = recorded("proxy-register-and-online").into_iter().map(named).collect();
    assert_eq!(ours.iter().cloned().collect::<BTreeSet<Write>>(), expected);
    assert_eq!((ours.last().unwrap().op, ours.last().unwrap().path.as_str()), ("set", "proxy/proxy_3"));
}
