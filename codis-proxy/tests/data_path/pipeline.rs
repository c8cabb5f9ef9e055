//! Order and wholeness of what passes through.

use codis_testkit::{Reply, RespClient, need};

use crate::{Cluster, request};

/// A pipeline that touches all servers and the proxy itself, with the replies it must get.
fn mixed(cluster: &Cluster, rounds: usize) -> (Vec<u8>, Vec<Reply>) {
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    let mut step = |args: &[&[u8]], reply: Reply| {
        bytes.extend(request(args));
        expected.push(reply);
    };
    let bulk = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
    for round in 0..rounds {
        let keys: Vec<String> = (0..cluster.servers.len()).map(|at| cluster.key_on(at, round)).collect();
        let value = format!("value {round}");
        for key in &keys {
            step(&[b"SET", key.as_bytes(), value.as_bytes()], Reply::Status("OK".into()));
            step(&[b"GET", key.as_bytes()], bulk(&value));
        }
        step(&[b"ECHO", value.as_bytes()], bulk(&value));
        let mut mget: Vec<&[u8]> = vec![b"MGET", b"nothing"];
        mget.extend(keys.iter().map(|key| key.as_bytes()));
        let mut values = vec![Reply::Bulk(None)];
        values.extend(keys.iter().map(|_| bulk(&value)));
        step(&mget, Reply::Array(Some(values)));
        step(&[b"APPEND", keys[0].as_bytes(), b"+"], Reply::Int(value.len() as i64 + 1));
        step(&[b"STRLEN", keys[0].as_bytes()], Reply::Int(value.len() as i64 + 1));
        step(
            &[b"INCR", keys[1].as_bytes()],
            Reply::Error("ERR value is not an integer or out of range".into()),
        );
    }
    (bytes, expected)
}

fn read_all(client: &mut RespClient, expected: &[Reply]) {
    for (at, reply) in expected.iter().enumerate() {
        assert_eq!(&client.read().unwrap(), reply, "reply {at}");
    }
}

#[test]
fn replies_come_in_request_order() {
    need!("redis");
    let cluster = Cluster::start(3);
    let (bytes, expected) = mixed(&cluster, 300);
    for _ in 0..4 {
        let mut client = cluster.client();
        client.send(&bytes).unwrap();
        read_all(&mut client, &expected);
    }
}

#[test]
fn it_does_not_matter_where_requests_are_cut() {
    need!("redis");
    let cluster = Cluster::start(2);
    let (bytes, expected) = mixed(&cluster, 2);
    let mut client = cluster.client();
    for byte in &bytes {
        client.send(&[*byte]).unwrap();
    }
    read_all(&mut client, &expected);
    for size in [7, 61, 997] {
        bytes.chunks(size).for_each(|piece| client.send(piece).unwrap());
        read_all(&mut client, &expected);
    }
}

#[test]
fn keys_and_values_may_be_any_bytes() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    for round in 0..=255u8 {
        let key: Vec<u8> = (0..=255).map(|b: u8| b.wrapping_mul(round | 1)).collect();
        let value = [&key[..], b"\r\n$3\r\n\0", &[round]].concat();
        assert_eq!(client.call(&[b"SET", &key[..], &value]).unwrap().text(), "OK");
        assert_eq!(client.call(&[&b"GET"[..], &key]).unwrap(), Reply::Bulk(Some(value.clone())));
        let got = client.call(&[&b"MGET"[..], &key, b"x", b"y"]).unwrap();
        assert_eq!(
            got,
            Reply::Array(Some(vec![Reply::Bulk(Some(value)), Reply::Bulk(None), Reply::Bulk(None)]))
        );
    }
    assert_eq!(client.call(&["SET", "", "empty"]).unwrap().text(), "OK");
    assert_eq!(client.call(&["GET", ""]).unwrap().text(), "empty");
}

#[test]
fn big_values_pass_whole() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    for size in [16 << 10, 32 << 10, (64 << 10) - 7, 1 << 20, 32 << 20] {
        let value: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
        let (here, there) = (cluster.key_on(0, size), cluster.key_on(1, size));
        let set = request(&[b"SET", here.as_bytes(), &value]);
        let get = request(&["GET", &here]);
        // A small request right behind a big one, and the other way round.
        client.send(&[get.clone(), set, get, request(&["PING"])].concat()).unwrap();
        let _ = client.read().unwrap();
        assert_eq!(client.read().unwrap().text(), "OK");
        assert!(client.read().unwrap() == Reply::Bulk(Some(value.clone())), "{size} bytes differ");
        assert_eq!(client.read().unwrap().text(), "PONG");
        if size <= 1 << 20 {
            let mset = [&b"MSET"[..], here.as_bytes(), &value, there.as_bytes(), &value];
            assert_eq!(client.call(&mset).unwrap().text(), "OK");
            let got = client.call(&["MGET", &there, &here]).unwrap();
            let both = vec![Reply::Bulk(Some(value.clone())), Reply::Bulk(Some(value))];
            assert!(got == Reply::Array(Some(both)), "{size} bytes differ");
        }
    }
}

#[test]
fn many_clients_are_served_at_once() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut clients: Vec<RespClient> = (0..1000).map(|_| cluster.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        let key = format!("client-{at}");
        client.send(&[request(&["SET", &key, &key]), request(&["GET", &key])].concat()).unwrap();
    }
    for (at, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.read().unwrap().text(), "OK");
        assert_eq!(client.read().unwrap().text(), format!("client-{at}"));
    }
}

#[test]
fn a_pipeline_may_be_longer_than_what_is_sent_on_at_once() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let count = 20_000;
    let bytes: Vec<u8> = (0..count).flat_map(|i| request(&["INCR", &format!("counter-{}", i % 7)])).collect();
    client.send(&bytes).unwrap();
    for i in 0..count {
        assert_eq!(client.read().unwrap(), Reply::Int(i / 7 + 1), "reply {i}");
    }
}
