//! What the checked model of failovers found to go wrong with one rule left out, on real servers with all rules in place.
//!
//! | case | what happens | staged |
//! |---|---|---|
//! | A1, Z1, Z2 | leaders crash at every step | `trio.rs` |
//! | A2 | the candidate dies before the store names it | here |
//! | A3 | the new master dies before the change has ended | here |
//! | B1, B2 | a leader sleeps past its session, its orders arrive late | `trio.rs`; what was in the kernel already is put right as in B4 |
//! | B3 | the master is out of the agents' reach as well | not here: it needs a network of its own; `failover.rs` has one that hangs and wakes up |
//! | B4 | a slave is a master in role | here |
//! | C1 | the new master restarts | here |
//! | D1 .. D4 | how writes are stopped | `trio.rs`: none is left behind; with Go proxies `go.rs` |
//! | E1, E2 | a proxy may still write to the old master: the receipt stays open | here |
//! | F1 | the candidate restarts empty | here |
//! | F1b | the new master restarts empty before the slaves are sent to it | here |
//! | F2, F2b | offsets of two histories | no: the pure decision has it, in `codis-core/src/ha/candidate.rs` |
//! | F4 | the slaves copy the empty master before anybody looks | no: nothing can be done, see `docs/failover.md` |
//! | P1 .. P3, P5 | who ends a hold | `trio.rs`, and codis-proxy's tests of holds |
//! | P4c | the new master dies right after a planned change | here |
//! | P4b, P6 | a planned change while a proxy may still be writing to an old master | here: refused, with E2 |
//! | P7 .. P9 | planned changes beside Go proxies | `go.rs` |
//! | P10 | a request whose connection broke is not sent again | `pauses.rs`: the counters of planned changes |

use std::time::Duration;

use codis_core::SlotSet;
use codis_core::ha::{Saga, SagaKind, Stage};
use codis_testkit::{Process, RedisServer, eventually, eventually_async, need};
use codis_tests::{Product, Servers, Store};

use crate::failover::{Counting, GROUP, QUICK, addr, group_of, saga, until_ended, until_led, until_settled};
use crate::support::{assert_filled, fill, snapshot, until_copied};
use crate::trio::{master, servers, until_healthy};

const SOON: Duration = Duration::from_secs(40);
const SLOTS: &str = "0-7";
const KEYS: u64 = 10;
/// Where the leader dies: before the `.1`th write from the first one on that is described by this.
type Point = (&'static str, &'static str);
/// A candidate is chosen, and at most told. It is the first journal of the product: the first write finds no folder for it, the second
/// makes one, the third is the journal; what the agent says of itself may come in between.
const CHOSEN: Point = ("failover/group_1", "5");
/// The candidate is a master, the store does not say so yet.
const BEFORE_STORED: Point = ("servers/group_1", "1");
/// The store has just named the new master.
const STORED: Point = ("servers/group_1", "2");

fn slots() -> SlotSet {
    SLOTS.parse().unwrap()
}

async fn product(slaves: usize) -> Product {
    let product = Product::start(Store::local(), group_of(slaves), 1);
    fill(&product, &slots(), KEYS).await;
    until_copied(&product);
    product
}

fn ask(server: &RedisServer, line: &str) -> String {
    server.client().call(&line.split(' ').collect::<Vec<_>>()).unwrap().text()
}

/// The master is killed, and the only agent dies at this point of the failover. Returns the journal that it leaves, and who
/// was to be the new master.
async fn left_at(product: &Product, (from, nth): Point) -> Saga {
    let agent = product.agent(QUICK, &[("CODIS_CRASH_FROM", from), ("CODIS_CRASH_AT", nth)]);
    until_led(product).await;
    // A single agent's word counts if the proxies have trouble, too.
    let load = Counting::start(&product.proxies[0], "load");
    product.groups[0].master.kill();
    eventually(SOON, || !agent.is_running());
    drop(load);
    saga(product).await.unwrap()
}

fn index_of(product: &Product, wanted: &codis_core::Addr) -> usize {
    product.groups[0].slaves.iter().position(|slave| addr(slave) == *wanted).unwrap()
}

/// An agent that would leave the group alone for a minute after a failover.
fn patient(product: &Product) -> Process {
    product.agent(&QUICK.replace("recovery_block = \"1s\"", "recovery_block = \"1m\""), &[])
}

/// Everybody is back, and the group is well.
async fn all_back(product: &mut Product, dead: &[usize]) {
    product.groups[0].master.restart_alone();
    for n in dead {
        product.groups[0].slaves[*n].restart_alone();
    }
    until_healthy(product).await;
    assert_filled(product, &slots(), KEYS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_a2_a_candidate_that_dies_before_the_store_names_it_is_replaced() {
    need!("redis");
    let mut product = product(2).await;
    let left = left_at(&product, BEFORE_STORED).await;
    assert_eq!(left.stage, Stage::Promote);
    let dead = index_of(&product, &left.new);
    assert!(ask(&product.groups[0].slaves[dead], "INFO replication").contains("role:master"));
    product.groups[0].slaves[dead].kill();
    let other = addr(&product.groups[0].slaves[1 - dead]);
    let agent = product.agent(QUICK, &[]);
    let ended = until_ended(&product, &other).await;
    assert_eq!(ended.old, addr(&product.groups[0].master), "{}", agent.log());
    all_back(&mut product, &[dead]).await;
    assert_eq!(master(&product).await, other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_a3_a_new_master_that_dies_before_the_end_is_lost_like_any_other() {
    need!("redis");
    let mut product = product(2).await;
    let left = left_at(&product, STORED).await;
    assert_eq!((left.stage, master(&product).await), (Stage::Follow, left.new.clone()));
    let dead = index_of(&product, &left.new);
    product.groups[0].slaves[dead].kill();
    let other = addr(&product.groups[0].slaves[1 - dead]);
    let agent = patient(&product);
    // As in `left_at`.
    let _load = Counting::start(&product.proxies[0], "load");
    let ended = until_ended(&product, &other).await;
    assert_eq!((ended.kind, &ended.old), (SagaKind::Failover, &left.new), "{}", agent.log());
    all_back(&mut product, &[dead]).await;
    assert_eq!(master(&product).await, other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_a3_without_agents_a_command_takes_the_place_of_the_change_that_is_open() {
    need!("redis");
    let mut product = product(2).await;
    let left = left_at(&product, STORED).await;
    let dead = index_of(&product, &left.new);
    product.groups[0].slaves[dead].kill();
    let other = addr(&product.groups[0].slaves[1 - dead]);
    product.ctl_ok(&["group", "promote", "1", other.as_str(), "--force"]);
    let ended = saga(&product).await.unwrap();
    assert_eq!((ended.stage, &ended.old, &ended.new), (Stage::Ended, &left.new, &other));
    let _agent = product.agent(QUICK, &[]);
    all_back(&mut product, &[dead]).await;
    assert_eq!(master(&product).await, other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_b4_a_slave_that_is_a_master_in_role_is_attached_again() {
    need!("redis");
    let product = product(1).await;
    let _agent = product.agent(QUICK, &[]);
    until_led(&product).await;
    let slave = &product.groups[0].slaves[0];
    assert_eq!(ask(slave, "SLAVEOF NO ONE"), "OK");
    let back = || ask(slave, "INFO replication").contains("role:slave");
    eventually(SOON, back);
    until_settled(&product, &servers(&product)).await;
    assert_eq!(master(&product).await, addr(&product.groups[0].master));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_c1_a_new_master_that_restarts_is_still_one() {
    need!("redis");
    let master = RedisServer::builder().in_file().durable().start();
    let slave = RedisServer::builder().in_file().durable().slave_of(&master).start();
    let groups = vec![Servers { master, slaves: vec![slave] }];
    let mut product = Product::start(Store::local(), groups, 1);
    fill(&product, &slots(), KEYS).await;
    until_copied(&product);
    let agent = product.agent(QUICK, &[]);
    until_led(&product).await;
    let load = Counting::start(&product.proxies[0], "load");
    product.groups[0].master.kill();
    until_ended(&product, &addr(&product.groups[0].slaves[0])).await;
    drop(load);
    // Nobody is there who could put it right.
    agent.terminate();
    assert!(agent.wait(SOON).is_some());
    product.groups[0].slaves[0].restart_alone();
    let info = ask(&product.groups[0].slaves[0], "INFO replication");
    assert!(info.contains("role:master"), "{info}");
    let serves = || {
        let reply = product.proxies[0].client().call(&["SET", "after", "it"]);
        reply.is_ok_and(|reply| !reply.is_error())
    };
    eventually(SOON, serves);
    assert_filled(&product, &slots(), KEYS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_e2_the_receipt_stays_open_while_a_proxy_may_write_to_the_old_master() {
    need!("redis");
    let mut product = Product::start(Store::local(), group_of(2), 2);
    fill(&product, &slots(), KEYS).await;
    until_copied(&product);
    let _agents = [product.agent(QUICK, &[]), product.agent(QUICK, &[])];
    until_led(&product).await;
    // Its fence stays, and nobody knows whether it lives.
    product.proxies[1].kill();
    eventually_async(SOON, async || !snapshot(&product).await.stale_fences().is_empty()).await;
    product.groups[0].master.kill();
    eventually_async(SOON, async || saga(&product).await.is_some_and(|saga| saga.stage == Stage::Ended))
        .await;
    let ended = saga(&product).await.unwrap();
    assert!(ended.is_open() && !ended.receipt.unconfirmed.is_empty(), "{ended:?}");
    // Which of the two changes would have lost what?
    let other = snapshot(&product).await.groups[&GROUP].slaves().next().unwrap().addr.clone();
    let refused = product.ctl(&["group", "promote", "1", other.as_str()]);
    assert!(!refused.status.success(), "{}", String::from_utf8_lossy(&refused.stdout));
    assert_eq!(master(&product).await, ended.new);

    product.groups[0].master.restart_alone();
    until_settled(&product, &servers(&product)).await;
    let closed = async || saga(&product).await.is_some_and(|saga| !saga.is_open());
    eventually_async(SOON, closed).await;
    assert_eq!(master(&product).await, ended.new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_f1_a_candidate_that_restarts_empty_is_not_promoted() {
    need!("redis");
    let mut product = product(2).await;
    let left = left_at(&product, CHOSEN).await;
    assert!(!left.stage.is_stored(), "{left:?}");
    let empty = index_of(&product, &left.new);
    product.groups[0].slaves[empty].restart_alone();
    let other = addr(&product.groups[0].slaves[1 - empty]);
    let agent = product.agent(QUICK, &[]);
    let ended = until_ended(&product, &other).await;
    assert_eq!(ended.old, addr(&product.groups[0].master), "{}", agent.log());
    all_back(&mut product, &[]).await;
    assert_eq!(master(&product).await, other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_f1b_no_server_with_data_is_sent_to_an_empty_one() {
    need!("redis");
    let mut product = product(2).await;
    let left = left_at(&product, STORED).await;
    let empty = index_of(&product, &left.new);
    product.groups[0].slaves[empty].restart_alone();
    let full = 1 - empty;
    let before = ask(&product.groups[0].slaves[full], "DBSIZE");
    let agent = product.agent(QUICK, &[]);
    eventually_async(SOON, async || saga(&product).await.is_some_and(|saga| saga.stage == Stage::Ended))
        .await;
    assert_eq!(ask(&product.groups[0].slaves[full], "DBSIZE"), before, "{}", agent.log());
    assert_ne!(before, "0");
    // People decide: the one that has the data becomes the master.
    if master(&product).await == left.new {
        let wanted = product.groups[0].slaves[full].addr();
        product.ctl_ok(&["group", "promote", "1", &wanted, "--force"]);
    }
    assert_eq!(master(&product).await, addr(&product.groups[0].slaves[full]));
    all_back(&mut product, &[]).await;
}

/// It is complete, and the only other one that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_p4c_a_new_master_that_dies_right_after_a_planned_change_is_replaced_by_the_old_one() {
    need!("redis");
    let mut product = product(1).await;
    let (old, new) = (addr(&product.groups[0].master), addr(&product.groups[0].slaves[0]));
    let (from, nth) = STORED;
    let env = [("CODIS_CRASH_FROM", from), ("CODIS_CRASH_AT", nth)];
    let command = product.ctl_start_with(&env, &["group", "promote", "1", new.as_str()]);
    eventually(SOON, || !command.is_running());
    assert_eq!(master(&product).await, new, "{}", command.log());
    product.groups[0].slaves[0].kill();
    let agent = patient(&product);
    // As in `left_at`.
    let _load = Counting::start(&product.proxies[0], "load");
    let ended = until_ended(&product, &old).await;
    assert_eq!((ended.kind, &ended.old), (SagaKind::Failover, &new), "{}", agent.log());
    product.groups[0].slaves[0].restart_alone();
    until_healthy(&product).await;
    assert_filled(&product, &slots(), KEYS).await;
    assert_eq!(master(&product).await, old);
}
