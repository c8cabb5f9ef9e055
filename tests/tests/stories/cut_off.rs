//! The agent that leads loses its way to the store, and to nothing else: packets vanish, in a network of its own.
//!
//! It sees everything that others see, a master that dies as well, and it has led until a moment ago. Another one leads when its
//! session is over, and does the failover once. Every server writes down every command and who sent it (the slow log of those
//! that take longer than nothing), so what the one without a store has sent is known to the last word.

use std::time::Duration;

use codis_core::ha::{SagaKind, Stage};
use codis_testkit::{Network, RedisBuilder, RedisServer, Reply, eventually, need};
use codis_tests::{Product, Servers, Store};

use crate::failover::{QUICK, addr, saga};
use crate::trio::{master, server_at, servers, until_agents, until_healthy, until_over};

const SOON: Duration = Duration::from_secs(40);
/// What an agent asks the servers all the time, and how it says who it is.
const QUESTIONS: [&str; 6] = ["PING", "INFO", "CONFIG GET", "CLIENT SETNAME", "CLIENT SETINFO", "SELECT"];

fn server() -> RedisBuilder {
    // The agent does not come from 127.0.0.1.
    RedisServer::builder()
        .config("protected-mode", "no")
        .config("slowlog-log-slower-than", "0")
        .config("slowlog-max-len", "100000")
}

/// Everything that this server was told from that address and that is no question, with the name of the connection.
fn orders(server: &RedisServer, from: &str) -> Vec<String> {
    let Reply::Array(Some(entries)) = server.client().call(&["SLOWLOG", "GET", "-1"]).unwrap() else {
        panic!("a list of commands")
    };
    assert!(!entries.is_empty());
    let told = entries.into_iter().filter_map(|entry| {
        let Reply::Array(Some(fields)) = entry else { return None };
        let [_, _, _, Reply::Array(Some(words)), client, name, ..] = &fields[..] else { return None };
        let words: Vec<String> = words.iter().map(|word| word.text().to_uppercase()).collect();
        let order = words.join(" ");
        let is_question = QUESTIONS.iter().any(|question| order.starts_with(question));
        let is_from = client.text().rsplit_once(':').is_some_and(|(ip, _)| ip == from);
        (is_from && !is_question).then(|| format!("{}: {order}", name.text()))
    });
    told.collect()
}

fn forget_orders(server: &RedisServer) {
    server.client().call(&["SLOWLOG", "RESET"]).unwrap();
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
    servers(&product).into_iter().for_each(forget_orders);
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
    let told = orders(server_at(&mut product, &old), &network.addr());
    assert!(told.iter().any(|order| order.starts_with("codis-lead-")), "{told:?}\n{}", agent.log());
}
