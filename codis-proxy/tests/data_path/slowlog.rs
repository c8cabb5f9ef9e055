//! SLOWLOG of the proxy: which requests took long, and where their time went.

use std::time::Duration;

use codis_testkit::{Reply, RespClient, eventually, need};
use serde_json::Value;

use crate::{Cluster, DEADLINE, config, http_get, request, stat};

/// What an entry of SLOWLOG GET says: id, microseconds, words, client, name, parts of the time.
type Entry = (i64, i64, Vec<String>, String, String, Vec<(String, i64)>);

fn entries(client: &mut RespClient, args: &[&str]) -> Vec<Entry> {
    let list = |reply: &Reply| match reply {
        Reply::Array(Some(items)) => items.clone(),
        other => panic!("{other:?}"),
    };
    let number = |reply: &Reply| match reply {
        Reply::Int(number) => *number,
        other => panic!("{other:?}"),
    };
    let one = |entry: &Reply| {
        let entry = list(entry);
        let parts = list(&entry[6]);
        let parts: Vec<_> = parts.chunks(2).map(|part| (part[0].text(), number(&part[1]))).collect();
        assert!(number(&entry[1]) > 1_700_000_000, "Unix seconds: {:?}", entry[1]);
        let words = list(&entry[3]).iter().map(Reply::text).collect();
        (number(&entry[0]), number(&entry[2]), words, entry[4].text(), entry[5].text(), parts)
    };
    list(&client.call(args).unwrap()).iter().map(one).collect()
}

/// The first entry of /slowlog with this command, waited for.
fn first(cluster: &Cluster, command: &str) -> Value {
    let mut found = Value::Null;
    eventually(DEADLINE, || {
        let page: Value = serde_json::from_str(&http_get(&cluster.proxy.admin_addr(), "/slowlog")).unwrap();
        let entries = page["entries"].as_array().unwrap();
        found = entries.iter().find(|entry| entry["command"] == command).cloned().unwrap_or_default();
        !found.is_null()
    });
    let sum: u64 = ["queue_us", "migration_wait_us", "backend_us", "flush_us"]
        .iter()
        .map(|part| found[part].as_u64().unwrap())
        .sum();
    assert_eq!(found["took_us"], sum, "the parts add up: {found}");
    found
}

fn part(entry: &Value, name: &str) -> Duration {
    Duration::from_micros(entry[name].as_u64().unwrap())
}

#[test]
fn every_part_of_the_time_is_accounted_for() {
    need!("redis");
    let (_dir, path) = config("slowlog_slower_than = 0\nslowlog_max_len = 1000");
    let cluster = Cluster::with(2, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    client.call(&["CLIENT", "SETNAME", "tester"]).unwrap();
    let (here, there) = (cluster.key_on(0, 1), cluster.key_on(1, 1));
    let mut bytes = Vec::new();
    for _ in 0..100 {
        bytes.extend(request(&["SET", &here, "v"]));
        bytes.extend(request(&["MGET", &here, &there]));
        bytes.extend(request(&["OBJECT", "ENCODING", &there]));
    }
    client.send(&bytes).unwrap();
    (0..300).for_each(|_| drop(client.read().unwrap()));
    let mut other = cluster.client();
    eventually(DEADLINE, || other.call(&["SLOWLOG", "LEN"]).unwrap() == Reply::Int(300));
    let all = entries(&mut other, &["SLOWLOG", "GET", "-1"]);
    assert_eq!(all.len(), 300);
    let info = client.call(&["CLIENT", "INFO"]).unwrap().text();
    for (_, took, words, addr, name, parts) in &all {
        assert_eq!(parts.iter().map(|(_, usecs)| usecs).sum::<i64>(), *took, "{words:?} {parts:?}");
        assert!(info.contains(&format!("addr={addr} ")) && name == "tester", "{addr} {name}");
    }
    let names: Vec<&str> = all[0].5.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["queue", "migration_wait", "backend", "flush"]);
    let words: Vec<_> = all.iter().map(|entry| entry.2.join(" ")).collect();
    for expected in [format!("SET {here}"), format!("MGET {here}"), format!("OBJECT ENCODING {there}")] {
        assert_eq!(words.iter().filter(|words| **words == expected).count(), 100, "{expected}");
    }
    assert!(all.windows(2).all(|pair| pair[0].0 == pair[1].0 + 1), "newest first");
    assert_eq!(entries(&mut other, &["SLOWLOG", "GET"]).len(), 10);
    assert_eq!(entries(&mut other, &["SLOWLOG", "GET", "3"]), all[..3]);
    assert_eq!(other.call(&["SLOWLOG", "RESET"]).unwrap().text(), "OK");
    assert_eq!(other.call(&["SLOWLOG", "LEN"]).unwrap(), Reply::Int(0));
    for wrong in [
        &["SLOWLOG", "GET", "x"][..],
        &["SLOWLOG", "GET", "-2"],
        &["SLOWLOG", "NO"],
        &["SLOWLOG", "LEN", "1"],
    ] {
        assert!(other.call(wrong).unwrap().is_error(), "{wrong:?}");
    }
}

#[test]
fn waiting_for_the_server_is_told_from_waiting_for_the_connection() {
    need!("redis");
    let (_dir, path) = config("connect_timeout = 10");
    let cluster = Cluster::with(2, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    let (key, pause) = (cluster.key_on(0, 1), Duration::from_millis(150));
    // The kernel accepts, but nobody says hello.
    cluster.servers[0].stop();
    client.send(&request(&["GET", &key])).unwrap();
    std::thread::sleep(pause);
    cluster.servers[0].cont();
    assert_eq!(client.read().unwrap(), Reply::Bulk(None));
    let entry = first(&cluster, "GET");
    assert!(part(&entry, "queue_us") >= pause / 2, "{entry}");
    assert!(part(&entry, "backend_us") < part(&entry, "queue_us"), "{entry}");
    assert_eq!((&entry["key"], &entry["backend"]), (&key.clone().into(), &cluster.servers[0].addr().into()));

    cluster.servers[0].stop();
    client.send(&request(&["SET", &key, "x"])).unwrap();
    std::thread::sleep(pause);
    cluster.servers[0].cont();
    assert_eq!(client.read().unwrap().text(), "OK");
    let entry = first(&cluster, "SET");
    assert!(part(&entry, "backend_us") >= pause / 2, "{entry}");
    assert!(part(&entry, "queue_us") < part(&entry, "backend_us"), "{entry}");
}

#[test]
fn a_client_that_takes_its_time_shows_as_flush() {
    need!("redis");
    let (_dir, path) = config("slowlog_slower_than = 0.0001\nslowlog_max_len = 1000");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", "big", &"x".repeat(32 << 20)]).unwrap().text(), "OK");
    client.send(&request(&["GET", "big"])).unwrap();
    eventually(DEADLINE, || stat(&cluster, "backend_bytes_in") > 32 << 20);
    std::thread::sleep(Duration::from_millis(150));
    client.read().unwrap();
    let entry = first(&cluster, "GET");
    assert!(part(&entry, "flush_us") >= Duration::from_millis(100), "{entry}");
}

#[test]
fn requests_that_are_meant_to_wait_are_not_slow_and_the_log_can_be_off() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    assert_eq!(client.call(&["BLPOP", "nothing", "0.05"]).unwrap(), Reply::Array(None));
    assert_eq!(client.call(&["SLOWLOG", "LEN"]).unwrap(), Reply::Int(0));
    let (_dir, path) = config("slowlog_slower_than = 0\nslowlog_max_len = 0");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    (0..10).for_each(|_| assert_eq!(client.call(&["SET", "a", "b"]).unwrap().text(), "OK"));
    assert_eq!(client.call(&["SLOWLOG", "LEN"]).unwrap(), Reply::Int(0));
}
