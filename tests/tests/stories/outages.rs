//! Something is taken away from a product under load: its store, a proxy's session, a proxy, a server. Clients notice what
//! cannot be spared them and nothing else, and everything comes back by itself.

use std::time::{Duration, Instant};

use codis_admin::AdminClient;
use codis_core::{ProxyState, SlotSet};
use codis_redis::ledger::Ledger;
use codis_store::{ConnectOptions, Store as Nodes};
use codis_testkit::{RedisServer, RespClient, eventually, eventually_async, need};
use codis_tests::{PRODUCT, Product, Servers, Store};

use crate::support::{assert_filled, fill, ledger_on, snapshot};

const SOON: Duration = Duration::from_secs(30);
const KEYS: u64 = 20;

fn slots() -> SlotSet {
    "0-63".parse().unwrap()
}

fn groups() -> Vec<Servers> {
    (0..2).map(|_| Servers::start(RedisServer::builder(), 1)).collect()
}

/// Fails unless every proxy routes every slot as the store says.
async fn assert_routes(product: &Product) {
    let cluster = snapshot(product).await;
    for proxy in &product.proxies {
        let page = AdminClient::new(SOON).slots(&proxy.admin_addr()).await.unwrap();
        for route in &page.slots {
            let slot = cluster.slot(route.slot.to_string().parse().unwrap()).unwrap();
            let master = cluster.groups[&slot.group.unwrap()].master().unwrap();
            assert_eq!(route.state, slot.status.to_string(), "slot {}", slot.id);
            assert_eq!(route.master.as_deref(), Some(master.addr.as_str()), "slot {}", slot.id);
        }
        assert_eq!(page.slots.len(), 1024);
    }
}

/// Eight slots move away and back, which every online proxy has to acknowledge.
fn there_and_back(product: &Product) {
    for group in ["2", "1"] {
        product.ctl_ok(&["migrate", "start", "--slots", "0-7", "--to", group]);
        product.ctl_ok(&["migrate", "run"]);
    }
}

/// No client has lost anything or got an error, and all proxies know what the store says.
async fn assert_unnoticed(product: &Product, ledger: Ledger) {
    let account = ledger.finish().await;
    assert!(account.holds(), "{:#?}", account.violations);
    assert_eq!(account.error_count(), 0, "{:#?}", account.errors);
    assert_filled(product, &slots(), KEYS).await;
    assert_routes(product).await;
}

async fn until_online(product: &Product, proxies: usize) {
    eventually_async(SOON, async || snapshot(product).await.online_proxies().count() == proxies).await;
}

/// The number of the session that a node goes with.
pub(crate) async fn owner(product: &Product, node: &str) -> i64 {
    let nodes =
        Nodes::connect(&product.store.url().parse().unwrap(), &ConnectOptions::control()).await.unwrap();
    let node = nodes.get(&format!("/zk/codis/db_{PRODUCT}/{node}")).await.unwrap();
    nodes.close().await.unwrap();
    node.owner
}

/// While it is away, and while it starts again, the proxies serve what they know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_restarts_under_load_and_no_client_notices() {
    need!("redis", "zookeeper");
    let mut product = Product::start(Store::zk(), groups(), 2);
    fill(&product, &slots(), KEYS).await;
    let ledger = ledger_on(&product, &slots());
    for _ in 0..2 {
        let Store::Zk(zookeeper) = &mut product.store else { unreachable!() };
        zookeeper.restart();
        until_online(&product, 2).await;
        there_and_back(&product);
    }
    assert_unnoticed(&product, ledger).await;
}

/// It registers again, under the routes of that moment: one is changed while it has no session.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_expires_under_load_and_no_client_notices() {
    need!("redis", "zookeeper");
    let product = Product::start(Store::zk(), groups(), 2);
    fill(&product, &slots(), KEYS).await;
    let ledger = ledger_on(&product, &slots());
    let Store::Zk(zookeeper) = &product.store else { unreachable!() };
    for _ in 0..3 {
        let before = owner(&product, "proxy/px-1").await;
        zookeeper.expire(before);
        eventually_async(SOON, async || {
            let again = snapshot(&product).await.proxies.get(&"px-1".parse().unwrap()).cloned();
            again.is_some_and(|proxy| proxy.state == ProxyState::Online)
                && owner(&product, "proxy/px-1").await != before
        })
        .await;
        there_and_back(&product);
    }
    assert_unnoticed(&product, ledger).await;
}

/// Writes are stopped on both servers for a moment. What they refuse meanwhile waits in the proxies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_change_under_load_and_no_client_notices() {
    need!("redis");
    let groups = (0..2).map(|_| Servers::start(RedisServer::builder(), 2)).collect();
    let product = Product::start(Store::local(), groups, 2);
    fill(&product, &slots(), KEYS).await;
    let servers: Vec<String> =
        [&product.groups[0].master, &product.groups[0].slaves[0]].map(RedisServer::addr).into();
    let ledger = ledger_on(&product, &slots());
    for round in 0..6 {
        let (old, new) = (&servers[round % 2], &servers[(round + 1) % 2]);
        product.ctl_ok(&["group", "promote", "1", new]);
        product.ctl_ok(&["server", "add", "1", old]);
    }
    assert_unnoticed(&product, ledger).await;
}

/// Its clients see their connections end at once, and those of the other proxies nothing at all. Its fence
/// stands until somebody says that it is gone, or it comes back itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_proxy_is_felt_by_its_clients_only() {
    need!("redis");
    let mut product = Product::start(Store::local(), groups(), 2);
    fill(&product, &slots(), KEYS).await;
    let mut clients: Vec<RespClient> = product.proxies.iter().map(|proxy| proxy.client()).collect();
    for _ in 0..5 {
        let killed = Instant::now();
        product.proxies[0].kill();
        assert!(clients[0].call(&["GET", "k"]).is_err());
        assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
        assert_eq!(clients[1].call(&["SET", "k", "v"]).unwrap().text(), "OK");
        product.proxies[0].restart();
        until_online(&product, 2).await;
        clients[0] = product.proxies[0].client();
        assert_eq!(clients[0].call(&["GET", "k"]).unwrap().text(), "v");
    }
    product.ctl_ok(&["migrate", "start", "--slots", "0-7", "--to", "2"]);
    product.ctl_ok(&["migrate", "run"]);
    assert_routes(&product).await;
    assert_filled(&product, &slots(), KEYS).await;
}

/// Requests that wait for it, and those that come while it is away, are answered with an error within a second. The
/// same connections work again when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_is_an_error_within_a_second_and_forgotten_when_it_is_back() {
    need!("redis");
    let durable = RedisServer::builder().durable();
    let groups = vec![Servers::start(durable, 0), Servers::start(RedisServer::builder(), 0)];
    let mut product = Product::start(Store::local(), groups, 1);
    product.ctl_ok(&["migrate", "start", "--slots", "512-1023", "--to", "2"]);
    product.ctl_ok(&["migrate", "run"]);
    let (here, there) = (key_of(0..512), key_of(512..1024));
    let mut client = product.proxies[0].client();
    for round in 0..5 {
        assert_eq!(client.call(&["SET", &here, &round.to_string()]).unwrap().text(), "OK");
        product.groups[0].master.kill();
        for _ in 0..10 {
            let asked = Instant::now();
            let reply = client.call(&["GET", &here]).unwrap();
            assert!(reply.is_error(), "{reply:?}");
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
            assert_eq!(
                client.call(&["SET", &there, "x"]).unwrap().text(),
                "OK",
                "the other group feels nothing"
            );
        }
        product.groups[0].master.restart();
        eventually(SOON, || {
            let reply = client.call(&["GET", &here]).unwrap();
            assert!(reply.is_error() || reply.text() == round.to_string(), "{reply:?}");
            !reply.is_error()
        });
    }
}

fn key_of(slots: std::ops::Range<u16>) -> String {
    let name = |n: &u32| slots.contains(&codis_core::slot_of_key(format!("k{n}").as_bytes()).get());
    format!("k{}", (0..).find(name).unwrap())
}
