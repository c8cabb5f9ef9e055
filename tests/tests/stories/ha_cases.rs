//! What the checked model of failovers found to go wrong with one rule left out, on real servers with all rules in place.
//!
//! | case | what happens | staged |
//! |---|---|---|
//! | A1, Z1, Z2, Z3 | leaders crash or sleep at every step | `trio.rs` |
//! | A2 | the candidate dies before the store names it | here |
//! | A3 | the new master dies before the change has ended | here |
//! | B1, B2 | a leader sleeps past its session, its order comes late | here, and at every write in `trio.rs` |
//! | B3 | the master is out of the agents' reach as well | not here: nothing is wrong with it; `failover.rs` has one that hangs and wakes up |
//! | B4 | a slave is a master in role | here |
//! | C1 | the new master restarts | here |
//! | D1 .. D4 | a write stop outlives its leader while the master is out of reach | here |
//! | E1, E2 | a proxy may still write to the old master: the receipt stays open, what it writes is kept | here |
//! | F1 | the candidate restarts empty | here |
//! | F1b | the new master restarts empty before the slaves are sent to it | here |
//! | F2, F2b | offsets of two histories are not compared | here |
//! | F3 | F1 and F2 together, with leaders that crash | not here: it holds, and both are |
//! | F4 | the slaves copy the empty master before anybody looks | `ha_mails.rs`: nothing can be done, so people are told |
//! | P1 .. P10 | planned changes | `planned_cases.rs` |

use std::time::Duration;

use codis_core::SlotSet;
use codis_core::ha::{Saga, SagaKind, Stage};
use codis_testkit::{Process, ProxyProcess, RedisServer, Relay, eventually, eventually_async, need};
use codis_tests::{PRODUCT, Product, Servers, Store};

use crate::failover::{Counting, GROUP, QUICK, addr, group_of, saga, until_ended, until_led, until_settled};
use crate::outages::owner;
use crate::support::{LISTENS, assert_filled, fill, forget_told, snapshot, told, until_copied};
use crate::trio::{master, servers, until_agents, until_healthy, until_over};

const SOON: Duration = Duration::from_secs(40);
const SLOTS: &str = "0-7";
pub(crate) const KEYS: u64 = 10;
/// Where the leader dies: before the `.1`th write from the first one on that is described by this.
pub(crate) type Point = (&'static str, &'static str);
/// A candidate is chosen, and at most told. It is the first journal of the product: the first write finds no folder for it, the second
/// makes one, the third is the journal; what the agent says of itself may come in between.
const CHOSEN: Point = ("failover/group_1", "5");
/// The candidate is a master, the store does not say so yet.
const BEFORE_STORED: Point = ("servers/group_1", "1");
/// The store has just named the new master.
pub(crate) const STORED: Point = ("servers/group_1", "2");

pub(crate) fn slots() -> SlotSet {
    SLOTS.parse().unwrap()
}

pub(crate) async fn product(slaves: usize) -> Product {
    let product = Product::start(Store::local(), group_of(slaves), 1);
    fill(&product, &slots(), KEYS).await;
    until_copied(&product);
    product
}

pub(crate) fn ask(server: &RedisServer, line: &str) -> String {
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
pub(crate) fn patient(product: &Product) -> Process {
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

/// The leader falls asleep with an order in its hands that was right: B is to follow A. When it wakes, B is the master.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_b1_an_order_of_a_leader_that_slept_reaches_nobody() {
    need!("redis", "zookeeper");
    let first = RedisServer::start();
    let server =
        || LISTENS.iter().fold(RedisServer::builder(), |server, (name, value)| server.config(name, value));
    let slaves = (0..2).map(|_| server().slave_of(&first).start()).collect();
    let mut product = Product::start(Store::zk(), vec![Servers { master: first, slaves }], 1);
    let (a, b) = (addr(&product.groups[0].slaves[0]), addr(&product.groups[0].slaves[1]));
    // A is chosen, for certain.
    let as_candidate = |product: &Product, yes| {
        ask(&product.groups[0].slaves[1], &format!("CONFIG SET replica-priority {yes}"))
    };
    as_candidate(&product, 0);
    let from = format!("server {b} SLAVEOF");
    let env = [("CODIS_CRASH_FROM", &*from), ("CODIS_CRASH_AT", "1"), ("CODIS_CRASH_HOW", "stop")];
    let sleeper = product.agent(QUICK, &env);
    eventually(SOON, || sleeper.log().contains("this agent leads"));
    let _others = [product.agent(QUICK, &[]), product.agent(QUICK, &[])];
    until_agents(&product, 3).await;
    product.groups[0].master.kill();
    eventually(SOON, || sleeper.is_stopped());
    assert_eq!(master(&product).await, a);
    let connections =
        || ask(&product.groups[0].slaves[1], "CLIENT LIST").matches("name=codis-lead-1-").count();
    assert_eq!(connections(), 1, "over which the order would come");

    let Store::Zk(zookeeper) = &product.store else { panic!("it is a ZooKeeper") };
    zookeeper.expire(owner(&product, "agent_leader").await);
    let done = until_over(&product, 0).await;
    assert_eq!((done.stage, &done.new), (Stage::Ended, &a));
    assert_eq!(connections(), 0, "closed by the next one, who has used its own");
    product.groups[0].master.restart_alone();
    until_healthy(&product).await;
    as_candidate(&product, 100);
    product.ctl_ok(&["group", "promote", "1", b.as_str()]);
    until_healthy(&product).await;
    let before = saga(&product).await.unwrap();

    forget_told(&product.groups[0].slaves[1]);
    sleeper.cont();
    eventually(SOON, || sleeper.log().contains("does not lead any more"));
    until_agents(&product, 3).await;
    until_healthy(&product).await;
    let orders = told(&product.groups[0].slaves[1]);
    let late: Vec<_> = orders.iter().filter(|one| one.name.starts_with("codis-lead-1-")).collect();
    assert!(late.is_empty() && !orders.iter().any(|one| one.order.starts_with("SLAVEOF")), "{late:?}");
    assert_eq!((master(&product).await, saga(&product).await.unwrap().epoch), (b, before.epoch));
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

/// Our write stop has no end of its own, and whoever set it has died; nobody can take it back while the master is out of reach.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_d1_a_write_stop_ends_when_its_master_is_within_reach_again() {
    need!("redis");
    let product = product(1).await;
    let (old, slave) = (&product.groups[0].master, &product.groups[0].slaves[0]);
    ask(old, "CONFIG SET min-slaves-to-write 1");
    let from = format!("server {} CONFIG SET", old.addr());
    let env = [("CODIS_CRASH_FROM", &*from), ("CODIS_CRASH_AT", "2")];
    let command = product.ctl_start_with(&env, &["group", "promote", "1", &slave.addr()]);
    eventually(SOON, || !command.is_running());
    assert!(ask(old, "SET a b").starts_with("NOREPLICAS"), "{}", command.log());
    old.stop();
    // Nobody may take its place: it is there, for all but us.
    product.ctl_ok(&["ha", "pause", "--why", "a test"]);
    let agent = product.agent(QUICK, &[]);
    let given_up = async || saga(&product).await.is_some_and(|saga| saga.stage == Stage::Aborted);
    eventually_async(SOON, given_up).await;
    old.cont();
    eventually(SOON, || ask(old, "SET a b") == "OK");
    until_healthy(&product).await;
    let setting = old.client().call(&["CONFIG", "GET", "min-slaves-to-write"]).unwrap();
    assert!(format!("{setting:?}").contains(&format!("{:?}", b"1".to_vec())), "{setting:?}\n{}", agent.log());
    assert_eq!(master(&product).await, addr(old));
}

/// A proxy that has lost the store, and not the old master, goes on writing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_e1_what_a_proxy_without_the_store_writes_to_the_old_master_is_kept() {
    need!("redis", "zookeeper");
    let mut product = Product::start(Store::zk(), group_of(1), 1);
    let Store::Zk(zookeeper) = &product.store else { panic!("it is a ZooKeeper") };
    let relay = Relay::to(zookeeper.port());
    let stale = ProxyProcess::following(&format!("zk://{}", relay.addr()), PRODUCT, "px-2").start();
    product.ctl_ok(&["proxy", "online", "px-2"]);
    eventually(SOON, || stale.client().call(&["SET", "shared", "1"]).is_ok_and(|reply| !reply.is_error()));
    let kept = product.home().path().join("kept");
    let settings = format!("{QUICK}rejoin = \"manual\"\nbackup_dir = \"{}\"\n", kept.display());
    let agents = [product.agent(&settings, &[]), product.agent(&settings, &[])];
    until_agents(&product, 2).await;
    relay.hold_requests();
    relay.hold_replies();
    zookeeper.expire(owner(&product, "proxy/px-2").await);
    eventually_async(SOON, async || !snapshot(&product).await.stale_fences().is_empty()).await;

    product.groups[0].master.stop();
    let ended = until_over(&product, 0).await;
    assert!(ended.is_open() && ended.receipt.unconfirmed == [stale.addr()], "{ended:?}");
    product.groups[0].master.cont();
    let written = || {
        stale.client().call(&["SET", "divergent", "written-too-late"]).is_ok_and(|reply| reply.text() == "OK")
    };
    eventually(SOON, written);
    assert_eq!(ask(&product.groups[0].slaves[0], "EXISTS divergent"), "0", "the new master never sees it");
    assert!(saga(&product).await.unwrap().is_open(), "nobody can say yet what is lost");
    product.ctl_ok(&["group", "sync", "1"]);
    until_settled(&product, &servers(&product)).await;
    assert!(!saga(&product).await.unwrap().is_open(), "{}", agents[0].log());
    let files: Vec<_> = std::fs::read_dir(kept).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("one file: {files:?}") };
    let bytes = std::fs::read(file).unwrap();
    assert!(bytes.windows(16).any(|part| part == b"written-too-late"));
    product.proxies.push(stale);
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

/// The master has restarted empty. One slave has copied that, and is far in the new history; the other one could not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_f2_a_higher_offset_of_another_history_does_not_count() {
    need!("redis");
    let mut product = product(2).await;
    let kept = product.home().path().join("kept");
    let _agent =
        product.agent(&format!("{QUICK}max_lag = \"5m\"\nbackup_dir = \"{}\"\n", kept.display()), &[]);
    until_led(&product).await;
    product.ctl_ok(&["ha", "pause", "--why", "until the slave has copied"]);
    for setting in ["masteruser nobody", "masterauth wrong"] {
        ask(&product.groups[0].slaves[1], &format!("CONFIG SET {setting}"));
    }
    product.groups[0].master.restart_alone();
    let group = &product.groups[0];
    let [empty, full] = [&group.slaves[0], &group.slaves[1]];
    eventually(SOON, || {
        let info = ask(empty, "INFO replication");
        ask(empty, "DBSIZE") == "0" && info.contains("link_status:up")
    });
    let offset = |server| {
        let info = ask(server, "INFO replication");
        let line = info.lines().find_map(|line| line.strip_prefix("slave_repl_offset:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    group.master.client().call(&["SET", "big", &"x".repeat(1 << 20)]).unwrap();
    eventually(SOON, || offset(empty) > offset(full));
    // Whether the agent has seen that or not.
    product.ctl_ok(&["ha", "resume"]);
    let ended = until_ended(&product, &addr(full)).await;
    let said = ended.receipt.candidates.join("\n");
    assert!(said.contains(&format!("{}: another history, its offset means nothing", empty.addr())), "{said}");
    for setting in ["masteruser", "masterauth"] {
        full.client().call(&["CONFIG", "SET", setting, ""]).unwrap();
    }
    until_healthy(&product).await;
    assert_filled(&product, &slots(), KEYS).await;
}
