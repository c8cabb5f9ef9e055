//! WATCH, MULTI, EXEC and what belongs to them, compared with a server that is asked directly.

use codis_testkit::{RedisServer, Reply, RespClient, eventually, need};

use crate::{Cluster, DEADLINE, config, request, stat};

/// Requests that must get the same replies through the proxy as from a server, one connection for each
/// line. All keys have one slot.
const SEQUENCES: &[&str] = &[
    "MULTI; SET {t}a 1; INCR {t}a; GET {t}a; EXEC; GET {t}a",
    "MULTI; EXEC",
    "MULTI; DISCARD; EXEC; DISCARD; UNWATCH",
    "EXEC; DISCARD; UNWATCH",
    "MULTI; PING; EXEC",
    "MULTI; PING; ECHO x; SET {t}a 1; PING y; GET {t}a; EXEC; PING",
    "MULTI; SET {t}a 2; DISCARD; GET {t}a",
    "MULTI; MULTI; SET {t}a 1; EXEC",
    "MULTI; WATCH {t}a; SET {t}a 1; EXEC",
    "WATCH {t}a; MULTI; SET {t}a 2; EXEC; GET {t}a",
    "WATCH {t}a; SET {t}a 3; MULTI; GET {t}a; EXEC; MULTI; GET {t}a; EXEC",
    "WATCH {t}a {t}b; GET {t}a; MULTI; GET {t}b; EXEC; GET {t}a",
    "WATCH {t}a; SET {t}a 4; UNWATCH; MULTI; GET {t}a; EXEC",
    "WATCH {t}a; SET {t}a 4; MULTI; UNWATCH; GET {t}a; EXEC",
    "WATCH {t}a; WATCH {t}b; SET {t}b 4; MULTI; EXEC",
    "WATCH {t}a; MULTI; SET {t}a 5; DISCARD; SET {t}a 6; MULTI; GET {t}a; EXEC",
    "WATCH {t}a; MULTI; EXEC; MULTI; EXEC",
    "WATCH; MULTI x; MULTI; EXEC x; EXEC",
    "MULTI; SET {t}a 1; EXEC x; EXEC",
    "MULTI; GET; EXEC; EXEC",
    "MULTI; SET {t}a 7; GET; SET {t}a 8; EXEC; GET {t}a",
    "MULTI; GET; DISCARD; MULTI; GET {t}a; EXEC",
    "WATCH {t}a; SET {t}a 9; MULTI; GET; EXEC; MULTI; GET {t}a; EXEC",
    "MULTI; LPUSH {t}a x; INCR {t}a; SET {t}b 1 NOSUCH; EXEC",
    "MULTI; MSET {t}a 1 {t}b 2; MGET {t}a {t}b; DEL {t}a {t}b; EXISTS {t}a; EXEC",
    "MULTI; MSET {t}a 1 {t}b; EXEC",
    "MULTI; SET {t}a x; OBJECT ENCODING {t}a; OBJECT ENCODING; EXEC",
    "MULTI; SET {t}a x; OBJECT ENCODING {t}a; EXEC",
    "DEL {t}l; MULTI; BLPOP {t}l 0; RPUSH {t}l 1 2; BLPOP {t}l 0; BLMOVE {t}l {t}m LEFT RIGHT 0; EXEC",
    "DEL {t}s; MULTI; XREAD BLOCK 0 STREAMS {t}s 0; XADD {t}s 1-1 a b; XREAD BLOCK 0 STREAMS {t}s 0; EXEC",
    "MULTI; EVAL 'return\u{a0}redis.call(\"INCR\",KEYS[1])' 1 {t}n; EXEC",
    "MULTI; SET {t}a 1; RESET; EXEC; GET {t}a",
    "WATCH {t}a; SET {t}a 1; RESET; MULTI; GET {t}a; EXEC",
    "MULTI; SET {t}a 1; EXEC; MULTI; INCR {t}a; EXEC; INCR {t}a; MULTI; INCR {t}a; EXEC; GET {t}a",
    "SET {t}a 1; INCR {t}a; MULTI; INCR {t}a; EXEC; INCR {t}a; WATCH {t}a; INCR {t}a; MULTI; EXEC",
    "MULTI; SET {t}a 1; QUIT",
];

fn words(step: &str) -> Vec<Vec<u8>> {
    let unquoted = |word: &str| word.trim_matches('\'').replace('\u{a0}', " ").into_bytes();
    step.trim().split(' ').map(unquoted).collect()
}

#[test]
fn replies_are_those_of_a_server() {
    need!("redis");
    let cluster = Cluster::start(3);
    let single = RedisServer::start();
    for sequence in SEQUENCES {
        let steps: Vec<_> = sequence.split(';').map(words).collect();
        let (mut ours, mut theirs) = (cluster.client(), single.client());
        for step in &steps {
            let (ours, theirs) = (ours.call(step).unwrap(), theirs.call(step).unwrap());
            assert_eq!(ours, theirs, "{} in {sequence}", String::from_utf8_lossy(&step.join(&b' ')));
        }
    }
    eventually(DEADLINE, || stat(&cluster, "pinned") == 0);
}

#[test]
fn replies_to_pipelines_are_those_of_a_server() {
    need!("redis");
    let cluster = Cluster::start(3);
    let single = RedisServer::start();
    for cut in [usize::MAX, 7] {
        for sequence in SEQUENCES {
            let steps: Vec<_> = sequence.split(';').map(words).collect();
            let bytes: Vec<u8> = steps.iter().flat_map(|step| request(step)).collect();
            let (mut ours, mut theirs) = (cluster.client(), single.client());
            for piece in bytes.chunks(cut.min(bytes.len())) {
                ours.send(piece).unwrap();
            }
            theirs.send(&bytes).unwrap();
            for at in 0..steps.len() {
                assert_eq!(ours.read().unwrap(), theirs.read().unwrap(), "reply {at} in {sequence}");
            }
        }
    }
    eventually(DEADLINE, || stat(&cluster, "pinned") == 0);
}

#[test]
fn keys_of_several_slots_abort() {
    need!("redis");
    let cluster = Cluster::start(2);
    let (here, there) = (cluster.key_on(0, 1), cluster.key_on(1, 1));
    let mut client = cluster.client();
    let mut say = |args: &[&str]| client.call(args).unwrap().text();
    let crossed = "CROSSSLOT Keys in request don't hash to the same slot";
    let aborted = "EXECABORT Transaction discarded because of previous errors.";
    say(&["SET", &here, "old"]);
    assert_eq!(say(&["MULTI"]), "OK");
    assert_eq!(say(&["SET", &here, "new"]), "QUEUED");
    assert_eq!(say(&["SET", &there, "new"]), crossed);
    assert_eq!(say(&["SET", &here, "newer"]), "QUEUED");
    assert_eq!(say(&["EXEC"]), aborted);
    assert_eq!(say(&["MULTI"]), "OK");
    assert_eq!(say(&["MGET", &here, &there]), crossed);
    assert_eq!(say(&["EXEC"]), aborted);
    assert_eq!(say(&["WATCH", &here, &there]), crossed);
    assert_eq!(say(&["WATCH", &here]), "OK");
    assert_eq!(say(&["WATCH", &there]), crossed);
    assert_eq!(say(&["SET", &there, "free"]), "OK", "other slots can be used while one is watched");
    assert_eq!(say(&["MULTI"]), "OK");
    assert_eq!(say(&["GET", &there]), crossed);
    assert_eq!(say(&["EXEC"]), aborted);
    for not_there in [&["CLIENT", "ID"][..], &["HELLO"], &["SELECT", "0"], &["FLUSHALL"], &["SUBSCRIBE", "c"]]
    {
        assert_eq!(say(&["MULTI"]), "OK");
        let reply = say(not_there);
        assert!(reply.starts_with("ERR command '") && !reply.ends_with("QUEUED"), "{not_there:?}: {reply}");
        assert_eq!(say(&["EXEC"]), aborted);
    }
    assert_eq!(say(&["GET", &here]), "old");
    eventually(DEADLINE, || stat(&cluster, "pinned") == 0);
}

#[test]
fn a_watched_key_that_others_touch_is_noticed() {
    need!("redis");
    let cluster = Cluster::start(2);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = cluster.client();
            std::thread::spawn(move || {
                let mut say = |args: &[&str]| client.call(args).unwrap();
                let mut refused = 0;
                for _ in 0..50 {
                    loop {
                        say(&["WATCH", "counter"]);
                        let next = say(&["GET", "counter"]).text().parse::<u64>().unwrap_or(0) + 1;
                        say(&["MULTI"]);
                        say(&["SET", "counter", &next.to_string()]);
                        match say(&["EXEC"]) {
                            Reply::Array(Some(_)) => break,
                            reply => assert_eq!(reply, Reply::Array(None)),
                        }
                        refused += 1;
                    }
                }
                refused
            })
        })
        .collect();
    let refused: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert!(refused > 0, "nobody was in anybody's way");
    assert_eq!(cluster.client().call(&["GET", "counter"]).unwrap().text(), "400");
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut server = cluster.servers[0].client();
    let mut gone = cluster.client();
    gone.call(&["WATCH", "{t}a"]).unwrap();
    gone.call(&["MULTI"]).unwrap();
    gone.call(&["SET", "{t}a", "1"]).unwrap();
    let multi = |server: &mut RespClient| {
        let list = server.call(&["CLIENT", "LIST"]).unwrap().text();
        list.lines().filter(|line| line.contains(" multi=1 ")).count()
    };
    assert_eq!(multi(&mut server), 1);
    assert_eq!(stat(&cluster, "pinned"), 1);
    drop(gone);
    eventually(DEADLINE, || stat(&cluster, "pinned") == 0 && multi(&mut server) == 0);
    // The connection is used again, with nothing of its former client.
    let mut next = cluster.client();
    next.send(&[request(&["MULTI"]), request(&["GET", "{t}a"]), request(&["EXEC"])].concat()).unwrap();
    let replies: Vec<_> = (0..3).map(|_| next.read().unwrap()).collect();
    assert_eq!(replies[2], Reply::Array(Some(vec![Reply::Bulk(None)])));
    let connects = server.call(&["CLIENT", "LIST"]).unwrap().text().lines().count();
    assert!(connects <= 5, "a connection for each worker and one of its own: {connects}");
}

#[test]
fn a_server_that_dies_fails_the_transaction() {
    need!("redis");
    let mut cluster = Cluster::start(1);
    let [mut multi, mut watching, mut sent] = [cluster.client(), cluster.client(), cluster.client()];
    for client in [&mut multi, &mut watching, &mut sent] {
        if client.call(&["PING"]).unwrap().is_error() {
            panic!("no reply");
        }
    }
    watching.call(&["WATCH", "a"]).unwrap();
    for client in [&mut multi, &mut watching, &mut sent] {
        assert_eq!(client.call(&["MULTI"]).unwrap().text(), "OK");
        assert_eq!(client.call(&["SET", "a", "1"]).unwrap().text(), "QUEUED");
    }
    cluster.servers[0].stop();
    sent.send(&request(&["EXEC"])).unwrap();
    eventually(DEADLINE, || stat(&cluster, "in_flight") == 1);
    cluster.servers[0].kill();
    let lost = format!("backend {}: ", cluster.servers[0].addr());
    let reply = sent.read().unwrap().text();
    assert!(reply.starts_with(&format!("ERR {lost}")), "{reply}");
    eventually(DEADLINE, || stat(&cluster, "pinned") == 0);
    let reply = multi.call(&["EXEC"]).unwrap().text();
    assert!(reply.starts_with(&format!("EXECABORT Transaction discarded because of: {lost}")), "{reply}");
    assert_eq!(watching.call(&["EXEC"]).unwrap(), Reply::Array(None), "as if the key had been touched");
    let reply = multi.call(&["WATCH", "a"]).unwrap().text();
    assert!(reply.starts_with(&format!("ERR {lost}")), "{reply}");
    cluster.servers[0].restart();
    for client in [&mut multi, &mut watching, &mut sent] {
        eventually(DEADLINE, || client.call(&["SET", "a", "back"]).unwrap().text() == "OK");
        client.call(&["MULTI"]).unwrap();
        client.call(&["GET", "a"]).unwrap();
        let reply = client.call(&["EXEC"]).unwrap();
        assert_eq!(reply, Reply::Array(Some(vec![Reply::Bulk(Some(b"back".to_vec()))])));
    }
}

#[test]
fn their_number_is_bounded() {
    need!("redis");
    let (_dir, path) = config("max_pinned = 2\nworkers = 1");
    let cluster = Cluster::with(1, |proxy| proxy.workers(1).arg("--config").arg(path));
    let mut clients: Vec<_> = (0..3).map(|_| cluster.client()).collect();
    assert_eq!(clients[0].call(&["WATCH", "a"]).unwrap().text(), "OK");
    assert_eq!(clients[1].call(&["WATCH", "a"]).unwrap().text(), "OK");
    let reply = clients[2].call(&["WATCH", "a"]).unwrap().text();
    assert!(reply.starts_with("ERR too many transactions"), "{reply}");
    assert_eq!(clients[0].call(&["UNWATCH"]).unwrap().text(), "OK");
    eventually(DEADLINE, || clients[2].call(&["WATCH", "a"]).unwrap().text() == "OK");
    // What is kept before the first key is bounded, too.
    let big = vec![b'x'; 600_000];
    assert_eq!(clients[0].call(&["MULTI"]).unwrap().text(), "OK");
    assert_eq!(clients[0].call(&[b"ECHO", &big[..]]).unwrap().text(), "QUEUED");
    assert!(clients[0].call(&[b"ECHO", &big[..]]).unwrap().is_error());
    assert!(clients[0].call(&["EXEC"]).unwrap().text().starts_with("EXECABORT "));
}

#[test]
fn big_values_pass_through_a_transaction() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let big = vec![b'x'; 3 << 20];
    let pipeline = [
        request(&["MULTI"]),
        request(&[b"SET", b"big", &big[..]]),
        request(&["GET", "big"]),
        request(&["EXEC"]),
        request(&["STRLEN", "big"]),
    ];
    client.send(&pipeline.concat()).unwrap();
    for expected in ["OK", "QUEUED", "QUEUED"] {
        assert_eq!(client.read().unwrap().text(), expected);
    }
    let expected = vec![Reply::Status("OK".into()), Reply::Bulk(Some(big.clone()))];
    assert_eq!(client.read().unwrap(), Reply::Array(Some(expected)));
    assert_eq!(client.read().unwrap(), Reply::Int(3 << 20));
}
