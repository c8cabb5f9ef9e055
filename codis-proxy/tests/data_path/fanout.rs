//! Commands that every master is asked, next to one server that has all the keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
};

use codis_testkit::{RedisServer, Reply, RespClient, need};

use crate::{Cluster, DEADLINE, config, request, stat};

/// Sets keys with these names.
fn fill(client: &mut RespClient, names: &[String]) {
    for chunk in names.chunks(500) {
        let mut mset = vec!["MSET"];
        mset.extend(chunk.iter().flat_map(|name| [name.as_str(), "v"]));
        assert_eq!(client.call(&mset).unwrap().text(), "OK");
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("key:{i}")).collect()
}

fn list(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Array(Some(items)) => items.iter().map(Reply::text).collect(),
        other => panic!("{other:?}"),
    }
}

/// A whole SCAN with these options: how often each key came.
fn scan(client: &mut RespClient, options: &[&str]) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    let mut cursor = "0".to_owned();
    for _ in 0..100_000 {
        let args = [&["SCAN", &cursor], options].concat();
        let Reply::Array(Some(page)) = client.call(&args).unwrap() else { panic!("{args:?}") };
        list(&page[1]).into_iter().for_each(|key| *seen.entry(key).or_default() += 1);
        cursor = page[0].text();
        assert!(cursor.parse::<i64>().unwrap() >= 0, "{cursor}");
        if cursor == "0" {
            return seen;
        }
    }
    panic!("SCAN does not end");
}

#[test]
fn scan_sees_every_key_exactly_once() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let names = names(10_000);
    fill(&mut client, &names);
    for options in [&["COUNT", "7"][..], &[], &["COUNT", "100000"]] {
        let seen = scan(&mut client, options);
        assert!(seen.keys().eq(names.iter().collect::<BTreeSet<_>>()), "{} keys", seen.len());
        assert!(seen.values().all(|times| *times == 1));
    }
    // Several proxies, several workers: nothing but the cursor says where a SCAN is.
    let mut others: Vec<RespClient> = (0..4).map(|_| cluster.client()).collect();
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    for turn in 0.. {
        let reply = others[turn % 4].call(&["SCAN", &cursor, "COUNT", "50"]).unwrap();
        let Reply::Array(Some(page)) = reply else { panic!("{reply:?}") };
        list(&page[1]).into_iter().for_each(|key| assert!(seen.insert(key)));
        cursor = page[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), names.len());
}

#[test]
fn scan_sees_every_key_that_stays_while_others_are_added() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let names = names(10_000);
    fill(&mut client, &names);
    let mut writer = cluster.client();
    let done = AtomicBool::new(false);
    let (seen, added) = std::thread::scope(|scope| {
        let adding = scope.spawn(|| {
            let mut added = 0;
            while !done.load(Ordering::Relaxed) && added < 1000 {
                let more: Vec<String> = (0..50).map(|i| format!("more:{added}:{i}")).collect();
                fill(&mut writer, &more);
                added += 1;
            }
            added
        });
        let seen = scan(&mut client, &["COUNT", "10"]);
        done.store(true, Ordering::Relaxed);
        (seen, adding.join().unwrap())
    });
    assert!(added > 10, "{added}");
    let missing: Vec<&String> = names.iter().filter(|name| !seen.contains_key(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // A table that grows may show a key again, as a single server's does; rarely.
    let times: usize = names.iter().map(|name| seen[name]).sum();
    assert!(times < names.len() * 11 / 10, "{times}");
}

#[test]
fn scan_passes_its_options_on_and_checks_its_cursor() {
    need!("redis");
    let cluster = Cluster::start(3);
    let (mut client, server) = (cluster.client(), RedisServer::start());
    let mut alone = server.client();
    for client in [&mut client, &mut alone] {
        fill(client, &names(1000));
        for i in 0..100 {
            client.call(&["RPUSH", &format!("list:{i}"), "x"]).unwrap();
        }
    }
    for options in [
        &["MATCH", "key:*7"][..],
        &["TYPE", "list"],
        &["COUNT", "20", "MATCH", "list:1?", "TYPE", "list"],
        &["MATCH", "nothing"],
    ] {
        assert_eq!(scan(&mut client, options), scan(&mut alone, options), "{options:?}");
    }
    for args in [
        &["SCAN", "x"][..],
        &["SCAN"],
        &["SCAN", "0", "COUNT", "0"],
        &["SCAN", "0", "COUNT", "x"],
        &["SCAN", "0", "NOSUCH"],
    ] {
        assert_eq!(client.call(args).unwrap(), alone.call(args).unwrap(), "{args:?}");
    }
    // None of ours: it is too long.
    let reply = client.call(&["SCAN", "9223372036854775808"]).unwrap();
    assert_eq!(reply.text(), "ERR invalid cursor");
}

#[test]
fn sizes_and_keys_are_those_of_one_server() {
    need!("redis");
    let cluster = Cluster::start(3);
    let (mut client, server) = (cluster.client(), RedisServer::start());
    let mut alone = server.client();
    for client in [&mut client, &mut alone] {
        assert_eq!(client.call(&["DBSIZE"]).unwrap(), Reply::Int(0));
        assert_eq!(client.call(&["RANDOMKEY"]).unwrap(), Reply::Bulk(None));
        assert_eq!(list(&client.call(&["KEYS", "*"]).unwrap()).len(), 0);
        fill(client, &names(10_000));
    }
    assert_eq!(client.call(&["DBSIZE"]).unwrap(), alone.call(&["DBSIZE"]).unwrap());
    for pattern in ["*", "key:1?7", "key:[12]*", "none*"] {
        let sorted = |client: &mut RespClient| {
            let mut keys = list(&client.call(&["KEYS", pattern]).unwrap());
            keys.sort();
            keys
        };
        assert_eq!(sorted(&mut client), sorted(&mut alone), "{pattern}");
    }
    let drawn: BTreeSet<String> = (0..300).map(|_| client.call(&["RANDOMKEY"]).unwrap().text()).collect();
    for (at, server) in cluster.servers.iter().enumerate() {
        let mut server = server.client();
        let here =
            drawn.iter().filter(|key| server.call(&["EXISTS", key.as_str()]).unwrap() == Reply::Int(1));
        assert!(here.count() > 20, "server {at}");
    }
    // One key on one server is always found.
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    client.call(&["SET", &cluster.key_on(2, 0), "v"]).unwrap();
    for _ in 0..20 {
        assert_eq!(client.call(&["RANDOMKEY"]).unwrap().text(), cluster.key_on(2, 0));
    }
    let Reply::Array(Some(time)) = client.call(&["TIME"]).unwrap() else { panic!() };
    assert!(time.len() == 2 && time[0].text().parse::<u64>().unwrap() > 1_700_000_000);
}

#[test]
fn keys_of_our_own_are_not_shown() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    for i in 0..20 {
        client.call(&["SET", &format!("codis:probe:{i}"), "v"]).unwrap();
    }
    assert_eq!(client.call(&["RANDOMKEY"]).unwrap(), Reply::Bulk(None));
    assert_eq!(list(&client.call(&["KEYS", "*"]).unwrap()).len(), 0);
    client.call(&["SET", "codis:other", "v"]).unwrap();
    assert_eq!(list(&client.call(&["KEYS", "*"]).unwrap()), ["codis:other"]);
    assert!(scan(&mut client, &[]).keys().eq(["codis:other"]));
}

#[test]
fn replies_keep_the_order_of_the_requests_and_are_counted() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    fill(&mut client, &names(3000));
    let get = request(&["GET", "key:1"]);
    let parts = [request(&["KEYS", "*"]), get.clone(), request(&["DBSIZE"]), get, request(&["PING"])];
    client.send(&parts.concat().repeat(50)).unwrap();
    for _ in 0..50 {
        assert_eq!(list(&client.read().unwrap()).len(), 3000);
        assert_eq!(client.read().unwrap().text(), "v");
        assert_eq!(client.read().unwrap(), Reply::Int(3000));
        assert_eq!(client.read().unwrap().text(), "v");
        assert_eq!(client.read().unwrap().text(), "PONG");
    }
    let page = crate::http_get(&cluster.proxy.admin_addr(), "/metrics");
    let line = "codis_proxy_command_calls_total{command=\"DBSIZE\"} 50";
    assert!(page.lines().any(|other| other == line), "{page}");
    assert_eq!(stat(&cluster, "errors"), 0);
}

#[test]
fn a_dead_master_fails_the_whole_request_by_name() {
    need!("redis");
    let mut cluster = Cluster::start(3);
    let mut client = cluster.client();
    fill(&mut client, &names(300));
    cluster.servers[1].kill();
    let expected = format!("ERR backend {}: ", cluster.servers[1].addr());
    for args in [
        &["DBSIZE"][..],
        &["KEYS", "*"],
        &["RANDOMKEY"],
        &["SCRIPT", "LOAD", "return 1"],
        &["SCRIPT", "EXISTS", "x"],
        &["FUNCTION", "LIST"],
    ] {
        let reply = client.call(args).unwrap();
        assert!(reply.is_error() && reply.text().starts_with(&expected), "{args:?}: {reply:?}");
        assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
    }
    // A SCAN says so when it comes to that master, and goes on there when it is back (without its keys:
    // they were in its memory only).
    let (mut cursor, mut seen, mut failed) = ("0".to_owned(), BTreeSet::new(), 0);
    let until = std::time::Instant::now() + DEADLINE;
    loop {
        assert!(std::time::Instant::now() < until);
        match client.call(&["SCAN", &cursor, "COUNT", "10"]).unwrap() {
            Reply::Array(Some(page)) => {
                list(&page[1]).into_iter().for_each(|key| assert!(seen.insert(key)));
                cursor = page[0].text();
                if cursor == "0" {
                    break;
                }
            }
            reply => {
                assert!(reply.text().starts_with(&expected), "{reply:?}");
                if failed == 0 {
                    cluster.servers[1].restart();
                }
                failed += 1;
            }
        }
    }
    assert!(failed > 0);
    let mut left = 0;
    for server in &cluster.servers {
        let Reply::Int(size) = server.client().call(&["DBSIZE"]).unwrap() else { panic!() };
        left += usize::try_from(size).unwrap();
    }
    assert!(left > 100 && seen.len() == left, "{} of {left}", seen.len());
}

#[test]
fn flushing_is_off_unless_it_is_allowed() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    fill(&mut client, &names(100));
    for args in [&["FLUSHALL"][..], &["FLUSHDB"], &["flushall", "ASYNC"]] {
        let name = args[0].to_lowercase();
        let expected = format!("ERR command '{name}' is not allowed through codis-proxy");
        assert_eq!(client.call(args).unwrap().text(), expected);
    }
    assert_eq!(client.call(&["DBSIZE"]).unwrap(), Reply::Int(100));
    let (_dir, path) = config("allow_flush = true");
    let cluster = Cluster::with(2, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    for args in [&["FLUSHALL"][..], &["FLUSHDB", "ASYNC"], &["FLUSHDB", "SYNC"]] {
        fill(&mut client, &names(100));
        let pipeline = [request(&["SET", "a", "1"]), request(args), request(&["GET", "a"])];
        client.send(&pipeline.concat()).unwrap();
        let replies: Vec<Reply> = (0..3).map(|_| client.read().unwrap()).collect();
        assert_eq!((replies[1].text().as_str(), &replies[2]), ("OK", &Reply::Bulk(None)));
        assert_eq!(client.call(&["DBSIZE"]).unwrap(), Reply::Int(0));
    }
    assert_eq!(client.call(&["FLUSHALL", "NOSUCH"]).unwrap().text(), "ERR syntax error");
}

#[test]
fn replies_above_what_a_client_may_have_waiting_are_an_error() {
    need!("redis");
    let (_dir, path) = config("client_output = 100000");
    let cluster = Cluster::with(2, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    fill(&mut client, &names(10_000));
    let reply = client.call(&["KEYS", "*"]).unwrap();
    assert_eq!(reply.text(), "ERR the replies of all masters together are above client_output");
    assert_eq!(list(&client.call(&["KEYS", "key:1?"]).unwrap()).len(), 10);
}
