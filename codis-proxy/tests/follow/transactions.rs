//! Transactions on a slot that changes hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use codis_core::{GroupId, Slot, slot_of_key};
use codis_testkit::{Reply, RespClient, eventually_async};

use crate::fixture::{Fixture, SOON, ask, stats};

pub(crate) async fn are_taken_back_before_a_slot_moves(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let slot = slot_of_key(b"{t}");
    let [mut multi, mut watching, mut other] = [proxy.client(), proxy.client(), proxy.client()];
    ask(&mut other, "SET {t}a old");
    ask(&mut watching, "WATCH {t}a");
    for client in [&mut multi, &mut watching] {
        ask(client, "MULTI");
        assert_eq!(ask(client, "SET {t}a lost").text(), "QUEUED");
    }
    ask(&mut other, "WATCH elsewhere");
    assert_eq!(stats(&proxy).await.pinned, 3);

    // Acknowledged although both are open: nothing of them is left on the server.
    fixture.change(slot, Slot::pre_migrate).await;
    assert_eq!(stats(&proxy).await.pinned, 1, "the other slot's is not touched");
    let list = ask(&mut fixture.groups[0].master.client(), "CLIENT LIST").text();
    assert!(!list.contains(" multi=1 "), "{list}");
    assert_eq!(ask(&mut multi, "SET {t}a lost").text(), "QUEUED");
    let reply = multi.call(&["EXEC"]).unwrap().text();
    let why = format!("EXECABORT Transaction discarded because of: slot {slot} has moved");
    assert!(reply.starts_with(&why), "{reply}");
    assert_eq!(ask(&mut watching, "EXEC"), Reply::Array(None));

    // One that begins now waits, and its keys are moved before they are watched.
    let late = std::thread::spawn(move || {
        ask(&mut multi, "WATCH {t}a");
        multi
    });
    eventually_async(SOON, || async { stats(&proxy).await.parked == 1 }).await;
    fixture.change(slot, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
    let mut multi = late.join().unwrap();
    let [first, second] = &fixture.groups;
    assert_eq!(ask(&mut first.master.client(), "EXISTS {t}a"), Reply::Int(0));
    assert_eq!(ask(&mut second.master.client(), "EXISTS {t}a"), Reply::Int(1));
    ask(&mut multi, "MULTI");
    assert_eq!(ask(&mut multi, "APPEND {t}a er").text(), "QUEUED");
    assert_eq!(ask(&mut multi, "EXEC"), Reply::Array(Some(vec![Reply::Int(5)])));

    // It holds the slot's next step up only until it is taken back.
    ask(&mut multi, "WATCH {t}a");
    fixture.change(slot, |slot| slot.online_at(GroupId(2))).await;
    ask(&mut multi, "MULTI");
    assert_eq!(ask(&mut multi, "EXEC"), Reply::Array(None));
    ask(&mut other, "MULTI");
    ask(&mut other, "SET elsewhere 1");
    assert_eq!(ask(&mut other, "EXEC"), Reply::Array(Some(vec![Reply::Status("OK".into())])));
}

/// Counts a key up by WATCH and by bare MULTI in turn until told to stop; how often it did.
fn count(mut client: RespClient, stop: &AtomicBool) -> (RespClient, i64, u32) {
    let (mut counted, mut aborted) = (0, 0);
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let watch = round % 2 == 0;
        let mut command = "INCR {t}n".to_owned();
        if watch {
            ask(&mut client, "WATCH {t}n");
            let now: i64 = ask(&mut client, "GET {t}n").text().parse().unwrap_or(0);
            command = format!("SET {{t}}n {}", now + 1);
        }
        ask(&mut client, "MULTI");
        // While the slot waits the first key does so, too.
        ask(&mut client, &command);
        ask(&mut client, &format!("RPUSH {{t}}list {round}"));
        match client.call(&["EXEC"]).unwrap() {
            Reply::Array(Some(replies)) => {
                assert!(replies.len() == 2 && !replies.iter().any(Reply::is_error), "{replies:?}");
                counted += 1;
            }
            Reply::Array(None) => {
                assert!(watch, "nil without WATCH");
                aborted += 1;
            }
            reply => {
                let text = reply.text();
                assert!(!watch && text.starts_with("EXECABORT ") && text.contains("has moved"), "{text}");
                aborted += 1;
            }
        }
    }
    (client, counted, aborted)
}

pub(crate) async fn count_right_while_a_slot_moves_to_and_fro(url: &str) {
    const CLIENTS: usize = 4;
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let slot = slot_of_key(b"{t}");
    let stop = Arc::new(AtomicBool::new(false));
    let start = |number: usize| {
        let (client, stop) = (proxies[number % 2].client(), stop.clone());
        std::thread::spawn(move || count(client, &stop))
    };
    let counting: Vec<_> = (0..CLIENTS).map(start).collect();
    let (mut from, mut to) = (GroupId(1), GroupId(2));
    for _ in 0..4 {
        let before = stats(&proxies[0]).await.requests;
        eventually_async(SOON, || async { stats(&proxies[0]).await.requests > before + 300 }).await;
        fixture.change(slot, Slot::pre_migrate).await;
        fixture.change(slot, |slot| slot.migrate(from, to)).await;
        let mut mover = proxies[1].client();
        ask(&mut mover, "EXISTS {t}n {t}list");
        fixture.change(slot, |slot| slot.online_at(to)).await;
        (from, to) = (to, from);
    }
    stop.store(true, Ordering::Relaxed);
    let (mut counted, mut aborted) = (0, 0);
    let mut client = proxies[0].client();
    for thread in counting {
        let (_, done, taken_back) = thread.join().unwrap();
        counted += done;
        aborted += taken_back;
    }
    assert!(counted > 0 && aborted > 0, "{counted} {aborted}");
    assert_eq!(ask(&mut client, "GET {t}n").text(), counted.to_string(), "each EXEC counted once");
    assert_eq!(ask(&mut client, "LLEN {t}list"), Reply::Int(counted));
    for proxy in &proxies {
        eventually_async(SOON, || async { stats(proxy).await.pinned == 0 }).await;
    }
}
