//! The mover, and separately one proxy, stops before one of its writes as a paused machine would: with its connections open and its
//! requests half done. It sleeps past its session; a successor completes the work, clients go on and delete keys; then it wakes up, with
//! that very write next. It must do no harm.
//!
//! It sleeps beside a ZooKeeper: a local store is one file, and who stops while it writes there keeps all others out, as it tells them.
//!
//! Three flows: a move, a move that is taken back, a move that is paused half-way. Each can stop at every write to the store or to a
//! server. The ordinary tests take some of them, chosen by what they write; `CODIS_TEST_STOPS=all` takes all, and also all deaths
//! in the flow that is paused (those of the others are in `crashes.rs` and `cancel.rs`).

use std::time::Duration;

use codis_core::{GroupId, SlotSet, SlotStatus};
use codis_redis::ledger::{Ledger, LedgerConfig};
use codis_testkit::{Process, RedisServer, eventually, eventually_async, need};
use codis_tests::{Product, Servers, Store};

use crate::crashes::{free_of_fences, report, until_online};
use crate::support::{assert_filled, count, fill, prefixes, proxies, snapshot};

const SLOTS: &str = "0-3";
const KEYS: u64 = 60;
/// Keys of each slot that are deleted while somebody sleeps.
const GONE: u64 = 5;
/// Keys a second: a move takes long enough to be paused half-way.
const RATE: &str = "200";
/// More writes than any flow makes.
const TOO_MANY: u64 = 1000;
const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// The slots move from group 1 to group 2.
    Move,
    /// They were on their way when that was cancelled: they go back to group 1.
    Cancel,
    /// They move to group 2, and are paused half-way.
    Pause,
}

impl Flow {
    /// Where the slots are in the end.
    fn end(self) -> u32 {
        if self == Self::Cancel { 1 } else { 2 }
    }
}

/// What befalls a program at one of its writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Dies,
    Sleeps,
}

fn all_points() -> bool {
    std::env::var("CODIS_TEST_STOPS").is_ok_and(|text| text == "all")
}

/// The slots at group 1 with their keys, a ledger on them, and keys that will be deleted.
struct Scene {
    product: Product,
    slots: SlotSet,
    ledger: Ledger,
}

impl Scene {
    async fn set(store: Store) -> Self {
        let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect();
        // Sessions of proxies as short as they can be: each sleep lasts longer than one.
        let product = Product::start_with(store, groups, 2, &["session_timeout = 4"]);
        let slots: SlotSet = SLOTS.parse().unwrap();
        fill(&product, &slots, KEYS).await;
        let mut config = LedgerConfig::new(proxies(&product));
        config.slots = Some(slots.clone());
        // Whoever sleeps does not answer.
        config.timeout = Duration::from_secs(3);
        // Many scenes share a machine, and it is the sleepers that count.
        config.pause = Duration::from_millis(25);
        let ledger = Ledger::start(config);
        Self { product, slots, ledger }
    }

    fn gone(&self) -> Vec<String> {
        let each = |prefix: String| (0..GONE).map(move |n| format!("{prefix}:gone:{n}"));
        prefixes(&self.slots).into_iter().flat_map(each).collect()
    }

    /// Keys that exist until they are deleted.
    fn bring(&self) {
        let mut client = self.product.proxies[0].client();
        for key in self.gone() {
            assert_eq!(client.call(&["SET", &key, "x"]).unwrap().text(), "OK", "{key}");
        }
    }

    /// Deletes them through the proxy that is awake; each is deleted when this returns.
    fn delete(&self) {
        for key in self.gone() {
            eventually(SOON, || {
                let mut client = self.product.proxies[0].client();
                client.call(&["DEL", &key]).is_ok_and(|reply| !reply.is_error())
            });
        }
    }

    fn assert_gone(&self, when: &str) {
        let mut client = self.product.proxies[0].client();
        let there = |key: &String| client.call(&["EXISTS", key]).unwrap().text() != "0";
        let revived: Vec<String> = self.gone().into_iter().filter(there).collect();
        assert!(revived.is_empty(), "{when}: {revived:?}");
    }

    /// What a flow begins with, the mover's own work excepted.
    async fn prepare(&self, flow: Flow) {
        self.product.ctl_ok(&["migrate", "start", "--slots", SLOTS, "--to", "2"]);
        if flow == Flow::Cancel {
            let mover = self.mover(None);
            self.half_way(&mover).await;
            mover.kill();
            let tasks = self.product.ctl_ok(&["task", "list", "--output", "plain"]);
            let numbers: Vec<&str> = tasks.lines().filter_map(|line| line.split('\t').next()).collect();
            self.product.ctl_ok(&[&["task", "cancel"], &numbers[..]].concat());
        }
    }

    /// Begins to work on the queue, slowly enough to be interrupted.
    fn mover(&self, fault: Option<(u64, Fault)>) -> Process {
        let nth = fault.map_or(TOO_MANY, |(nth, _)| nth).to_string();
        let how = if matches!(fault, Some((_, Fault::Sleeps))) { "stop" } else { "die" };
        let env = [("CODIS_CRASH_AT", nth.as_str()), ("CODIS_CRASH_HOW", how)];
        self.product.ctl_start_with(&env, &["migrate", "run", "--rate", RATE])
    }

    /// Waits until some keys have moved, or the mover works no more.
    async fn half_way(&self, mover: &Process) {
        let there = async || count(&self.product.groups[1].master, &self.slots).await > KEYS / 2;
        eventually_async(SOON, async || !mover.is_running() || mover.is_stopped() || there().await).await;
    }

    /// Does what the flow does beside the mover, and waits until that ends or sleeps. True if it has ended well.
    async fn accompany(&self, flow: Flow, mover: &Process) -> bool {
        if flow == Flow::Pause {
            self.half_way(mover).await;
            self.pause();
        }
        eventually(SOON, || mover.is_stopped() || !mover.is_running());
        !mover.is_stopped() && mover.wait(SOON).is_some_and(|status| status.success())
    }

    /// Pauses the tasks that are left; those of a quick mover may be done.
    fn pause(&self) {
        for state in ["migrating", "pending"] {
            // Refused when the mover has noted its progress in between.
            eventually(SOON, || self.product.ctl(&["task", "pause", "--state", state]).status.success());
        }
    }

    /// Completes what is left, as an operator does.
    fn complete(&self) {
        drop(self.product.ctl_ok(&["task", "resume", "--state", "paused"]));
        drop(self.product.ctl_ok(&["migrate", "run"]));
    }

    /// All slots are at this group, complete, and the other one has nothing of them.
    async fn assert_at(&self, group: u32, when: &str) {
        let cluster = snapshot(&self.product).await;
        assert!(cluster.moves.is_empty(), "{when}: {:?}", cluster.moves);
        for slot in self.slots.iter() {
            let slot = cluster.slot(slot).unwrap();
            let there = (SlotStatus::Online, Some(GroupId(group)), None);
            assert_eq!((slot.status, slot.group, slot.moving()), there, "{when}, slot {}", slot.id);
        }
        let other = &self.product.groups[2 - group as usize].master;
        assert_eq!(count(other, &self.slots).await, 0, "{when}");
        assert_filled(&self.product, &self.slots, KEYS).await;
        let figures = self.ledger.figures();
        assert!(figures.holds(), "{when}: {:#?}", figures.violations);
    }

    /// To the other group, in peace.
    fn send(&self, group: u32) {
        self.product.ctl_ok(&["migrate", "start", "--slots", SLOTS, "--to", &group.to_string()]);
        self.product.ctl_ok(&["migrate", "run"]);
    }

    /// Everything at group 1 again, as every point begins.
    fn home(&self, from: u32) {
        if from != 1 {
            self.send(1);
        }
    }

    async fn finish(self) {
        let account = self.ledger.finish().await;
        assert!(account.holds(), "{:#?}", account.violations);
        assert_filled(&self.product, &self.slots, KEYS).await;
    }
}

/// One point of the mover. False if it has fewer writes.
async fn mover_at(scene: &Scene, flow: Flow, nth: u64, fault: Fault) -> bool {
    let when = format!("{flow:?}, the mover {fault:?} at write {nth}");
    scene.bring();
    scene.prepare(flow).await;
    let mover = scene.mover(Some((nth, fault)));
    let ended = scene.accompany(flow, &mover).await;
    let slept = mover.is_stopped();
    assert!(ended || slept || fault == Fault::Dies, "{when}: {}", mover.log());
    scene.complete();
    scene.assert_at(flow.end(), &when).await;
    scene.delete();
    if slept {
        // The only copy goes where the sleeper would take it from.
        let other = 3 - flow.end();
        scene.send(other);
        mover.cont();
        let woken = mover.wait(SOON);
        assert!(
            woken.is_some(),
            "{when}: it does not notice that it is no longer the mover: {}",
            mover.log()
        );
        scene.assert_at(other, &format!("{when}, woken")).await;
        scene.assert_gone(&when);
        scene.home(other);
    } else {
        scene.assert_gone(&when);
        scene.home(flow.end());
    }
    slept || !ended
}

/// The long form takes minutes.
#[expect(clippy::print_stdout, reason = "whoever waits wants to know")]
fn progress(flow: Flow, fault: Fault, who: &str, nth: u64) {
    if nth.is_multiple_of(10) {
        println!("{flow:?}: {who} {fault:?}, {nth} points hold");
    }
}

/// The writes of a flow's mover in peace, in their order.
async fn writes_of(scene: &Scene, flow: Flow) -> Vec<String> {
    scene.prepare(flow).await;
    let writes = scene.product.ctl_writes(&["migrate", "run", "--rate", RATE]);
    scene.home(flow.end());
    writes
}

/// All points of a flow, or those whose write is described by one of these words: the first one of each when the slots are in
/// `migrate`.
async fn mover_everywhere(flow: Flow, fault: Fault, store: Store, words: &[&str]) {
    let scene = Scene::set(store).await;
    let mut points = 0;
    if all_points() {
        let mut nth = 1;
        while mover_at(&scene, flow, nth, fault).await {
            progress(flow, fault, "mover", nth);
            (points, nth) = (nth, nth + 1);
            assert!(nth < TOO_MANY);
        }
        assert!(points > 20, "{points}: lease, guard, two switches, keys, online");
    } else {
        let writes = writes_of(&scene, flow).await;
        let switches = writes.iter().enumerate().filter(|(_, write)| write.contains("slots/slot_0"));
        let in_migrate = switches.map(|(at, _)| at).nth(1).unwrap();
        for word in words {
            let found = writes[in_migrate..].iter().position(|write| write.contains(word));
            let nth = found.unwrap_or_else(|| panic!("no write is {word}: {writes:#?}")) + in_migrate;
            let nth = nth as u64 + 1;
            assert!(mover_at(&scene, flow, nth, fault).await, "{word} is not reached");
            points += 1;
        }
    }
    report(&["migrate", "run", &format!("# {flow:?}, {fault:?}")], points);
    scene.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_sleeps_in_a_move_does_no_harm_when_it_wakes() {
    need!("redis", "zookeeper");
    mover_everywhere(Flow::Move, Fault::Sleeps, Store::zk(), &["RESTORE", "UNLINK"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_sleeps_on_a_way_back_does_no_harm_when_it_wakes() {
    need!("redis");
    mover_everywhere(Flow::Cancel, Fault::Sleeps, Store::zk(), &["UNLINK"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_sleeps_in_a_move_that_is_paused_does_no_harm_when_it_wakes() {
    need!("redis");
    mover_everywhere(Flow::Pause, Fault::Sleeps, Store::zk(), &["RESTORE"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_dies_in_a_move_that_is_paused_loses_nothing() {
    need!("redis");
    mover_everywhere(Flow::Pause, Fault::Dies, Store::local(), &["UNLINK"]).await;
}

/// One point of the second proxy. False if it has not come to so many writes when everything is done.
async fn proxy_at(scene: &mut Scene, flow: Flow, nth: u64, fault: Fault) -> bool {
    let when = format!("{flow:?}, the proxy {fault:?} at write {nth}");
    scene.bring();
    scene.prepare(flow).await;
    let id = "px-2".parse().unwrap();
    scene.product.proxies[1].kill();
    eventually_async(SOON, async || !snapshot(&scene.product).await.proxies.contains_key(&id)).await;
    free_of_fences(&scene.product).await;
    match fault {
        Fault::Dies => scene.product.proxies[1].restart_to_die_at(nth),
        Fault::Sleeps => scene.product.proxies[1].restart_to_stop_at(nth),
    }
    let process = scene.product.proxies[1].process();
    if fault == Fault::Dies && !process.is_running() {
        free_of_fences(&scene.product).await;
    }
    // It may end with the name of the proxy that does not answer.
    let mover = scene.mover(None);
    let completed = scene.accompany(flow, &mover).await;
    let (slept, died) = (process.is_stopped(), !process.is_running());
    assert!(completed || slept || died, "{when}: {}", mover.log());
    if slept {
        eventually_async(SOON, async || !snapshot(&scene.product).await.proxies.contains_key(&id)).await;
        // Refused while the fence stands, or done as far as it can be; in any case the others are served.
        drop(scene.product.ctl(&["migrate", "run"]));
    }
    scene.delete();
    if slept {
        process.cont();
        until_online(&scene.product, "px-2").await;
    } else if died {
        eventually_async(SOON, async || !snapshot(&scene.product).await.proxies.contains_key(&id)).await;
        free_of_fences(&scene.product).await;
        scene.product.proxies[1].restart();
        until_online(&scene.product, "px-2").await;
        free_of_fences(&scene.product).await;
    }
    let answers = |key: &String| {
        let mut client = scene.product.proxies[1].client();
        client.call(&["EXISTS", key]).is_ok_and(|reply| !reply.is_error() && reply.text() == "0")
    };
    eventually(SOON, || scene.gone().iter().all(answers));
    scene.complete();
    scene.assert_at(flow.end(), &when).await;
    scene.assert_gone(&when);
    scene.home(flow.end());
    slept || died
}

/// All points of the proxy in a flow, or these.
async fn proxy_everywhere(flow: Flow, fault: Fault, store: Store, some: &[u64]) {
    let mut scene = Scene::set(store).await;
    let mut points = 0;
    if all_points() {
        let mut nth = 1;
        while proxy_at(&mut scene, flow, nth, fault).await {
            progress(flow, fault, "proxy", nth);
            (points, nth) = (nth, nth + 1);
            // Each hand-over of a request is two more, and clients go on for as long as it takes.
            if nth > MOST_OF_PROXY {
                break;
            }
        }
        assert!(points > 6, "{points}: node, fence, online, acknowledgements");
    } else {
        for nth in some {
            assert!(proxy_at(&mut scene, flow, *nth, fault).await, "write {nth} is not reached");
            points += 1;
        }
    }
    report(&["(codis-proxy)", &format!("# {flow:?}, {fault:?}")], points);
    scene.finish().await;
}

/// Points of a proxy that are tried at most.
const MOST_OF_PROXY: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_sleeps_in_a_move_does_no_harm_when_it_wakes() {
    need!("redis");
    proxy_everywhere(Flow::Move, Fault::Sleeps, Store::zk(), &[8]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_sleeps_on_a_way_back_does_no_harm_when_it_wakes() {
    need!("redis");
    proxy_everywhere(Flow::Cancel, Fault::Sleeps, Store::zk(), &[6]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_sleeps_in_a_move_that_is_paused_does_no_harm_when_it_wakes() {
    need!("redis");
    proxy_everywhere(Flow::Pause, Fault::Sleeps, Store::zk(), &[9]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_dies_on_a_way_back_or_in_a_pause_loses_nothing() {
    need!("redis");
    proxy_everywhere(Flow::Cancel, Fault::Dies, Store::local(), &[8]).await;
    proxy_everywhere(Flow::Pause, Fault::Dies, Store::local(), &[6]).await;
}
