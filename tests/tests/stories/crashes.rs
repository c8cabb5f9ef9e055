//! Every command that changes more than one place dies before each of its writes in turn. Asking for the same thing
//! again completes it, and no client loses a write.
//!
//! Nobody lists the writes: a command runs with the crash point one further each time, until it ends by itself.
//! So a step that is added to a command is covered without a change here. The queue of the Go tools is in `go.rs`.

use std::time::Duration;

use codis_core::{Addr, GroupId, Move, MoveState, ProxyState, Role, Slot, SlotSet, SlotStatus, Versioned};
use codis_store::{Acl, ConnectOptions, CreateMode, Store as Nodes};
use codis_testkit::{RedisServer, eventually_async, need};
use codis_tests::{PRODUCT, Product, Servers, Store};

use crate::support::{assert_filled, count, fill, ledger_on, snapshot, snapshot_of};

/// A command that comes to no end after this many writes is going in circles.
const TOO_MANY: u64 = 1000;
/// The product of the stories.
const ROOT: &str = "/zk/codis/db_story";
/// How long a proxy may take to follow.
const SOON: Duration = Duration::from_secs(20);

/// What asking again may come to.
#[derive(Clone, Copy)]
enum Again {
    /// The rest is done.
    Completes,
    /// The same, or a refusal because what shall go is gone already: it cannot be told from a slip of the pen.
    OrIsGone,
}

/// Runs `args` once for each of its writes, dying there, and then once more in peace. `check` looks at what that came
/// to, `back` undoes it. Returns the number of points.
async fn at_every_write(
    product: &Product,
    args: &[&str],
    again: Again,
    check: impl AsyncFn(u64),
    back: impl AsyncFn(),
) -> u64 {
    for nth in 1..TOO_MANY {
        let died = product.ctl_dies_at(nth, args);
        if died {
            // The first write is the record of the command itself.
            let record = product.ctl_ok(&["audit", "--last", "1", "--output", "plain"]);
            assert_eq!(record.contains("\tbegun\t"), nth > 1, "write {nth}: {record}");
            match again {
                Again::Completes => drop(product.ctl_ok(args)),
                Again::OrIsGone => {
                    let output = product.ctl(args);
                    let said = String::from_utf8_lossy(&output.stderr);
                    assert!(matches!(output.status.code(), Some(0 | 1)), "write {nth}: {said}");
                }
            }
        }
        check(nth).await;
        if !died {
            report(args, nth - 1);
            return nth - 1;
        }
        back().await;
    }
    panic!("codisctl {} makes more than {TOO_MANY} writes", args.join(" "));
}

#[expect(clippy::print_stdout, reason = "the number of points is a result")]
pub(crate) fn report(args: &[&str], points: u64) {
    println!("{points} crash points: codisctl {}", args.join(" "));
}

fn two_groups() -> Vec<Servers> {
    (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect()
}

/// Runs a command that dies at its `nth` write, as long as its number of writes is not known, and then in peace.
fn die_and_repeat(product: &Product, nth: u64, points: &mut Option<u64>, args: &[&str]) {
    if points.is_none() && !product.ctl_dies_at(nth, args) {
        *points = Some(nth - 1);
    }
    product.ctl_ok(args);
}

/// A product of its own for each point: there is no way back from these two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn init_and_assign_are_completed_after_every_write() {
    need!("redis");
    let product = Product::nothing_in(Store::local());
    let (mut in_init, mut in_assign) = (None, None);
    let mut nth = 0;
    while in_init.is_none() || in_assign.is_none() {
        nth += 1;
        assert!(nth < TOO_MANY);
        let name = format!("p{nth}");
        die_and_repeat(&product, nth, &mut in_init, &["product", "init", &name]);
        let cluster = snapshot_of(&product, &name).await;
        assert!(cluster.gaps.is_empty(), "write {nth}: {:?}", cluster.gaps);
        assert_eq!(cluster.known_slots().count(), 1024, "write {nth}");
        let fresh = |slot: &Slot| slot.status == SlotStatus::Offline && slot.group.is_none();
        assert!(cluster.known_slots().all(|slot| fresh(slot)), "write {nth}");
        if in_assign.is_some() {
            continue;
        }
        // A server belongs to one product.
        let server = RedisServer::start();
        let named = ["--product", name.as_str()];
        product.ctl_ok(&[&["group", "add", "1", "--master", &server.addr()], &named[..]].concat());
        let assign = [&["slot", "assign", "0-1023", "1"], &named[..]].concat();
        die_and_repeat(&product, nth, &mut in_assign, &assign);
        let owned = |slot: &Slot| slot.status == SlotStatus::Online && slot.group == Some(GroupId(1));
        assert!(snapshot_of(&product, &name).await.known_slots().all(|slot| owned(slot)), "write {nth}");
    }
    let (init, assign) = (in_init.unwrap_or(0), in_assign.unwrap_or(0));
    report(&["product", "init", "NAME"], init);
    report(&["slot", "assign", "0-1023", "1"], assign);
    assert!(init > 32, "{init}: the slots are made in more transactions than that");
    assert!(assign > 2, "{assign}: lock, slots, action");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_locks_and_actions_are_looked_after_again_after_every_write() {
    need!("redis");
    let product = Product::start(Store::local(), two_groups(), 1);
    let slave = product.groups[0].slaves[0].addr();
    let addr: Addr = slave.parse().unwrap();
    let role = async || snapshot(&product).await.server(&addr).unwrap().role;
    let (off, on) = (["server", "offline", &slave], ["server", "add", "1", &slave]);
    let is_off = async |nth: u64| assert_eq!(role().await, Role::Offline, "write {nth}");
    let is_slave = async |nth: u64| assert_eq!(role().await, Role::Slave, "write {nth}");
    at_every_write(&product, &off, Again::Completes, is_off, async || drop(product.ctl_ok(&on))).await;
    at_every_write(&product, &on, Again::Completes, is_slave, async || drop(product.ctl_ok(&off))).await;

    let actions = async || nodes(&product).await.children(&format!("{ROOT}/actions")).await.unwrap().len();
    let make = async || {
        product.ctl_ok(&["group", "add", "9"]);
        product.ctl_ok(&["group", "remove", "9"]);
    };
    make().await;
    let one = async |nth: u64| assert_eq!(actions().await, 1, "write {nth}");
    at_every_write(&product, &["action", "gc", "--keep", "1"], Again::Completes, one, make).await;

    // As a Go dashboard that was killed leaves one.
    let lock = async || {
        let path = format!("{ROOT}/LOCK/lock-");
        let text = br#"{"desc":"promote server","hostname":"gone","pid":1}"#;
        nodes(&product).await.create(&path, text, CreateMode::PersistentSequential, Acl::File).await.unwrap();
    };
    lock().await;
    let free = async |nth: u64| assert!(snapshot(&product).await.locks.is_empty(), "write {nth}");
    at_every_write(&product, &["lock", "clear"], Again::Completes, free, lock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_product_is_removed_completely_after_every_write() {
    need!("redis");
    let product = Product::nothing_in(Store::local());
    for nth in 1..TOO_MANY {
        product.ctl_ok(&["product", "init", PRODUCT]);
        product.ctl_ok(&["group", "add", "1"]);
        let remove = ["product", "remove", PRODUCT];
        let died = product.ctl_dies_at(nth, &remove);
        if died {
            // It may have been the very last write, and there is nothing left to remove.
            let output = product.ctl(&remove);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(matches!(output.status.code(), Some(0 | 1)), "write {nth}: {said}");
        }
        let left = nodes(&product).await.children("/zk/codis").await.unwrap();
        assert!(left.is_empty(), "write {nth}: {left:?}");
        if !died {
            report(&remove, nth - 1);
            assert!(nth > 8, "{nth}: the slots alone are removed in 8 transactions");
            return;
        }
    }
    panic!("more than {TOO_MANY} writes");
}

/// The store as a tree of nodes.
async fn nodes(product: &Product) -> Nodes {
    Nodes::connect(&product.store.url().parse().unwrap(), &ConnectOptions::control()).await.unwrap()
}

/// A fence is what a proxy leaves that was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_fences_is_completed_after_every_write() {
    need!("redis");
    let mut product = Product::start(Store::local(), two_groups(), 1);
    let mut points = None;
    for nth in 1.. {
        product.proxies[0].kill();
        assert_eq!(snapshot(&product).await.stale_fences().len(), 1, "write {nth}");
        die_and_repeat(&product, nth, &mut points, &["proxy", "fence", "clear"]);
        assert!(snapshot(&product).await.stale_fences().is_empty(), "write {nth}");
        if let Some(points) = points {
            report(&["proxy", "fence", "clear"], points);
            return;
        }
        product.proxies[0].restart();
        until_online(&product, "px-1").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_servers_and_tasks_are_completed_after_every_write() {
    need!("redis");
    let product = Product::start(Store::local(), two_groups(), 1);
    let (master, slave) = (RedisServer::start(), RedisServer::start());
    let (m, s) = (master.addr(), slave.addr());
    let add = ["group", "add", "3", "--master", &m, "--slave", &s];
    let group = async || snapshot(&product).await.groups.get(&GroupId(3)).cloned();
    let has_three = async |nth: u64| {
        let group = group().await.unwrap();
        let roles: Vec<Role> = [&m, &s].map(|addr| group.server(&addr.parse().unwrap()).unwrap().role).into();
        assert_eq!(roles, [Role::Master, Role::Slave], "write {nth}");
        let info = slave.client().call(&["INFO", "replication"]).unwrap().text();
        assert!(info.contains(&format!("master_port:{}", master.port())), "write {nth}: {info}");
    };
    let has_not = async |nth: u64| assert!(group().await.is_none(), "write {nth}");
    let remove = ["group", "remove", "3"];
    at_every_write(&product, &add, Again::Completes, has_three, async || drop(product.ctl_ok(&remove))).await;
    at_every_write(&product, &remove, Again::OrIsGone, has_not, async || drop(product.ctl_ok(&add))).await;

    product.ctl_ok(&add);
    let take = ["server", "remove", "3", &s];
    let give = ["server", "add", "3", &s];
    let taken = async |nth: u64| assert_eq!(group().await.unwrap().servers.len(), 1, "write {nth}");
    at_every_write(&product, &take, Again::OrIsGone, taken, async || drop(product.ctl_ok(&give))).await;

    let start = ["migrate", "start", "--slots", "0-63", "--to", "2"];
    let delete = ["task", "delete", "--state", "pending"];
    let queued = async |nth: u64| assert_eq!(snapshot(&product).await.moves.len(), 64, "write {nth}");
    let empty = async |nth: u64| assert!(snapshot(&product).await.moves.is_empty(), "write {nth}");
    at_every_write(&product, &start, Again::Completes, queued, async || drop(product.ctl_ok(&delete))).await;

    let state = |task: &Versioned<Move>, state: MoveState| task.state == state;
    let (pause, resume) = (["task", "pause", "--state", "pending"], ["task", "resume", "--state", "paused"]);
    product.ctl_ok(&start);
    let all = async |wanted: MoveState, nth: u64| {
        let cluster = snapshot(&product).await;
        assert!(cluster.moves.iter().all(|task| state(task, wanted)), "write {nth}: {:?}", cluster.moves);
        assert_eq!(cluster.moves.len(), 64, "write {nth}");
    };
    let paused = async |nth: u64| all(MoveState::Paused, nth).await;
    let resumed = async |nth: u64| all(MoveState::Pending, nth).await;
    at_every_write(&product, &pause, Again::Completes, paused, async || drop(product.ctl_ok(&resume))).await;
    at_every_write(&product, &resume, Again::Completes, resumed, async || drop(product.ctl_ok(&pause))).await;
    let cancel = ["task", "cancel", "--state", "pending"];
    at_every_write(&product, &cancel, Again::OrIsGone, empty, async || drop(product.ctl_ok(&start))).await;
    product.ctl_ok(&start);
    at_every_write(&product, &delete, Again::OrIsGone, empty, async || drop(product.ctl_ok(&start))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_completed_after_every_write_and_loses_none_of_the_clients() {
    need!("redis");
    let product = Product::start(Store::local(), two_groups(), 2);
    let slots: SlotSet = "0-63".parse().unwrap();
    fill(&product, &slots, 20).await;
    let ledger = ledger_on(&product, &slots);
    let (old, new) = (product.groups[0].master.addr(), product.groups[0].slaves[0].addr());
    let promoted = async |nth: u64| {
        let group = snapshot(&product).await.groups[&GroupId(1)].clone();
        assert_eq!(group.master().unwrap().addr.as_str(), new, "write {nth}");
        let figures = ledger.figures();
        assert!(figures.holds(), "write {nth}: {:#?}", figures.violations);
    };
    let back = async || drop(product.ctl_ok(&["group", "promote", "1", &old]));
    let args = ["group", "promote", "1", &new];
    let points = at_every_write(&product, &args, Again::Completes, promoted, back).await;
    assert!(points > 15, "{points}: lock, lead, journal, hold, write stop, roles, store, action, journal");
    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_filled(&product, &slots, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_is_completed_after_every_write_and_loses_none_of_the_clients() {
    need!("redis");
    const KEYS: u64 = 20;
    let product = Product::start(Store::local(), two_groups(), 2);
    let slots: SlotSet = "0-15".parse().unwrap();
    fill(&product, &slots, KEYS).await;
    let ledger = ledger_on(&product, &slots);
    let mut target = 2;
    let queue = |target: u32| {
        product.ctl_ok(&["migrate", "start", "--slots", "0-15", "--to", &target.to_string()]);
    };
    for nth in 1..TOO_MANY {
        queue(target);
        let died = product.ctl_dies_at(nth, &["migrate", "run"]);
        product.ctl_ok(&["migrate", "run"]);
        let cluster = snapshot(&product).await;
        assert!(cluster.moves.is_empty(), "write {nth}: {:?}", cluster.moves);
        for slot in slots.iter() {
            let slot = cluster.slot(slot).unwrap();
            let there = (SlotStatus::Online, Some(GroupId(target)), None);
            assert_eq!((slot.status, slot.group, slot.moving()), there, "write {nth}, slot {}", slot.id);
        }
        assert_eq!(count(&product.groups[2 - target as usize].master, &slots).await, 0, "write {nth}");
        if !died {
            report(&["migrate", "run"], nth - 1);
            assert!(nth > 20, "{nth}: lease, guard, probe, slots and actions, keys");
            let account = ledger.finish().await;
            assert!(account.holds(), "{:#?}", account.violations);
            assert_filled(&product, &slots, KEYS).await;
            return;
        }
        target = 3 - target;
    }
    panic!("more than {TOO_MANY} writes");
}

/// The proxy's own writes: its registration, its acknowledgements, and the keys it hands over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_dies_at_any_of_its_writes_loses_nothing_and_comes_back() {
    need!("redis");
    const KEYS: u64 = 5;
    let mut product = Product::start(Store::local(), two_groups(), 2);
    let slots: SlotSet = "0-3".parse().unwrap();
    fill(&product, &slots, KEYS).await;
    let ledger = ledger_on(&product, &slots);
    let mut target = 2;
    for nth in 1..TOO_MANY {
        let last = product.proxies.len() - 1;
        product.proxies[last].kill();
        free_of_fences(&product).await;
        product.proxies[last].restart_to_die_at(nth);
        // A command that finds a fence without its proxy refuses to begin.
        free_of_fences(&product).await;
        product.ctl_ok(&["migrate", "start", "--slots", "0-3", "--to", &target.to_string()]);
        // It may end with the name of the proxy that has gone.
        let output = product.ctl(&["migrate", "run"]);
        let process = product.proxies[last].process();
        // Its session ends a moment before its process does.
        let died = if output.status.success() { !process.is_running() } else { process.wait(SOON).is_some() };
        assert!(died || output.status.success(), "write {nth}: {}", String::from_utf8_lossy(&output.stderr));
        if died {
            product.proxies[last].restart();
            until_online(&product, "px-2").await;
            free_of_fences(&product).await;
            product.ctl_ok(&["migrate", "run"]);
        }
        let cluster = snapshot(&product).await;
        assert!(cluster.moves.is_empty(), "write {nth}: {:?}", cluster.moves);
        assert_eq!(count(&product.groups[2 - target as usize].master, &slots).await, 0, "write {nth}");
        if !died {
            report(&["(codis-proxy)"], nth - 1);
            assert!(nth > 6, "{nth}: node, fence, online, three acknowledgements");
            break;
        }
        target = 3 - target;
    }
    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_filled(&product, &slots, KEYS).await;
}

pub(crate) async fn until_online(product: &Product, id: &str) {
    let id = id.parse().unwrap();
    eventually_async(SOON, async || {
        snapshot(product).await.proxies.get(&id).is_some_and(|proxy| proxy.state == ProxyState::Online)
    })
    .await;
}

/// What a killed proxy leaves, as an operator clears it.
pub(crate) async fn free_of_fences(product: &Product) {
    if !snapshot(product).await.stale_fences().is_empty() {
        product.ctl_ok(&["proxy", "fence", "clear"]);
    }
}
