//! The redis crate.

use std::{collections::BTreeMap, thread, time::Duration};

use codis_testkit::need;
use redis::{
    Client, Commands, Connection, RedisResult, Script, Value, pipe,
    streams::{StreamReadOptions, StreamReadReply},
};

use crate::Cluster;

#[test]
fn redis_crate() {
    need!("redis");
    let cluster = Cluster::start();
    for protocol in ["", "?protocol=resp3"] {
        let client = Client::open(format!("redis://{}/{protocol}", cluster.proxy.addr())).unwrap();
        let expected = if protocol.is_empty() { "resp=2" } else { "resp=3" };
        let info: String = redis::cmd("CLIENT").arg("INFO").query(&mut connect(&client)).unwrap();
        assert!(info.contains(expected), "{info}");
        values(&client);
        pipelines(&client);
        transactions_in_one_slot(&client);
        scripts(&client);
        blocking(&client);
        publish_and_subscribe(&client);
        streams_with_consumer_groups(&client);
        scan_sees_each_key_once(&client);
        many_connections(&client);
        let keys: Vec<String> = connect(&client).keys("*").unwrap();
        let _: () = connect(&client).del(keys).unwrap();
    }
}

fn connect(client: &Client) -> Connection {
    client.get_connection().unwrap()
}

fn values(client: &Client) {
    let mut c = connect(client);
    let _: () = c.set("a", 1).unwrap();
    assert_eq!(c.get::<_, Option<i32>>("a").unwrap(), Some(1));
    assert_eq!(c.get::<_, Option<i32>>("none").unwrap(), None);
    let _: () = c.hset_multiple("h", &[("f", "v"), ("g", "w")]).unwrap();
    let hash: BTreeMap<String, String> = c.hgetall("h").unwrap();
    assert_eq!(hash.into_iter().collect::<Vec<_>>(), [("f".into(), "v".into()), ("g".into(), "w".into())]);
    let pairs: Vec<(String, u32)> = (0..100).map(|i| (format!("m{i}"), i)).collect();
    let names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
    let _: () = c.mset(&pairs).unwrap();
    let found: Vec<u32> = c.mget(&names).unwrap();
    assert_eq!(found, (0..100).collect::<Vec<_>>());
    assert_eq!(c.del::<_, u32>(&names).unwrap(), 100);
}

fn pipelines(client: &Client) {
    let mut pipeline = pipe();
    for i in 0..5000 {
        pipeline.set(format!("p{i}"), i).ignore().get(format!("p{i}"));
    }
    let found: Vec<u32> = pipeline.query(&mut connect(client)).unwrap();
    assert_eq!(found, (0..5000).collect::<Vec<_>>());
}

fn transactions_in_one_slot(client: &Client) {
    let add = |client: &Client| {
        let mut c = connect(client);
        for _ in 0..20 {
            let _: () = redis::transaction(&mut c, &["{t}n"], |c, pipe| {
                let n: u32 = c.get::<_, Option<u32>>("{t}n")?.unwrap_or(0);
                pipe.set("{t}n", n + 1).ignore().rpush("{t}log", n).ignore().query(c)
            })
            .unwrap();
        }
    };
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| add(client)))));
    let log: Vec<u32> = connect(client).lrange("{t}log", 0, -1).unwrap();
    assert_eq!(log, (0..80).collect::<Vec<_>>());
    let crossed: RedisResult<Value> = pipe().atomic().set("x", 1).set("y", 2).query(&mut connect(client));
    assert!(crossed.is_err(), "keys of two slots in one transaction: {crossed:?}");
}

fn scripts(client: &Client) {
    let mut c = connect(client);
    let script = Script::new("return {KEYS[1], redis.call('INCR', KEYS[1])}");
    for i in 0..30 {
        let key = format!("lua{i}");
        let reply: (String, u32) = script.key(&key).invoke(&mut c).unwrap();
        assert_eq!(reply, (key, 1));
    }
}

fn blocking(client: &Client) {
    let mut c = connect(client);
    let nothing: Option<(String, String)> = c.blpop("none", 0.05).unwrap();
    assert_eq!(nothing, None);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| connect(client).blpop::<_, (String, String)>("list", 20.0).unwrap());
        let _: () = c.rpush("list", "element").unwrap();
        assert_eq!(waiting.join().unwrap(), ("list".to_owned(), "element".to_owned()));
    });
}

fn publish_and_subscribe(client: &Client) {
    let mut listener = connect(client);
    listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut listener = listener.as_pubsub();
    let channels: Vec<String> = (0..10).map(|i| format!("ch{i}")).collect();
    listener.subscribe(&channels).unwrap();
    listener.psubscribe("pattern*").unwrap();
    let mut c = connect(client);
    for i in 0..1000 {
        let _: () = c.publish(&channels[i % 10], i).unwrap();
    }
    let _: () = c.publish("pattern-x", 7).unwrap();
    let mut seen: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for _ in 0..1001 {
        let message = listener.get_message().unwrap();
        seen.entry(message.get_channel_name().to_owned()).or_default().push(message.get_payload().unwrap());
    }
    for (at, channel) in channels.iter().enumerate() {
        assert_eq!(seen[channel], (at..1000).step_by(10).collect::<Vec<_>>(), "{channel}");
    }
    assert_eq!(seen["pattern-x"], [7]);
}

fn streams_with_consumer_groups(client: &Client) {
    let mut c = connect(client);
    let _: () = c.xgroup_create_mkstream("stream", "group", "0").unwrap();
    let ids: Vec<String> = (0..20).map(|i| c.xadd("stream", "*", &[("n", i)]).unwrap()).collect();
    let mut seen = Vec::new();
    for consumer in ["one", "two"] {
        let options = StreamReadOptions::default().group("group", consumer).count(10).block(20_000);
        let reply: StreamReadReply = c.xread_options(&["stream"], &[">"], &options).unwrap();
        seen.extend(reply.keys.into_iter().flat_map(|key| key.ids).map(|entry| entry.id));
    }
    assert_eq!(seen, ids);
    assert_eq!(c.xack::<_, _, _, u32>("stream", "group", &ids).unwrap(), 20);
}

fn scan_sees_each_key_once(client: &Client) {
    let mut c = connect(client);
    let mut pipeline = pipe();
    for i in 0..3000 {
        pipeline.set(format!("scan:{i}"), i).ignore();
    }
    let _: () = pipeline.query(&mut c).unwrap();
    let mut keys: Vec<String> = c.scan_match("scan:*").unwrap().map(|key| key.unwrap()).collect();
    keys.sort();
    let mut expected: Vec<String> = (0..3000).map(|i| format!("scan:{i}")).collect();
    expected.sort();
    assert_eq!(keys, expected);
}

fn many_connections(client: &Client) {
    let mut pool: Vec<Connection> = (0..500).map(|_| connect(client)).collect();
    for (i, c) in pool.iter_mut().enumerate() {
        let _: () = c.set(format!("pool{i}"), i).unwrap();
    }
    for (i, c) in pool.iter_mut().enumerate() {
        assert_eq!(c.get::<_, usize>(format!("pool{i}")).unwrap(), i);
    }
}
