//! Groups that are held back while their master changes as planned, and a proxy without its store.

use std::thread::JoinHandle;

use codis_admin::AdminClient;
use codis_core::{Addr, Extra, GroupId, SlotSet, Switch, SwitchStep, Versioned};
use codis_testkit::{ProxyProcess, Reply, ZooKeeper, eventually, eventually_async};

use crate::fixture::{Fixture, SOON, ask, stats};

const GROUP: GroupId = GroupId(1);

/// The journal of a switch of group 1 from its master to its slave.
fn switch(fixture: &Fixture, hold_ms: u64) -> Switch {
    let [from, to] = [&fixture.groups[0].master, &fixture.groups[0].slave].map(|s| s.addr().parse().unwrap());
    Switch {
        group: GROUP,
        step: SwitchStep::Hold,
        from,
        to,
        owner: "test".into(),
        epoch: 1,
        begun_ms: 0,
        hold_ms,
        extra: Extra::default(),
    }
}

/// Begins to hold the group back; acknowledged by all proxies when nothing of it is in flight.
pub(crate) async fn hold(fixture: &Fixture, hold_ms: u64) -> Versioned<Switch> {
    let switch = fixture.product.begin_switch(&switch(fixture, hold_ms)).await.unwrap();
    fixture.tell_group(GROUP).await;
    switch
}

fn asking(proxy: &ProxyProcess, line: &'static str) -> JoinHandle<Reply> {
    let mut client = proxy.client();
    std::thread::spawn(move || ask(&mut client, line))
}

async fn until_waiting(proxy: &ProxyProcess, clients: u64) {
    eventually_async(SOON, || async { stats(proxy).await.parked == clients }).await;
}

pub(crate) async fn requests_of_a_group_wait_until_its_journal_says_so(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.proxy("p1").setting("park_timeout = 60").start();
    let upper: SlotSet = "512-1023".parse().unwrap();
    fixture.change_wave(&upper, |slot| slot.online_at(GroupId(2))).await;
    let [old, new] = [&fixture.groups[0].master, &fixture.groups[0].slave];
    let (here, there) = ("k3", "key10");
    assert!(codis_core::slot_of_key(here.as_bytes()).get() < 512);
    assert!(codis_core::slot_of_key(there.as_bytes()).get() >= 512);
    ask(&mut proxy.client(), "SET k3 before");

    let journal = hold(&fixture, 60_000).await;
    let waiting =
        [asking(&proxy, "GET k3"), asking(&proxy, "EVAL return(redis.call('SET',KEYS[1],'after')) 1 k3")];
    until_waiting(&proxy, 2).await;
    assert_eq!(ask(&mut proxy.client(), "SET key10 x").text(), "OK", "the other group feels nothing");
    assert_eq!(ask(&mut old.client(), "GET k3").text(), "before");

    // Nothing is in flight, so the slave has everything as soon as it has caught up.
    eventually(SOON, || ask(&mut new.client(), "GET k3").text() == "before");
    let journal = fixture.product.step_switch(&journal, SwitchStep::Switching).await.unwrap();
    ask(&mut new.client(), "REPLICAOF NO ONE");
    fixture.name_master(GROUP, &new.addr()).await;
    // Told of the new master, the proxies go on holding until the journal ends.
    fixture.tell_group(GROUP).await;
    assert_eq!(stats(&proxy).await.parked, 2);
    fixture.product.step_switch(&journal, SwitchStep::Done).await.unwrap();
    let replies: Vec<String> = waiting.into_iter().map(|waiting| waiting.join().unwrap().text()).collect();
    assert!(["before", "after"].contains(&replies[0].as_str()), "{replies:?}");
    assert_eq!(replies[1], "OK");
    assert_eq!(ask(&mut new.client(), "GET k3").text(), "after");
    assert_eq!(ask(&mut old.client(), "GET k3").text(), "before");
}

pub(crate) async fn a_hold_that_takes_too_long_is_given_up_in_the_journal(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxies = [fixture.start("p1"), fixture.start("p2")];
    let journal = hold(&fixture, 500).await;
    let waiting = [asking(&proxies[0], "SET a 1"), asking(&proxies[1], "SET b 2")];
    for waiting in waiting {
        assert_eq!(waiting.join().unwrap().text(), "OK", "the old master goes on");
    }
    let (now, _) = fixture.product.watch_switch(GROUP).await.unwrap();
    assert_eq!(now.unwrap().step, SwitchStep::Aborted);
    let late = fixture.product.step_switch(&journal, SwitchStep::Switching).await;
    assert!(late.is_err(), "whoever wanted to go on finds that it was given up");
    // The next one is another switch.
    let again = hold(&fixture, 500).await;
    assert!(again.epoch > journal.epoch);
    let again = fixture.product.step_switch(&again, SwitchStep::Switching).await.unwrap();
    let waiting = asking(&proxies[0], "SET a 3");
    until_waiting(&proxies[0], 1).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(!waiting.is_finished(), "from switching on time changes nothing");
    fixture.product.step_switch(&again, SwitchStep::Done).await.unwrap();
    assert_eq!(waiting.join().unwrap().text(), "OK");
}

pub(crate) async fn what_is_irrevocable_is_held_through_a_restart(url: &str) {
    let fixture = Fixture::new(url).await;
    let mut proxy = fixture.start("p1");
    let journal = hold(&fixture, 60_000).await;
    let journal = fixture.product.step_switch(&journal, SwitchStep::Switching).await.unwrap();
    proxy.kill();
    proxy.restart();
    let waiting = asking(&proxy, "SET a 1");
    until_waiting(&proxy, 1).await;
    fixture.product.step_switch(&journal, SwitchStep::Done).await.unwrap();
    assert_eq!(waiting.join().unwrap().text(), "OK");
}

pub(crate) async fn a_proxy_that_shall_not_serve_without_the_store(zookeeper: &ZooKeeper) {
    let fixture = Fixture::new(&zookeeper.url()).await;
    let proxy = fixture.proxy("p1").setting("on_store_loss = \"fence\"").setting("fence_after = 0.5").start();
    let mut client = proxy.client();
    assert_eq!(ask(&mut client, "SET k v").text(), "OK");
    zookeeper.stop();
    eventually(SOON, || {
        let reply = client.call(&["GET", "k"]).unwrap();
        assert!(!reply.is_error() || reply.text().contains("on_store_loss = fence"), "{reply:?}");
        reply.is_error()
    });
    assert!(!AdminClient::default().stats(&proxy.admin_addr()).await.unwrap().ready);
    zookeeper.cont();
    eventually(SOON, || client.call(&["GET", "k"]).unwrap().text() == "v");
    eventually_async(SOON, || async { stats(&proxy).await.ready }).await;
}

/// A server that hangs, and one that is gone: other proxies' word for it stands in the store.
pub(crate) async fn what_fails_is_witnessed(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let master = &fixture.groups[0].master;
    let addr: Addr = master.addr().parse().unwrap();
    let failing = async || {
        let seen = fixture.product.witnesses().await.unwrap();
        let sight = seen.found.first().and_then(|witness| witness.servers.get(&addr).copied());
        sight.map(|sight| (sight.failing, sight.connections))
    };
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| drop(ask(client, "SET k v")));
    eventually_async(SOON, || async { failing().await == Some((0, 2)) }).await;
    master.stop();
    clients.iter_mut().for_each(|client| client.send(b"GET k\r\n").unwrap());
    eventually_async(SOON, || async { failing().await == Some((2, 2)) }).await;
    master.cont();
    eventually_async(SOON, || async { failing().await == Some((0, 2)) }).await;
}
