//! The bulk hand-over between real servers, each with a slave.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::common::*;
use codis_redis::{
    BulkError, BulkOptions, ConnectOptions, Endpoint, Password, RedisCause, Route, bulk_move, count_by_slot,
    kill_by_name, probe_move, sample_slots, scan_slots,
};
use codis_testkit::{RedisServer, Relay, RespClient, need};
use tokio_util::sync::CancellationToken;

/// One key of every type in every size class, some with a time to live, some with odd names.
fn menagerie(client: &mut RespClient) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut put = |client: &mut RespClient, words: &[&[u8]]| {
        assert!(!client.call(words).unwrap().is_error(), "{words:?}");
        keys.push(words[1].to_vec());
    };
    let big = vec![b'x'; 3_000_000];
    for n in 0..6 {
        let name = |kind: &str| format!("{kind}-{n}").into_bytes();
        put(client, &[b"SET", &name("string"), b"value", b"PX", b"600000"]);
        put(client, &[b"SET", &name("number"), b"-42"]);
        put(client, &[b"SET", &name("empty"), b""]);
        put(client, &[b"RPUSH", &name("list"), b"a", b"", b"\x00\xff\r\n"]);
        put(client, &[b"SADD", &name("set"), b"1", b"two", b"\r\n"]);
        put(client, &[b"HSET", &name("hash"), b"f", b"v", b"", b"\x00"]);
        put(client, &[b"ZADD", &name("zset"), b"1.5", b"a", b"-inf", b"b", b"0.1", b"c"]);
        put(client, &[b"XADD", &name("stream"), b"7-1", b"field", b"value"]);
        put(client, &[b"PFADD", &name("hll"), b"a", b"b"]);
        put(client, &[b"SET", &[b"bin\x00\xff\r\n".as_slice(), &[n]].concat(), b"\x00\r\n\xff"]);
    }
    put(client, &[b"SET", b"", b"the empty key"]);
    put(client, &[b"SET", b"three-megabytes", &big]);
    let script = "for i=1,20000 do redis.call('HSET',KEYS[1],i,i) redis.call('ZADD',KEYS[2],i,i) end";
    client.call(&["EVAL", script, "2", "large-hash", "large-zset"]).unwrap();
    keys.extend([b"large-hash".to_vec(), b"large-zset".to_vec()]);
    keys
}

fn digests(client: &mut RespClient, keys: &[Vec<u8>]) -> Vec<String> {
    let mut digest = |key: &Vec<u8>| match client.call(&[b"DEBUG".as_slice(), b"DIGEST-VALUE", key]).unwrap()
    {
        codis_testkit::Reply::Array(Some(digests)) => digests[0].text(),
        other => panic!("{other:?}"),
    };
    keys.iter().map(&mut digest).collect()
}

#[tokio::test]
async fn keys_of_every_type_arrive_unchanged() {
    need!("redis");
    let sides = Sides::start();
    let (mut s, mut d) = (sides.s.client(), sides.d.client());
    let keys = menagerie(&mut s);
    let before = digests(&mut s, &keys);

    let report = run(&sides.route(), &all(), &quick()).await.unwrap();

    assert_eq!(report.progress.moved, keys.len() as u64);
    assert_eq!((report.progress.gone, report.progress.busy, report.stopped), (0, 0, false));
    assert!(report.progress.bytes > 300_000, "{report:?}");
    assert_eq!(digests(&mut d, &keys), before);
    assert_eq!((dbsize(&mut s), dbsize(&mut d)), (0, keys.len() as i64));
    let ttl: i64 = d.call(&["PTTL", "string-0"]).unwrap().text().parse().unwrap();
    assert!((500_000..=600_000).contains(&ttl), "{ttl}");
    assert_eq!(d.call(&["PTTL", "number-0"]).unwrap().text(), "-1");
    // Both slaves have confirmed, so they need no time to catch up.
    assert_eq!(dbsize(&mut sides.s_slave.client()), 0);
    assert_eq!(digests(&mut sides.d_slave.client(), &keys), before);
}

#[tokio::test]
async fn only_keys_of_the_slots_move() {
    need!("redis");
    let sides = Sides::start();
    fill(&sides.s, 20_000);
    let inside = (0..20_000).filter(|n| is_in(&half(), &format!("k:{n}"))).count() as u64;

    let report = run(&sides.route(), &half(), &quick()).await.unwrap();

    assert_eq!(report.progress.moved, inside);
    assert_eq!(report.progress.found, inside);
    let options = sides.route().connect;
    let (s, d) = (addr(&sides.s), addr(&sides.d));
    assert_eq!(scan_slots(&s, &options, &half()).await.unwrap().count, 0);
    assert_eq!(sample_slots(&s, &options, &half(), 50).await.unwrap().count, 0);
    assert!(sample_slots(&d, &options, &half(), 50).await.unwrap().count > 0);
    let by_slot = count_by_slot(&s, &options).await.unwrap();
    assert_eq!(by_slot[512..].iter().sum::<u64>(), 20_000 - inside);
    assert_eq!(by_slot[..512].iter().sum::<u64>(), 0);
    // Again: nothing to do, nothing changes.
    let again = run(&sides.route(), &half(), &quick()).await.unwrap();
    assert_eq!((again.progress.moved, again.progress.found), (0, 0));
    assert_eq!(dbsize(&mut sides.d.client()), inside as i64);
}

#[tokio::test]
async fn what_the_destination_has_already_is_not_overwritten() {
    need!("redis");
    let sides = Sides::start();
    let (mut s, mut d) = (sides.s.client(), sides.d.client());
    for n in 0..50 {
        s.call(&["SET", &format!("k:{n}"), "of the source"]).unwrap();
    }
    // As a hand-over that was interrupted after its RESTORE left it; told apart for the test.
    d.call(&["SET", "k:7", "of the destination"]).unwrap();

    let report = run(&sides.route(), &all(), &quick()).await.unwrap();

    assert_eq!((report.progress.moved, report.progress.busy), (50, 1), "{report:?}");
    assert_eq!(d.call(&["GET", "k:7"]).unwrap().text(), "of the destination");
    assert_eq!((dbsize(&mut s), dbsize(&mut d)), (0, 50));
    assert_eq!(dbsize(&mut sides.s_slave.client()), 0);
}

/// A runtime of its own, for a thread beside blocking ones.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a proxy does for a request: the same hand-over for one key, at any time.
fn fetch(s: &mut RespClient, d: &mut RespClient, key: &str) -> bool {
    s.call(&["WATCH", key]).unwrap();
    let codis_testkit::Reply::Bulk(Some(payload)) = s.call(&["DUMP", key]).unwrap() else {
        s.call(&["UNWATCH"]).unwrap();
        return true;
    };
    d.call(&[b"RESTORE".as_slice(), key.as_bytes(), b"0", &payload]).unwrap();
    s.call(&["MULTI"]).unwrap();
    s.call(&["UNLINK", key]).unwrap();
    matches!(s.call(&["EXEC"]).unwrap(), codis_testkit::Reply::Array(Some(_)))
}

#[tokio::test]
async fn proxies_fetch_keys_meanwhile_and_change_them() {
    need!("redis");
    let sides = Sides::start();
    const KEYS: usize = 20_000;
    fill(&sides.s, KEYS);
    let changed = AtomicU64::new(0);
    let report = thread::scope(|scope| {
        for offset in 0..2usize {
            let (mut s, mut d) = (sides.s.client(), sides.d.client());
            let changed = &changed;
            scope.spawn(move || {
                // In the order in which the scan is unlikely to go, each key once.
                for n in (0..KEYS).map(|n| (n * 7919 + offset) % KEYS).filter(|n| n % 20 == offset) {
                    let key = format!("k:{n}");
                    while !fetch(&mut s, &mut d, &key) {}
                    d.call(&["APPEND", &key, "+"]).unwrap();
                    changed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let (route, options) = (sides.route(), BulkOptions { rate: Some(10_000), ..quick() });
        scope.spawn(move || block_on(run(&route, &all(), &options))).join().unwrap()
    })
    .unwrap();

    assert!(report.progress.gone > 0, "the proxies were never first: {report:?}");
    let (mut s, mut d) = (sides.s.client(), sides.d.client());
    assert_eq!((dbsize(&mut s), dbsize(&mut d)), (0, KEYS as i64));
    assert_eq!(changed.into_inner(), (KEYS / 10) as u64);
    for n in 0..KEYS {
        let plus = if n % 20 < 2 { "+" } else { "" };
        assert_eq!(d.call(&["GET", &format!("k:{n}")]).unwrap().text(), format!("value-{n}{plus}"));
    }
}

/// A proxy hands over a key that a batch has read but not restored yet, and its client deletes it at the destination.
#[tokio::test]
async fn a_slow_batch_does_not_revive_what_was_deleted_meanwhile() {
    need!("redis");
    let sides = Sides::start();
    fill(&sides.s, 20);
    let relay = Relay::to(sides.d.port());
    let mut route = sides.route();
    route.to.addr = relay.addr().parse().unwrap();
    relay.delay_next(b"RESTORE");
    let moving = thread::spawn(move || block_on(run(&route, &all(), &quick())));
    relay.wait_held();
    let (mut s, mut d) = (sides.s.client(), sides.d.client());
    assert!(fetch(&mut s, &mut d, "k:7"));
    assert_eq!(d.call(&["DEL", "k:7"]).unwrap().text(), "1");
    relay.release();
    let report = moving.join().unwrap().unwrap();
    assert_eq!(report.progress.moved, 19, "{report:?}");
    assert_eq!(d.call(&["EXISTS", "k:7"]).unwrap().text(), "0", "it came back");
    assert_eq!((dbsize(&mut s), dbsize(&mut d)), (0, 19));
}

#[tokio::test]
async fn a_key_written_past_the_proxies_is_named() {
    need!("redis");
    let sides = Sides::start();
    let (mut s, route) = (sides.s.client(), sides.route());
    s.call(&["SET", "hot", "0"]).unwrap();
    let (stop, flooded) = (std::sync::atomic::AtomicBool::new(false), CancellationToken::new());
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            // Faster than the server takes them, so that writes always wait in its queue and one comes
            // between WATCH and EXEC of every attempt, however seldom this thread gets a turn.
            let writes = b"*2\r\n$4\r\nINCR\r\n$3\r\nhot\r\n".repeat(10_000);
            s.send(b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n").unwrap();
            while !stop.load(Ordering::Relaxed) {
                s.send(&writes).unwrap();
                flooded.cancel();
            }
        });
        let moving = async {
            tokio::time::timeout(Duration::from_secs(20), flooded.cancelled()).await.unwrap();
            run(&route, &all(), &quick()).await
        };
        let result = scope.spawn(move || block_on(moving)).join();
        stop.store(true, Ordering::Relaxed);
        result.unwrap().unwrap_err()
    });
    assert!(matches!(&error, BulkError::KeepsChanging { key, .. } if key == "hot"), "{error}");
    assert_eq!(dbsize(&mut sides.s.client()), 1);
}

#[tokio::test]
async fn a_destination_killed_half_way_loses_nothing() {
    need!("redis");
    let mut sides = Sides::start();
    const KEYS: usize = 20_000;
    fill(&sides.s, KEYS);
    let route = sides.route();
    let options = BulkOptions { rate: Some(20_000), ..quick() };
    let stop = CancellationToken::new();
    let killed = CancellationToken::new();
    let on_progress = |progress: &codis_redis::BulkProgress| {
        if progress.moved > 2000 && !killed.is_cancelled() {
            sides.d.kill();
            killed.cancel();
        }
    };
    let slots = all();
    let error = bulk_move(&route, &slots, &options, &Held, &stop, &on_progress).await.unwrap_err();
    let BulkError::Server { source, attempts: 4 } = &error else { panic!("{error}") };
    assert_eq!(source.addr, addr(&sides.d), "{source}");
    assert!(matches!(source.cause, RedisCause::Connect(_)), "{source}");

    sides.d.restart();
    let (mut s, mut d) = (sides.s.client(), sides.d.client());
    let (left, arrived) = (dbsize(&mut s), dbsize(&mut d));
    assert!(left > 0 && arrived > 0 && left + arrived >= KEYS as i64, "{left} + {arrived}");
    for n in 0..KEYS {
        let key = format!("k:{n}");
        let copies = [&mut s, &mut d].map(|client| client.call(&["GET", &key]).unwrap().text());
        assert!(copies.contains(&format!("value-{n}")), "{key}: {copies:?}");
    }

    await_slave(&sides.d);
    kill_by_name(&addr(&sides.s), &route.connect, "codis-mover-").await.unwrap();
    run(&route, &slots, &quick()).await.unwrap();
    assert_eq!((dbsize(&mut s), dbsize(&mut d)), (0, KEYS as i64));
    for n in 0..KEYS {
        assert_eq!(d.call(&["GET", &format!("k:{n}")]).unwrap().text(), format!("value-{n}"));
    }
}

#[tokio::test]
async fn a_frozen_destination_comes_back_before_the_last_attempt() {
    need!("redis");
    let sides = Sides::start();
    const KEYS: usize = 20_000;
    fill(&sides.s, KEYS);
    let mut route = sides.route();
    route.connect.command_timeout = Duration::from_millis(300);
    route.connect.connect_timeout = Duration::from_millis(300);
    let options = BulkOptions { rate: Some(20_000), attempts: 12, ..quick() };
    let stop = CancellationToken::new();
    let frozen = CancellationToken::new();
    let on_progress = |progress: &codis_redis::BulkProgress| {
        if progress.moved > 2000 && !frozen.is_cancelled() {
            sides.d.stop();
            frozen.cancel();
        }
    };
    let slots = all();
    let moving = bulk_move(&route, &slots, &options, &Held, &stop, &on_progress);
    let thawing = async {
        frozen.cancelled().await;
        // Long enough for every connection to time out at least once.
        tokio::time::sleep(Duration::from_millis(1000)).await;
        sides.d.cont();
    };
    let (moved, ()) = tokio::join!(moving, thawing);
    let report = moved.unwrap();
    assert!(report.progress.retries > 0, "{report:?}");
    assert_eq!((dbsize(&mut sides.s.client()), dbsize(&mut sides.d.client())), (0, KEYS as i64));
}

#[tokio::test]
async fn keys_stay_while_a_slave_of_the_destination_is_silent() {
    need!("redis");
    let sides = Sides::start();
    fill(&sides.s, 500);
    sides.d_slave.stop();
    let error = run(&sides.route(), &all(), &quick()).await.unwrap_err();
    assert!(matches!(error, BulkError::DestinationShort { slaves: 1, .. }), "{error}");
    assert_eq!(dbsize(&mut sides.s.client()), 500);
    sides.d_slave.cont();
    run(&sides.route(), &all(), &quick()).await.unwrap();
    assert_eq!((dbsize(&mut sides.s.client()), dbsize(&mut sides.d.client())), (0, 500));
}

#[tokio::test]
async fn a_move_is_not_finished_while_a_slave_of_the_source_is_silent() {
    need!("redis");
    let sides = Sides::start();
    fill(&sides.s, 500);
    sides.s_slave.stop();
    let error = run(&sides.route(), &all(), &quick()).await.unwrap_err();
    let BulkError::Server { source, .. } = &error else { panic!("{error}") };
    assert_eq!((source.addr.clone(), source.command.as_str()), (addr(&sides.s), "WAIT"), "{source}");
    let (mut s, mut d) = (sides.s.client(), sides.d.client());
    assert!(dbsize(&mut s) + dbsize(&mut d) >= 500);
    sides.s_slave.cont();
    run(&sides.route(), &all(), &quick()).await.unwrap();
    assert_eq!((dbsize(&mut s), dbsize(&mut d)), (0, 500));
    assert_eq!(dbsize(&mut sides.s_slave.client()), 0);
}

#[tokio::test]
async fn it_stops_between_batches_and_goes_on_later() {
    need!("redis");
    let sides = Sides::start();
    fill(&sides.s, 10_000);
    let (route, slots, stop) = (sides.route(), all(), CancellationToken::new());
    let options = BulkOptions { rate: Some(10_000), ..quick() };
    let on_progress = |progress: &codis_redis::BulkProgress| {
        if progress.moved > 500 {
            stop.cancel();
        }
    };
    let report = bulk_move(&route, &slots, &options, &Held, &stop, &on_progress).await.unwrap();
    assert!(report.stopped);
    let (left, arrived) = (dbsize(&mut sides.s.client()), dbsize(&mut sides.d.client()));
    assert!(left > 0, "{report:?}");
    assert_eq!(left + arrived, 10_000);
    assert_eq!(report.progress.moved, arrived as u64);
    run(&route, &slots, &quick()).await.unwrap();
    assert_eq!(dbsize(&mut sides.d.client()), 10_000);
}

struct Lost;

impl codis_redis::Lease for Lost {
    fn prove(&self) -> futures::future::BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Err("mover 2 has taken over".to_owned()) })
    }
}

#[tokio::test]
async fn without_its_lease_a_mover_touches_nothing() {
    need!("redis");
    let sides = Sides::start();
    fill(&sides.s, 100);
    let stop = CancellationToken::new();
    let moved = bulk_move(&sides.route(), &all(), &quick(), &Lost, &stop, &|_| ()).await;
    let error = moved.unwrap_err();
    assert!(matches!(&error, BulkError::LeaseLost(why) if why.contains("mover 2")), "{error}");
    assert_eq!((dbsize(&mut sides.s.client()), dbsize(&mut sides.d.client())), (100, 0));
}

#[tokio::test]
async fn a_probe_key_goes_the_whole_way_and_leaves_nothing() {
    need!("redis");
    let sides = Sides::start();
    probe_move(&sides.route(), &half(), &Held).await.unwrap();
    assert_eq!((dbsize(&mut sides.s.client()), dbsize(&mut sides.d.client())), (0, 0));
    // A destination out of memory says so.
    sides.d.client().call(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let error = probe_move(&sides.route(), &half(), &Held).await.unwrap_err();
    assert_eq!(error.addr, addr(&sides.d));
    assert!(error.cause.to_string().contains("OOM"), "{error:?}");
}

#[tokio::test]
async fn a_full_destination_is_reported_and_keys_stay() {
    need!("redis");
    let sides = Sides::start();
    fill(&sides.s, 300);
    sides.d.client().call(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let error = run(&sides.route(), &all(), &quick()).await.unwrap_err();
    let BulkError::Refused { answer, addr: to, .. } = &error else { panic!("{error}") };
    assert!(answer.starts_with("OOM"), "{answer}");
    assert_eq!(*to, addr(&sides.d));
    assert_eq!(dbsize(&mut sides.s.client()), 300);
}

/// A destination that evicts would otherwise take every key that has just come for one just used.
#[tokio::test]
async fn how_hot_a_key_was_goes_along() {
    need!("redis");
    for (policy, option, object, value) in
        [("allkeys-lru", "IDLETIME", "IDLETIME", 5000), ("allkeys-lfu", "FREQ", "FREQ", 200)]
    {
        let sides = Sides::start();
        let (mut s, mut d) = (sides.s.client(), sides.d.client());
        s.call(&["SET", "model", "v"]).unwrap();
        let codis_testkit::Reply::Bulk(Some(payload)) = s.call(&["DUMP", "model"]).unwrap() else {
            panic!("DUMP answered no payload")
        };
        for client in [&mut s, &mut d] {
            client.call(&["CONFIG", "SET", "maxmemory-policy", policy]).unwrap();
        }
        let text = value.to_string();
        let words: [&[u8]; 6] = [b"RESTORE", b"key", b"0", &payload, option.as_bytes(), text.as_bytes()];
        assert_eq!(s.call(&words).unwrap().text(), "OK");
        run(&sides.route(), &all(), &quick()).await.unwrap();
        let kept: i64 = d.call(&["OBJECT", object, "key"]).unwrap().text().parse().unwrap();
        assert!((value - 5..=value + 60).contains(&kept), "{policy}: {kept}");
    }
}

#[tokio::test]
async fn keys_move_between_servers_with_a_password() {
    need!("redis");
    let server = || RedisServer::builder().password("secret").start();
    let (s, d) = (server(), server());
    fill(&s, 200);
    let end = |server| Endpoint { addr: addr(server), slaves: 0 };
    let mut route = Route {
        from: end(&s),
        to: end(&d),
        connect: ConnectOptions::default(),
        wait_timeout: Duration::ZERO,
    };
    let refused = run(&route, &all(), &quick()).await.unwrap_err();
    assert!(
        matches!(&refused, BulkError::Server { source, .. } if matches!(source.cause, RedisCause::Auth(_)))
    );
    route.connect = ConnectOptions::with_password(&Password::new("secret")).named("codis-mover-1");
    run(&route, &all(), &quick()).await.unwrap();
    assert_eq!((dbsize(&mut s.client()), dbsize(&mut d.client())), (0, 200));
}
