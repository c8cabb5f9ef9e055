//! Commands that wait for somebody else: BLPOP and its like, XREAD with BLOCK.

use std::time::{Duration, Instant};

use codis_testkit::{RedisServer, Reply, RespClient, eventually, need};

use crate::{Cluster, DEADLINE, config, request, stat};

/// Must get the same replies as from a server. One connection for each line; `;` ends a request.
const SEQUENCES: &[&str] = &[
    "RPUSH {t}l a b c; BLPOP {t}none {t}l 0; BRPOP {t}l 1; BLPOP {t}l 0.5; BLPOP {t}l 0.02; PING",
    "BLPOP {t}l abc; BLPOP {t}l -1; BLPOP {t}l; BLPOP {t}l inf; BLPOP {t}l 0.01; GET {t}l",
    "BRPOPLPUSH {t}l {t}m x; BRPOPLPUSH {t}l {t}m 0.01; RPUSH {t}l 1; BRPOPLPUSH {t}l {t}m 0; LPOP {t}m",
    "BLMOVE {t}l {t}m LEFT UP 0; BLMOVE {t}l {t}m LEFT RIGHT 0.01; RPUSH {t}l 1; BLMOVE {t}l {t}m LEFT RIGHT 0",
    "BLMPOP 0.01 1 {t}l LEFT; DEL {t}m; RPUSH {t}l 1 2; BLMPOP 0 2 {t}m {t}l RIGHT COUNT 5",
    "BZPOPMIN {t}z 0.01; ZADD {t}z 1 a 2 b 3 c; BZPOPMIN {t}z 0; BZPOPMAX {t}z 0; BZMPOP 0 1 {t}z MIN; BZMPOP 0.01 1 {t}z MIN",
    "XREAD BLOCK 10 STREAMS {t}s 0; XREAD BLOCK x STREAMS {t}s 0; XREAD BLOCK -1 STREAMS {t}s 0; XADD {t}s 1-1 a b; XREAD BLOCK 0 STREAMS {t}s 0; XREAD BLOCK 10 STREAMS {t}s $",
    "XGROUP CREATE {t}s block $ MKSTREAM; XREADGROUP GROUP block block BLOCK 10 STREAMS {t}s >; XADD {t}s 2-1 a b; XREADGROUP GROUP block block STREAMS {t}s >; XREADGROUP GROUP block block BLOCK 0 STREAMS {t}s 0; DEL {t}s",
    "SET {t}a x; BLPOP {t}a 0; BLPOP {t}l 0.01; DEL {t}a",
    "MULTI; BLPOP {t}l 0; EXEC; BLPOP {t}l 0.01; MULTI; RPUSH {t}l 1; EXEC; BLPOP {t}l 0; MULTI; EXEC",
];

#[test]
fn replies_are_those_of_a_server() {
    need!("redis");
    let cluster = Cluster::start(3);
    let single = RedisServer::start();
    for sequence in SEQUENCES {
        let steps: Vec<Vec<&str>> =
            sequence.split(';').map(|step| step.trim().split(' ').collect()).collect();
        let bytes: Vec<u8> = steps.iter().flat_map(|step| request(step)).collect();
        for pipelined in [false, true] {
            let (mut ours, mut theirs) = (cluster.client(), single.client());
            if pipelined {
                ours.send(&bytes).unwrap();
                theirs.send(&bytes).unwrap();
            }
            for step in &steps {
                if !pipelined {
                    ours.send(&request(step)).unwrap();
                    theirs.send(&request(step)).unwrap();
                }
                assert_eq!(ours.read().unwrap(), theirs.read().unwrap(), "{step:?} in {sequence}");
            }
        }
        for server in cluster.servers.iter().chain([&single]) {
            server.client().call(&["FLUSHALL"]).unwrap();
        }
    }
    eventually(DEADLINE, || stat(&cluster, "pinned") == 0);
}

/// Clients that wait on a server.
fn waiting(server: &RedisServer) -> usize {
    let info = server.client().call(&["INFO", "clients"]).unwrap().text();
    info.lines().find_map(|line| line.strip_prefix("blocked_clients:")?.parse().ok()).unwrap()
}

#[test]
fn elements_go_to_clients_that_wait() {
    need!("redis");
    const CLIENTS: usize = 50;
    let cluster = Cluster::start(1);
    let mut clients: Vec<RespClient> = (0..CLIENTS).map(|_| cluster.client()).collect();
    for client in &mut clients {
        client.send(&[request(&["BLPOP", "{t}l", "0"]), request(&["PING"])].concat()).unwrap();
    }
    eventually(DEADLINE, || waiting(&cluster.servers[0]) == CLIENTS);
    assert_eq!(stat(&cluster, "pinned"), CLIENTS as u64);
    let mut pusher = cluster.client();
    for number in 0..CLIENTS {
        pusher.call(&["RPUSH", "{t}l", &number.to_string()]).unwrap();
    }
    let mut got: Vec<usize> = Vec::new();
    for client in &mut clients {
        let Reply::Array(Some(reply)) = client.read().unwrap() else { panic!("no element") };
        got.push(reply[1].text().parse().unwrap());
        assert_eq!(client.read().unwrap().text(), "PONG");
    }
    got.sort_unstable();
    assert!(got.into_iter().eq(0..CLIENTS));
    eventually(DEADLINE, || stat(&cluster, "pinned") == 0);
}

#[test]
fn nothing_is_popped_for_a_client_that_is_gone() {
    need!("redis");
    let cluster = Cluster::start(1);
    let block = request(&["BLPOP", "{t}l", "0"]);
    let gone = [vec![], b"*1\r\n$4\r\nPI".to_vec()];
    for behind in gone {
        let mut client = cluster.client();
        client.send(&[&block[..], &behind].concat()).unwrap();
        eventually(DEADLINE, || waiting(&cluster.servers[0]) == 1);
        drop(client);
        eventually(DEADLINE, || waiting(&cluster.servers[0]) == 0);
    }
    eventually(DEADLINE, || stat(&cluster, "pinned") == 0);
    let mut client = cluster.client();
    assert_eq!(client.call(&["RPUSH", "{t}l", "kept"]).unwrap(), Reply::Int(1));
    assert_eq!(client.call(&["LLEN", "{t}l"]).unwrap(), Reply::Int(1));
    eventually(DEADLINE, || stat(&cluster, "clients") == 1);
}

#[test]
fn waiting_is_no_time_out() {
    need!("redis");
    let (_dir, path) = config("backend_timeout = 0.2\nidle_timeout = 0.2");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    let begun = Instant::now();
    assert_eq!(client.call(&["BLPOP", "l", "1"]).unwrap(), Reply::Array(None));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    // But one that answers later than it was asked to is given up.
    client.send(&request(&["BLPOP", "l", "0.1"])).unwrap();
    eventually(DEADLINE, || waiting(&cluster.servers[0]) == 1);
    cluster.servers[0].stop();
    let reply = client.read().unwrap().text();
    assert!(reply.contains("no reply within 0.2 s"), "{reply}");
    cluster.servers[0].cont();
}

#[test]
fn a_server_that_dies_is_an_error() {
    need!("redis");
    let mut cluster = Cluster::start(1);
    let mut client = cluster.client();
    client.send(&request(&["BLPOP", "l", "0"])).unwrap();
    eventually(DEADLINE, || waiting(&cluster.servers[0]) == 1);
    cluster.servers[0].kill();
    let reply = client.read().unwrap().text();
    assert!(reply.starts_with(&format!("ERR backend {}: ", cluster.servers[0].addr())), "{reply}");
    cluster.servers[0].restart();
    eventually(DEADLINE, || client.call(&["RPUSH", "l", "1"]).unwrap() == Reply::Int(1));
    assert!(matches!(client.call(&["BLPOP", "l", "0"]).unwrap(), Reply::Array(Some(_))));
    assert_eq!(client.call(&["WATCH", "l"]).unwrap().text(), "OK");
    assert!(client.call(&["BLPOP", "l", "0"]).unwrap().text().contains("while keys are watched"));
}

#[test]
fn the_proxy_stops_although_clients_wait() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    client.send(&request(&["BLPOP", "l", "0"])).unwrap();
    eventually(DEADLINE, || waiting(&cluster.servers[0]) == 1);
    let begun = Instant::now();
    cluster.proxy.process().terminate();
    assert!(client.read().is_err());
    assert_eq!(cluster.proxy.process().wait(DEADLINE).unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    eventually(DEADLINE, || waiting(&cluster.servers[0]) == 0);
}
