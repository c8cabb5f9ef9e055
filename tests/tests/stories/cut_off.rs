//! The agent that leads loses its way to the store, and to nothing else: packets vanish, in a network of its own.
//!
//! It sees everything that others see, a master that dies as well, and it has led until a moment ago. Another one leads when its
//! session is over, and does the failover once. Every server writes down every command and who sent it (the slow log of those
//! that take longer than nothing), so what the one without a store has sent is known to the last word.

use std::time::Duration;

use codis_core::ha::{SagaKind, Stage};
use codis_testkit::{Network, RedisBuilder, RedisServer, eventually, need};
use codis_tests::{Product, Servers, Store};

use crate::failover::{QUICK, addr, saga};
use crate::support::{LISTENS, forget_told, told};
use crate::trio::{master, server_at, servers, until_agents, until_healthy, until_over};

const SOON: Duration = Duration::from_secs(40);
/// What an agent asks the servers all the time, and how it says who it is.
const QUESTIONS: [&str; 6] = ["PING", "INFO", "CONFIG GET", "CLIENT SETNAME", "CLIENT SETINFO", "SELECT"];

fn server() -> RedisBuilder {
    // The agent does not come from 127.0.0.1.
    let open = RedisServer::builder().config("protected-mode", "no");
    LISTENS.iter().fold(open, |server, (name, value)| server.config(name, value))
}

/// Everything that this server was told from that address and that is no question, with the name of the connection.
fn orders(server: &RedisServer, from: &str) -> Vec<String> {
    let is_question = |order: &str| QUESTIONS.iter().any(|question| order.starts_with(question));
    let orders = told(server).into_iter().filter(|one| one.from == from && !is_question(&one.order));
    orders.map(|one| format!("{}: {}", one.name, one.order)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_from_the_store_gives_no_orders() {
    need!("redis", "zookeeper", "network");
    let first = server().start();
    let slaves = (0..2).map(|_| server().slave_of(&first).start()).collect();
    let mut product = Product::start(Store::zk(), vec![Servers { master: first, slaves }], 1);
    let Store::Zk(zookeeper) = &product.store else { panic!("it is a ZooKeeper") };
    let network = Network::around(zookeeper.port());
    let agent = product.agent_in(&network, QUICK);
    eventually(SOON, || agent.log().contains("this agent leads"));
    let others = [product.agent(QUICK, &[]), product.agent(QUICK, &[])];
    until_agents(&product, 3).await;

    // A moment before its session ends: it still leads as far as anybody can tell.
    servers(&product).into_iter().for_each(forget_told);
    network.pull();
    let old = master(&product).await;
    server_at(&mut product, &old).kill();
    let one = until_over(&product, 0).await;
    assert_eq!((one.kind, one.stage, &one.old), (SagaKind::Failover, Stage::Ended, &old), "{one:?}");
    let own = format!(":{}#", agent.pid());
    assert!(!one.owner.contains(&own), "{one:?}");
    for server in servers(&product).into_iter().filter(|server| addr(server) != old) {
        assert_eq!(orders(server, &network.addr()), [""; 0], "{}", agent.log());
    }

    // And after its end.
    until_agents(&product, 2).await;
    server_at(&mut product, &one.new).kill();
    let two = until_over(&product, one.epoch).await;
    assert_eq!((two.kind, two.stage, &two.old), (SagaKind::Failover, Stage::Ended, &one.new), "{two:?}");
    assert!(agent.is_running(), "{}", agent.log());

    // The network is there again: it follows like the others.
    network.plug();
    until_agents(&product, 3).await;
    for back in [&one.old, &one.new] {
        server_at(&mut product, back).restart_alone();
    }
    until_healthy(&product).await;
    let after = saga(&product).await.unwrap();
    assert_eq!(
        (after.epoch, master(&product).await),
        (two.epoch, two.new.clone()),
        "each failover was done once"
    );
    for server in servers(&product) {
        assert_eq!(orders(server, &network.addr()), [""; 0], "{}", agent.log());
    }

    // And it leads again, when it is its turn.
    others.iter().for_each(codis_testkit::Process::terminate);
    eventually(SOON, || agent.log().matches("this agent leads (epoch").count() == 2);
    product.ctl_ok(&["group", "promote", "1", old.as_str()]);
    until_healthy(&product).await;
    assert_eq!(master(&product).await, old);
    let given = orders(server_at(&mut product, &old), &network.addr());
    assert!(given.iter().any(|order| order.starts_with("codis-lead-")), "{given:?}\n{}", agent.log());
}
