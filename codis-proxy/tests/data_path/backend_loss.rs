//! Servers that die, hang and come back.

use codis_testkit::{Reply, eventually, need};

use crate::{Cluster, DEADLINE, config, request};

#[test]
fn exactly_the_requests_of_the_lost_server_fail() {
    need!("redis");
    let mut cluster = Cluster::start(2);
    let (here, there) = (cluster.key_on(0, 1), cluster.key_on(1, 1));
    let mut client = cluster.client();
    assert_eq!(client.call(&["MSET", &here, "h", &there, "t"]).unwrap().text(), "OK");
    // The server holds its requests when it is killed.
    cluster.servers[1].stop();
    let get = |key: &str| request(&["GET", key]);
    client.send(&[get(&here), get(&there), get(&here), get(&there), request(&["PING"])].concat()).unwrap();
    assert_eq!(client.read().unwrap().text(), "h");
    let mut other = cluster.client();
    assert_eq!(other.call(&["GET", &here]).unwrap().text(), "h", "another session does not wait");
    cluster.servers[1].kill();
    let lost = format!("ERR backend {}: ", cluster.servers[1].addr());
    for (at, expected) in [&lost[..], "h", &lost, "PONG"].iter().enumerate() {
        let reply = client.read().unwrap().text();
        assert!(reply.starts_with(expected), "reply {at}: {reply}");
    }
    let reply = client.call(&["GET", &there]).unwrap().text();
    assert!(reply.starts_with(&lost), "{reply}");
    cluster.servers[1].restart();
    eventually(DEADLINE, || client.call(&["SET", &there, "back"]).unwrap().text() == "OK");
    assert_eq!(client.call(&["GET", &there]).unwrap().text(), "back");
}

#[test]
fn a_late_reply_never_answers_another_request() {
    need!("redis");
    let (_dir, path) = config("backend_timeout = 0.3");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", "old", "old"]).unwrap().text(), "OK");
    assert_eq!(client.call(&["SET", "new", "new"]).unwrap().text(), "OK");
    for _ in 0..3 {
        cluster.servers[0].stop();
        let reply = client.call(&["GET", "old"]).unwrap().text();
        assert!(reply.contains("no reply within 0.3 s"), "{reply}");
        cluster.servers[0].cont();
        eventually(DEADLINE, || match client.call(&["GET", "new"]).unwrap() {
            Reply::Error(_) => false,
            reply => {
                assert_eq!(reply.text(), "new");
                true
            }
        });
    }
}

#[test]
fn a_server_that_never_was_there_fails_fast() {
    need!("redis");
    let cluster = Cluster::start(1);
    cluster.servers[0].kill();
    let mut client = cluster.client();
    for _ in 0..50 {
        let reply = client.call(&["GET", "a"]).unwrap().text();
        assert!(reply.starts_with("ERR backend 127.0.0.1:") && reply.contains("refused"), "{reply}");
    }
    assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
}
