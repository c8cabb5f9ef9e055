//! The native server keeps what it promises, over the wire.
//!
//! With `CODIS_SERVER=/path/to/codis-server` the same is asked of the real program.

#![expect(clippy::unwrap_used, reason = "a test says what it found by panicking")]

use std::time::{Duration, Instant};

use codis_testkit::{NativeServer, RedisServer, Relay, Reply, RespClient, eventually, need};

const SOON: Duration = Duration::from_secs(20);

fn ask(client: &mut RespClient, line: &str) -> Reply {
    client.call(&line.split(' ').collect::<Vec<_>>()).unwrap()
}

fn ints(numbers: &[i64]) -> Reply {
    Reply::Array(Some(numbers.iter().map(|n| Reply::Int(*n)).collect()))
}

/// Arguments of a SLOTSMGRT* command: where to, how long, what.
fn to(command: &str, port: u16, timeout: u32, what: &str) -> String {
    format!("{command} 127.0.0.1 {port} {timeout} {what}")
}

#[test]
fn it_is_a_redis_2_8() {
    need!("redis");
    let server = NativeServer::start();
    let mut client = server.client();
    assert_eq!(ask(&mut client, "SET k v").text(), "OK");
    assert_eq!(ask(&mut client, "get k").text(), "v");
    let info = ask(&mut client, "INFO").text();
    assert!(info.contains("redis_version:2.8"), "{info}");
    assert!(info.contains(&format!("tcp_port:{}", server.port())), "{info}");
    for unknown in ["UNLINK k", "WAIT 0 0", "MEMORY USAGE k", "REPLICAOF NO ONE", "HELLO 3", "XADD k * f v"] {
        let name = unknown.split(' ').next().unwrap();
        assert_eq!(ask(&mut client, unknown), Reply::Error(format!("ERR unknown command '{name}'")));
    }
    for variadic in ["EXISTS k k", "HSET h a 1 b 2", "RESTORE k 0 v REPLACE"] {
        let reply = ask(&mut client, variadic).text();
        assert!(reply.starts_with("ERR wrong number of arguments"), "{variadic}: {reply}");
    }
    assert!(ask(&mut client, "CLIENT ID").text().starts_with("ERR Syntax error"));
    assert!(ask(&mut client, "CLIENT UNBLOCK 1").text().starts_with("ERR Syntax error"));
}

#[test]
fn command_info_tells_a_native_server_from_a_stock_one() {
    need!("redis");
    let (native, stock) = (NativeServer::start(), RedisServer::start());
    let entry = ask(&mut native.client(), "COMMAND INFO SLOTSMGRTTAGONE unlink");
    let Reply::Array(Some(entries)) = entry else { panic!("{entry:?}") };
    let [Reply::Array(Some(fields)), Reply::Bulk(None)] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((fields[0].text().as_str(), &fields[1]), ("slotsmgrttagone", &Reply::Int(5)));
    let entry = ask(&mut stock.client(), "COMMAND INFO SLOTSMGRTTAGONE");
    assert_eq!(entry, Reply::Array(Some(vec![Reply::Bulk(None)])));
}

#[test]
fn keys_of_a_tag_move_together_over_what_is_there() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    let (mut source, mut target) = (s.client(), d.client());
    for fill in ["SET {t}a 1", "RPUSH {t}b x y", "SET x{t} 2", "SET {other} 3", "SET plain 4"] {
        ask(&mut source, fill);
    }
    ask(&mut source, "PEXPIRE {t}a 100000");
    ask(&mut target, "SET {t}a older");
    assert_eq!(ask(&mut source, "SLOTSHASHKEY {t}a {t}b a"), {
        let slot = |key: &str| i64::from(codis_core::slot_of_key(key.as_bytes()).get());
        ints(&[slot("{t}a"), slot("{t}a"), slot("a")])
    });
    assert_eq!(ask(&mut source, &to("SLOTSMGRTTAGONE", d.port(), 1000, "{t}absent")), Reply::Int(3));
    assert_eq!(ask(&mut source, &to("SLOTSMGRTTAGONE", d.port(), 1000, "{t}a")), Reply::Int(0));
    assert_eq!(ask(&mut source, &to("SLOTSMGRTTAGONE", d.port(), 1000, "plain")), Reply::Int(1));
    assert_eq!(ask(&mut source, &to("SLOTSMGRTONE", d.port(), 1000, "{other}")), Reply::Int(1));
    assert_eq!(ask(&mut target, "GET {t}a").text(), "1", "the target's copy is overwritten");
    let Reply::Int(1..=100_000) = ask(&mut target, "PTTL {t}a") else { panic!("the time to live is lost") };
    assert_eq!(ask(&mut target, "LRANGE {t}b 0 -1"), Reply::Array(Some(vec![bulk("x"), bulk("y")])));
    assert_eq!(ask(&mut source, "DBSIZE"), Reply::Int(0));
    assert_eq!(ask(&mut target, "DBSIZE"), Reply::Int(5));
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(Some(text.into()))
}

#[test]
fn a_slot_is_emptied_call_by_call() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    let mut source = s.client();
    let slot = codis_core::slot_of_key(b"{t}");
    // One group of keys with a tag, and two keys without one that fall into the same slot.
    let alone: Vec<String> = (0..)
        .map(|n| format!("k{n}"))
        .filter(|key| codis_core::slot_of_key(key.as_bytes()) == slot)
        .take(2)
        .collect();
    for key in ["{t}1", "{t}2", "{t}3", &alone[0], &alone[1]] {
        ask(&mut source, &format!("SET {key} v"));
    }
    assert_eq!(ask(&mut source, "SLOTSINFO"), Reply::Array(Some(vec![ints(&[i64::from(slot.get()), 5])])));
    assert_eq!(ask(&mut source, &format!("SLOTSINFO {slot} 0")), Reply::Array(Some(vec![])));
    let mut left = 5;
    let mut moves = Vec::new();
    while left > 0 {
        let reply = ask(&mut source, &to("SLOTSMGRTTAGSLOT", d.port(), 1000, &slot.to_string()));
        let Reply::Array(Some(numbers)) = &reply else { panic!("{reply:?}") };
        let [Reply::Int(moved), Reply::Int(now)] = numbers[..] else { panic!("{numbers:?}") };
        assert_eq!(left - moved, now);
        left = now;
        moves.push(moved);
    }
    moves.sort_unstable();
    assert_eq!(moves, [1, 1, 3]);
    assert_eq!(ask(&mut source, &to("SLOTSMGRTTAGSLOT", d.port(), 1000, &slot.to_string())), ints(&[0, 0]));
    ask(&mut source, "SET {t}4 v");
    assert_eq!(ask(&mut source, &to("SLOTSMGRTSLOT", d.port(), 1000, &slot.to_string())), ints(&[1, 0]));
    assert_eq!(ask(&mut d.client(), "DBSIZE"), Reply::Int(6));
    assert_eq!(
        ask(&mut d.client(), &format!("SLOTSDEL {slot}")),
        Reply::Array(Some(vec![ints(&[i64::from(slot.get()), 0])]))
    );
    assert_eq!(ask(&mut d.client(), "DBSIZE"), Reply::Int(0));
}

#[test]
fn bad_arguments_and_dead_targets_are_told_as_the_original_does() {
    need!("redis");
    let (s, mut d) = (NativeServer::start(), NativeServer::start());
    let mut source = s.client();
    let port = d.port();
    for (line, error) in [
        ("SLOTSMGRTTAGONE 127.0.0.1 1 -5 k", "ERR invalid timeout = -5"),
        ("SLOTSMGRTTAGSLOT 127.0.0.1 1 100 1024", "ERR invalid slot number = 1024"),
        ("SLOTSMGRTTAGSLOT 127.0.0.1 1 x 7", "ERR value is not an integer or out of range"),
        ("SLOTSMGRTTAGONE 127.0.0.1 1 100", "ERR wrong number of arguments for 'slotsmgrttagone' command"),
        ("SLOTSINFO 0 -1", "ERR invalid slot count = -1"),
        ("SLOTSRESTORE k 0", "ERR wrong number of arguments for 'slotsrestore' command"),
        ("SLOTSRESTORE k -1 v", "ERR invalid ttl value, must be >= 0"),
        ("SLOTSRESTORE k 0 v", "ERR dump payload version or checksum are wrong"),
    ] {
        assert_eq!(ask(&mut source, line), Reply::Error(error.to_owned()), "{line}");
    }
    ask(&mut source, "SET k v");
    d.kill();
    assert_eq!(ask(&mut source, &to("SLOTSMGRTTAGONE", port, 100, "absent")), Reply::Int(0));
    let refused = ask(&mut source, &to("SLOTSMGRTTAGONE", port, 100, "k")).text();
    assert!(refused.starts_with("IOERR error or timeout"), "{refused}");
    assert_eq!(ask(&mut source, "GET k").text(), "v");
    d.restart();
    assert_eq!(ask(&mut source, &to("SLOTSMGRTTAGONE", port, 1000, "k")), Reply::Int(1));
    assert_eq!(ask(&mut d.client(), "GET k").text(), "v");
}

#[test]
fn a_slow_target_holds_up_everybody_and_the_key_stays() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    let mut source = s.client();
    ask(&mut source, "SET k v");
    d.stop();
    let port = d.port();
    let begun = Instant::now();
    let moving = std::thread::spawn(move || ask(&mut source, &to("SLOTSMGRTTAGONE", port, 700, "k")));
    // Whoever asks while it is under way waits for it.
    let mut other = s.client();
    eventually(SOON, || {
        let asked = Instant::now();
        assert_eq!(ask(&mut other, "GET k").text(), "v");
        asked.elapsed() > Duration::from_millis(100)
    });
    assert_eq!(moving.join().unwrap().text(), "IOERR error or timeout reading from target");
    assert!(begun.elapsed() >= Duration::from_millis(700));
    // The target has taken it all the same, once it runs again.
    d.cont();
    eventually(SOON, || ask(&mut d.client(), "EXISTS k") == Reply::Int(1));
    assert_eq!(ask(&mut other, "EXISTS k"), Reply::Int(1));
}

#[test]
fn a_slave_follows_and_sees_deletions() {
    need!("redis");
    let (s, d) =
        (NativeServer::builder().password("pw").start(), NativeServer::builder().password("pw").start());
    let slave = NativeServer::builder().password("pw").slave_of(&s).start();
    let mut source = s.client();
    ask(&mut source, "SET k v");
    eventually(SOON, || ask(&mut slave.client(), "EXISTS k") == Reply::Int(1));
    let info = ask(&mut source, "INFO replication").text();
    assert!(info.contains(&format!("port={},state=online", slave.port())), "{info}");
    assert_eq!(ask(&mut source, &to("SLOTSMGRTTAGONE", d.port(), 1000, "k")), Reply::Int(1));
    eventually(SOON, || ask(&mut slave.client(), "EXISTS k") == Reply::Int(0));
    assert_eq!(ask(&mut d.client(), "GET k").text(), "v");
}

#[test]
fn a_killed_connection_executes_nothing_more() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    let mut killer = s.client();
    let mut victim = s.client();
    ask(&mut victim, "CLIENT SETNAME victim");
    let list = ask(&mut killer, "CLIENT LIST").text();
    let line = list.lines().find(|line| line.contains("name=victim")).unwrap();
    let addr = line.split(' ').find_map(|word| word.strip_prefix("addr=")).unwrap();
    ask(&mut killer, "SET busy 1");
    d.stop();
    let port = d.port();
    let mut mover = s.client();
    let moving = std::thread::spawn(move || ask(&mut mover, &to("SLOTSMGRTTAGONE", port, 500, "busy")));
    eventually(SOON, || {
        let asked = Instant::now();
        ask(&mut killer, "PING");
        asked.elapsed() > Duration::from_millis(50)
    });
    victim.send(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n").unwrap();
    moving.join().unwrap();
    // Either it has run by now, or it never will.
    let killed = ask(&mut killer, &format!("CLIENT KILL {addr}"));
    assert_eq!(killed.text(), "OK");
    let after = ask(&mut killer, "GET n");
    assert_eq!(ask(&mut killer, &format!("CLIENT KILL {addr}")).text(), "ERR No such client");
    assert_eq!(ask(&mut killer, "CLIENT KILL ID 999999"), Reply::Int(0));
    eventually(SOON, || victim.read().is_err());
    assert_eq!(ask(&mut killer, "GET n"), after);
}

#[test]
fn blocking_and_pushed_replies_pass() {
    need!("redis");
    let server = NativeServer::start();
    let mut client = server.client();
    let mut popper = server.client();
    popper.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n").unwrap();
    let mut listener = server.client();
    ask(&mut listener, "SUBSCRIBE c");
    assert_eq!(ask(&mut client, "PUBLISH c hello"), Reply::Int(1));
    assert_eq!(listener.read().unwrap(), Reply::Array(Some(vec![bulk("message"), bulk("c"), bulk("hello")])));
    ask(&mut client, "RPUSH l 1");
    assert_eq!(popper.read().unwrap(), Reply::Array(Some(vec![bulk("l"), bulk("1")])));
    let mut gone = server.client();
    gone.send(b"*3\r\n$5\r\nBLPOP\r\n$1\r\nl\r\n$1\r\n0\r\n").unwrap();
    eventually(SOON, || ask(&mut client, "INFO clients").text().contains("blocked_clients:1"));
    drop(gone);
    eventually(SOON, || ask(&mut client, "INFO clients").text().contains("blocked_clients:0"));
    ask(&mut client, "RPUSH l 2");
    assert_eq!(ask(&mut client, "LLEN l"), Reply::Int(1));
}

#[test]
fn a_relay_delays_a_request_beyond_the_life_of_its_client() {
    need!("redis");
    let server = RedisServer::start();
    let relay = Relay::to(server.port());
    let mut client = RespClient::connect(relay.port(), SOON).unwrap();
    let mut direct = server.client();
    relay.delay_next(b"INCR");
    ask(&mut client, "SET a 1");
    client.send(b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n").unwrap();
    relay.wait_held();
    let mut other = RespClient::connect(relay.port(), SOON).unwrap();
    assert_eq!(ask(&mut other, "INCR a"), Reply::Int(2), "only the next one is delayed");
    drop(client);
    assert_eq!((relay.accepted(), relay.held(), relay.delayed()), (2, 1, 1));
    relay.release();
    eventually(SOON, || ask(&mut direct, "GET a").text() == "3");
}

#[test]
fn a_relay_holds_either_direction_and_cuts() {
    need!("redis");
    let server = RedisServer::start();
    let relay = Relay::to(server.port());
    let mut direct = server.client();
    let mut client = RespClient::connect(relay.port(), Duration::from_millis(200)).unwrap();
    relay.hold_replies();
    client.call(&["INCR", "a"]).unwrap_err();
    assert_eq!(ask(&mut direct, "GET a").text(), "1", "the request has arrived, its reply has not");
    relay.release();
    eventually(SOON, || client.read().is_ok());

    relay.hold_requests();
    client.send(b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n").unwrap();
    relay.wait_held();
    relay.cut();
    relay.release();
    eventually(SOON, || relay.open() == 0);
    assert!(client.read().is_err());
    assert_eq!(ask(&mut direct, "GET a").text(), "1", "what was kept is lost");

    // Closed towards the client only: the request still arrives.
    let mut client = RespClient::connect(relay.port(), SOON).unwrap();
    relay.hold_requests();
    client.send(b"*2\r\n$4\r\nINCR\r\n$1\r\na\r\n").unwrap();
    relay.wait_held();
    relay.cut_clients();
    assert!(client.read().is_err());
    relay.release();
    eventually(SOON, || ask(&mut direct, "GET a").text() == "2");
}
