//! Scripts and functions: on every master, also on those that were not there when they were loaded.

use codis_testkit::{RedisServer, Reply, RespClient, eventually, need};

use crate::{Cluster, DEADLINE, request};

const SET: &str = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])";
const GET: &str = "return redis.call('GET', KEYS[1])";
const LIBRARY: &str = "#!lua name=lib\n\
    redis.register_function('one', function() return 1 end)\n\
    redis.register_function{function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end, flags={'no-writes'}}";

fn text(client: &mut RespClient, args: &[&str]) -> String {
    client.call(args).unwrap().text()
}

#[test]
fn scripts_are_loaded_into_every_master() {
    need!("redis");
    let cluster = Cluster::start(3);
    let (mut client, server) = (cluster.client(), RedisServer::start());
    let mut alone = server.client();
    let unknown = "0".repeat(40);
    let sha = text(&mut client, &["SCRIPT", "LOAD", SET]);
    let get = text(&mut client, &["SCRIPT", "LOAD", GET]);
    for args in [
        &["SCRIPT", "LOAD", SET][..],
        &["SCRIPT", "LOAD", GET],
        &["SCRIPT", "EXISTS", &sha, &unknown, &sha],
        &["SCRIPT", "LOAD", "return ("],
        &["SCRIPT", "LOAD"],
        &["SCRIPT", "EXISTS"],
        &["EVALSHA", &unknown, "1", "a"],
        &["EVALSHA", &sha, "1", "a", "x"],
        &["EVALSHA_RO", &get, "1", "a"],
        &["EVALSHA", &get, "2", "a", "b"],
        &["SCRIPT", "FLUSH", "SYNC"],
        &["SCRIPT", "EXISTS", &sha],
        &["EVALSHA", &sha, "1", "a", "x"],
        &["SCRIPT", "LOAD", SET],
        &["EVALSHA", &sha, "1", "a", "x"],
        &["SCRIPT", "FLUSH"],
        &["SCRIPT", "EXISTS", &sha],
        &["SCRIPT", "NOSUCH"],
    ] {
        let (ours, theirs) = (client.call(args).unwrap(), alone.call(args).unwrap());
        if args[0] == "EVALSHA" && args[2] == "2" {
            assert!(ours.text().starts_with("CROSSSLOT"), "{ours:?}");
        } else {
            assert_eq!(ours, theirs, "{args:?}");
        }
    }
    let refused = text(&mut client, &["SCRIPT", "DEBUG", "YES"]);
    assert_eq!(refused, "ERR command 'script|debug' is not allowed through codis-proxy");
    // One master without it is enough to say no.
    text(&mut client, &["SCRIPT", "LOAD", SET]);
    assert_eq!(client.call(&["SCRIPT", "EXISTS", &sha]).unwrap(), Reply::Array(Some(vec![Reply::Int(1)])));
    text(&mut cluster.servers[2].client(), &["SCRIPT", "FLUSH"]);
    assert_eq!(client.call(&["SCRIPT", "EXISTS", &sha]).unwrap(), Reply::Array(Some(vec![Reply::Int(0)])));
}

#[test]
fn a_master_that_has_missed_a_script_is_given_it() {
    need!("redis");
    let mut cluster = Cluster::start(3);
    let sha = text(&mut cluster.client(), &["SCRIPT", "LOAD", SET]).to_uppercase();
    let keys: Vec<String> = (0..3).map(|at| cluster.key_on(at, 0)).collect();
    // One has lost it before anybody has asked; the clients are served by both workers.
    text(&mut cluster.servers[0].client(), &["SCRIPT", "FLUSH"]);
    for _ in 0..4 {
        let mut client = cluster.client();
        for key in &keys {
            assert_eq!(text(&mut client, &["EVALSHA", &sha, "1", key, "v"]), "v");
        }
    }
    // One has been restarted. What comes behind the request stays behind it.
    cluster.servers[1].restart();
    for _ in 0..4 {
        let mut client = cluster.client();
        eventually(DEADLINE, || !client.call(&["GET", &keys[1]]).unwrap().is_error());
        let pipeline = [
            request(&["SET", &keys[1], "before"]),
            request(&["EVALSHA", &sha, "1", &keys[1], "within"]),
            request(&["GET", &keys[1]]),
            request(&["EVALSHA", &sha, "1", &keys[1], "again"]),
            request(&["GET", &keys[1]]),
        ];
        client.send(&pipeline.concat()).unwrap();
        let replies: Vec<String> = (0..5).map(|_| client.read().unwrap().text()).collect();
        assert_eq!(replies, ["OK", "within", "within", "again", "again"]);
    }
    // Somebody has flushed one behind our back, after it had been given the script: it is said once.
    text(&mut cluster.servers[2].client(), &["SCRIPT", "FLUSH"]);
    let mut client = cluster.client();
    let first = text(&mut client, &["EVALSHA", &sha, "1", &keys[2], "v"]);
    assert!(first.starts_with("NOSCRIPT"), "{first}");
    assert_eq!(text(&mut client, &["EVALSHA", &sha, "1", &keys[2], "v"]), "v");
    // What clients have flushed is not brought back.
    assert_eq!(text(&mut client, &["SCRIPT", "FLUSH"]), "OK");
    for _ in 0..4 {
        let mut client = cluster.client();
        for key in &keys {
            for _ in 0..2 {
                assert!(text(&mut client, &["EVALSHA", &sha, "1", key, "v"]).starts_with("NOSCRIPT"));
            }
        }
    }
}

#[test]
fn functions_are_those_of_one_server() {
    need!("redis");
    let cluster = Cluster::start(3);
    let (mut client, server) = (cluster.client(), RedisServer::start());
    let mut alone = server.client();
    for args in [
        &["FUNCTION", "LIST"][..],
        &["FUNCTION", "LOAD", LIBRARY],
        &["FUNCTION", "LOAD", LIBRARY],
        &["FUNCTION", "LOAD", "REPLACE", LIBRARY],
        &["FUNCTION", "LOAD", "#!lua name=second\nredis.register_function('two', function() return 2 end)"],
        &["FCALL", "one", "1", "a"],
        &["SET", "a", "v"],
        &["FCALL_RO", "get", "1", "a"],
        &["FUNCTION", "STATS"],
        &["FUNCTION", "LIST", "LIBRARYNAME", "sec*", "WITHCODE"],
        &["FUNCTION", "DELETE", "nosuch"],
        &["FUNCTION", "DELETE", "second"],
        &["FUNCTION", "NOSUCH"],
        &["FUNCTION", "DELETE"],
    ] {
        assert_eq!(client.call(args).unwrap(), alone.call(args).unwrap(), "{args:?}");
    }
    // The order of what is listed is each server's own.
    let listed = |client: &mut RespClient| {
        let list = format!("{:?}", client.call(&["FUNCTION", "LIST"]).unwrap());
        let mut bytes: Vec<u8> = list.into_bytes();
        bytes.sort_unstable();
        bytes
    };
    assert!(listed(&mut client).len() > 100);
    assert_eq!(listed(&mut client), listed(&mut alone));
    let Reply::Bulk(Some(dump)) = client.call(&["FUNCTION", "DUMP"]).unwrap() else { panic!() };
    for client in [&mut client, &mut alone] {
        assert_eq!(text(client, &["FUNCTION", "FLUSH"]), "OK");
        let restore = [&b"FUNCTION"[..], b"RESTORE", &dump];
        assert_eq!(client.call(&restore).unwrap().text(), "OK");
        assert!(client.call(&restore).unwrap().is_error(), "it is there already");
        assert_eq!(text(client, &["FCALL", "get", "1", "a"]), "v");
    }
    for server in &cluster.servers {
        assert_eq!(text(&mut server.client(), &["FCALL", "one", "1", "a"]), "1");
    }
    // Masters that differ are not hidden.
    text(&mut cluster.servers[1].client(), &["FUNCTION", "FLUSH"]);
    for sub in ["LIST", "DUMP"] {
        let reply = text(&mut client, &["FUNCTION", sub]);
        assert!(reply.starts_with("ERR the masters do not have the same functions"), "{reply}");
    }
}

#[test]
fn a_transaction_takes_scripts_but_nothing_that_is_about_all_masters() {
    need!("redis");
    let cluster = Cluster::start(3);
    let mut client = cluster.client();
    let sha = text(&mut client, &["SCRIPT", "LOAD", SET]);
    for (args, expected) in [
        (&["MULTI"][..], "OK"),
        (&["EVALSHA", &sha, "1", "{t}a", "v"], "QUEUED"),
        (&["EVALSHA", &sha, "1", "{t}b", "w"], "QUEUED"),
    ] {
        assert_eq!(text(&mut client, args), expected);
    }
    let Reply::Array(Some(replies)) = client.call(&["EXEC"]).unwrap() else { panic!() };
    assert!(replies.iter().map(Reply::text).eq(["v", "w"]));
    for args in [&["SCRIPT", "LOAD", SET][..], &["DBSIZE"], &["FUNCTION", "FLUSH"], &["FLUSHALL"]] {
        assert_eq!(text(&mut client, &["MULTI"]), "OK");
        let reply = text(&mut client, args);
        assert!(reply.ends_with("is not allowed inside MULTI through codis-proxy"), "{reply}");
        assert!(text(&mut client, &["EXEC"]).starts_with("EXECABORT"));
    }
    assert_eq!(client.call(&["DBSIZE"]).unwrap(), Reply::Int(2));
}
