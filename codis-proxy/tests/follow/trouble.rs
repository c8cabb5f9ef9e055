//! What happens on other days.

use std::time::Duration;

use codis_core::{ActionKind, GroupId, ProxyState, Role, Server, Slot, SlotId, slot_of_key};
use codis_testkit::{PortLease, Process, Sandbox, ZooKeeper, bin, command, eventually, eventually_async};

use crate::fixture::{Fixture, SOON, ask, stats};

/// A proxy that may not serve for now, with the addresses of its clients and of its admin pages.
struct Started {
    process: Process,
    client: PortLease,
    admin: PortLease,
}

fn launch(fixture: &Fixture, id: &str, more: &[&str]) -> Started {
    let (client, admin) = (PortLease::take().unwrap(), PortLease::take().unwrap());
    let (listen, pages) = (client.addr(), admin.addr());
    let mut args = vec!["--store", &fixture.url, "--product", fixture.product.name().as_str(), "--id", id];
    args.extend(["--listen", &listen, "--admin", &pages, "--workers", "1"]);
    args.extend(more);
    let sandbox = Sandbox::create("proxy").unwrap();
    let process = Process::start(id, &bin("codis-proxy"), args, &[], &sandbox).unwrap();
    Started { process, client, admin }
}

/// Status of a page, 0 while nothing answers.
fn page(addr: &str, path: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};
    let fetch = || -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = fetch().unwrap_or_default();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, text)
}

pub(crate) async fn waits_until_all_slots_are_ready(url: &str) {
    let fixture = Fixture::new(url).await;
    let slot = SlotId::new(600).unwrap();
    fixture.rewrite(slot, |slot| Slot::unassigned(slot.id)).await;
    let proxy = launch(&fixture, "p1", &[]);
    let told = |text: &str| text.contains("slots 600 are not ready") && text.contains("it is offline");
    eventually_async(SOON, || async {
        let (status, text) = page(&proxy.admin.addr(), "/readyz");
        status == 503 && told(&text)
    })
    .await;
    assert_eq!(page(&proxy.admin.addr(), "/healthz").0, 200);
    assert_eq!(fixture.registered("p1").await, None);
    assert_eq!(
        fixture.product.stale_fences().await.unwrap(),
        [""; 0],
        "it does not hold up the change it waits for"
    );

    fixture.rewrite(slot, |slot| slot.online_at(GroupId(1))).await;
    fixture.until_state("p1", Some(ProxyState::Online)).await;
    eventually_async(SOON, || async { page(&proxy.admin.addr(), "/readyz").0 == 200 }).await;
    let (status, text) = page(&proxy.admin.addr(), "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("codis_proxy_slots{state=\"online\"} 1024"), "{text}");
    assert!(page(&proxy.admin.addr(), "/MoniData").1.contains("{ \"router\": {\"cmd_proxy\":["));
    assert_eq!(page(&proxy.admin.addr(), "/nothing").0, 404);
}

pub(crate) async fn waits_to_be_told_to_go_online(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = launch(&fixture, "p1", &["--auto-online", "false"]);
    fixture.until_state("p1", Some(ProxyState::Offline)).await;
    eventually_async(SOON, || async {
        page(&proxy.admin.addr(), "/readyz").1.contains("waiting for: codisctl proxy online p1")
    })
    .await;
    let record = fixture.registered("p1").await.unwrap();
    fixture.product.set_proxy_state(&record, ProxyState::Online).await.unwrap();
    eventually_async(SOON, || async { page(&proxy.admin.addr(), "/readyz").0 == 200 }).await;
    let mut client = codis_testkit::RespClient::connect(proxy.client.port(), SOON).unwrap();
    assert_eq!(ask(&mut client, "PING").text(), "PONG");
    proxy.process.terminate();
    assert_eq!(proxy.process.wait(SOON).unwrap().code(), Some(0));
}

pub(crate) async fn registers_again_after_a_suspension(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let before = (fixture.registered("p1").await.unwrap(), fixture.node("proxy/p1").await.unwrap());
    // What the proxy was not told of: the one who suspended it has given up telling it.
    let slot = slot_of_key(b"k");
    fixture.rewrite(slot, |slot| slot.online_at(GroupId(2))).await;
    let path = format!("{}/proxy_suspend/p1", fixture.product.root());
    let (mode, acl) = (codis_store::CreateMode::Persistent, codis_store::Acl::Dir);
    fixture.product.store().create(&path, b"", mode, acl).await.unwrap();
    eventually_async(SOON, || async {
        let Some(again) = fixture.node("proxy/p1").await else { return false };
        fixture.state("p1").await == Some(ProxyState::Online) && again.created_ms > before.1.created_ms
    })
    .await;
    assert!(fixture.node("proxy_suspend/p1").await.is_none());
    assert_eq!(fixture.registered("p1").await.unwrap().start_at, before.0.start_at, "the same process");
    ask(&mut proxy.client(), "SET k v");
    assert_eq!(ask(&mut fixture.groups[1].master.client(), "GET k").text(), "v");
    fixture.publish_confirmed(ActionKind::GroupRemove(GroupId(9))).await;
}

pub(crate) async fn replaces_its_dead_predecessor(url: &str) {
    let fixture = Fixture::new(url).await;
    let mut proxy = fixture.start("p1");
    let before = fixture.registered("p1").await.unwrap();
    // Killed: on ZooKeeper its node stands until the session runs out. Ready again long before that.
    proxy.restart();
    let after = fixture.registered("p1").await.unwrap();
    assert_ne!(after.start_at, before.start_at);
    assert_eq!(ask(&mut proxy.client(), "SET k v").text(), "OK");
    fixture.publish_confirmed(ActionKind::GroupRemove(GroupId(9))).await;
}

pub(crate) async fn keeps_serving_what_it_cannot_understand(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let slot = slot_of_key(b"k");
    ask(&mut proxy.client(), "SET k v");
    let good = fixture.slot(slot).await;
    let path = format!("{}/slots/slot_{slot}", fixture.product.root());
    fixture.product.store().set(&path, b"{\"id\":", good.version).await.unwrap();
    let lost = fixture.publish(ActionKind::SlotChanged(good.value.clone())).await;
    // A later action proves that the earlier one was seen.
    fixture.publish_confirmed(ActionKind::GroupChanged { group: GroupId(2), servers: None }).await;
    let acks = fixture.product.acks(lost.seq, &lost.receivers).await.unwrap();
    assert!(acks.acked.is_empty(), "what was not read must not be acknowledged");
    assert_eq!(ask(&mut proxy.client(), "GET k").text(), "v", "the old route stands");

    // A group without a master, and one that does not exist, end nothing either.
    let text = format!(
        "{{\"product_name\":\"x\",\"id\":{slot},\"group_id\":77,\"state\":{{\"status\":\"online\",\
         \"migrate_status\":{{\"from\":-1,\"to\":-1}},\"last_op_ts\":\"0\"}}}}"
    );
    fixture.product.store().set(&path, text.as_bytes(), good.version + 1).await.unwrap();
    let slot = fixture.slot(slot).await.value;
    fixture.publish_confirmed(ActionKind::SlotChanged(slot.clone())).await;
    let reply = proxy.client().call(&["GET", "k"]).unwrap();
    assert!(reply.is_error(), "group 77 does not have the key: {reply:?}");
    fixture.change(slot.id, |slot| slot.online_at(GroupId(1))).await;
    assert_eq!(ask(&mut proxy.client(), "GET k").text(), "v");
    assert!(proxy.process().is_running());
}

pub(crate) async fn warns_of_admin_pages_that_other_hosts_cannot_read(url: &str) {
    const WARNING: &str = "other hosts cannot read the admin pages";
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    assert!(!proxy.process().log().contains(WARNING), "everything is on this host");
    // An address that is set aside for examples.
    let elsewhere = Server::new("192.0.2.7:6379".parse().unwrap(), GroupId(3), Role::Master);
    fixture.product.create_group(GroupId(3)).await.unwrap();
    fixture.product.add_server(&elsewhere).await.unwrap();
    let log = fixture.start("p2").process().log();
    assert!(log.contains(WARNING) && log.contains("192.0.2.7:6379") && log.contains("--admin"), "{log}");
}

pub(crate) async fn refuses_to_start_in_vain(url: &str) {
    let fixture = Fixture::new(url).await;
    let ends = |store: &str, product: &str, id: &str, code: i32, told: &[&str]| {
        let (listen, admin) = (PortLease::take().unwrap(), PortLease::take().unwrap());
        let output = command("codis-proxy")
            .args(["--store", store, "--product", product, "--id", id, "--start-timeout", "0.5"])
            .args(["--listen", &listen.addr(), "--admin", &admin.addr()])
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{log}");
        for part in told {
            assert!(log.contains(part), "{part:?} is missing in: {log}");
        }
    };
    let name = fixture.product.name().as_str();
    ends("zk:nonsense", name, "p1", 2, &["zk:nonsense", "zk://HOST:PORT"]);
    let closed = PortLease::take().unwrap();
    ends(&format!("zk://{}", closed.addr()), name, "p1", 5, &["cannot reach the store", &closed.addr()]);
    ends(url, "nobody", "p1", 4, &["product nobody is not initialised", "product init"]);
    let proxy = fixture.start("p1");
    ends(url, name, "p1", 4, &["proxy id p1 is taken", &proxy.addr(), "--id"]);
    assert_eq!(ask(&mut proxy.client(), "PING").text(), "PONG");
    assert_eq!(fixture.state("p1").await, Some(ProxyState::Online), "the other one is unharmed");
}

pub(crate) async fn a_dead_destination_hides_nothing(url: &str) {
    const KEYS: u32 = 12;
    let mut fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let mut client = proxy.client();
    for key in 0..KEYS {
        ask(&mut client, &format!("SET {{t}}{key} {key}"));
    }
    let slot = slot_of_key(b"{t}");
    fixture.change(slot, Slot::pre_migrate).await;
    fixture.change(slot, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
    for key in 0..KEYS / 2 {
        ask(&mut client, &format!("GET {{t}}{key}"));
    }

    // What it has now is what it comes back with.
    ask(&mut fixture.groups[1].master.client(), "SAVE");
    fixture.groups[1].master.kill();
    let reply = client.call(&["GET", &format!("{{t}}{}", KEYS - 1)]).unwrap();
    let text = reply.text();
    assert!(reply.is_error(), "{reply:?}");
    for part in [&format!("slot {slot} "), &fixture.groups[0].master.addr(), &fixture.groups[1].master.addr()]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert_eq!(ask(&mut client, "SET other 1").text(), "OK", "the source's other slots feel nothing");
    let left = ask(&mut fixture.groups[0].master.client(), "DBSIZE");
    assert_eq!(left, codis_testkit::Reply::Int(i64::from(KEYS / 2) + 1), "what had not moved is still there");

    fixture.groups[1].master.restart();
    for key in 0..KEYS {
        let name = format!("{{t}}{key}");
        eventually_async(SOON, || {
            let reply = client.call(&["GET", &name]).unwrap();
            std::future::ready(!reply.is_error() && reply.text() == key.to_string())
        })
        .await;
    }
}

pub(crate) async fn serves_without_the_store(zookeeper: &ZooKeeper) {
    let fixture = Fixture::new(&zookeeper.url()).await;
    let proxy = fixture.start("p1");
    let mut client = proxy.client();
    zookeeper.stop();
    eventually_async(SOON, || async { !stats(&proxy).await.store_connected }).await;
    assert_eq!(ask(&mut client, "SET k v").text(), "OK");
    zookeeper.cont();
    eventually_async(SOON, || async { stats(&proxy).await.store_connected }).await;
    eventually_async(SOON, || async { fixture.product.exists().await.is_ok() }).await;
    fixture.publish_confirmed(ActionKind::GroupChanged { group: GroupId(1), servers: None }).await;
    assert_eq!(ask(&mut client, "GET k").text(), "v");
}

pub(crate) async fn comes_back_after_an_expired_session(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = fixture.start("p1");
    let before = fixture.registered("p1").await.unwrap();
    proxy.process().stop();
    fixture.until_state("p1", None).await;
    assert!(fixture.node(&format!("fence/{}", proxy.addr())).await.is_some(), "the fence stands");
    // Nobody may change this while the fence stands; someone has cleared it by force.
    let slot = slot_of_key(b"k");
    fixture.rewrite(slot, |slot| slot.online_at(GroupId(2))).await;
    proxy.process().cont();
    fixture.until_state("p1", Some(ProxyState::Online)).await;
    assert_eq!(fixture.registered("p1").await.unwrap().start_at, before.start_at);
    ask(&mut proxy.client(), "SET k v");
    assert_eq!(ask(&mut fixture.groups[1].master.client(), "GET k").text(), "v", "everything was read anew");
    let log = proxy.process().log();
    let decisions =
        ["the session has expired", "a new session with the store is open", "registered as offline"];
    let places = decisions.map(|line| log.rfind(line).unwrap_or_else(|| panic!("{line:?} is not in {log}")));
    assert!(places.is_sorted(), "{log}");
    eventually(SOON, || proxy.process().log()[places[2]..].contains(" online id=p1"));
    fixture.publish_confirmed(ActionKind::GroupRemove(GroupId(9))).await;
}
