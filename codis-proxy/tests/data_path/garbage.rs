//! What is not RESP.

use codis_testkit::{Reply, RespClient, need};

use crate::{Cluster, DEADLINE, request};

/// Sends bytes; returns the replies until the proxy closes the connection.
fn replies_until_closed(client: &mut RespClient, bytes: &[u8]) -> Vec<String> {
    // The proxy may have closed before it has got everything.
    let _ = client.send(bytes);
    std::iter::from_fn(|| client.read().ok()).map(|reply| reply.text()).collect()
}

#[test]
fn garbage_gets_one_error_and_the_connection_closes() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut bystander = cluster.client();
    for (bytes, error) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*1048577\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n:5\r\n", "expected '$', got ':'"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$2\r\nPING\r\n", "bulk string is not ended by CRLF"),
        (b"GET \"a\r\n", "unbalanced quotes in request"),
        (&[b'x'; 70_000], "too big inline request"),
    ] {
        let mut client = RespClient::connect(cluster.proxy.port(), DEADLINE).unwrap();
        let told = replies_until_closed(&mut client, bytes);
        assert_eq!(told, [format!("ERR Protocol error: {error}")], "{}", bytes.escape_ascii());
        assert_eq!(bystander.call(&["SET", "k", "v"]).unwrap().text(), "OK");
    }
}

#[test]
fn what_was_asked_before_the_garbage_is_answered() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let bytes =
        [request(&["SET", "a", "1"]), request(&["GET", "a"]), request(&["PING"]), b"*1\r\n!".to_vec()]
            .concat();
    let told = replies_until_closed(&mut client, &bytes);
    assert_eq!(told, ["OK", "1", "PONG", "ERR Protocol error: expected '$', got '!'"]);
}

#[test]
fn random_bytes_harm_nobody() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut bystander = cluster.client();
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..100 {
        let length = random() % 300;
        let mut bytes: Vec<u8> = (0..length).map(|_| (random() >> 24) as u8).collect();
        bytes.splice(0..0, b"*2\r\n$".iter().copied());
        let mut client = RespClient::connect(cluster.proxy.port(), DEADLINE).unwrap();
        // A request at the end makes sure that the proxy either answers or closes.
        bytes.extend_from_slice(b"\r\n*\r\n");
        let told = replies_until_closed(&mut client, &bytes);
        assert!(told.last().is_some_and(|last| last.starts_with("ERR Protocol error")), "{told:?}");
        assert_eq!(bystander.call(&["ECHO", &round.to_string()]).unwrap().text(), round.to_string());
    }
}

#[test]
fn inline_requests_and_empty_ones_are_understood() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    client.send(b"\r\n*0\r\n  \r\nset k \"a b\"\r\nGET k\r\n*-1\r\nPING\n").unwrap();
    assert_eq!(client.read().unwrap().text(), "OK");
    assert_eq!(client.read().unwrap().text(), "a b");
    assert_eq!(client.read().unwrap(), Reply::Status("PONG".into()));
}
