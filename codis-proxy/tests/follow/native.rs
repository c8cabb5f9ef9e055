//! A slot moves between two codis-servers of version 2.8, which hand its keys over themselves.

use std::time::{Duration, Instant};

use codis_core::{GroupId, Slot, SlotId, slot_of_key};
use codis_testkit::{NativeServer, ProxyProcess, Relay, Reply, Sandbox, need};

use crate::fixture::{Place, ask, ask_soon, local_store, run, stats};

struct Scene {
    place: Place,
    s: NativeServer,
    d: NativeServer,
    _store: Sandbox,
}

impl Scene {
    async fn start() -> Self {
        let (s, d) = (NativeServer::start(), NativeServer::start());
        Self::with(s.addr(), d.addr(), s, d).await
    }

    async fn with(from: String, to: String, s: NativeServer, d: NativeServer) -> Self {
        let (store, url) = local_store();
        Self { place: Place::new(&url, &[vec![from], vec![to]]).await, s, d, _store: store }
    }

    fn proxy(&self, id: &str) -> ProxyProcess {
        self.place.start(id)
    }
}

fn slot() -> SlotId {
    slot_of_key(b"{t}")
}

fn on(server: &NativeServer, line: &str) -> Reply {
    ask(&mut server.client(), line)
}

#[test]
fn keys_of_every_type_are_moved_whole_tags_at_a_time() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxies = [scene.proxy("p1"), scene.proxy("p2")];
        let mut client = proxies[0].client();
        let commands = [
            ("SET {t}string hello", "GET {t}string"),
            ("RPUSH {t}list a b c", "LRANGE {t}list 0 -1"),
            ("HMSET {t}hash f v g w", "HMGET {t}hash f g"),
            ("SADD {t}set 1", "SMEMBERS {t}set"),
            ("ZADD {t}zset 1.5 a 2.5 b", "ZRANGE {t}zset 0 -1 WITHSCORES"),
            ("PFADD {t}hll a b", "PFCOUNT {t}hll"),
        ];
        for (fill, _) in commands {
            ask(&mut client, fill);
        }
        ask(&mut client, "PEXPIRE {t}hash 100000");
        let before: Vec<Reply> = commands.iter().map(|(_, read)| ask(&mut client, read)).collect();
        scene.place.migrate(slot()).await;
        assert_eq!(on(&scene.d, "DBSIZE"), Reply::Int(0));
        let mut other = proxies[1].client();
        assert_eq!(ask(&mut other, commands[0].1), before[0]);
        assert_eq!(on(&scene.s, "DBSIZE"), Reply::Int(0), "the tag moves whole");
        let after: Vec<Reply> = commands.iter().map(|(_, read)| ask(&mut client, read)).collect();
        assert_eq!(after, before);
        let Reply::Int(1..=100_000) = ask(&mut client, "PTTL {t}hash") else { panic!("no time to live") };
        // Several keys of one request, present and absent.
        assert_eq!(ask(&mut client, "MGET {t}string {t}none"), {
            let bulk = |text: Option<&str>| Reply::Bulk(text.map(Into::into));
            Reply::Array(Some(vec![bulk(Some("hello")), bulk(None)]))
        });
        scene.place.change(slot(), |slot| slot.online_at(GroupId(2))).await;
        assert_eq!(ask(&mut client, "GET {t}string").text(), "hello");
    });
}

#[test]
fn blocking_commands_need_a_newer_server() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        for _ in 0..2 {
            let reply = client.call(&["BLPOP", "{t}list", "0"]).unwrap().text();
            assert!(reply.starts_with("ERR backend ") && reply.contains("no CLIENT UNBLOCK"), "{reply}");
            // On a connection that is used again it is no different.
            ask(&mut client, "MULTI");
            ask(&mut client, "RPUSH {t}list a");
            assert!(matches!(ask(&mut client, "EXEC"), Reply::Array(Some(_))));
        }
        assert_eq!(on(&scene.s, "LLEN {t}list"), Reply::Int(2));
    });
}

#[test]
fn counters_count_right_while_their_slots_move() {
    need!("redis");
    const KEYS: u64 = 30;
    const ROUNDS: u64 = 20;
    run(async {
        let scene = Scene::start().await;
        let proxies = [scene.proxy("p1"), scene.proxy("p2")];
        // No tags: keys without one are moved one by one.
        let name = |key: u64| format!("k{key}");
        let counting = |number: u64| {
            let mut client = proxies[number as usize % 2].client();
            std::thread::spawn(move || {
                for round in 0..ROUNDS {
                    for key in 0..KEYS {
                        ask_soon(&mut client, &format!("INCR {}", name((key + round + number) % KEYS)));
                    }
                }
            })
        };
        let counters: Vec<_> = (0..4).map(counting).collect();
        let wave = (0..KEYS).map(|key| slot_of_key(name(key).as_bytes())).collect();
        scene.place.change_wave(&wave, Slot::pre_migrate).await;
        scene.place.change_wave(&wave, |slot| slot.migrate(GroupId(1), GroupId(2))).await;
        counters.into_iter().for_each(|counter| counter.join().unwrap());
        let mut client = proxies[0].client();
        for key in 0..KEYS {
            assert_eq!(ask(&mut client, &format!("GET {}", name(key))).text(), (4 * ROUNDS).to_string());
        }
        assert_eq!(on(&scene.s, "DBSIZE"), Reply::Int(0));
        assert_eq!(on(&scene.d, "DBSIZE"), Reply::Int(KEYS as i64));
    });
}

#[test]
fn a_dead_destination_is_an_error_and_nothing_is_lost() {
    need!("redis");
    run(async {
        let mut scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, "SET {t}k v");
        scene.place.migrate(slot()).await;
        scene.d.kill();
        let reply = client.call(&["GET", "{t}k"]).unwrap().text();
        for part in [&format!("ERR slot {} ", slot()), &scene.s.addr(), &scene.d.addr()] {
            assert!(reply.contains(part), "{part} is missing in {reply}");
        }
        assert_eq!(ask(&mut client, "SET elsewhere 1").text(), "OK", "S's other slots are served");
        assert_eq!(on(&scene.s, "GET {t}k").text(), "v");
        scene.d.restart();
        assert_eq!(ask_soon(&mut client, "GET {t}k").text(), "v");
        assert_eq!(on(&scene.s, "EXISTS {t}k"), Reply::Int(0));
    });
}

#[test]
fn a_destination_that_hangs_holds_the_source_up_for_a_bounded_time() {
    need!("redis");
    run(async {
        let (s, d) = (NativeServer::start(), NativeServer::start());
        // Answers everybody but the source.
        let relay = Relay::to(d.port());
        let scene = Scene::with(s.addr(), relay.addr(), s, d).await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, "SET {t}k v");
        scene.place.migrate(slot()).await;
        relay.delay_next(b"SLOTSRESTORE");
        let begun = Instant::now();
        let reply = client.call(&["GET", "{t}k"]).unwrap().text();
        assert!(reply.starts_with("ERR slot ") && reply.contains("IOERR"), "{reply}");
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        assert_eq!(stats(&proxy).await.moves.broken_pairs, 1, "the source is left in peace for a while");
        assert_eq!(ask(&mut client, "SET elsewhere 1").text(), "OK");
        assert_eq!(on(&scene.s, "GET {t}k").text(), "v");
        relay.release();
        assert_eq!(ask_soon(&mut client, "GET {t}k").text(), "v");
        ask(&mut client, "APPEND {t}k !");
        assert_eq!(on(&scene.d, "GET {t}k").text(), "v!");
        assert_eq!(on(&scene.s, "EXISTS {t}k"), Reply::Int(0));
    });
}

#[test]
fn a_source_that_hangs_is_bounded_and_the_key_is_there_when_it_is_back() {
    need!("redis");
    run(async {
        let scene = Scene::start().await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, "SET {t}k v");
        ask(&mut client, "SET {t}first v");
        scene.place.migrate(slot()).await;
        scene.s.stop();
        let begun = Instant::now();
        let reply = client.call(&["GET", "{t}k"]).unwrap();
        assert!(reply.is_error(), "{reply:?}");
        assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
        scene.s.cont();
        assert_eq!(ask_soon(&mut client, "GET {t}k").text(), "v");
        assert_eq!(on(&scene.s, "DBSIZE"), Reply::Int(0));
    });
}

#[test]
fn a_write_on_a_broken_connection_is_over_before_the_slot_moves() {
    need!("redis");
    run(async {
        let (s, d) = (NativeServer::start(), NativeServer::start());
        // The server knows the proxy's connections by other addresses than the proxy does, and tells no
        // ids but in its list of clients.
        let relay = Relay::to(s.port());
        let to = d.addr();
        let scene = Scene::with(relay.addr(), to, s, d).await;
        let proxy = scene.proxy("p1");
        let mut client = proxy.client();
        ask(&mut client, "SET {t}k old");
        relay.delay_next(b"late-write");
        let mut writer = proxy.client();
        let writing = std::thread::spawn(move || writer.call(&["SET", "{t}k", "late-write"]).unwrap());
        relay.wait_held();
        relay.cut_clients();
        assert!(writing.join().unwrap().is_error());
        scene.place.migrate(slot()).await;
        assert_eq!(ask_soon(&mut client, "GET {t}k").text(), "old");
        relay.release();
        relay.wait_late_ended();
        assert_eq!(on(&scene.s, "DBSIZE"), Reply::Int(0), "it never ran");
        assert_eq!(ask(&mut client, "GET {t}k").text(), "old");
    });
}
