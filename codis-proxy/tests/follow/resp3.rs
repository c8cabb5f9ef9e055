//! Clients in RESP3, whose requests go over connections of their own version, on slots that change hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use codis_core::{ActionKind, GroupId, Slot, slot_of_key};
use codis_testkit::{Reply, RespClient, Sandbox, eventually_async};

use crate::fixture::{Fixture, SOON, ask, stats};

fn encode(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        bytes.extend(format!("*{}\r\n", words.len()).into_bytes());
        words.iter().for_each(|word| bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes()));
    }
    bytes
}

/// Counts in pipelines, changing the version in the middle of each; how far it has come.
fn count(mut client: RespClient, number: usize, stop: &AtomicBool) -> i64 {
    let incr = format!("INCR {{t}}{number}");
    let mut counted = 0;
    let mut resp3 = false;
    while !stop.load(Ordering::Relaxed) {
        let hello = if resp3 { "HELLO 2" } else { "HELLO 3" };
        client.send(&encode(&[&incr, "GET {t}none", &incr, hello, "GET {t}none", &incr, &incr])).unwrap();
        let null = |resp3: bool| if resp3 { Reply::Null } else { Reply::Bulk(None) };
        assert_eq!(client.read().unwrap(), Reply::Int(counted + 1));
        assert_eq!(client.read().unwrap(), null(resp3));
        assert_eq!(client.read().unwrap(), Reply::Int(counted + 2));
        resp3 = !resp3;
        assert_eq!(matches!(client.read().unwrap(), Reply::Map(_)), resp3);
        assert_eq!(client.read().unwrap(), null(resp3));
        assert_eq!(client.read().unwrap(), Reply::Int(counted + 3));
        assert_eq!(client.read().unwrap(), Reply::Int(counted + 4));
        counted += 4;
    }
    counted
}

pub(crate) async fn order_is_kept_in_both_versions_while_a_slot_moves(url: &str) {
    const CLIENTS: usize = 4;
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let slot = slot_of_key(b"{t}");
    let stop = Arc::new(AtomicBool::new(false));
    let start = |number: usize| {
        let (client, stop) = (proxy.client(), stop.clone());
        std::thread::spawn(move || count(client, number, &stop))
    };
    let counting: Vec<_> = (0..CLIENTS).map(start).collect();
    let (mut from, mut to) = (GroupId(1), GroupId(2));
    for _ in 0..4 {
        let before = stats(&proxy).await.requests;
        eventually_async(SOON, || async { stats(&proxy).await.requests > before + 300 }).await;
        fixture.change(slot, Slot::pre_migrate).await;
        fixture.change(slot, |slot| slot.migrate(from, to)).await;
        let all: Vec<String> = (0..CLIENTS).map(|number| format!("{{t}}{number}")).collect();
        ask(&mut proxy.client(), &format!("EXISTS {}", all.join(" ")));
        fixture.change(slot, |slot| slot.online_at(to)).await;
        (from, to) = (to, from);
    }
    stop.store(true, Ordering::Relaxed);
    let mut client = proxy.client();
    for (number, thread) in counting.into_iter().enumerate() {
        let counted = thread.join().unwrap();
        assert!(counted > 0);
        assert_eq!(ask(&mut client, &format!("GET {{t}}{number}")).text(), counted.to_string());
    }
}

pub(crate) async fn a_lost_request_in_resp3_holds_its_slot_back(url: &str) {
    let fixture = Fixture::new(url).await;
    let sandbox = Sandbox::create("config").unwrap();
    let config = sandbox.write("codis.toml", "[proxy]\nbackend_timeout = 0.5\n").unwrap();
    let proxy = fixture.place.proxy("p1").arg("--config").arg(config.display().to_string()).start();
    let slot = slot_of_key(b"{t}");
    let master = &fixture.groups[0].master;
    let mut client = proxy.client();
    ask(&mut client, "HELLO 3");
    assert_eq!(ask(&mut client, "INCR {t}n"), Reply::Int(1));
    master.stop();
    let error = client.call(&["INCR", "{t}n"]).unwrap().text();
    assert!(error.contains("no reply within"), "{error}");

    let blocked = fixture.rewrite(slot, Slot::pre_migrate).await;
    let published = fixture.publish(ActionKind::SlotPreMigrate(blocked)).await;
    let wait = |time| fixture.product.await_acks(published.seq, &published.receivers, time);
    let early = wait(Duration::from_secs(1)).await.unwrap();
    assert!(early.acked.is_empty(), "the server may still carry the request out: {early:?}");
    master.cont();
    assert_eq!(wait(SOON).await.unwrap().acked.len(), 1, "its connection is known dead");
    let value = ask(&mut master.client(), "GET {t}n").text();
    assert!(["1", "2"].contains(&value.as_str()), "{value}");
}
