//! Requests to all masters while slots change over.

use std::collections::BTreeSet;

use super::*;

const KEYS: usize = 2000;

fn names() -> BTreeSet<String> {
    (0..KEYS).map(|i| format!("key:{i}")).collect()
}

/// A SCAN that is made page by page.
struct Scan {
    client: RespClient,
    cursor: String,
    seen: BTreeSet<String>,
    pages: usize,
}

impl Scan {
    fn new(client: RespClient) -> Self {
        Self { client, cursor: String::new(), seen: BTreeSet::new(), pages: 0 }
    }

    /// Reads up to `most` pages; none after the last one.
    async fn read(mut self, most: usize) -> Self {
        beside(move || {
            for _ in 0..most {
                let cursor = match self.cursor.as_str() {
                    "" => "0",
                    "0" => break,
                    cursor => cursor,
                };
                let reply = self.client.call(&["SCAN", cursor, "COUNT", "10"]).unwrap();
                let Reply::Array(Some(page)) = reply else { panic!("{reply:?}") };
                let Reply::Array(Some(keys)) = &page[1] else { panic!("{page:?}") };
                self.seen.extend(keys.iter().map(Reply::text));
                self.cursor = page[0].text();
                self.pages += 1;
            }
            self
        })
        .await
    }
}

impl Fixture {
    /// Gives even and odd slots these routes.
    async fn install_halves(&mut self, even: &Route, odd: &Route) {
        let mut table = (*self.table(even)).clone();
        SlotId::all().filter(|slot| slot.get() % 2 == 1).for_each(|slot| table.set(slot, odd.clone()));
        timeout(DEADLINE, self.workers.install(Arc::new(table))).await.unwrap();
    }
}

/// Reads these keys, so that they are handed over.
async fn touch(mut client: RespClient, keys: Vec<String>) -> RespClient {
    beside(move || {
        for key in keys {
            assert_eq!(client.call(&["GET", &key]).unwrap().text(), "v", "{key}");
        }
        client
    })
    .await
}

#[tokio::test]
async fn a_scan_misses_no_key_that_moves_meanwhile() {
    need!("redis");
    let (one, two) = (RedisServer::start(), RedisServer::start());
    // In both directions, from a point at which each of the servers is being visited.
    for (from, to) in [(&one, &two), (&two, &one)] {
        for before in [0, 20, 130, 250] {
            one.client().call(&["FLUSHALL"]).unwrap();
            two.client().call(&["FLUSHALL"]).unwrap();
            let mut fixture = Fixture::start(Limits::default(), online(from)).await;
            fixture.install_halves(&online(from), &online(to)).await;
            let mut client = fixture.client();
            let client = beside(move || {
                for name in names() {
                    assert_eq!(client.call(&["SET", &name, "v"]).unwrap().text(), "OK");
                }
                client
            })
            .await;
            let all: Vec<String> = names().into_iter().collect();
            let (first, rest) = all.split_at(KEYS / 2);
            let scan = Scan::new(fixture.client()).read(before).await;
            fixture.install_halves(&blocked(from), &online(to)).await;
            let scan = scan.read(1).await;
            fixture.install_halves(&migrate(from, to), &online(to)).await;
            let scan = scan.read(30).await;
            let client = touch(client, first.to_vec()).await;
            let scan = scan.read(130).await;
            touch(client, rest.to_vec()).await;
            let scan = scan.read(20).await;
            fixture.install_halves(&online(to), &online(to)).await;
            let scan = scan.read(10_000).await;
            assert_eq!(scan.cursor, "0", "it ends");
            let missed: Vec<&String> = all.iter().filter(|name| !scan.seen.contains(*name)).collect();
            assert!(missed.is_empty(), "before {before}: {} missed, {missed:?}", missed.len());
            assert_eq!(from.client().call(&["DBSIZE"]).unwrap(), Reply::Int(0));
        }
    }
}

#[tokio::test]
async fn a_scan_goes_from_the_old_master_to_the_new_one() {
    need!("redis");
    let (one, two) = (RedisServer::start(), RedisServer::start());
    for (from, to) in [(&one, &two), (&two, &one)] {
        one.client().call(&["FLUSHALL"]).unwrap();
        two.client().call(&["FLUSHALL"]).unwrap();
        let mut filler = from.client();
        for name in names() {
            filler.call(&["SET", &name, "v"]).unwrap();
        }
        let fixture = Fixture::start(Limits::default(), migrate(from, to)).await;
        let (mut scan, mut client) = (Scan::new(fixture.client()), fixture.client());
        // Keys leave while they are listed, and none of them is missed although no route changes.
        for chunk in names().into_iter().collect::<Vec<_>>().chunks(50) {
            scan = scan.read(3).await;
            client = touch(client, chunk.to_vec()).await;
        }
        let scan = scan.read(10_000).await;
        assert_eq!((scan.cursor.as_str(), scan.seen.len()), ("0", KEYS));
        assert!(scan.pages < KEYS, "it has not begun again: {}", scan.pages);
        let (size, _) = beside(move || (client.call(&["DBSIZE"]).unwrap(), client)).await;
        assert_eq!(size, Reply::Int(KEYS as i64));
    }
}

#[tokio::test]
async fn both_masters_of_a_moving_slot_are_asked_and_no_others() {
    need!("redis");
    let (from, to, other) = (RedisServer::start(), RedisServer::start(), RedisServer::start());
    let mut fixture = Fixture::start(Limits::default(), online(&other)).await;
    for (server, key) in [(&from, "a"), (&to, "b"), (&other, "c")] {
        server.client().call(&["SET", key, "v"]).unwrap();
    }
    let ask = |client: RespClient| {
        beside(move || {
            let mut client = client;
            let size = client.call(&["DBSIZE"]).unwrap();
            let Reply::Array(Some(keys)) = client.call(&["KEYS", "*"]).unwrap() else { panic!() };
            let mut keys: Vec<String> = keys.iter().map(Reply::text).collect();
            keys.sort();
            (size, keys.concat())
        })
    };
    for (routes, expected) in [
        ([online(&other), online(&other)], "c"),
        ([online(&from), online(&to)], "ab"),
        ([blocked(&from), online(&other)], "ac"),
        ([migrate(&from, &to), migrate(&from, &to)], "ab"),
        ([migrate(&from, &to), Route::Unassigned], "ab"),
        ([online(&to), online(&to)], "b"),
    ] {
        fixture.install_halves(&routes[0], &routes[1]).await;
        let (size, keys) = ask(fixture.client()).await;
        assert_eq!((size, keys.as_str()), (Reply::Int(expected.len() as i64), expected));
    }
    fixture.install_halves(&Route::Unassigned, &Route::Unassigned).await;
    let mut client = fixture.client();
    let reply = beside(move || client.call(&["SCAN", "0"]).unwrap()).await;
    assert_eq!(reply.text(), "ERR no slot is assigned to a group with a master");
}

#[tokio::test]
async fn flushing_waits_for_slots_that_switch_and_refuses_while_keys_move() {
    need!("redis");
    let (from, to) = (RedisServer::start(), RedisServer::start());
    let limits = Limits { allow_flush: true, ..Limits::default() };
    let mut fixture = Fixture::start(limits, online(&from)).await;
    assert_eq!(to.client().call(&["SET", "k", "v"]).unwrap().text(), "OK");
    fixture.install("k", blocked(&from)).await;
    let mut held = fixture.client();
    held.send(&request(&["FLUSHALL"])).unwrap();
    fixture.parked(1).await;
    fixture.install("k", online(&to)).await;
    let reply = beside(move || held.read().unwrap()).await;
    assert_eq!(reply.text(), "OK");
    assert_eq!(to.client().call(&["DBSIZE"]).unwrap(), Reply::Int(0));
    fixture.install("k", migrate(&from, &to)).await;
    let mut client = fixture.client();
    let reply = beside(move || client.call(&["FLUSHDB"]).unwrap()).await;
    let slot = slot_of_key(b"k");
    assert_eq!(reply.text(), format!("TRYAGAIN slot {slot} is moving to another group, try again"));
    // While it is under way no slot changes over.
    fixture.install("k", online(&from)).await;
    from.stop();
    let mut client = fixture.client();
    client.send(&request(&["FLUSHALL"])).unwrap();
    fixture.in_flight(1).await;
    let table = fixture.with_route("k", blocked(&from));
    let workers = fixture.workers.clone();
    let mut install = Box::pin(workers.install(table));
    must_not_end(&mut install).await;
    from.cont();
    timeout(DEADLINE, install).await.unwrap();
    assert_eq!(beside(move || client.read().unwrap()).await.text(), "OK");
}

#[tokio::test]
async fn a_new_master_is_given_the_scripts_that_it_has_missed() {
    need!("redis");
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let mut fixture = Fixture::start(Limits::default(), online(&old)).await;
    let mut client = fixture.client();
    let sha = beside(move || client.call(&["SCRIPT", "LOAD", "return KEYS[1]"]).unwrap().text()).await;
    for route in [migrate(&old, &new), online(&new)] {
        fixture.install_halves(&route, &route).await;
        // Through both workers.
        for mut client in [fixture.client(), fixture.client()] {
            let sha = sha.clone();
            let reply = beside(move || client.call(&["EVALSHA", &sha, "1", "k"]).unwrap()).await;
            assert_eq!(reply.text(), "k");
        }
    }
}
