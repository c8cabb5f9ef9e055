//! Is a key's stall predicted rightly? Keys of every kind, packed and not, compressible and not, against what a server takes.
//!
//! On a quiet machine within a factor of two (`CODIS_TEST_STALLS=2`); where other tests fight for the processor, its caches and fresh
//! pages, a wider one is asked for.

use std::{collections::BTreeSet, time::Duration};

use codis_redis::{BigKey, ConnectOptions, SurveyOptions, survey};
use codis_testkit::{RedisServer, Reply, RespClient, need};

use crate::common::addr;

/// How often each key is dumped and restored.
const ROUNDS: usize = 5;
/// The factor where nothing is known about the machine.
const BUSY: f64 = 4.0;

/// Bytes that do not compress, the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// One command for each thousand elements.
fn many(
    client: &mut RespClient,
    command: &str,
    key: &str,
    count: usize,
    mut words: impl FnMut(usize) -> Vec<Vec<u8>>,
) {
    for first in (0..count).step_by(1000) {
        let mut line = vec![command.as_bytes().to_vec(), key.as_bytes().to_vec()];
        line.extend((first..(first + 1000).min(count)).flat_map(&mut words));
        let reply = client.call(&line).unwrap();
        assert!(!reply.is_error(), "{key}: {reply:?}");
    }
}

/// Values of `size` bytes that compress as a text does, or do not. (One byte over and over again is a case of its own: each copy waits
/// for the one before it, and a block of several MB takes up to three times as long to restore as is predicted.)
fn values(noisy: bool, size: usize) -> impl FnMut() -> Vec<u8> {
    let text = b"{\"user\":\"u-1093\",\"city\":\"Hangzhou\",\"tags\":[\"a\",\"b\"],\"seen\":1795357928} ";
    let mut noise = Noise(7);
    move || if noisy { noise.bytes(size) } else { text.iter().copied().cycle().take(size).collect() }
}

/// Keys that are big, each in two forms; and moderate ones, by which the survey finds out how fast the server is.
fn fill(client: &mut RespClient) {
    for n in 0..24 {
        many(client, "HSET", &format!("moderate:{n}"), 1000, |n| {
            vec![format!("f{n}").into(), vec![b'v'; 20]]
        });
    }
    for (name, noisy) in [("plain", false), ("noise", true)] {
        let value = |size| values(noisy, size);
        let (mut mega, mut short, mut long) = (value(8_000_000), value(40), value(400));
        client.call(&[b"SET", format!("string:{name}").as_bytes(), &mega()]).unwrap();
        many(client, "RPUSH", &format!("list:{name}"), 100_000, |_| vec![short()]);
        many(client, "RPUSH", &format!("list:{name}:long"), 20_000, |_| vec![long()]);
        many(client, "HSET", &format!("hash:{name}"), 60_000, |n| vec![format!("f{n}").into(), short()]);
        many(client, "HSET", &format!("hash:{name}:long"), 20_000, |n| vec![format!("f{n}").into(), long()]);
        many(client, "SADD", &format!("set:{name}"), 60_000, |n| {
            vec![[&short()[..], n.to_string().as_bytes()].concat()]
        });
        many(client, "ZADD", &format!("zset:{name}"), 60_000, |n| {
            vec![n.to_string().into(), [&short()[..], n.to_string().as_bytes()].concat()]
        });
        for n in 0..40_000 {
            let words: [&[u8]; 5] =
                [b"XADD", &format!("stream:{name}").into_bytes(), b"*", b"field", &short()];
            let reply = client.call(&words).unwrap();
            assert!(!reply.is_error(), "{n}: {reply:?}");
        }
    }
    // Numbers lie in one block, whatever the settings.
    many(client, "SADD", "set:numbers", 500_000, |n| vec![n.to_string().into()]);
}

/// Packs whatever can be packed: an operator may have set it so, alike on both servers.
fn pack(client: &mut RespClient) {
    for (name, value) in [
        ("hash-max-listpack-entries", "1000000"),
        ("hash-max-listpack-value", "10000"),
        ("zset-max-listpack-entries", "1000000"),
        ("zset-max-listpack-value", "10000"),
        ("set-max-intset-entries", "1000000"),
    ] {
        assert_eq!(client.call(&["CONFIG", "SET", name, value]).unwrap().text(), "OK");
    }
}

/// The same in one block each.
fn fill_packed(client: &mut RespClient) {
    for (name, noisy) in [("plain", false), ("noise", true)] {
        let mut value = values(noisy, 5000);
        // Looking for a field takes as long as the block is: few of them, and long.
        many(client, "HSET", &format!("packed-hash:{name}"), 1500, |n| vec![format!("f{n}").into(), value()]);
        many(client, "ZADD", &format!("packed-zset:{name}"), 1500, |n| {
            vec![n.to_string().into(), [&value()[..], n.to_string().as_bytes()].concat()]
        });
    }
    many(client, "SADD", "packed-set:numbers", 400_000, |n| vec![n.to_string().into()]);
}

/// Time that a server's main thread has used. Not the clock's: others use the machine, too.
fn used(client: &mut RespClient) -> Duration {
    let info = client.call(&["INFO", "cpu"]).unwrap().text();
    let of = |name: &str| -> f64 {
        info.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    };
    Duration::from_secs_f64(of("used_cpu_user_main_thread:") + of("used_cpu_sys_main_thread:"))
}

/// What a command takes of it.
fn cost(client: &mut RespClient, words: &[&[u8]]) -> Duration {
    let before = used(client);
    let reply = client.call(words).unwrap();
    assert!(!reply.is_error(), "{reply:?}");
    used(client).saturating_sub(before)
}

/// What DUMP and RESTORE of this key take, the quickest of some. What goes over the network does so bit by bit between other clients'
/// requests, and is not counted.
fn measure(key: &[u8], from: &mut RespClient, to: &mut RespClient) -> (Duration, Duration) {
    let Reply::Bulk(Some(payload)) = from.call(&[b"DUMP", key]).unwrap() else {
        panic!("no dump of {}", key.escape_ascii())
    };
    let (mut dump, mut restore, mut sent) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        dump = dump.min(cost(from, &[b"EVAL", b"return #redis.call('DUMP', KEYS[1])", b"1", key]));
        sent = sent.min(cost(to, &[b"PUBLISH", b"nobody", &payload]));
        restore = restore.min(cost(to, &[b"RESTORE", key, b"0", &payload]));
        to.call(&["FLUSHALL"]).unwrap();
    }
    (dump, restore.saturating_sub(sent))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[tokio::test]
async fn the_stall_of_each_kind_of_big_key_is_predicted() {
    need!("redis");
    let within: f64 = std::env::var("CODIS_TEST_STALLS").map_or(BUSY, |text| text.parse().unwrap());
    let (server, other, packing) = (RedisServer::start(), RedisServer::start(), RedisServer::start());
    let (mut from, mut to, mut to_packing) = (server.client(), other.client(), packing.client());
    fill(&mut from);
    pack(&mut from);
    pack(&mut to_packing);
    fill_packed(&mut from);
    let how = SurveyOptions { only: None, duty: None, budget: Duration::from_millis(1), largest: 0 };
    let found = survey(&addr(&server), &ConnectOptions::default(), &how, |_| ()).await.unwrap();
    assert!(found.calibrated);
    let mut wrong = Vec::new();
    println!("{:<22} {:>19} {:>19}", "ms", "dump said  took", "restore said  took");
    let mut big: Vec<&BigKey> = found.big.iter().collect();
    big.sort_by(|a, b| a.key.cmp(&b.key));
    for key in &big {
        // A server that packs takes much longer to build a block from single elements than to read one.
        let to = if key.key.starts_with(b"packed") { &mut to_packing } else { &mut to };
        let (dump, restore) = measure(&key.key, &mut from, to);
        let (said, took) = (key.one_shot.longest(), dump.max(restore));
        let factor = said.as_secs_f64() / took.as_secs_f64();
        let name = key.key.escape_ascii().to_string();
        println!(
            "{name:<22} {:>9.1} {:>9.1} {:>9.1} {:>9.1}  x{factor:.2}",
            ms(key.one_shot.dump),
            ms(dump),
            ms(key.one_shot.restore),
            ms(restore)
        );
        if !(1.0 / within..=within).contains(&factor) {
            wrong.push(name);
        }
    }
    let kinds: BTreeSet<&str> = big.iter().map(|key| key.kind.as_str()).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["hash", "list", "set", "stream", "string", "zset"]);
    assert_eq!(big.iter().filter(|key| key.key.starts_with(b"packed")).count(), 5);
    assert!(wrong.is_empty(), "{wrong:?}");
}
