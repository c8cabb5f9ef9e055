//! Clients that listen while the slots of their channels change hands.

use std::collections::BTreeMap;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use codis_core::{GroupId, Slot, SlotStatus, SwitchStep, slot_of_key};
use codis_testkit::{ProxyProcess, Reply, RespClient, eventually_async};

use crate::fixture::{Fixture, SOON, ask, stats};
use crate::hold::hold;

/// Listens, and counts how often each message comes until one says `end`.
fn listener(proxy: &ProxyProcess, line: &str) -> std::thread::JoinHandle<BTreeMap<String, usize>> {
    let mut client = proxy.client();
    ask(&mut client, line);
    for _ in line.split(' ').skip(2) {
        client.read().unwrap();
    }
    std::thread::spawn(move || {
        let mut got = BTreeMap::new();
        loop {
            match client.read().expect("it is not disconnected") {
                Reply::Array(Some(parts)) => match parts.last().map(Reply::text) {
                    Some(text) if text == "end" => return got,
                    Some(text) => *got.entry(text).or_default() += 1,
                    None => panic!("an empty message"),
                },
                other => panic!("{other:?}"),
            }
        }
    })
}

/// Publishes numbers until it is told to stop; returns how many.
fn publisher(
    mut client: RespClient,
    name: &'static str,
    stop: std::sync::mpsc::Receiver<()>,
) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut number = 0;
        while stop.try_recv() == Err(TryRecvError::Empty) {
            ask(&mut client, &format!("PUBLISH {{t}}c {name}{number}"));
            number += 1;
            // So that a listener keeps up.
            std::thread::sleep(Duration::from_micros(300));
        }
        number
    })
}

pub(crate) async fn each_message_arrives_once_while_the_slot_moves(url: &str) {
    const MOVES: usize = 4;
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2"), fixture.start("p3")];
    let slot = slot_of_key(b"{t}c");
    let mut listeners: Vec<_> = proxies
        .iter()
        .flat_map(|proxy| {
            ["SUBSCRIBE {t}c", "PSUBSCRIBE {t}*", "SUBSCRIBE {t}c"].map(|line| listener(proxy, line))
        })
        .collect();
    let (stops, threads): (Vec<_>, Vec<_>) = ["a", "b", "c"]
        .iter()
        .zip(&proxies)
        .map(|(name, proxy)| {
            let (stop, stopped) = channel();
            (stop, publisher(proxy.client(), name, stopped))
        })
        .unzip();
    let (mut from, mut to) = (GroupId(1), GroupId(2));
    for step in 0..MOVES {
        let before = stats(&proxies[0]).await.requests;
        eventually_async(SOON, || async { stats(&proxies[0]).await.requests > before + 50 }).await;
        fixture.change(slot, Slot::pre_migrate).await;
        fixture.change(slot, |slot| slot.migrate(from, to)).await;
        // Who comes now hears the rest.
        drop(listener(&proxies[step % 3], "SUBSCRIBE {t}c other"));
        fixture.change(slot, |slot| slot.online_at(to)).await;
        (from, to) = (to, from);
    }
    // A move that is turned back.
    fixture.change(slot, Slot::pre_migrate).await;
    fixture.change(slot, |slot| slot.migrate(from, to)).await;
    fixture.change(slot, Slot::pre_migrate).await;
    fixture.change(slot, |slot| slot.migrate(to, from)).await;
    fixture.change(slot, |slot| slot.online_at(from)).await;
    listeners.push(listener(&proxies[0], "SUBSCRIBE {t}late {t}later"));
    stops.iter().for_each(|stop| stop.send(()).unwrap());
    let published: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    ask(&mut proxies[1].client(), "PUBLISH {t}c end");
    ask(&mut proxies[1].client(), "PUBLISH {t}later end");
    let late = listeners.pop().unwrap().join().unwrap();
    assert!(late.is_empty());
    for listener in listeners {
        let got = listener.join().unwrap();
        assert_eq!(got.len(), published, "none is lost");
        assert!(got.values().all(|count| *count == 1), "none comes twice");
    }
}

pub(crate) async fn listeners_follow_a_planned_promotion(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let listeners: Vec<_> = proxies
        .iter()
        .flat_map(|proxy| ["SUBSCRIBE {t}c", "PSUBSCRIBE *"].map(|line| listener(proxy, line)))
        .collect();
    let first = &fixture.groups[0];
    for number in 0..100 {
        ask(&mut proxies[number % 2].client(), &format!("PUBLISH {{t}}c {number}"));
    }
    // Nobody publishes while the servers change their roles; the old master then follows the new one.
    ask(&mut first.slave.client(), "REPLICAOF NO ONE");
    ask(&mut first.master.client(), &format!("REPLICAOF 127.0.0.1 {}", first.slave.port()));
    fixture.name_master(GroupId(1), &first.slave.addr()).await;
    fixture.tell_group(GroupId(1)).await;
    for number in 100..200 {
        ask(&mut proxies[number % 2].client(), &format!("PUBLISH {{t}}c {number}"));
    }
    ask(&mut proxies[0].client(), "PUBLISH {t}c end");
    for listener in listeners {
        let got = listener.join().unwrap();
        assert_eq!(got.len(), 200, "none is lost");
    }
    let left = || ask(&mut first.master.client(), "CLIENT LIST TYPE PUBSUB").text();
    eventually_async(SOON, || async { !left().contains("sub=1") && !left().contains("psub=1") }).await;
}

pub(crate) async fn no_message_is_lost_while_a_group_is_held_back(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let listeners: Vec<_> = proxies
        .iter()
        .flat_map(|proxy| ["SUBSCRIBE {t}c", "PSUBSCRIBE *"].map(|line| listener(proxy, line)))
        .collect();
    let (stops, threads): (Vec<_>, Vec<_>) = ["a", "b"]
        .iter()
        .zip(&proxies)
        .map(|(name, proxy)| {
            let (stop, stopped) = channel();
            (stop, publisher(proxy.client(), name, stopped))
        })
        .unzip();
    let more = |requests: u64| {
        let proxies = &proxies;
        async move {
            let before = stats(&proxies[0]).await.requests;
            eventually_async(SOON, || async { stats(&proxies[0]).await.requests > before + requests }).await;
        }
    };
    more(100).await;
    let journal = hold(&fixture, 60_000).await;
    let journal = fixture.product.step_switch(&journal, SwitchStep::Switching).await.unwrap();
    let [old, new] = [&fixture.groups[0].master, &fixture.groups[0].slave];
    ask(&mut new.client(), "REPLICAOF NO ONE");
    fixture.name_master(GroupId(1), &new.addr()).await;
    // Acknowledged when everybody listens at the new master; it does not matter any more what becomes of the old one.
    fixture.tell_group(GroupId(1)).await;
    old.kill();
    fixture.product.step_switch(&journal, SwitchStep::Done).await.unwrap();
    more(100).await;
    stops.iter().for_each(|stop| stop.send(()).unwrap());
    let published: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    ask(&mut proxies[1].client(), "PUBLISH {t}c end");
    for listener in listeners {
        let got = listener.join().unwrap();
        assert_eq!(got.len(), published, "none is lost");
        assert!(got.values().all(|count| *count == 1), "none comes twice");
    }
}

pub(crate) async fn listeners_to_a_slot_that_is_taken_away_are_disconnected(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let (mut gone, mut stays) = (proxy.client(), proxy.client());
    ask(&mut gone, "SUBSCRIBE {t}c {t}d {t}e");
    (0..2).for_each(|_| drop(gone.read().unwrap()));
    ask(&mut stays, "SUBSCRIBE {other}c");
    let slot = slot_of_key(b"{t}c");
    fixture.change(slot, |slot| Slot { status: SlotStatus::Offline, ..slot.clone() }).await;
    assert!(gone.read().is_err(), "nothing can be published there any more");
    ask(&mut proxy.client(), "PUBLISH {other}c x");
    let Reply::Array(Some(message)) = stays.read().unwrap() else { panic!("no message") };
    assert_eq!(message[2].text(), "x");
    let refused = proxy.client().call(&["SUBSCRIBE", "{t}c"]).unwrap().text();
    assert!(refused.contains("is not assigned"), "{refused}");
}

pub(crate) async fn listeners_at_a_dead_master_are_disconnected(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let mut client = proxy.client();
    ask(&mut client, "SUBSCRIBE {t}c");
    let first = &fixture.groups[0];
    first.master.kill();
    assert!(client.read().is_err(), "it may have missed something");
    ask(&mut first.slave.client(), "REPLICAOF NO ONE");
    fixture.name_master(GroupId(1), &first.slave.addr()).await;
    fixture.tell_group(GroupId(1)).await;
    let mut client = proxy.client();
    ask(&mut client, "SUBSCRIBE {t}c");
    ask(&mut proxy.client(), "PUBLISH {t}c x");
    let Reply::Array(Some(message)) = client.read().unwrap() else { panic!("no message") };
    assert_eq!(message[2].text(), "x");
}
