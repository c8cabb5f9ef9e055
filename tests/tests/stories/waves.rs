//! Two waves at once, with the mover killed in the middle of both; and one that waits for room.

use std::time::Duration;

use codis_core::{Cluster, GroupId, SlotSet, SlotStatus};
use codis_testkit::{RedisServer, eventually_async, need};
use codis_tests::{Product, Servers, Store};

use crate::support::{assert_filled, count, fill, ledger_on, prefixes, snapshot};

const KEYS_PER_SLOT: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_waves_at_once_are_gone_on_with_after_the_mover_was_killed() {
    need!("redis");
    let groups = (0..4).map(|_| Servers::start(RedisServer::builder(), 0)).collect();
    let product = Product::start(Store::local(), groups, 2);
    let (all, first, second): (SlotSet, SlotSet, SlotSet) =
        ("0-63".parse().unwrap(), "0-31".parse().unwrap(), "32-63".parse().unwrap());
    product.ctl_ok(&["migrate", "start", "--slots", "32-63", "--to", "2"]);
    product.ctl_ok(&["migrate", "run"]);
    fill(&product, &all, KEYS_PER_SLOT).await;
    let ledger = ledger_on(&product, &all);

    product.ctl_ok(&["migrate", "start", "--slots", "0-31", "--to", "3"]);
    product.ctl_ok(&["migrate", "start", "--slots", "32-63", "--to", "4"]);
    let watcher = product.ctl_start(&["migrate", "watch", "--output", "json"]);
    // So slowly that both are under way when it is killed.
    let mover = product.ctl_start(&["migrate", "run", "--rate", "500"]);
    eventually_async(Duration::from_secs(20), async || {
        assert!(mover.is_running(), "{}", mover.log());
        let cluster = snapshot(&product).await;
        some_moved(&cluster, &first) && some_moved(&cluster, &second)
    })
    .await;
    mover.kill();
    for slots in [&first, &second] {
        assert!(has(&snapshot(&product).await, slots, SlotStatus::Migrate), "one had ended before");
    }

    let one_at_a_time = ["migrate", "run", "--max-parallel", "1", "--dry-run", "--output", "json"];
    assert!(product.ctl_ok(&one_at_a_time).contains("migrate"));
    let report = product.ctl_ok(&["migrate", "run", "--output", "json"]);
    assert!(report.contains(r#""waves": 2"#), "{report}");

    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_eq!(account.error_count(), 0, "{:#?}", account.errors);
    assert_filled(&product, &all, KEYS_PER_SLOT).await;
    let cluster = snapshot(&product).await;
    assert!(cluster.moves.is_empty(), "{:?}", cluster.moves);
    for (slots, from, to) in [(&first, 1, 3), (&second, 2, 4)] {
        for slot in slots.iter() {
            let slot = cluster.slot(slot).unwrap();
            assert_eq!((slot.status, slot.group), (SlotStatus::Online, Some(GroupId(to))), "{}", slot.id);
        }
        assert_eq!(count(&product.groups[from - 1].master, slots).await, 0);
    }
    assert!(
        watcher.wait(Duration::from_secs(20)).is_some_and(|status| status.success()),
        "{}",
        watcher.log()
    );
    for way in [r#""from":1,"to":3"#, r#""from":2,"to":4"#] {
        let log = watcher.log();
        let told = |state: &str| log.lines().any(|line| line.contains(way) && line.contains(state));
        assert!(told(r#""state":"migrate""#) && told(r#""state":"done""#), "{way}\n{log}");
    }
}

/// What has moved is served, what has not answers with an error and is not called missing, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_without_room_at_its_destination_is_paused_and_goes_on_when_there_is_some() {
    need!("redis");
    const KEYS: u64 = 1000;
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 0)).collect();
    let product = Product::start(Store::local(), groups, 1);
    let slots: SlotSet = "0-7".parse().unwrap();
    fill(&product, &slots, KEYS).await;
    product.ctl_ok(&["migrate", "start", "--slots", "0-7", "--to", "2"]);
    let mover = product.ctl_start(&["migrate", "run", "--rate", "1000"]);
    eventually_async(Duration::from_secs(20), async || {
        assert!(mover.is_running(), "{}", mover.log());
        some_moved(&snapshot(&product).await, &slots)
    })
    .await;
    let limit = |bytes: &str| {
        let mut destination = product.groups[1].master.client();
        assert!(!destination.call(&["CONFIG", "SET", "maxmemory", bytes]).unwrap().is_error());
    };
    limit("1mb");
    let status = mover.wait(Duration::from_secs(60)).expect("it ends");
    assert_eq!(status.code(), Some(1), "{}", mover.log());
    assert!(mover.log().contains("group 2 has no room for these slots"), "{}", mover.log());

    let list = product.ctl_ok(&["task", "list"]);
    assert!(list.contains("paused") && list.contains("group 2 has no room"), "{list}");
    assert!(has(&snapshot(&product).await, &slots, SlotStatus::Migrate));
    let (mut client, mut refused) = (product.proxies[0].client(), 0);
    for prefix in prefixes(&slots) {
        for n in 0..KEYS {
            let reply = client.call(&["EXISTS", &format!("{prefix}:{n}")]).unwrap();
            if reply.is_error() {
                refused += 1
            } else {
                assert_eq!(reply.text(), "1", "{prefix}:{n}")
            }
            if refused > 50 {
                break;
            }
        }
    }
    assert!(refused > 0, "there was room after all");

    limit("0");
    product.ctl_ok(&["task", "resume", "--state", "paused"]);
    product.ctl_ok(&["migrate", "run"]);
    assert_filled(&product, &slots, KEYS).await;
    assert_eq!(count(&product.groups[0].master, &slots).await, 0);
    assert!(snapshot(&product).await.moves.is_empty());
}

fn has(cluster: &Cluster, slots: &SlotSet, status: SlotStatus) -> bool {
    slots.iter().any(|slot| cluster.slot(slot).is_some_and(|slot| slot.status == status))
}

/// Keys have been counted as moved, and not all of them.
fn some_moved(cluster: &Cluster, slots: &SlotSet) -> bool {
    let mine = cluster.moves.iter().filter(|task| slots.contains(task.slot));
    mine.map(|task| task.keys_moved).sum::<u64>() > 0
}
