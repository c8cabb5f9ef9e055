//! Writes that a server refuses, because it is no master any more or because writes are stopped on it.

use codis_core::{GroupId, SlotSet};
use codis_testkit::{ProxyProcess, RedisServer, Reply, RespClient, eventually, eventually_async};

use crate::fixture::{Fixture, SOON, ask, stats};

const GROUP: GroupId = GroupId(1);

/// Stops writes as a promotion does it.
fn stop_writes(server: &RedisServer) {
    ask(&mut server.client(), "CONFIG SET min-slaves-to-write 1000000");
}

fn allow_writes(server: &RedisServer) {
    ask(&mut server.client(), "CONFIG SET min-slaves-to-write 0");
}

/// Sends several commands in one write.
fn send(client: &mut RespClient, lines: &[&str]) {
    client.send(format!("{}\r\n", lines.join("\r\n")).as_bytes()).unwrap();
}

fn replies<const N: usize>(client: &mut RespClient) -> [String; N] {
    std::array::from_fn(|_| client.read().unwrap().text())
}

async fn until_waiting(proxy: &ProxyProcess, clients: u64) {
    eventually_async(SOON, || async { stats(proxy).await.parked == clients }).await;
}

/// A proxy whose patience is longer than any of these stories.
fn patient(fixture: &Fixture) -> ProxyProcess {
    fixture.proxy("p1").setting("hold_timeout = 60").start()
}

pub(crate) async fn writes_wait_for_the_new_master(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = patient(&fixture);
    let [old, new] = [&fixture.groups[0].master, &fixture.groups[0].slave];
    let mut clients = [proxy.client(), proxy.client(), proxy.client()];
    ask(&mut clients[0], "SET n 1");

    // As `codisctl group promote` does it, step by step.
    stop_writes(old);
    send(&mut clients[0], &["INCR n", "GET n", "INCR n", "GET n"]);
    send(&mut clients[1], &["SET other 1"]);
    until_waiting(&proxy, 2).await;
    eventually(SOON, || ask(&mut new.client(), "GET n").text() == "1");
    stop_writes(new);
    ask(&mut new.client(), "REPLICAOF NO ONE");
    fixture.name_master(GROUP, &new.addr()).await;
    fixture.tell_group(GROUP).await;
    send(&mut clients[2], &["DEL other", "EXISTS other"]);
    until_waiting(&proxy, 3).await;
    assert_eq!(ask(&mut new.client(), "GET n").text(), "1", "nothing is carried out yet");
    allow_writes(new);

    assert_eq!(replies(&mut clients[0]), ["2", "2", "3", "3"]);
    assert_eq!(replies(&mut clients[1]), ["OK"]);
    let [deleted, left] = replies(&mut clients[2]);
    assert!(["0", "1"].contains(&deleted.as_str()) && ["0", "1"].contains(&left.as_str()));
    assert_eq!(ask(&mut new.client(), "GET n").text(), "3", "each was carried out once");
    assert_eq!(ask(&mut old.client(), "GET n").text(), "1");
    until_waiting(&proxy, 0).await;
}

/// Nobody announces the new master, so the proxy has to look by itself.
pub(crate) async fn a_server_that_became_a_slave_makes_the_store_be_read(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = patient(&fixture);
    let [old, new] = [&fixture.groups[0].master, &fixture.groups[0].slave];
    let mut client = proxy.client();
    ask(&mut client, "SET n 1");
    eventually(SOON, || ask(&mut new.client(), "GET n").text() == "1");
    ask(&mut new.client(), "REPLICAOF NO ONE");
    let [host, port] =
        <[String; 2]>::try_from(new.addr().split(':').map(String::from).collect::<Vec<_>>()).unwrap();
    ask(&mut old.client(), &format!("REPLICAOF {host} {port}"));
    send(&mut client, &["INCR n", "GET n"]);
    until_waiting(&proxy, 1).await;
    fixture.name_master(GROUP, &new.addr()).await;
    assert_eq!(replies(&mut client), ["2", "2"]);
}

pub(crate) async fn order_stays_while_writes_are_stopped(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = patient(&fixture);
    let master = &fixture.groups[0].master;
    let mut client = proxy.client();
    stop_writes(master);
    let mut lines: Vec<String> = Vec::new();
    let mut expected: Vec<String> = Vec::new();
    for n in 1..=100 {
        let line = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>().join(" ");
        lines.extend([
            line(format!("RPUSH list {n}")),
            "LLEN list".into(),
            format!("SET k{n} {n}"),
            format!("GET k{n}"),
        ]);
        expected.extend([n.to_string(), n.to_string(), "OK".into(), n.to_string()]);
    }
    send(&mut client, &lines.iter().map(String::as_str).collect::<Vec<_>>());
    until_waiting(&proxy, 1).await;
    // Stopped and allowed again in the middle of it, several times.
    for _ in 0..5 {
        allow_writes(master);
        stop_writes(master);
    }
    allow_writes(master);
    for (n, expected) in expected.iter().enumerate() {
        assert_eq!(&client.read().unwrap().text(), expected, "reply {n}");
    }
}

pub(crate) async fn what_was_carried_out_behind_a_refused_write_is_not_overtaken(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = patient(&fixture);
    let master = &fixture.groups[0].master;
    let mut client = proxy.client();
    ask(&mut client, "SET k before");
    stop_writes(master);
    // The script, before version 7 and after it, writes nothing but its error is its own affair: it may have.
    send(&mut client, &["SET k lost", "EVAL return(1) 1 k", "GET k"]);
    let [refused, script, read] = replies(&mut client);
    assert!(refused.starts_with("NOREPLICAS "), "{refused}");
    assert_eq!([script.as_str(), read.as_str()], ["1", "before"]);
    allow_writes(master);
    assert_eq!(ask(&mut client, "GET k").text(), "before", "a write that failed is not carried out later");
}

pub(crate) async fn nobody_takes_them_in_time(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.proxy("p1").setting("hold_timeout = 0.3").start();
    let master = &fixture.groups[0].master;
    let mut client = proxy.client();
    ask(&mut client, "SET k before");
    stop_writes(master);
    send(&mut client, &["SET k lost", "GET k", "STRLEN k"]);
    let [refused, read, length] = replies(&mut client);
    let why = format!(
        "NOREPLICAS {} has not executed the request, and no other master was named within 0.3 s",
        master.addr()
    );
    assert!(refused.starts_with(&why), "{refused}");
    assert_eq!([read.as_str(), length.as_str()], ["before", "6"]);
    // The master itself is a slave now, and the store says nothing about that.
    allow_writes(master);
    ask(&mut master.client(), "REPLICAOF 127.0.0.1 1");
    let reply = client.call(&["SET", "k", "lost"]).unwrap().text();
    assert!(reply.starts_with(&format!("READONLY {} has not", master.addr())), "{reply}");
    assert_eq!(ask(&mut client, "GET k").text(), "before");
}

pub(crate) async fn the_wish_of_an_operator_is_answered_at_once(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = patient(&fixture);
    let mut client = proxy.client();
    ask(&mut fixture.groups[0].master.client(), "CONFIG SET min-slaves-to-write 5");
    send(&mut client, &["SET k v", "GET k", "SET k w"]);
    let [first, read, second] = replies(&mut client);
    assert_eq!(first, "NOREPLICAS Not enough good replicas to write.");
    assert_eq!([read.as_str(), second.as_str()], ["", first.as_str()]);
}

pub(crate) async fn parts_of_split_requests_wait_alone(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = patient(&fixture);
    let [first, second] = &fixture.groups;
    let upper: SlotSet = "512-1023".parse().unwrap();
    fixture.change_wave(&upper, |slot| slot.online_at(GroupId(2))).await;
    let pairs: Vec<String> = (0..40).map(|n| format!("k{n} {n}")).collect();
    let keys: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let mut client = proxy.client();
    stop_writes(&first.master);
    send(
        &mut client,
        &[&format!("MSET {}", pairs.join(" ")), &format!("EXISTS {}", keys.join(" ")), "GET k0", "GET k1"],
    );
    until_waiting(&proxy, 1).await;
    let count = |server: &RedisServer| ask(&mut server.client(), "DBSIZE").text().parse::<u64>().unwrap();
    eventually(SOON, || count(&second.master) > 0);
    assert_eq!(count(&first.master), 0);
    allow_writes(&first.master);
    assert_eq!(replies(&mut client), ["OK", "40", "0", "1"]);
    assert_eq!(count(&first.master) + count(&second.master), 40);
}

pub(crate) async fn what_blocks_waits_too(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = patient(&fixture);
    let master = &fixture.groups[0].master;
    let mut client = proxy.client();
    stop_writes(master);
    send(&mut client, &["BLPOP list 0"]);
    until_waiting(&proxy, 1).await;
    allow_writes(master);
    ask(&mut proxy.client(), "RPUSH list x");
    let popped = vec![Reply::Bulk(Some(b"list".to_vec())), Reply::Bulk(Some(b"x".to_vec()))];
    assert_eq!(client.read().unwrap(), Reply::Array(Some(popped)));
}

pub(crate) async fn scripts_and_transactions_are_not_sent_again(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = patient(&fixture);
    let master = &fixture.groups[0].master;
    let mut client = proxy.client();
    stop_writes(master);
    let script = client.call(&["EVAL", "return redis.call('SET', KEYS[1], 'v')", "1", "k"]).unwrap();
    assert!(script.is_error() && script.text().contains("NOREPLICAS"), "{script:?}");
    ask(&mut client, "MULTI");
    let queued = client.call(&["SET", "k", "v"]).unwrap().text();
    assert!(queued.starts_with("NOREPLICAS "), "{queued}");
    let outcome = client.call(&["EXEC"]).unwrap().text();
    assert!(outcome.starts_with("EXECABORT "), "{outcome}");
    allow_writes(master);
    assert_eq!(ask(&mut client, "EXISTS k"), Reply::Int(0));
}
