//! What happens every day.

use codis_admin::AdminClient;
use codis_core::{ActionKind, GroupId, ProxyKind, ProxyState, Slot, SlotId, SlotSet, slot_of_key};
use codis_store::{Acl, CreateMode};
use codis_testkit::{Reply, eventually, eventually_async};

use crate::fixture::{Fixture, SOON, ask, stats};

pub(crate) async fn registers_as_the_originals_do(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    assert_eq!(ask(&mut proxy.client(), "SET k v").text(), "OK");

    let node = fixture.node("proxy/p1").await.unwrap();
    let record = fixture.registered("p1").await.unwrap();
    assert!(matches!(record.kind(), ProxyKind::Ours(_)), "{}", record.start_at);
    let expected = format!(
        "{{\"id\":\"p1\",\"addr\":\"{}\",\"last_event\":\"\",\"last_event_ts\":0,\"state\":\"online\",\"description\":\"\",\
         \"debug_var_addr\":\"{}\",\"pid\":{},\"start_at\":\"{}\"}}",
        proxy.addr(),
        proxy.admin_addr(),
        proxy.process().pid(),
        record.start_at
    );
    assert_eq!(String::from_utf8(node.data).unwrap(), expected);
    assert!(node.ephemeral);
    assert_eq!(node.version, 1, "created offline, then set online");
    let fence = fixture.node(&format!("fence/{}", proxy.addr())).await.unwrap();
    assert!(!fence.ephemeral && fence.data.is_empty());
    assert!(!fixture.node("proxy_suspend").await.unwrap().ephemeral);

    let stats = stats(&proxy).await;
    assert_eq!((stats.id.as_deref(), stats.state.as_str(), stats.ready), (Some("p1"), "online", true));
    assert_eq!((stats.slots.online, stats.store_connected), (1024, true));
    assert!(stats.requests >= 1);
    let slots = AdminClient::default().slots(&proxy.admin_addr()).await.unwrap();
    assert_eq!(slots.digest, stats.slots_digest);
    assert_eq!(slots.slots[7].master.as_deref(), Some(fixture.groups[0].master.addr().as_str()));
    let info = AdminClient::default().slots_info(&proxy.admin_addr()).await.unwrap();
    assert_eq!(info.slots.sinfo[7].master, fixture.groups[0].master.addr());
    assert!(AdminClient::default().debug_vars(&proxy.admin_addr()).await.unwrap().router.ops >= 1);
}

pub(crate) async fn acknowledges_every_action_in_one_go(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let mut published = Vec::new();
    for number in 0..5 {
        let slot = fixture.rewrite(SlotId::new(number).unwrap(), |slot| slot.online_at(GroupId(2))).await;
        published.push(fixture.publish(ActionKind::SlotChanged(slot)).await);
    }
    published.push(fixture.publish(ActionKind::GroupChanged { group: GroupId(1), servers: None }).await);
    published.push(fixture.publish(ActionKind::Unknown("from_the_future".into())).await);
    for action in &published {
        assert_eq!(action.receivers.len(), 2);
        let acks = fixture.product.await_acks(action.seq, &action.receivers, SOON).await.unwrap();
        assert_eq!(acks.acked.len(), 2, "action {}: {acks:?}", action.seq);
        let ack = fixture.node(&format!("ActionResponse/{:010}/p1", action.seq)).await.unwrap();
        assert_eq!(ack.data, fixture.node("proxy/p1").await.unwrap().data, "the proxy's own record");
        assert!(!ack.ephemeral);
    }
    for proxy in &proxies {
        eventually_async(SOON, || async {
            stats(proxy).await.last_action == published.last().map(|a| a.seq)
        })
        .await;
        let slots = AdminClient::default().slots(&proxy.admin_addr()).await.unwrap().slots;
        let second =
            slots.iter().filter(|slot| slot.master.as_ref() == Some(&fixture.groups[1].master.addr()));
        assert_eq!(second.map(|slot| slot.slot).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
    let digests = [stats(&proxies[0]).await.slots_digest, stats(&proxies[1]).await.slots_digest];
    assert_eq!(digests[0], digests[1]);
}

/// Two who publish at the same time draw their numbers before either action appears.
pub(crate) async fn follows_an_action_that_comes_after_a_later_one(url: &str) {
    let fixture = Fixture::new(url).await;
    let _proxy = fixture.start("p1");
    let (store, root) = (fixture.product.store(), fixture.product.root());
    let numbers = format!("{root}/ActionResponse/");
    let drawn = store.create(&numbers, b"first", CreateMode::PersistentSequential, Acl::Dir).await.unwrap();
    let number = drawn.strip_prefix(&numbers).unwrap();
    let later =
        fixture.publish_confirmed(ActionKind::GroupChanged { group: GroupId(1), servers: None }).await;
    let action = fixture.node(&format!("actions/{later:010}")).await.unwrap();
    store
        .create(&format!("{root}/actions/{number}"), &action.data, CreateMode::Persistent, Acl::File)
        .await
        .unwrap();
    let acks = fixture.product.await_acks(number.parse().unwrap(), &["p1".parse().unwrap()], SOON).await;
    assert_eq!(acks.unwrap().acked.len(), 1, "action {number} after {later}");
}

pub(crate) async fn holds_a_slot_back_and_lets_it_go(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let slot = slot_of_key(b"held");
    fixture.change(slot, Slot::pre_migrate).await;

    let mut client = proxy.client();
    let held = std::thread::spawn(move || ask(&mut client, "SET held 1"));
    eventually_async(SOON, || async { stats(&proxy).await.parked == 1 }).await;
    assert_eq!(ask(&mut proxy.client(), "SET other 1").text(), "OK", "other slots feel nothing");
    assert_eq!(ask(&mut fixture.groups[0].master.client(), "EXISTS held"), Reply::Int(0));
    assert!(!held.is_finished());

    fixture.change(slot, |slot| slot.online_at(GroupId(1))).await;
    assert_eq!(held.join().unwrap().text(), "OK");
    assert_eq!(ask(&mut fixture.groups[0].master.client(), "EXISTS held"), Reply::Int(1));
}

pub(crate) async fn what_a_killed_client_has_asked_for_is_not_done(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let slot = slot_of_key(b"held");
    fixture.change(slot, Slot::pre_migrate).await;
    let mut client = proxy.client();
    let id = ask(&mut client, "CLIENT ID").text();
    client.send(b"SET held 1\r\n").unwrap();
    eventually_async(SOON, || async { stats(&proxy).await.parked == 1 }).await;
    assert_eq!(ask(&mut proxy.client(), &format!("CLIENT KILL ID {id}")), Reply::Int(1));
    assert!(client.read().is_err());
    fixture.change(slot, |slot| slot.online_at(GroupId(1))).await;
    assert_eq!(ask(&mut proxy.client(), "EXISTS held"), Reply::Int(0));
    assert_eq!(stats(&proxy).await.parked, 0);
}

pub(crate) async fn moves_keys_on_demand(url: &str) {
    const KEYS: u32 = 50;
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let slot = slot_of_key(b"{t}");
    let [first, second] = &fixture.groups;
    for key in 0..KEYS {
        ask(&mut proxies[0].client(), &format!("SET {{t}}{key} {key}"));
    }
    fixture.change(slot, Slot::pre_migrate).await;
    fixture.change(slot, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
    assert_eq!(stats(&proxies[0]).await.slots.migrate, 1);

    let mut clients = [proxies[0].client(), proxies[1].client()];
    for key in 0..KEYS {
        let client = &mut clients[key as usize % 2];
        assert_eq!(
            ask(client, &format!("APPEND {{t}}{key} !")),
            Reply::Int(key.to_string().len() as i64 + 1)
        );
    }
    assert_eq!(ask(&mut clients[0], "EXISTS {t}0 {t}1 {t}none"), Reply::Int(2));
    assert_eq!(ask(&mut first.master.client(), "DBSIZE"), Reply::Int(0), "all have been asked for");
    assert_eq!(ask(&mut second.master.client(), "DBSIZE"), Reply::Int(i64::from(KEYS)));
    let moves = [stats(&proxies[0]).await.moves, stats(&proxies[1]).await.moves];
    assert_eq!(moves[0].moved + moves[1].moved, u64::from(KEYS));
    assert_eq!(moves[0].failures + moves[1].failures, 0);
    assert!(moves[0].settled >= u64::from(KEYS) / 2);

    fixture.change(slot, |slot| slot.online_at(GroupId(2))).await;
    assert_eq!(ask(&mut clients[1], "GET {t}7").text(), "7!");
    assert_eq!(stats(&proxies[0]).await.moves.settled, 0, "forgotten with the state");
}

pub(crate) async fn two_proxies_want_the_same_keys(url: &str) {
    const KEYS: u64 = 20;
    const ROUNDS: u64 = 25;
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let slot = slot_of_key(b"{t}");
    for key in 0..KEYS {
        ask(&mut proxies[0].client(), &format!("SET {{t}}{key} 1000"));
    }
    let counting = |client: usize| {
        let mut client = proxies[client % 2].client();
        std::thread::spawn(move || {
            for round in 0..ROUNDS {
                for key in 0..KEYS {
                    ask(&mut client, &format!("INCR {{t}}{}", (key + round) % KEYS));
                }
            }
        })
    };
    let counters: Vec<_> = (0..4).map(counting).collect();
    fixture.change(slot, Slot::pre_migrate).await;
    fixture.change(slot, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
    counters.into_iter().for_each(|counter| counter.join().unwrap());
    let mut client = proxies[1].client();
    for key in 0..KEYS {
        assert_eq!(ask(&mut client, &format!("GET {{t}}{key}")).text(), (1000 + 4 * ROUNDS).to_string());
    }
    assert_eq!(ask(&mut fixture.groups[0].master.client(), "DBSIZE"), Reply::Int(0));
}

pub(crate) async fn a_wave_switches_many_slots_in_one_action(url: &str) {
    const KEYS: u64 = 1000;
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let wave: SlotSet = "0-511".parse().unwrap();
    let mut client = proxies[0].client();
    for key in 0..KEYS {
        ask(&mut client, &format!("SET key{key} 0"));
    }
    let counting = |number: u64| {
        let mut client = proxies[number as usize % 2].client();
        std::thread::spawn(move || {
            for key in 0..KEYS {
                ask(&mut client, &format!("INCR key{}", (key + number * 250) % KEYS));
            }
        })
    };
    let counters: Vec<_> = (0..4).map(counting).collect();
    fixture.change_wave(&wave, Slot::pre_migrate).await;
    fixture.change_wave(&wave, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
    counters.into_iter().for_each(|counter| counter.join().unwrap());

    let mut there = 0;
    for key in 0..KEYS {
        assert_eq!(ask(&mut client, &format!("GET key{key}")).text(), "4", "key{key}");
        there += i64::from(wave.contains(slot_of_key(format!("key{key}").as_bytes())));
    }
    assert_eq!(ask(&mut fixture.groups[1].master.client(), "DBSIZE"), Reply::Int(there));
    assert_eq!(ask(&mut fixture.groups[0].master.client(), "DBSIZE"), Reply::Int(KEYS as i64 - there));
    assert_eq!(stats(&proxies[0]).await.slots.migrate, 512);
    fixture.change_wave(&wave, |slot| slot.online_at(GroupId(2))).await;
    assert_eq!(stats(&proxies[1]).await.slots.online, 1024);
    assert_eq!(ask(&mut client, "GET key1").text(), "4");
}

pub(crate) async fn follows_a_new_master(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let [first, _] = &fixture.groups;
    let mut client = proxy.client();
    ask(&mut client, "SET {t}a 1");
    ask(&mut client, "SET {t}b 2");
    let slot = slot_of_key(b"{t}");
    fixture.change(slot, Slot::pre_migrate).await;
    fixture.change(slot, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
    assert_eq!(ask(&mut client, "GET {t}a").text(), "1");

    // The source's master dies while the slot moves; its slave has what WAIT made it have.
    first.master.kill();
    ask(&mut first.slave.client(), "REPLICAOF NO ONE");
    fixture.name_master(GroupId(1), &first.slave.addr()).await;
    fixture.tell_group(GroupId(1)).await;

    assert_eq!(ask(&mut client, "GET {t}b").text(), "2", "fetched from the new master of the source");
    assert_eq!(ask(&mut client, "GET {t}a").text(), "1");
    assert_eq!(ask(&mut first.slave.client(), "DBSIZE"), Reply::Int(0));
    ask(&mut client, "SET elsewhere 3");
    assert_eq!(ask(&mut first.slave.client(), "GET elsewhere").text(), "3");
}

pub(crate) async fn leaves_when_marked_offline(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let record = fixture.registered("p1").await.unwrap();
    fixture.product.set_proxy_state(&record, ProxyState::MarkOffline).await.unwrap();
    let ended = proxy.process().wait(SOON).expect("it ends");
    assert_eq!(ended.code(), Some(0), "{}", proxy.process().log());
    assert_eq!(fixture.registered("p1").await, None);
    assert!(fixture.node(&format!("fence/{}", proxy.addr())).await.is_none());
}

pub(crate) async fn leaves_on_sigterm(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let mut client = proxy.client();
    ask(&mut client, "SET k v");
    proxy.process().terminate();
    let ended = proxy.process().wait(SOON).expect("it ends");
    assert_eq!(ended.code(), Some(0), "{}", proxy.process().log());
    assert_eq!(fixture.registered("p1").await, None);
    assert!(fixture.node(&format!("fence/{}", proxy.addr())).await.is_none());
    eventually(SOON, || client.call(&["PING"]).is_err());
}
