//! Bounds: clients, replies not taken, idle time, sizes.

use std::{io::Read, time::Duration};

use codis_testkit::{RespClient, eventually, need};

use crate::{Cluster, DEADLINE, config, request, stat};

#[test]
fn one_client_too_many_is_told_so() {
    need!("redis");
    let (_dir, path) = config("max_clients = 3");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut clients = Vec::new();
    // The kit's own readiness check may still count for a moment.
    eventually(DEADLINE, || {
        let mut client = RespClient::connect(cluster.proxy.port(), DEADLINE).unwrap();
        let served = client.call(&["PING"]).is_ok_and(|reply| reply.text() == "PONG");
        clients.extend(served.then_some(client));
        clients.len() == 3
    });
    let mut refused = RespClient::connect(cluster.proxy.port(), DEADLINE).unwrap();
    assert_eq!(refused.read().unwrap().text(), "ERR max number of clients reached");
    assert!(refused.read().is_err());
    clients.pop();
    eventually(DEADLINE, || {
        let mut client = RespClient::connect(cluster.proxy.port(), DEADLINE).unwrap();
        client.call(&["PING"]).is_ok_and(|reply| reply.text() == "PONG")
    });
}

#[test]
fn a_client_that_takes_no_replies_is_not_read_and_harms_nobody() {
    need!("redis");
    let (_dir, path) = config("client_pause = 100000\nmax_pipeline = 16");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    let value = "x".repeat(1 << 20);
    assert_eq!(client.call(&["SET", "big", &value]).unwrap().text(), "OK");
    let mut greedy = std::net::TcpStream::connect(cluster.proxy.addr()).unwrap();
    let asked = 500;
    let bytes: Vec<u8> = (0..asked).flat_map(|_| request(&["GET", "big"])).collect();
    std::io::Write::write_all(&mut greedy, &bytes).unwrap();
    let queued = || stat(&cluster, "in_flight");
    eventually(DEADLINE, || queued() == 0);
    // Of 500 MB at most what is owed at once has been fetched.
    let fetched = stat(&cluster, "backend_bytes_in");
    assert!(fetched < 40 << 20, "{fetched} bytes were fetched for a client that takes none");
    assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
    greedy.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut taken = vec![0; asked * (value.len() + "$1048576\r\n\r\n".len())];
    greedy.read_exact(&mut taken).unwrap();
    assert!(taken.ends_with(b"xx\r\n"));
}

#[test]
fn a_client_that_lets_too_much_gather_is_disconnected() {
    need!("redis");
    let (_dir, path) = config("client_output = 20000000\nclient_pause = 1000000000");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", "big", &"x".repeat(1 << 20)]).unwrap().text(), "OK");
    let mut greedy = RespClient::connect(cluster.proxy.port(), DEADLINE).unwrap();
    let bytes: Vec<u8> = (0..200).flat_map(|_| request(&["GET", "big"])).collect();
    greedy.send(&bytes).unwrap();
    eventually(DEADLINE, || stat(&cluster, "clients_dropped") == 1);
    let got = std::iter::from_fn(|| greedy.read().ok()).count();
    assert!(got < 200, "{got} replies");
    assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
}

#[test]
fn an_idle_client_is_disconnected_in_time() {
    need!("redis");
    let (_dir, path) = config("idle_timeout = 1.0");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = RespClient::connect(cluster.proxy.port(), Duration::from_secs(10)).unwrap();
    assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
    let end = client.read().unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_request_above_the_limit_is_refused_before_it_has_come() {
    need!("redis");
    let (_dir, path) = config("max_bulk = 1000\nmax_request = 3000");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1001\r\n").unwrap();
    assert_eq!(client.read().unwrap().text(), "ERR Protocol error: invalid bulk length");
    let mut client = cluster.client();
    let args = ["MSET", "a", &"x".repeat(999), "b", &"x".repeat(999), "c", &"x".repeat(1000)];
    client.send(&request(&args)).unwrap();
    assert_eq!(client.read().unwrap().text(), "ERR Protocol error: too big request");
}
