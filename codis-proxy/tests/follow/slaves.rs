//! Reads from slaves: whose data may be old, but not too old.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codis_core::{GroupId, Slot, slot_of_key};
use codis_testkit::{ProxyProcess, RedisServer, RespClient, eventually};

use crate::fixture::{Fixture, Place, SOON, Servers, ask, ask_soon};

const MAX_LAG: Duration = Duration::from_millis(400);

fn reading(place: &Place, from: &str) -> ProxyProcess {
    let proxy = place.proxy("p1").setting(format!("read_from = \"{from}\""));
    proxy.setting(format!("max_lag = {}", MAX_LAG.as_secs_f64())).start()
}

/// How many GETs a server has carried out.
fn gets(server: &RedisServer) -> u64 {
    let info = ask(&mut server.client(), "INFO commandstats").text();
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_get:calls="));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// Asks until a slave has answered.
fn until_read_from(server: &RedisServer, client: &mut RespClient) {
    let before = gets(server);
    eventually(SOON, || {
        ask(client, "GET somewhere");
        gets(server) > before
    });
}

/// Writes the time of each write, and knows when each was acknowledged.
struct Clock {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(Instant, u64)>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Clock {
    fn start(mut client: RespClient) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let thread = {
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            std::thread::spawn(move || {
                for count in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    assert_eq!(ask(&mut client, &format!("SET clock {count}")).text(), "OK");
                    acknowledged.lock().unwrap().push((Instant::now(), count));
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        };
        Self { stop, acknowledged, thread: Some(thread) }
    }

    /// Reads for a while; each read has at least what was acknowledged `MAX_LAG` before it was asked for.
    fn check(&self, client: &mut RespClient, time: Duration) {
        let begun = Instant::now();
        let mut reads = 0;
        while begun.elapsed() < time {
            let asked = Instant::now();
            let read: u64 = ask(client, "GET clock").text().parse().unwrap_or(0);
            let known = self.acknowledged.lock().unwrap();
            let old = known.iter().rev().find(|(when, _)| *when + MAX_LAG <= asked);
            let least = old.map_or(0, |(_, count)| *count);
            assert!(
                read >= least,
                "{read} was read {:?} after {least} was acknowledged",
                old.map(|o| o.0.elapsed())
            );
            reads += 1;
        }
        assert!(reads > 0, "somebody answers all the time");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

pub(crate) async fn no_read_is_older_than_allowed_while_the_slave_hangs(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = reading(&fixture, "replica-preferred");
    let [master, slave] = [&fixture.groups[0].master, &fixture.groups[0].slave];
    let mut client = proxy.client();
    let clock = Clock::start(master.client());
    for _ in 0..3 {
        until_read_from(slave, &mut client);
        slave.stop();
        clock.check(&mut client, MAX_LAG * 3);
        slave.cont();
        clock.check(&mut client, MAX_LAG);
    }
    until_read_from(slave, &mut client);
}

/// The slave answers, and says that its link is up.
pub(crate) async fn no_read_is_older_than_allowed_while_the_stream_of_writes_stalls(url: &str) {
    let (servers, relay) = Servers::start_relayed();
    let place = Place::new(url, &[vec![servers.master.addr(), servers.slave.addr()]]).await;
    let proxy = reading(&place, "replica-preferred");
    let mut client = proxy.client();
    let clock = Clock::start(servers.master.client());
    for _ in 0..2 {
        until_read_from(&servers.slave, &mut client);
        relay.hold_replies();
        clock.check(&mut client, MAX_LAG * 3);
        let before = gets(&servers.slave);
        clock.check(&mut client, MAX_LAG / 2);
        assert_eq!(gets(&servers.slave), before, "nobody asks a slave that is behind");
        relay.release();
        relay.unhold();
        clock.check(&mut client, MAX_LAG);
    }
    until_read_from(&servers.slave, &mut client);
}

pub(crate) async fn clients_read_what_they_have_written_and_in_order(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = reading(&fixture, "replica-preferred");
    let slave = &fixture.groups[0].slave;
    let mut client = proxy.client();
    until_read_from(slave, &mut client);
    let before = gets(slave);
    for round in 0..2000 {
        // The read in front must not see the write, the one behind it must.
        client.send(format!("GET k\r\nSET k {round}\r\nGET k\r\n").as_bytes()).unwrap();
        let replies: [String; 3] = std::array::from_fn(|_| client.read().unwrap().text());
        let last = if round == 0 { String::new() } else { (round - 1).to_string() };
        assert_eq!(replies, [last, "OK".into(), round.to_string()]);
        if round % 100 == 0 {
            std::thread::sleep(MAX_LAG / 2);
            assert_eq!(ask(&mut client, "GET k").text(), round.to_string());
            assert_eq!(ask(&mut client, "GET k").text(), round.to_string());
        }
    }
    until_read_from(slave, &mut client);
    assert!(gets(slave) > before);
}

pub(crate) async fn a_lost_slave_is_not_noticed(url: &str) {
    let mut fixture = Fixture::new(url).await;
    let proxy = reading(&fixture, "nearest");
    let mut client = proxy.client();
    ask(&mut client, "SET k v");
    for _ in 0..3 {
        for _ in 0..200 {
            assert_eq!(ask(&mut client, "GET k").text(), "v");
        }
        fixture.groups[0].slave.kill();
        for _ in 0..200 {
            assert_eq!(ask(&mut client, "GET k").text(), "v");
        }
        fixture.groups[0].slave.restart();
    }
}

pub(crate) async fn a_slave_is_read_only_when_it_has_what_a_move_brought(url: &str) {
    let fixture = Fixture::new(url).await;
    let proxy = reading(&fixture, "replica-preferred");
    let slot = slot_of_key(b"k");
    let [first, second] = &fixture.groups;
    let mut client = proxy.client();
    for round in 0..4 {
        let (from, to) = if round % 2 == 0 { (first, second) } else { (second, first) };
        let groups = if round % 2 == 0 { (1, 2) } else { (2, 1) };
        ask(&mut client, &format!("SET k {round}"));
        eventually(SOON, || ask(&mut from.slave.client(), "GET k").text() == round.to_string());
        fixture.change(slot, Slot::pre_migrate).await;
        fixture.change(slot, |slot| slot.migrate(GroupId(groups.0), GroupId(groups.1))).await;
        assert_eq!(ask_soon(&mut client, "GET k").text(), round.to_string(), "in migrate");
        fixture.change(slot, |slot| slot.online_at(GroupId(groups.1))).await;
        let before = gets(&to.slave);
        eventually(SOON, || {
            assert_eq!(ask(&mut client, "GET k").text(), round.to_string());
            gets(&to.slave) > before
        });
    }
}
