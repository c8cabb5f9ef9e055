//! Three agents. The one that leads dies, and separately falls asleep past its session and is woken, at a write of a change of
//! master: of one that is lost, and of one that somebody asked for. Another agent completes the change or gives it up.
//!
//! Afterwards there is one master, in the store and in role; the others follow it; the journal is over; no server refuses writes and
//! no proxy holds requests back; and what was acknowledged is there, but for what the receipt says.
//!
//! The writes are counted from the first one to the journal (`CODIS_CRASH_FROM`), so that the same number is about the same step.
//! The ordinary tests take some; with `CODIS_LONG_STORIES` it goes on until nothing is left to die at.
//!
//! Who sleeps does so beside a ZooKeeper: a local store is one file, and who stops while it writes there keeps all others out.

use std::time::Duration;

use codis_core::ha::{Saga, SagaKind, Stage};
use codis_core::{Addr, Role};
use codis_testkit::{Process, RedisServer, eventually, eventually_async, need};
use codis_tests::{Product, Servers, Store};

use crate::failover::{Counting, GROUP, QUICK, addr, group_of, saga, until_counting, until_settled};
use crate::support::snapshot;

/// A session ends, commands are waited for, and all of that on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// More writes than any change makes.
const TOO_MANY: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The master is killed.
    Lost,
    /// Somebody asks for another one.
    Planned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Dies,
    Sleeps,
}

/// What came of all points of a story.
#[derive(Debug, Default)]
struct Outcomes {
    points: u64,
    ended: u64,
    aborted: u64,
    /// Acknowledged writes that are gone, and what the receipts allowed.
    missing: u64,
    allowed: u64,
    /// Receipts that could not say how many.
    unknown: u64,
}

pub(crate) fn servers(product: &Product) -> Vec<&RedisServer> {
    let Servers { master, slaves } = &product.groups[0];
    std::iter::once(master).chain(slaves).collect()
}

pub(crate) fn server_at<'a>(product: &'a mut Product, wanted: &Addr) -> &'a mut RedisServer {
    let Servers { master, slaves } = &mut product.groups[0];
    std::iter::once(master).chain(slaves).find(|server| addr(server) == *wanted).unwrap()
}

/// The one master that the store names.
pub(crate) async fn master(product: &Product) -> Addr {
    let group = snapshot(product).await.groups[&GROUP].clone();
    let masters: Vec<Addr> = group.masters().map(|server| server.addr.clone()).collect();
    let [master] = &masters[..] else { panic!("not one master: {masters:?}") };
    master.clone()
}

async fn slave(product: &Product) -> Addr {
    let group = snapshot(product).await.groups[&GROUP].clone();
    group.slaves().map(|server| server.addr.clone()).next().unwrap()
}

pub(crate) async fn until_agents(product: &Product, count: usize) {
    let there = async || {
        let said = product.ctl_ok(&["agent", "list", "--output", "json"]);
        let list = serde_json::from_str::<serde_json::Value>(&said).unwrap();
        list["leader"].is_string() && list["agents"].as_array().is_some_and(|agents| agents.len() == count)
    };
    eventually_async(SOON, there).await;
}

pub(crate) async fn until_over(product: &Product, after: u64) -> Saga {
    eventually_async(SOON, async || {
        saga(product).await.is_some_and(|saga| saga.stage.is_over() && saga.epoch > after)
    })
    .await;
    saga(product).await.unwrap()
}

/// All is as [`is_settled`](crate::failover) wants it, and every proxy has writes executed.
pub(crate) async fn until_healthy(product: &Product) {
    until_settled(product, &servers(product)).await;
    for proxy in &product.proxies {
        let writes = || proxy.client().call(&["INCR", "probe"]).is_ok_and(|reply| !reply.is_error());
        eventually(SOON, writes);
    }
}

fn armed(product: &Product, nth: u64, fault: Fault) -> Process {
    let nth = nth.to_string();
    let how = if fault == Fault::Sleeps { "stop" } else { "die" };
    let env = [("CODIS_CRASH_AT", &*nth), ("CODIS_CRASH_FROM", "failover/group_1"), ("CODIS_CRASH_HOW", how)];
    let agent = product.agent(QUICK, &env);
    eventually(SOON, || agent.log().contains("this agent leads"));
    agent
}

/// One point. False if the leader has come to no such write before everything was well.
async fn at(product: &mut Product, change: Change, nth: u64, fault: Fault, sum: &mut Outcomes) -> bool {
    let when = format!("{change:?}, the leader {fault:?} at write {nth}");
    let leader = armed(product, nth, fault);
    let others = [product.agent(QUICK, &[]), product.agent(QUICK, &[])];
    until_agents(product, 3).await;
    let before = saga(product).await.map_or(0, |saga| saga.epoch);
    let (old, new) = (master(product).await, slave(product).await);
    let key = format!("count-{nth}");
    let counting = Counting::start(&product.proxies[0], &key);
    until_counting(&counting).await;

    let asked = match change {
        Change::Lost => {
            server_at(product, &old).kill();
            None
        }
        Change::Planned => Some(product.ctl_start(&["group", "promote", "1", new.as_str()])),
    };
    let done = until_over(product, before).await;
    let kind = if change == Change::Lost { SagaKind::Failover } else { SagaKind::Planned };
    assert_eq!((done.kind, &done.old), (kind, &old), "{when}: {done:?}");
    if let Some(command) = asked {
        // It may have been told that it was given up.
        assert!(command.wait(SOON).is_some(), "{when}: {}", command.log());
    } else {
        assert_eq!(done.stage, Stage::Ended, "{when}: {done:?}");
        server_at(product, &old).restart_alone();
    }
    until_healthy(product).await;
    let wanted = if done.stage == Stage::Ended { &done.new } else { &old };
    assert_eq!(&master(product).await, wanted, "{when}: {done:?}");

    let slept = leader.is_stopped();
    if slept {
        wake(product, &leader, &done, &when).await;
    }
    until_counting(&counting).await;
    let (acknowledged, _) = counting.finish();
    let kept = product.proxies[1].client().call(&["GET", &key]).unwrap().text();
    let missing = acknowledged.saturating_sub(kept.parse().unwrap());
    let allowed = match change {
        Change::Planned => Some(0),
        Change::Lost => done.receipt.lost.and_then(|lost| lost.writes),
    };
    assert!(allowed.is_none_or(|most| missing <= most), "{when}: {missing} are missing, {:?}", done.receipt);
    let reached = slept || !leader.is_running();
    sum.points += u64::from(reached);
    sum.ended += u64::from(done.stage == Stage::Ended);
    sum.aborted += u64::from(done.stage == Stage::Aborted);
    sum.missing += missing;
    sum.allowed += allowed.unwrap_or(0);
    sum.unknown += u64::from(allowed.is_none());

    if !reached {
        // What it writes when it is told to end is no part of the change.
        leader.kill();
    }
    for agent in others.iter().chain([&leader]).filter(|agent| agent.is_running()) {
        agent.terminate();
        assert!(agent.wait(SOON).is_some(), "{when}: {}", agent.log());
    }
    reached
}

/// Wakes the sleeper when its order, whatever it is, would do harm: the roles are changed once more meanwhile.
async fn wake(product: &Product, leader: &Process, done: &Saga, when: &str) {
    let next = if done.stage == Stage::Ended { &done.old } else { &done.new };
    product.ctl_ok(&["group", "promote", "1", next.as_str()]);
    until_healthy(product).await;
    let before = saga(product).await.unwrap();
    leader.cont();
    eventually(SOON, || leader.log().contains("does not lead any more") || !leader.is_running());
    assert!(leader.is_running(), "{when}, woken: {}", leader.log());
    // It is an agent like the others again.
    until_agents(product, 3).await;
    until_healthy(product).await;
    assert_eq!(&master(product).await, next, "{when}, woken");
    let after = saga(product).await.unwrap();
    assert_eq!((after.stage, after.epoch), (Stage::Ended, before.epoch), "{when}, woken: {after:?}");
    let roles =
        snapshot(product).await.groups[&GROUP].servers.iter().map(|server| server.role).collect::<Vec<_>>();
    assert_eq!(roles.iter().filter(|role| **role == Role::Slave).count(), 2, "{when}, woken: {roles:?}");
}

fn is_long() -> bool {
    std::env::var("CODIS_LONG_STORIES").is_ok()
}

#[expect(clippy::print_stdout, reason = "the number of points is a result")]
async fn everywhere(change: Change, fault: Fault, store: Store, some: &[u64]) {
    // Who waits for the one file of a local store may starve on a machine as busy as the long form makes it.
    let store = if is_long() { Store::zk() } else { store };
    let mut product = Product::start_with(store, group_of(2), 2, &["session_timeout = 4"]);
    let mut sum = Outcomes::default();
    if is_long() {
        let mut nth = 1;
        while at(&mut product, change, nth, fault, &mut sum).await {
            println!("{change:?}, {fault:?}: write {nth} holds");
            nth += 1;
            assert!(nth < TOO_MANY);
        }
        assert!(sum.points > 8, "{sum:?}: journal, roles, store, action, journal");
    } else {
        for nth in some {
            assert!(at(&mut product, change, *nth, fault, &mut sum).await, "write {nth} is not reached");
        }
    }
    println!("{change:?}, the leader of three {fault:?}: {sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_in_a_failover_is_succeeded() {
    need!("redis");
    everywhere(Change::Lost, Fault::Dies, Store::local(), &[2, 5, 9]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_sleeps_in_a_failover_does_no_harm_when_it_wakes() {
    need!("redis", "zookeeper");
    everywhere(Change::Lost, Fault::Sleeps, Store::zk(), &[3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_in_a_planned_change_is_succeeded() {
    need!("redis");
    everywhere(Change::Planned, Fault::Dies, Store::local(), &[2, 7, 11]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_sleeps_in_a_planned_change_does_no_harm_when_it_wakes() {
    need!("redis", "zookeeper");
    everywhere(Change::Planned, Fault::Sleeps, Store::zk(), &[7]).await;
}
