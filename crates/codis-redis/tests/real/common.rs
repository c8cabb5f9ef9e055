//! Two servers with a slave each, keys of every type, and a lease that always holds.

use std::time::Duration;

use codis_core::{Addr, SlotId, SlotSet, slot_of_key};
use codis_redis::{BulkError, BulkOptions, BulkReport, ConnectOptions, Endpoint, Lease, Route, bulk_move};
use codis_testkit::{RedisServer, RespClient, eventually};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

pub(crate) struct Held;

impl Lease for Held {
    fn prove(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}

pub(crate) struct Sides {
    pub(crate) s: RedisServer,
    pub(crate) s_slave: RedisServer,
    pub(crate) d: RedisServer,
    pub(crate) d_slave: RedisServer,
}

impl Sides {
    pub(crate) fn start() -> Self {
        // DEBUG compares values; the append-only file outlives a SIGKILL.
        let builder = || RedisServer::builder().config("enable-debug-command", "yes");
        let start = || builder().durable().start();
        let (s, d) = (start(), start());
        let s_slave = builder().slave_of(&s).start();
        let d_slave = builder().slave_of(&d).start();
        for master in [&s, &d] {
            await_slave(master);
        }
        Self { s, s_slave, d, d_slave }
    }

    pub(crate) fn route(&self) -> Route {
        Route {
            from: Endpoint { addr: addr(&self.s), slaves: 1 },
            to: Endpoint { addr: addr(&self.d), slaves: 1 },
            connect: ConnectOptions {
                command_timeout: Duration::from_secs(2),
                ..ConnectOptions::default().named("codis-mover-1")
            },
            wait_timeout: Duration::from_millis(300),
        }
    }
}

/// A slave that has its copy gets no further writes until it has spoken to its master once more, up
/// to a second later.
pub(crate) fn await_slave(master: &RedisServer) {
    let mut client = master.client();
    eventually(Duration::from_secs(20), || {
        client.call(&["PUBLISH", "x", "y"]).unwrap();
        client.call(&["WAIT", "1", "1000"]).unwrap().text() == "1"
    });
}

pub(crate) fn addr(server: &RedisServer) -> Addr {
    server.addr().parse().unwrap()
}

pub(crate) fn half() -> SlotSet {
    "0-511".parse().unwrap()
}

pub(crate) fn is_in(slots: &SlotSet, key: &str) -> bool {
    slots.contains(slot_of_key(key.as_bytes()))
}

pub(crate) fn all() -> SlotSet {
    SlotId::all().collect()
}

pub(crate) async fn run(
    route: &Route,
    slots: &SlotSet,
    options: &BulkOptions,
) -> Result<BulkReport, BulkError> {
    let stop = CancellationToken::new();
    bulk_move(route, slots, options, &Held, &stop, &|_| ()).await
}

pub(crate) fn quick() -> BulkOptions {
    BulkOptions { attempts: 4, ..BulkOptions::default() }
}

pub(crate) fn dbsize(client: &mut RespClient) -> i64 {
    client.call(&["DBSIZE"]).unwrap().text().parse().unwrap()
}

pub(crate) fn fill(server: &RedisServer, count: usize) {
    let mut client = server.client();
    let script = "for i=0,tonumber(ARGV[1])-1 do redis.call('SET','k:'..i,'value-'..i) end";
    client.call(&["EVAL", script, "0", &count.to_string()]).unwrap();
}
