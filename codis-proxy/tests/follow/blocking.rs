//! Clients that wait in BLPOP while their slot changes hands.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use codis_core::{GroupId, Slot, slot_of_key};
use codis_testkit::{RedisServer, Reply, Sandbox, eventually, eventually_async};

use crate::fixture::{Fixture, SOON, ask, stats};

fn waiting(server: &RedisServer) -> usize {
    let info = ask(&mut server.client(), "INFO clients").text();
    info.lines().find_map(|line| line.strip_prefix("blocked_clients:")?.parse().ok()).unwrap()
}

pub(crate) async fn waiting_clients_go_where_the_slot_goes(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let slot = slot_of_key(b"{t}");
    let [first, second] = &fixture.groups;
    let call = |line: &'static str| {
        let mut client = proxy.client();
        std::thread::spawn(move || (ask(&mut client, line), Instant::now()))
    };
    let begun = Instant::now();
    let ever = call("BLPOP {t}l 0");
    let some = call("BRPOP {t}other 3.5");
    let stream = call("XREAD BLOCK 0 STREAMS {t}s 0");
    eventually(SOON, || waiting(&first.master) == 3);

    fixture.change(slot, Slot::pre_migrate).await;
    assert_eq!(waiting(&first.master), 0, "acknowledged, so nobody pops there any more");
    eventually_async(SOON, || async { stats(&proxy).await.parked == 3 }).await;
    ask(&mut first.master.client(), "XADD {t}s 1-1 on first");
    fixture.change(slot, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
    let (reply, _) = stream.join().unwrap();
    assert!(format!("{reply:?}").contains("Array"), "moved, then read: {reply:?}");
    eventually(SOON, || waiting(&second.master) == 2);
    assert_eq!(ask(&mut first.master.client(), "EXISTS {t}s"), Reply::Int(0));

    let (reply, ended) = some.join().unwrap();
    assert_eq!(reply, Reply::Array(None));
    let took = ended - begun;
    assert!(took >= Duration::from_millis(3400), "{took:?}");
    assert!(took < Duration::from_secs(6), "the time that remained: {took:?}");

    fixture.change(slot, |slot| slot.online_at(GroupId(2))).await;
    eventually(SOON, || waiting(&second.master) == 1);
    ask(&mut proxy.client(), "RPUSH {t}l x");
    let (reply, _) = ever.join().unwrap();
    let bulk = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
    assert_eq!(reply, Reply::Array(Some(vec![bulk("{t}l"), bulk("x")])));
    eventually_async(SOON, || async { stats(&proxy).await.pinned == 0 }).await;
}

pub(crate) async fn what_was_not_sent_yet_holds_nothing_up(url: &str) {
    let fixture = Fixture::new(url).await;
    let sandbox = Sandbox::create("config").unwrap();
    let config = sandbox.write("codis.toml", "[proxy]\nconnect_timeout = 25\n").unwrap();
    let proxy = fixture.place.proxy("p1").arg("--config").arg(config.display().to_string()).start();
    let slot = slot_of_key(b"{t}");
    let master = &fixture.groups[0].master;
    ask(&mut proxy.client(), "DEL {t}l");
    // A connection of its own does not come about while the server does not run.
    master.stop();
    let mut client = proxy.client();
    let popping = std::thread::spawn(move || ask(&mut client, "BLPOP {t}l 0"));
    eventually_async(SOON, || async { stats(&proxy).await.pinned == 1 }).await;
    fixture.change(slot, Slot::pre_migrate).await;
    assert_eq!(stats(&proxy).await.pinned, 0);
    eventually_async(SOON, || async { stats(&proxy).await.parked == 1 }).await;
    master.cont();
    fixture.change(slot, |slot| slot.online_at(GroupId(1))).await;
    eventually(SOON, || waiting(master) == 1);
    ask(&mut proxy.client(), "RPUSH {t}l x");
    assert!(matches!(popping.join().unwrap(), Reply::Array(Some(_))));
}

pub(crate) async fn each_element_arrives_once_while_the_slot_moves(url: &str) {
    const CLIENTS: usize = 8;
    const PUSHED: usize = 3000;
    const MOVES: usize = 6;
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let slot = slot_of_key(b"{t}");
    let popping: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let mut client = proxies[number % 2].client();
            std::thread::spawn(move || {
                let mut got = Vec::new();
                loop {
                    let timeout = ["0", "1", "0.02"][got.len() % 3];
                    match client.call(&["BLPOP", "{t}none", "{t}l", timeout]).unwrap() {
                        Reply::Array(Some(reply)) if reply[1].text() == "end" => return got,
                        Reply::Array(Some(reply)) => got.push(reply[1].text().parse::<usize>().unwrap()),
                        reply => assert_eq!(reply, Reply::Array(None)),
                    }
                }
            })
        })
        .collect();
    let mut client = proxies[0].client();
    let (done, moved) = std::sync::mpsc::channel::<()>();
    let pushing = std::thread::spawn(move || {
        let mut number = 0;
        // In bursts, so that clients wait in between; to the end of the last move and beyond.
        while number < PUSHED || moved.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            for _ in 0..20 {
                ask(&mut client, &format!("RPUSH {{t}}l {number}"));
                number += 1;
            }
            // Time for the clients to wait again.
            std::thread::sleep(Duration::from_millis(2));
        }
        for _ in 0..CLIENTS {
            ask(&mut client, "RPUSH {t}l end");
        }
        number
    });
    let (mut from, mut to) = (GroupId(1), GroupId(2));
    for _ in 0..MOVES {
        let before = stats(&proxies[0]).await.requests;
        eventually_async(SOON, || async { stats(&proxies[0]).await.requests > before + 200 }).await;
        fixture.change(slot, Slot::pre_migrate).await;
        fixture.change(slot, |slot| slot.migrate(from, to)).await;
        ask(&mut proxies[1].client(), "EXISTS {t}l {t}none");
        fixture.change(slot, |slot| slot.online_at(to)).await;
        (from, to) = (to, from);
    }
    done.send(()).unwrap();
    let pushed = pushing.join().unwrap();
    let mut got = BTreeSet::new();
    let mut count = 0;
    for thread in popping {
        let part = thread.join().unwrap();
        count += part.len();
        got.extend(part);
    }
    assert_eq!((count, got.len()), (pushed, pushed), "each element once");
    for proxy in &proxies {
        eventually_async(SOON, || async { stats(proxy).await.pinned == 0 }).await;
    }
}
