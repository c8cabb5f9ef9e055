//! HELLO 3: the same commands, answered as a server answers them in RESP3.

use codis_testkit::{ProxyProcess, RedisServer, Reply, RespClient, need};

use crate::{Cluster, request};

fn resp3(mut client: RespClient) -> RespClient {
    let Reply::Map(hello) = client.call(&["HELLO", "3"]).unwrap() else { panic!("no map") };
    let proto = hello.iter().find(|(name, _)| name.text() == "proto").unwrap();
    assert_eq!(proto.1, Reply::Int(3));
    client
}

/// Commands whose replies differ between the versions, or that the proxy puts together itself.
const COMMANDS: &[&[&str]] = &[
    &["GET", "{t}none"],
    &["SET", "{t}a", "1"],
    &["GET", "{t}a"],
    &["GETDEL", "{t}none"],
    &["HSET", "{t}h", "f", "v", "g", "w"],
    &["HGETALL", "{t}h"],
    &["HGET", "{t}h", "none"],
    &["HMGET", "{t}h", "f", "none"],
    &["SADD", "{t}s", "1"],
    &["SMEMBERS", "{t}s"],
    &["SPOP", "{t}none"],
    &["ZADD", "{t}z", "1.5", "m", "2", "n"],
    &["ZSCORE", "{t}z", "m"],
    &["ZSCORE", "{t}z", "none"],
    &["ZRANGE", "{t}z", "0", "-1", "WITHSCORES"],
    &["ZINCRBY", "{t}z", "1", "m"],
    &["ZPOPMIN", "{t}none"],
    &["XADD", "{t}x", "1-1", "f", "v"],
    &["XRANGE", "{t}x", "-", "+"],
    &["XINFO", "STREAM", "{t}x"],
    &["XREAD", "STREAMS", "{t}x", "0"],
    &["XREAD", "STREAMS", "{t}x", "9"],
    &["LMPOP", "1", "{t}none", "LEFT"],
    &["BLPOP", "{t}none", "0.05"],
    &["GEOADD", "{t}g", "13.361389", "38.115556", "P"],
    &["GEOPOS", "{t}g", "P", "none"],
    &["INCRBYFLOAT", "{t}f", "0.5"],
    &["MGET", "{t}a", "none", "{t}h", "other"],
    &["MSET", "one", "1", "two", "2", "three", "3"],
    &["MGET", "one", "none", "two", "three"],
    &["DEL", "one", "two", "three", "none"],
    &["EXISTS", "{t}a", "none"],
    &["EVAL", "redis.setresp(3); return redis.call('HGETALL', KEYS[1])", "1", "{t}h"],
    &["EVAL", "return {double=3.5}", "1", "{t}h"],
    &["EVAL", "return {map={a=1}}", "1", "{t}h"],
    &["EVAL", "return {big_number='123456789012345678901234567890'}", "1", "{t}h"],
    &["EVAL", "return {verbatim_string={format='txt', string='x'}}", "1", "{t}h"],
    &["EVAL", "redis.setresp(3); return true", "1", "{t}h"],
    &["EVAL", "return false", "1", "{t}h"],
    &["CLIENT", "GETNAME"],
    &["CLIENT", "SETNAME", "me"],
    &["CLIENT", "GETNAME"],
    &[
        "FUNCTION",
        "LOAD",
        "#!lua name=l\nredis.register_function{function_name='f', callback=function() return 1 end, flags={'no-writes'}}",
    ],
    &["FUNCTION", "LIST"],
    &["FUNCTION", "STATS"],
    &["FUNCTION", "LIST", "LIBRARYNAME", "none"],
    &["COMMAND", "INFO", "nosuch"],
    &["MULTI"],
    &["HGETALL", "{t}h"],
    &["GET", "{t}none"],
    &["EXEC"],
    &["WATCH", "{t}a"],
    &["SET", "{t}a", "2"],
    &["MULTI"],
    &["GET", "{t}a"],
    &["EXEC"],
];

#[test]
fn a_resp3_client_is_answered_as_by_a_server() {
    need!("redis");
    let cluster = Cluster::start(3);
    let alone = RedisServer::start();
    for version in ["3", "2"] {
        let (mut client, mut server) = (cluster.client(), alone.client());
        for client in [&mut client, &mut server] {
            assert!(!client.call(&["HELLO", version]).unwrap().is_error());
            let _ = client.call(&["DEL", "{t}x", "{t}f", "{t}z", "{t}h", "{t}s", "{t}g"]).unwrap();
            let _ = client.call(&["FUNCTION", "FLUSH"]).unwrap();
        }
        for args in COMMANDS {
            let (ours, theirs) = (client.call(args).unwrap(), server.call(args).unwrap());
            assert_eq!(ours, theirs, "HELLO {version}: {args:?}");
        }
    }
}

#[test]
fn what_all_masters_say_is_put_together_in_resp3() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut client = resp3(cluster.client());
    assert_eq!(client.call(&["RANDOMKEY"]).unwrap(), Reply::Null);
    let keys: Vec<String> = (0..3).map(|at| cluster.key_on(at, 1)).collect();
    for key in &keys {
        assert_eq!(client.call(&["SET", key, "v"]).unwrap().text(), "OK");
    }
    assert_eq!(client.call(&["DBSIZE"]).unwrap(), Reply::Int(3));
    assert!(keys.contains(&client.call(&["RANDOMKEY"]).unwrap().text()));
    let Reply::Array(Some(mut all)) = client.call(&["KEYS", "*"]).unwrap() else { panic!() };
    all.sort_by_key(Reply::text);
    let mut expected = keys.clone();
    expected.sort();
    assert_eq!(all.iter().map(Reply::text).collect::<Vec<_>>(), expected);
    let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
    loop {
        let Reply::Array(Some(page)) = client.call(&["SCAN", &cursor]).unwrap() else { panic!() };
        let Reply::Array(Some(found)) = &page[1] else { panic!() };
        seen.extend(found.iter().map(Reply::text));
        cursor = page[0].text();
        if cursor == "0" {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, expected);
    let sha = client.call(&["SCRIPT", "LOAD", "return 1"]).unwrap().text();
    assert_eq!(
        client.call(&["SCRIPT", "EXISTS", &sha, "x"]).unwrap(),
        Reply::Array(Some(vec![Reply::Int(1), Reply::Int(0)]))
    );
    assert_eq!(client.call(&["EVALSHA", &sha, "0"]).unwrap(), Reply::Int(1));
    assert!(matches!(client.call(&["INFO"]).unwrap(), Reply::Verbatim(_)));
    assert!(matches!(client.call(&["CLIENT", "INFO"]).unwrap(), Reply::Verbatim(_)));
}

#[test]
fn a_change_of_version_waits_for_replies_that_are_owed() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let far = cluster.key_on(2, 0);
    let mut requests = Vec::new();
    for version in ["3", "2", "3", "3", "2"] {
        for args in [
            &["HSET", "h", "f", "v"][..],
            &["GET", "none"],
            &["MGET", "none", &far],
            &["HELLO", version],
            &["GET", "none"],
            &["HGETALL", "h"],
            &["MGET", "none", &far],
        ] {
            requests.extend(request(args));
        }
    }
    requests.extend([request(&["HELLO", "3"]), request(&["RESET"]), request(&["GET", "none"])].concat());
    client.send(&requests).unwrap();
    let mut before = false;
    for after in [true, false, true, true, false] {
        let null = |resp3| if resp3 { Reply::Null } else { Reply::Bulk(None) };
        let nulls = |resp3| Reply::Array(Some(vec![null(resp3), null(resp3)]));
        assert!(matches!(client.read().unwrap(), Reply::Int(_)));
        assert_eq!((client.read().unwrap(), client.read().unwrap()), (null(before), nulls(before)));
        let hello = client.read().unwrap();
        assert_eq!(matches!(hello, Reply::Map(_)), after, "{hello:?}");
        assert_eq!(client.read().unwrap(), null(after));
        assert_eq!(matches!(client.read().unwrap(), Reply::Map(_)), after);
        assert_eq!(client.read().unwrap(), nulls(after));
        before = after;
    }
    assert!(matches!(client.read().unwrap(), Reply::Map(_)));
    assert_eq!(client.read().unwrap().text(), "RESET");
    assert_eq!(client.read().unwrap(), Reply::Bulk(None), "RESET goes back to RESP2");
}

#[test]
fn a_watch_is_kept_over_a_change_of_version() {
    need!("redis");
    let cluster = Cluster::start(2);
    let (mut client, mut other) = (cluster.client(), cluster.client());
    for touched in [false, true] {
        for version in ["3", "2"] {
            assert_eq!(client.call(&["WATCH", "k"]).unwrap().text(), "OK");
            assert!(!client.call(&["HELLO", version]).unwrap().is_error());
            if touched {
                assert_eq!(other.call(&["SET", "k", "1"]).unwrap().text(), "OK");
            }
            assert_eq!(client.call(&["MULTI"]).unwrap().text(), "OK");
            assert_eq!(client.call(&["GET", "none-{k}"]).unwrap().text(), "QUEUED");
            let null = if version == "3" { Reply::Null } else { Reply::Bulk(None) };
            let result = match (touched, version) {
                (true, "3") => Reply::Null,
                (true, _) => Reply::Array(None),
                (false, _) => Reply::Array(Some(vec![null.clone()])),
            };
            assert_eq!(client.call(&["EXEC"]).unwrap(), result, "{touched} {version}");
            assert_eq!(client.call(&["GET", "none-{k}"]).unwrap(), null);
        }
    }
}

#[test]
fn a_server_that_is_too_old_for_resp3_is_named() {
    need!("redis");
    let new = RedisServer::start();
    let old = RedisServer::builder().without("HELLO").start();
    let proxy = ProxyProcess::fixed(&[new.addr(), old.addr()])
        .program(env!("CARGO_BIN_EXE_codis-proxy"))
        .workers(1)
        .start();
    let mut client = proxy.client();
    for _ in 0..3 {
        let refused = client.call(&["HELLO", "3"]).unwrap().text();
        assert!(refused.starts_with("NOPROTO"), "{refused}");
        assert!(refused.contains(&old.addr()), "{refused}");
        assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
        assert_eq!(client.call(&["GET", "none"]).unwrap(), Reply::Bulk(None), "it goes on in RESP2");
    }
    assert!(!client.call(&["HELLO", "2"]).unwrap().is_error());
}

#[test]
fn a_server_that_cannot_be_reached_does_not_keep_clients_from_resp3() {
    need!("redis");
    let cluster = Cluster::start(2);
    cluster.servers[1].kill();
    let mut client = resp3(cluster.client());
    assert_eq!(client.call(&["GET", &cluster.key_on(0, 0)]).unwrap(), Reply::Null);
    let error = client.call(&["GET", &cluster.key_on(1, 0)]).unwrap().text();
    assert!(error.starts_with(&format!("ERR backend {}", cluster.servers[1].addr())), "{error}");
}
