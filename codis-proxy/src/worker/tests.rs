//! How workers change over from one table to the next, with real servers behind them.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use codis_core::{Addr, SlotId, slot_of_key};
use codis_testkit::{RedisServer, Reply, RespClient, need};
use tokio::{net::TcpListener, task::spawn_blocking, time::timeout};

use crate::{
    config::{Config, Limits, Mode},
    table::{Endpoint, Route, Table},
    workers::Workers,
};

mod failures;
mod fanout;
mod slow;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);
/// Long enough for something that must not happen to happen.
const A_WHILE: Duration = Duration::from_millis(400);

struct Fixture {
    workers: Workers,
    addr: SocketAddr,
    epoch: u64,
}

impl Fixture {
    async fn start(limits: Limits, route: Route) -> Self {
        let config = Config {
            control: None,
            tls: None,
            take_over: false,
            listen: String::new(),
            admin: String::new(),
            workers: 2,
            mode: Mode::Static("unused".into()),
            limits,
        };
        let workers = Workers::start(&config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        workers.start_accepting(listener, None);
        let mut fixture = Self { workers, addr, epoch: 0 };
        let table = fixture.table(&route);
        timeout(DEADLINE, fixture.workers.install(table)).await.unwrap();
        fixture
    }

    /// A table in which all slots have this route.
    fn table(&mut self, route: &Route) -> Arc<Table> {
        let mut table = Table::unassigned();
        self.epoch += 1;
        table.epoch = self.epoch;
        SlotId::all().for_each(|slot| table.set(slot, route.clone()));
        Arc::new(table)
    }

    /// The same as the current table, with another route for the slot of one key.
    fn with_route(&mut self, key: &str, route: Route) -> Arc<Table> {
        let mut table = (*self.workers.table()).clone();
        self.epoch += 1;
        table.epoch = self.epoch;
        table.set(slot_of_key(key.as_bytes()), route);
        Arc::new(table)
    }

    fn client(&self) -> RespClient {
        RespClient::connect(self.addr.port(), DEADLINE).unwrap()
    }

    async fn install(&mut self, key: &str, route: Route) {
        let table = self.with_route(key, route);
        timeout(DEADLINE, self.workers.install(table)).await.unwrap();
    }

    /// Waits until so many requests are parked.
    async fn parked(&self, count: u64) {
        codis_testkit::eventually_async(DEADLINE, || async { self.workers.stats().await.parked == count })
            .await;
    }

    async fn in_flight(&self, count: u64) {
        codis_testkit::eventually_async(DEADLINE, || async { self.workers.stats().await.in_flight == count })
            .await;
    }
}

fn endpoint(server: &RedisServer) -> Endpoint {
    server.addr().parse::<Addr>().unwrap().into()
}

fn online(server: &RedisServer) -> Route {
    Route::Online { master: endpoint(server) }
}

fn blocked(server: &RedisServer) -> Route {
    Route::Blocked { master: endpoint(server) }
}

fn migrate(from: &RedisServer, to: &RedisServer) -> Route {
    Route::Migrate { from: endpoint(from), to: endpoint(to), from_slaves: 0, to_slaves: 0 }
}

fn request(args: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    codis_resp::push_array_header(&mut out, args.len());
    args.iter().for_each(|arg| codis_resp::push_bulk(&mut out, arg.as_bytes()));
    out
}

/// Runs blocking client code beside the runtime.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    timeout(DEADLINE, spawn_blocking(work)).await.unwrap().unwrap()
}

async fn must_not_end(future: &mut (impl Future<Output = ()> + Unpin)) {
    assert!(timeout(A_WHILE, future).await.is_err(), "acknowledged too early");
}

#[tokio::test]
async fn a_blocked_slot_holds_its_requests_in_order_and_no_others() {
    need!("redis");
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let mut fixture = Fixture::start(Limits::default(), online(&old)).await;
    fixture.install("k", blocked(&old)).await;
    let mut held = fixture.client();
    let pipeline = [
        request(&["SET", "other", "1"]),
        request(&["SET", "k", "1"]),
        request(&["APPEND", "k", "2"]),
        request(&["MGET", "other", "k"]),
        request(&["GET", "k"]),
    ];
    held.send(&pipeline.concat()).unwrap();
    fixture.parked(1).await;
    let mut free = fixture.client();
    let free = beside(move || {
        assert_eq!(free.call(&["SET", "free", "yes"]).unwrap().text(), "OK");
        free
    })
    .await;
    fixture.install("k", online(&new)).await;
    beside(move || {
        let replies: Vec<Reply> = (0..5).map(|_| held.read().unwrap()).collect();
        let bulk = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
        assert_eq!(replies[2], Reply::Int(2));
        assert_eq!(replies[3], Reply::Array(Some(vec![bulk("1"), bulk("12")])));
        assert_eq!(replies[4], bulk("12"));
        drop(free);
    })
    .await;
    assert_eq!(old.client().call(&["EXISTS", "k"]).unwrap(), Reply::Int(0));
    assert_eq!(new.client().call(&["GET", "k"]).unwrap().text(), "12");
}

#[tokio::test]
async fn waiting_for_a_blocked_slot_is_bounded_in_time_and_number() {
    need!("redis");
    let server = RedisServer::start();
    let park_timeout = Duration::from_millis(300);
    // One per worker: the third client must share a worker with one that waits.
    let limits = Limits { park_timeout, max_parked: 1, ..Limits::default() };
    let mut fixture = Fixture::start(limits, online(&server)).await;
    fixture.install("k", blocked(&server)).await;
    let slot = slot_of_key(b"k");
    let expected = format!("TRYAGAIN slot {slot} is switching to another server, try again");
    let clients: Vec<RespClient> = (0..3).map(|_| fixture.client()).collect();
    beside(move || {
        for mut client in clients {
            let pipeline = [request(&["GET", "k"]), request(&["GET", "k"]), request(&["PING"])];
            client.send(&pipeline.concat()).unwrap();
            assert_eq!(client.read().unwrap().text(), expected);
            assert_eq!(client.read().unwrap().text(), expected);
            assert_eq!(client.read().unwrap().text(), "PONG");
        }
    })
    .await;
    assert_eq!(fixture.workers.stats().await.parked, 0);
}

#[tokio::test]
async fn a_table_is_not_acknowledged_while_a_request_is_in_flight() {
    need!("redis");
    let server = RedisServer::start();
    let mut fixture = Fixture::start(Limits::default(), online(&server)).await;
    let mut client = fixture.client();
    let mut client = beside(move || {
        assert_eq!(client.call(&["SET", "k", "v"]).unwrap().text(), "OK");
        client
    })
    .await;
    server.stop();
    client.send(&request(&["GET", "k"])).unwrap();
    fixture.in_flight(1).await;
    let table = fixture.with_route("k", blocked(&server));
    let workers = fixture.workers.clone();
    let mut install = Box::pin(workers.install(table));
    must_not_end(&mut install).await;
    server.cont();
    timeout(DEADLINE, install).await.unwrap();
    assert_eq!(beside(move || client.read().unwrap().text()).await, "v");
    // Slots that did not change are no reason to wait.
    server.stop();
    let mut other = fixture.client();
    other.send(&request(&["GET", "other"])).unwrap();
    fixture.in_flight(1).await;
    fixture.install("k", online(&server)).await;
    server.cont();
}

#[tokio::test]
async fn a_lost_request_is_unfinished_until_its_connection_is_dead_on_the_server() {
    need!("redis");
    let server = RedisServer::start();
    let limits = Limits { backend_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut fixture = Fixture::start(limits, online(&server)).await;
    let mut client = fixture.client();
    let mut client = beside(move || {
        assert_eq!(client.call(&["SET", "k", "v"]).unwrap().text(), "OK");
        client
    })
    .await;
    let ids = |server: &RedisServer| server.client().call(&["CLIENT", "LIST"]).unwrap().text();
    let before: Vec<String> = ids(&server)
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned() + " ")
        .collect();
    server.stop();
    client.send(&request(&["INCR", "k"])).unwrap();
    client.send(&request(&["MSET", "k", "late", "k2", "late"])).unwrap();
    let (mut client, replies) = beside(move || {
        let replies = [client.read().unwrap().text(), client.read().unwrap().text()];
        (client, replies)
    })
    .await;
    for reply in replies {
        assert!(reply.contains("no reply within 0.2 s"), "{reply}");
    }
    let table = fixture.with_route("k", blocked(&server));
    let workers = fixture.workers.clone();
    let mut install = Box::pin(workers.install(table));
    must_not_end(&mut install).await;
    server.cont();
    timeout(DEADLINE, install).await.unwrap();
    let after = ids(&server);
    assert!(
        !before.iter().any(|id| after.contains(&format!("\n{id}")) || after.starts_with(id.as_str())),
        "{after}"
    );
    fixture.install("k", online(&server)).await;
    assert!(!beside(move || client.call(&["GET", "k"]).unwrap()).await.is_error());
}

#[tokio::test]
async fn another_master_ends_the_wait_for_a_lost_one() {
    need!("redis");
    let (lost, new) = (RedisServer::start(), RedisServer::start());
    let limits = Limits { backend_timeout: Duration::from_millis(200), ..Limits::default() };
    let mut fixture = Fixture::start(limits, online(&lost)).await;
    let mut client = fixture.client();
    let mut client = beside(move || {
        assert_eq!(client.call(&["SET", "k", "v"]).unwrap().text(), "OK");
        client
    })
    .await;
    lost.stop();
    client.send(&request(&["GET", "k"])).unwrap();
    let mut client = beside(move || {
        assert!(client.read().unwrap().text().contains("no reply"));
        client
    })
    .await;
    let table = fixture.with_route("k", blocked(&lost));
    let workers = fixture.workers.clone();
    let mut install = Box::pin(workers.install(table));
    must_not_end(&mut install).await;
    fixture.install("k", online(&new)).await;
    timeout(DEADLINE, install).await.unwrap();
    assert_eq!(beside(move || client.call(&["SET", "k", "new"]).unwrap().text()).await, "OK");
    lost.cont();
}

#[tokio::test]
async fn a_migrating_slot_hands_keys_over_before_it_serves_them() {
    need!("redis");
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let mut fixture = Fixture::start(Limits::default(), online(&from)).await;
    let mut client = fixture.client();
    let client = beside(move || {
        for i in 0..200 {
            let key = format!("k{i}");
            assert_eq!(client.call(&["SET", &key, &key]).unwrap().text(), "OK");
        }
        client
    })
    .await;
    let table = fixture.table(&migrate(&from, &to));
    timeout(DEADLINE, fixture.workers.install(table)).await.unwrap();
    let mut client = client;
    beside(move || {
        let mut pipeline = Vec::new();
        for i in 0..100 {
            let key = format!("k{i}");
            pipeline.extend(request(&["APPEND", &key, "+"]));
            pipeline.extend(request(&["GET", &key]));
        }
        client.send(&pipeline).unwrap();
        for i in 0..100 {
            let value = format!("k{i}+");
            assert_eq!(client.read().unwrap(), Reply::Int(value.len() as i64));
            assert_eq!(client.read().unwrap().text(), value);
        }
        let mget: Vec<String> = (0..200).map(|i| format!("k{i}")).collect();
        let Reply::Array(Some(values)) = client.call(&[&["MGET".to_owned()][..], &mget].concat()).unwrap()
        else {
            panic!()
        };
        for (i, value) in values.iter().enumerate() {
            assert_eq!(value.text(), if i < 100 { format!("k{i}+") } else { format!("k{i}") });
        }
        assert_eq!(client.call(&["DEL", "k1", "k2", "never"]).unwrap(), Reply::Int(2));
        assert_eq!(client.call(&["EXISTS", "k1", "k3"]).unwrap(), Reply::Int(1));
    })
    .await;
    assert_eq!(from.client().call(&["DBSIZE"]).unwrap(), Reply::Int(0));
    assert_eq!(to.client().call(&["DBSIZE"]).unwrap(), Reply::Int(198));
    assert!(fixture.workers.stats().await.on_demand_moves > 0);
}

#[tokio::test]
async fn what_was_settled_under_another_registration_is_void() {
    need!("redis");
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let mut fixture = Fixture::start(Limits::default(), migrate(&from, &to)).await;
    let mut client = fixture.client();
    assert_eq!(from.client().call(&["SET", "k", "v"]).unwrap().text(), "OK");
    let mut client = beside(move || {
        assert_eq!(client.call(&["GET", "k"]).unwrap().text(), "v");
        client
    })
    .await;
    assert_eq!(fixture.workers.stats().await.moves.settled, 1);
    // While this proxy was cut off, the move was taken back and begun again: its route looks the same.
    assert_eq!(to.client().call(&["DEL", "k"]).unwrap(), Reply::Int(1));
    assert_eq!(from.client().call(&["SET", "k", "since"]).unwrap().text(), "OK");
    let mut table = (*fixture.table(&migrate(&from, &to))).clone();
    table.membership += 1;
    timeout(DEADLINE, fixture.workers.install(Arc::new(table))).await.unwrap();
    assert_eq!(beside(move || client.call(&["GET", "k"]).unwrap().text()).await, "since");
    assert_eq!(from.client().call(&["DBSIZE"]).unwrap(), Reply::Int(0));
}
