//! Servers that move keys themselves, and what old servers lack.

use codis_testkit::{NativeServer, Relay};

use super::*;

fn at(addr: String) -> Endpoint {
    addr.parse::<Addr>().unwrap().into()
}

fn native_ask(server: &NativeServer, line: &str) -> Reply {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    call(&mut server.client(), &args)
}

fn native_calls(server: &NativeServer, command: &str) -> u64 {
    let text = native_ask(server, "INFO commandstats").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

async fn move_keys(
    movers: &Movers,
    s: &NativeServer,
    d: &NativeServer,
    names: &[&[u8]],
) -> Result<(), MoveError> {
    movers.settle(slot(), &at(s.addr()), &at(d.addr()), 0, 0, keys(names)).await
}

fn quick() -> Settings {
    Settings { native_timeout: Duration::from_millis(300), ..settings() }
}

#[test]
fn a_native_source_moves_the_keys_itself() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    for fill in ["SET {t}a 1", "RPUSH {t}b x y", "SADD {t}c m", "SET plain v"] {
        native_ask(&s, fill);
    }
    native_ask(&s, "PEXPIRE {t}c 100000");
    run(async {
        let movers = Movers::with(quick());
        move_keys(&movers, &s, &d, &[b"{t}a", b"{t}b"]).await.unwrap();
        assert!(movers.is_settled(slot(), b"{t}a") && movers.is_settled(slot(), b"{t}b"));
        assert!(!movers.is_settled(slot(), b"{t}c"), "moved with its tag, but nobody has asked for it");
        move_keys(&movers, &s, &d, &[b"plain"]).await.unwrap();
        move_keys(&movers, &s, &d, &[b"absent"]).await.unwrap();
        let before = native_calls(&s, "slotsmgrttagone");
        move_keys(&movers, &s, &d, &[b"plain", b"absent"]).await.unwrap();
        assert_eq!(native_calls(&s, "slotsmgrttagone"), before, "a settled key costs nothing");
        assert_eq!((movers.stats().moved, movers.stats().absent), (4, 1));
    });
    assert_eq!(native_ask(&s, "DBSIZE"), Reply::Int(0));
    assert_eq!(native_ask(&d, "DBSIZE"), Reply::Int(4));
    assert_eq!(native_ask(&d, "GET {t}a").text(), "1");
    let Reply::Int(1..=100_000) = native_ask(&d, "PTTL {t}c") else { panic!("the time to live is lost") };
}

#[test]
fn requests_share_the_call_and_the_source_is_not_asked_twice() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    native_ask(&s, "SET k v");
    run(async {
        let movers = Movers::with(quick());
        let all = (0..50).map(|_| move_keys(&movers, &s, &d, &[b"k"]));
        assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    });
    assert_eq!(native_calls(&s, "slotsmgrttagone"), 1);
}

#[test]
fn a_dead_native_destination_is_named_and_opens_the_breaker() {
    need!("redis");
    let (s, mut d) = (NativeServer::start(), NativeServer::start());
    native_ask(&s, "SET k v");
    d.kill();
    run(async {
        let movers = Movers::with(quick());
        let error = move_keys(&movers, &s, &d, &[b"k"]).await.unwrap_err().reply();
        for part in ["ERR slot 7 ", &s.addr(), &d.addr()] {
            assert!(error.contains(part), "{error:?} must say {part:?}");
        }
        let paused = move_keys(&movers, &s, &d, &[b"k"]).await.unwrap_err().reply();
        assert!(paused.starts_with("TRYAGAIN slot 7 "), "{paused}");
        assert_eq!(native_ask(&s, "GET k").text(), "v");
        d.restart();
        eventually_async(SOON, || async { move_keys(&movers, &s, &d, &[b"k"]).await.is_ok() }).await;
    });
    assert_eq!(native_ask(&d, "GET k").text(), "v");
    assert_eq!(native_ask(&s, "DBSIZE"), Reply::Int(0));
}

#[test]
fn a_native_source_that_gives_up_on_the_destination_keeps_the_key() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    let relay = Relay::to(d.port());
    native_ask(&s, "SET k v");
    native_ask(&s, "SET first v");
    run(async {
        let movers = Movers::with(quick());
        let settle = async |key: &[u8]| {
            movers.settle(slot(), &at(s.addr()), &at(relay.addr()), 0, 0, keys(&[key])).await
        };
        settle(b"first").await.unwrap();
        // We are answered by it; the source is not.
        relay.delay_next(b"SLOTSRESTORE");
        let error = settle(b"k").await.unwrap_err().reply();
        assert!(
            error.contains("SLOTSMGRTTAGONE was answered with \"IOERR error or timeout reading"),
            "{error}"
        );
        assert_eq!(native_ask(&s, "GET k").text(), "v");
        assert_eq!(movers.stats().broken_pairs, 1, "the next one would hold up the source again");
        assert!(!movers.is_settled(slot(), b"k"));
        relay.release();
        eventually_async(SOON, || async { settle(b"k").await.is_ok() }).await;
        assert!(movers.is_settled(slot(), b"k"));
    });
    assert_eq!(native_ask(&d, "GET k").text(), "v");
    assert_eq!(native_ask(&s, "EXISTS k"), Reply::Int(0));
}

#[test]
fn a_native_source_that_hangs_is_left_only_when_the_connection_is_dead_there() {
    need!("redis");
    let (s, d) = (NativeServer::start(), NativeServer::start());
    native_ask(&s, "SET first v");
    native_ask(&s, "SET k v");
    run(async {
        // A relay in between: the server knows the connection by another address than we do.
        let relay = Relay::to(s.port());
        let movers = Movers::with(Settings { command_timeout: Duration::from_millis(500), ..quick() });
        let settle = async |key: &[u8]| {
            movers.settle(slot(), &at(relay.addr()), &at(d.addr()), 0, 0, keys(&[key])).await
        };
        settle(b"first").await.unwrap();
        let listed = || native_ask(&s, "CLIENT LIST").text();
        let id = listed()
            .lines()
            .find(|line| line.contains("-move-"))
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        relay.delay_next(b"SLOTSMGRTTAGONE");
        let error = settle(b"k").await.unwrap_err().reply();
        assert!(error.contains("no answer within"), "{error}");
        movers.quiet(slot()).await;
        assert_eq!(movers.stats().to_kill, 0);
        assert!(!listed().lines().any(|line| line.starts_with(&format!("{id} "))), "{id} is still there");
        relay.release();
        eventually_async(SOON, || async { relay.held() == 0 }).await;
        assert_eq!(native_ask(&s, "EXISTS k"), Reply::Int(1), "the call that was given up never ran");
        eventually_async(SOON, || async { settle(b"k").await.is_ok() }).await;
    });
    assert_eq!(native_ask(&d, "GET k").text(), "v");
}

#[test]
fn an_old_source_and_a_stock_destination_get_the_hand_over() {
    need!("redis");
    let (s, d) = (NativeServer::start(), Group::start());
    let slave = NativeServer::builder().slave_of(&s).start();
    native_ask(&s, "SET k v");
    run(async {
        let movers = Movers::with(quick());
        // It has no UNLINK and cannot WAIT for its slave.
        movers.settle(slot(), &at(s.addr()), &d.endpoint(), 1, 1, keys(&[b"k"])).await.unwrap();
    });
    assert_eq!(ask(&d.master, "GET k").text(), "v");
    assert_eq!(ask(&d.slave, "GET k").text(), "v");
    assert_eq!(native_ask(&s, "EXISTS k"), Reply::Int(0));
    assert_eq!((native_calls(&s, "slotsmgrttagone"), native_calls(&s, "del")), (0, 1));
    eventually(SOON, || native_ask(&slave, "EXISTS k") == Reply::Int(0));
}

#[test]
fn an_evicting_destination_learns_how_much_a_key_was_used() {
    need!("redis");
    for (policy, word, value) in [("allkeys-lru", "IDLETIME", 5000), ("allkeys-lfu", "FREQ", 200)] {
        let settings = || RedisServer::builder().config("maxmemory-policy", policy);
        let (s, d) = (settings().start(), settings().start());
        // A key that was used so much, or so little.
        ask(&s, "SET probe v");
        let dump = call(&mut s.client(), &[b"DUMP", b"probe"]);
        let Reply::Bulk(Some(payload)) = dump else { panic!("{dump:?}") };
        let degree = value.to_string();
        call(&mut s.client(), &[b"RESTORE", b"k", b"0", &payload, word.as_bytes(), degree.as_bytes()]);
        run(async {
            let movers = Movers::with(quick());
            movers
                .settle(slot(), &endpoint(&s), &endpoint(&d), 0, 0, keys(&[b"k", b"absent"]))
                .await
                .unwrap();
        });
        let Reply::Int(told) = ask(&d, &format!("OBJECT {word} k")) else { panic!("not a number") };
        assert!((value - 10..=value + 60).contains(&told), "{policy}: {word} is {told}, was {value}");
        assert_eq!(ask(&d, "GET k").text(), "v");
        assert_eq!(ask(&s, "EXISTS k"), Reply::Int(0));
    }
}
