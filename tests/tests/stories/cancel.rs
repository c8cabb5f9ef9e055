//! Moves that are taken back half-way, and what goes wrong while they are. In the models: E4, E6, E8, G11, G12.

use std::time::Duration;

use codis_core::{GroupId, MoveState, SlotSet, SlotStatus};
use codis_testkit::{RedisServer, eventually, eventually_async, need};
use codis_tests::{Product, Servers, Store};

use crate::crashes::report;
use crate::support::{assert_filled, count, fill, ledger_on, prefixes, snapshot};

const KEYS: u64 = 400;
/// A crash point beyond these is one of a loop without an end.
const TOO_MANY: u64 = 1000;
const SOON: Duration = Duration::from_secs(60);

fn two_groups() -> Vec<Servers> {
    (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect()
}

/// Slots 0-3 with [`KEYS`] keys each at group 1.
async fn four_slots(store: Store) -> (Product, SlotSet) {
    let product = Product::start(store, two_groups(), 2);
    let slots: SlotSet = "0-3".parse().unwrap();
    fill(&product, &slots, KEYS).await;
    (product, slots)
}

/// Begins to move the slots and kills the mover when some keys have arrived.
async fn move_half_way(product: &Product, slots: &SlotSet) {
    product.ctl_ok(&["migrate", "start", "--slots", &slots.to_string(), "--to", "2"]);
    let mover = product.ctl_start(&["migrate", "run", "--rate", "400"]);
    eventually_async(SOON, || async { count(&product.groups[1].master, slots).await > 40 }).await;
    mover.kill();
    assert!(count(&product.groups[0].master, slots).await > 40, "all keys have moved before the kill");
}

fn cancel_all(product: &Product) {
    // Its mover has been killed, and may have noted nothing.
    let tasks = product.ctl_ok(&["task", "list", "--output", "plain"]);
    let numbers: Vec<&str> = tasks.lines().filter_map(|line| line.split('\t').next()).collect();
    product.ctl_ok(&[&["task", "cancel"], &numbers[..]].concat());
}

/// Everything is at group 1 as if nothing had happened.
async fn assert_back(product: &Product, slots: &SlotSet, when: &str) {
    let cluster = snapshot(product).await;
    assert!(cluster.moves.is_empty(), "{when}: {:?}", cluster.moves);
    for slot in slots.iter() {
        let slot = cluster.slot(slot).unwrap();
        let there = (SlotStatus::Online, Some(GroupId(1)), None);
        assert_eq!((slot.status, slot.group, slot.moving()), there, "{when}, slot {}", slot.id);
    }
    assert_eq!(count(&product.groups[1].master, slots).await, 0, "{when}");
    assert_filled(product, slots, KEYS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_cancelled_under_load_goes_back_and_loses_nothing() {
    need!("redis", "zookeeper");
    let (product, slots) = four_slots(Store::zk()).await;
    let ledger = ledger_on(&product, &slots);
    product.ctl_ok(&["migrate", "start", "--slots", "0-3", "--to", "2"]);
    let mover = product.ctl_start(&["migrate", "run", "--rate", "300"]);
    eventually_async(SOON, || async { count(&product.groups[1].master, &slots).await > 40 }).await;
    product.ctl_ok(&["task", "cancel", "--state", "migrating"]);
    // The same mover takes them back.
    let status = mover.wait(SOON).expect("it comes to an end");
    assert!(status.success(), "{}", mover.log());
    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_back(&product, &slots, "cancelled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_move_rests_in_migrate_until_it_is_resumed() {
    need!("redis");
    let (product, slots) = four_slots(Store::local()).await;
    let ledger = ledger_on(&product, &slots);
    product.ctl_ok(&["migrate", "start", "--slots", "0-3", "--to", "2"]);
    let mover = product.ctl_start(&["migrate", "run", "--rate", "300"]);
    eventually_async(SOON, || async { count(&product.groups[1].master, &slots).await > 40 }).await;
    product.ctl_ok(&["task", "pause", "--state", "migrating"]);
    assert!(mover.wait(SOON).expect("nothing is left to do for it").success(), "{}", mover.log());
    let cluster = snapshot(&product).await;
    assert!(cluster.moves.iter().all(|task| task.state == MoveState::Paused), "{:?}", cluster.moves);
    assert!(slots.iter().all(|id| cluster.slot(id).unwrap().status == SlotStatus::Migrate));
    assert!(count(&product.groups[0].master, &slots).await > 0, "it was stopped half-way");
    assert_filled(&product, &slots, KEYS).await;
    product.ctl_ok(&["task", "resume", "--state", "paused"]);
    product.ctl_ok(&["migrate", "run"]);
    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_filled(&product, &slots, KEYS).await;
    assert_eq!(count(&product.groups[0].master, &slots).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_back_is_completed_after_every_write() {
    need!("redis");
    let (product, slots) = four_slots(Store::local()).await;
    let ledger = ledger_on(&product, &slots);
    for nth in 1..TOO_MANY {
        move_half_way(&product, &slots).await;
        cancel_all(&product);
        let died = product.ctl_dies_at(nth, &["migrate", "run"]);
        product.ctl_ok(&["migrate", "run"]);
        assert_back(&product, &slots, &format!("write {nth}")).await;
        if !died {
            report(&["migrate", "run", "# a way back"], nth - 1);
            assert!(nth > 20, "{nth}: lease, guard, two switches, keys, online");
            let account = ledger.finish().await;
            assert!(account.holds(), "{:#?}", account.violations);
            return;
        }
    }
    panic!("more than {TOO_MANY} writes");
}

/// E4: online would hide the keys that have moved. They stay reachable in `migrate`, as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_e4_a_way_back_that_is_not_acknowledged_leaves_the_slot_in_migrate() {
    need!("redis");
    let (product, slots) = four_slots(Store::local()).await;
    move_half_way(&product, &slots).await;
    cancel_all(&product);
    product.proxies[1].process().stop();
    let refused = product.ctl(&["migrate", "run"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("px-2"), "{said}");
    assert!(said.contains("in migrate at group 2 again"), "{said}");
    let cluster = snapshot(&product).await;
    for id in slots.iter() {
        let slot = cluster.slot(id).unwrap();
        let as_before = (SlotStatus::Migrate, Some((GroupId(1), GroupId(2))));
        assert_eq!((slot.status, slot.moving()), as_before, "slot {id}");
    }
    product.proxies[1].process().cont();
    assert_filled(&product, &slots, KEYS).await;
    product.ctl_ok(&["migrate", "run"]);
    assert_back(&product, &slots, "acknowledged").await;
}

/// E6, E8, G11, G12: both masters die while a move is taken back, and their slaves take over. What was acknowledged before is
/// there, and what was deleted stays deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_masters_die_on_the_way_back_and_nothing_is_lost_or_revived() {
    need!("redis");
    let (mut product, slots) = four_slots(Store::local()).await;
    let gone: Vec<String> = prefixes(&slots)
        .iter()
        .flat_map(|prefix| (0..20).map(move |n| format!("{prefix}:gone:{n}")))
        .collect();
    let mut client = product.proxies[0].client();
    for key in &gone {
        assert_eq!(client.call(&["SET", key, "x"]).unwrap().text(), "OK");
    }
    move_half_way(&product, &slots).await;
    cancel_all(&product);
    let mover = product.ctl_start(&["migrate", "run", "--rate", "200"]);
    let turned = async || {
        let cluster = snapshot(&product).await;
        slots.iter().all(|id| cluster.slot(id).unwrap().moving() == Some((GroupId(2), GroupId(1))))
    };
    eventually_async(SOON, turned).await;
    mover.kill();
    for key in &gone {
        assert_eq!(client.call(&["DEL", key]).unwrap().text(), "1", "{key}");
    }
    for group in &product.groups {
        await_slave(&group.master, &group.slaves[0]);
        group.master.kill();
    }
    for (group, servers) in ["1", "2"].iter().zip(&product.groups) {
        product.ctl_ok(&["group", "promote", group, &servers.slaves[0].addr(), "--force"]);
    }
    product.ctl_ok(&["migrate", "run"]);
    for servers in &mut product.groups {
        let slave = servers.slaves.remove(0);
        servers.slaves.push(std::mem::replace(&mut servers.master, slave));
    }
    assert_back(&product, &slots, "after two promotions").await;
    let revived: Vec<&String> =
        gone.iter().filter(|key| client.call(&["EXISTS", key.as_str()]).unwrap().text() != "0").collect();
    assert!(revived.is_empty(), "{revived:?}");
}

/// Waits until a slave has everything that its master has written.
pub(crate) fn await_slave(master: &RedisServer, slave: &RedisServer) {
    let offset = |server: &RedisServer, field: &str| {
        let info = server.client().call(&["INFO", "replication"]).unwrap().text();
        info.lines().find_map(|line| line.strip_prefix(field)?.trim().parse::<u64>().ok()).unwrap()
    };
    let written = offset(master, "master_repl_offset:");
    eventually(SOON, || offset(slave, "slave_repl_offset:") >= written);
}
