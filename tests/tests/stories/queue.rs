//! The queue of moves with an agent around: what nobody moves any more goes on by itself, and what people keep back stays.

use std::time::Duration;

use codis_core::{GroupId, MoveState, SlotSet, SlotStatus};
use codis_testkit::{RedisServer, eventually_async, need};
use codis_tests::{Product, Servers, Store};

use crate::support::{assert_filled, count, fill, ledger_on, snapshot};

const SOON: Duration = Duration::from_secs(60);
const KEYS_PER_SLOT: u64 = 500;

/// An agent that takes up what nobody else does for so long.
fn settings(after: &str) -> String {
    format!("[agent]\ncheck_interval = \"200ms\"\n[duty.tasks]\nafter = \"{after}\"\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_goes_on_with_moves_whose_mover_was_killed() {
    need!("redis");
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect();
    let product = Product::start(Store::local(), groups, 2);
    let slots: SlotSet = "0-63".parse().unwrap();
    fill(&product, &slots, KEYS_PER_SLOT).await;
    let ledger = ledger_on(&product, &slots);
    let agent = product.agent(&settings("8s"), &[]);
    eventually_async(SOON, async || product.ctl_ok(&["agent", "list"]).contains("leads")).await;

    let started = product.ctl_ok(&["migrate", "start", "--slots", "0-63", "--to", "2"]);
    assert!(!started.contains("error"), "{started}");
    // So slow that it is killed in the middle.
    let mover = product.ctl_start(&["migrate", "run", "--rate", "4000"]);
    let slot = |cluster: &codis_core::Cluster| cluster.slot("0".parse().unwrap()).unwrap().value.clone();
    eventually_async(SOON, async || {
        let cluster = snapshot(&product).await;
        let moved: u64 = cluster.moves.iter().map(|task| task.keys_moved).sum();
        slot(&cluster).status == SlotStatus::Migrate && moved > 0
    })
    .await;
    let by = snapshot(&product).await.mover.unwrap().pid;
    assert_eq!(
        by,
        i64::from(mover.pid()),
        "one mover at a time, and the person's goes first\n{}",
        agent.log()
    );
    mover.kill();

    eventually_async(SOON, async || snapshot(&product).await.moves.is_empty()).await;
    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_eq!(account.error_count(), 0, "{:#?}", account.errors);
    assert_filled(&product, &slots, KEYS_PER_SLOT).await;
    let cluster = snapshot(&product).await;
    for slot in slots.iter() {
        let slot = cluster.slot(slot).unwrap();
        assert_eq!((slot.status, slot.group), (SlotStatus::Online, Some(GroupId(2))), "{}", slot.id);
    }
    assert_eq!(count(&product.groups[0].master, &slots).await, 0, "nothing is left behind");
    let log = agent.log();
    assert!(log.contains("tasks are queued and nobody moves them: this agent does"), "{log}");
    eventually_async(SOON, async || snapshot(&product).await.mover.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_moves_nothing_that_was_paused_or_failed_and_nothing_at_all_when_it_only_observes() {
    need!("redis");
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 0)).collect();
    let product = Product::start(Store::local(), groups, 1);
    let config = product.home().write("observer.toml", &settings("100ms")).unwrap();
    let config = config.display().to_string();
    let observer = product.ctl_start(&["agent", "run", "--observe-only", "-v", "--config", &config]);
    for slot in ["1", "2", "3"] {
        product.ctl_ok(&["migrate", "start", "--slots", slot, "--to", "2"]);
    }
    eventually_async(SOON, async || observer.log().contains("nobody moves them: an agent would")).await;
    let cluster = snapshot(&product).await;
    assert!(cluster.mover.is_none() && cluster.moves.iter().all(|task| task.state == MoveState::Pending));

    let task = |cluster: &codis_core::Cluster, slot: u16| {
        cluster.moves.iter().find(|task| task.slot.get() == slot).map(|task| task.value.clone())
    };
    product.ctl_ok(&["task", "pause", &task(&cluster, 1).unwrap().task.to_string()]);
    // The second fails in the hands of a person: its key is one that the destination has already.
    let stray = crate::support::prefixes(&"2".parse().unwrap()).remove(0);
    product.groups[1].master.client().call(&["SET", &stray, "stray"]).unwrap();
    product.ctl_ok(&["task", "pause", &task(&cluster, 3).unwrap().task.to_string()]);
    assert!(!product.ctl(&["migrate", "run"]).status.success());
    product.ctl_ok(&["task", "resume", &task(&cluster, 3).unwrap().task.to_string()]);

    let agent = product.agent(&settings("100ms"), &[]);
    eventually_async(SOON, async || task(&snapshot(&product).await, 3).is_none()).await;
    // It has run to the end of what it may do.
    eventually_async(SOON, async || snapshot(&product).await.mover.is_none()).await;
    let cluster = snapshot(&product).await;
    let states = [1, 2].map(|slot| task(&cluster, slot).map(|task| task.state));
    assert_eq!(states, [Some(MoveState::Paused), Some(MoveState::Error)], "{}", agent.log());
    let owner = |slot: u16| cluster.slot(codis_core::SlotId::new(slot).unwrap()).unwrap().group;
    assert_eq!([1, 2, 3].map(owner), [Some(GroupId(1)), Some(GroupId(1)), Some(GroupId(2))]);

    // A person has seen to it.
    product.groups[1].master.client().call(&["DEL", &stray]).unwrap();
    for state in ["error", "paused"] {
        product.ctl_ok(&["task", "resume", "--state", state]);
    }
    eventually_async(SOON, async || snapshot(&product).await.moves.is_empty()).await;
}
