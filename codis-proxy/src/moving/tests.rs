//! Hand-overs between real servers, each with a slave so that WAIT has someone to wait for.

use std::future::Future;

use codis_testkit::{RedisServer, Reply, RespClient, eventually, eventually_async, need};

use super::*;

mod native;

/// For what happens soon, also on a busy machine.
const SOON: Duration = Duration::from_secs(20);

struct Group {
    master: RedisServer,
    slave: RedisServer,
}

impl Group {
    fn start() -> Self {
        let master = RedisServer::start();
        let slave = RedisServer::builder().slave_of(&master).start();
        // The slave has its copy, but WAIT counts it only once it has confirmed that to the master.
        eventually(SOON, || ask(&master, "INFO replication").text().contains("state=online"));
        Self { master, slave }
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(&self.master)
    }
}

fn endpoint(server: &RedisServer) -> Endpoint {
    server.addr().parse::<Addr>().unwrap().into()
}

fn slot() -> SlotId {
    SlotId::new(7).unwrap()
}

fn keys(names: &[&[u8]]) -> SmallVec<[Bytes; 1]> {
    names.iter().map(|name| Bytes::copy_from_slice(name)).collect()
}

fn settings() -> Settings {
    Settings {
        command_timeout: Duration::from_millis(1500),
        wait: SOON,
        ..Settings::new(MoveLimits { password: None, tls: None, connect_timeout: Duration::from_secs(1) })
    }
}

/// Runs the test as a worker does: one thread, one `LocalSet`.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(90), test).await.expect("the test hangs")
    })
}

async fn settle(movers: &Movers, s: &Group, d: &Group, names: &[&[u8]]) -> Result<(), MoveError> {
    movers.settle(slot(), &s.endpoint(), &d.endpoint(), 1, 1, keys(names)).await
}

/// Tries again until the breaker lets the hand-over pass and it succeeds.
async fn settle_soon(movers: &Movers, s: &Group, d: &Group, name: &[u8]) {
    eventually_async(SOON, || async { settle(movers, s, d, &[name]).await.is_ok() }).await;
}

fn call(client: &mut RespClient, args: &[&[u8]]) -> Reply {
    let reply = client.call(args).unwrap();
    assert!(!reply.is_error(), "{args:?}: {reply:?}");
    reply
}

fn ask(server: &RedisServer, line: &str) -> Reply {
    let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    call(&mut server.client(), &args)
}

/// Calls of a command, from the server's statistics.
fn calls(server: &RedisServer, command: &str) -> u64 {
    let text = ask(server, "INFO commandstats").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

/// Makes the next write on `server` wait, and returns when `seen` says that one does.
fn pause_writes(server: &RedisServer) {
    ask(server, "CLIENT PAUSE 60000 WRITE");
}

async fn writer_waits(server: &RedisServer) {
    eventually_async(SOON, || async {
        ask(server, "INFO clients").text().lines().any(|line| line == "blocked_clients:1")
    })
    .await;
}

#[test]
fn every_type_arrives_whole_with_its_time_to_live() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    let commands = [
        ("{t}string", "SET {t}string hello", "GET {t}string"),
        ("{t}list", "RPUSH {t}list a b c", "LRANGE {t}list 0 -1"),
        ("{t}hash", "HSET {t}hash f v g w", "HGETALL {t}hash"),
        ("{t}set", "SADD {t}set 1 2 3", "SMEMBERS {t}set"),
        ("{t}zset", "ZADD {t}zset 1.5 a 2.5 b", "ZRANGE {t}zset 0 -1 WITHSCORES"),
        ("{t}stream", "XADD {t}stream 5-1 f v", "XRANGE {t}stream - +"),
    ];
    for (_, fill, _) in commands {
        ask(&s.master, fill);
    }
    ask(&s.master, "EXPIRE {t}hash 1000");
    let before: Vec<Reply> = commands.iter().map(|(_, _, read)| ask(&s.master, read)).collect();

    run(async {
        let movers = Movers::with(settings());
        for (name, _, _) in commands {
            settle(&movers, &s, &d, &[name.as_bytes()]).await.unwrap();
            assert!(movers.is_settled(slot(), name.as_bytes()));
        }
        assert_eq!(movers.stats().moved, 6);
    });

    let after: Vec<Reply> = commands.iter().map(|(_, _, read)| ask(&d.master, read)).collect();
    assert_eq!(after, before);
    let Reply::Int(ttl) = ask(&d.master, "PTTL {t}hash") else { panic!("not a number") };
    assert!((900_000..=1_000_000).contains(&ttl), "time to live: {ttl} ms");
    assert_eq!(ask(&d.master, "PTTL {t}list"), Reply::Int(-1));
    assert_eq!(ask(&s.master, "DBSIZE"), Reply::Int(0), "nothing is left on the source");
    assert_eq!(ask(&s.slave, "DBSIZE"), Reply::Int(0), "nor on its slave, which was waited for");
    assert_eq!(ask(&d.slave, "DBSIZE"), Reply::Int(6), "the destination's slave was waited for, too");
}

#[test]
fn several_binary_keys_move_in_one_hand_over() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    let names: [&[u8]; 4] = [b"a\r\n\0\xff", b"", b"$3\r\n", b"absent"];
    let mut client = s.master.client();
    for name in &names[..3] {
        call(&mut client, &[b"SET", name, b"v\r\n\0\xfe"]);
    }
    run(async {
        let movers = Movers::with(settings());
        settle(&movers, &s, &d, &names).await.unwrap();
        assert!(names.iter().all(|name| movers.is_settled(slot(), name)));
        let stats = movers.stats();
        assert_eq!((stats.moved, stats.absent, stats.settled), (3, 1, 4));
    });
    let mut client = d.master.client();
    for name in &names[..3] {
        assert_eq!(call(&mut client, &[b"GET", name]), Reply::Bulk(Some(b"v\r\n\0\xfe".to_vec())));
    }
    assert_eq!(ask(&d.master, "DBSIZE"), Reply::Int(3));
    assert_eq!(ask(&s.master, "DBSIZE"), Reply::Int(0));
    assert_eq!(calls(&s.master, "exec"), 1);
}

#[test]
fn an_absent_key_is_settled_once_the_slaves_of_the_source_confirm() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    run(async {
        let movers = Movers::with(settings());
        settle(&movers, &s, &d, &[b"nothing"]).await.unwrap();
        assert_eq!(calls(&s.master, "wait"), 1);
        assert_eq!(calls(&d.master, "restore"), 0);
        settle(&movers, &s, &d, &[b"nothing"]).await.unwrap();
        assert_eq!(calls(&s.master, "dump"), 1, "a settled key costs nothing");
        movers.clear(slot());
        assert!(!movers.is_settled(slot(), b"nothing"));
        settle(&movers, &s, &d, &[b"nothing"]).await.unwrap();
        assert_eq!(calls(&s.master, "dump"), 2, "what was settled is forgotten with the slot's state");
        // No slaves: nobody to wait for.
        let none = movers.settle(slot(), &s.endpoint(), &d.endpoint(), 0, 0, keys(&[b"other"])).await;
        assert_eq!(none, Ok(()));
        assert_eq!(calls(&s.master, "wait"), 2);
    });
}

#[test]
fn a_copy_on_the_destination_is_never_overwritten() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET k older");
    ask(&d.master, "SET k newer");
    run(async {
        settle(&Movers::with(settings()), &s, &d, &[b"k"]).await.unwrap();
    });
    assert_eq!(ask(&d.master, "GET k").text(), "newer");
    assert_eq!(ask(&s.master, "EXISTS k"), Reply::Int(0));
}

#[test]
fn a_key_touched_on_the_way_is_begun_again() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    for touch in ["EXPIRE k 1000", "UNLINK k"] {
        ask(&s.master, "SET k v");
        ask(&d.master, "FLUSHALL");
        let before = calls(&s.master, "exec");
        run(async {
            let movers = Movers::with(Settings { command_timeout: SOON, ..settings() });
            pause_writes(&d.master);
            let moving = settle(&movers, &s, &d, &[b"k"]);
            let touching = async {
                writer_waits(&d.master).await;
                ask(&s.master, touch);
                ask(&d.master, "CLIENT UNPAUSE");
            };
            let (moved, ()) = tokio::join!(moving, touching);
            moved.unwrap();
        });
        assert_eq!(ask(&d.master, "GET k").text(), "v", "after {touch}");
        assert_eq!(ask(&s.master, "EXISTS k"), Reply::Int(0));
        assert!(calls(&s.master, "exec") > before, "the first EXEC was refused");
        assert!(calls(&s.master, "dump") >= 2);
    }
}

#[test]
fn a_dead_destination_loses_nothing_and_opens_the_breaker() {
    need!("redis");
    let (s, mut d) = (Group::start(), Group::start());
    ask(&s.master, "SET k v");
    d.master.kill();
    run(async {
        let movers = Movers::with(Settings { wait: Duration::from_secs(1), ..settings() });
        let error = settle(&movers, &s, &d, &[b"k"]).await.unwrap_err();
        let reply = error.reply();
        for part in ["ERR slot 7 ", &s.master.addr(), &d.master.addr(), "refused"] {
            assert!(reply.contains(part), "{reply:?} must say {part:?}");
        }
        assert_eq!(movers.stats().broken_pairs, 1);

        let paused = settle(&movers, &s, &d, &[b"k"]).await.unwrap_err();
        assert!(paused.reply().starts_with("TRYAGAIN slot 7 "), "{}", paused.reply());
        assert_eq!(ask(&s.master, "GET k").text(), "v");
        assert!(!movers.is_settled(slot(), b"k"));

        d.master.restart();
        d.slave.restart();
        settle_soon(&movers, &s, &d, b"k").await;
        assert_eq!(movers.stats().broken_pairs, 0);
        assert_eq!(ask(&d.master, "GET k").text(), "v");
    });
}

#[test]
fn a_dead_source_is_an_error_and_works_again_when_it_is_back() {
    need!("redis");
    let (mut s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET k v");
    run(async {
        let movers = Movers::with(Settings { wait: Duration::from_secs(1), ..settings() });
        settle_soon(&movers, &s, &d, b"k").await;
        s.master.kill();
        let error = settle(&movers, &s, &d, &[b"other"]).await.unwrap_err();
        assert!(error.reply().starts_with("ERR slot 7 "), "{}", error.reply());
        assert_eq!(settle(&movers, &s, &d, &[b"k"]).await, Ok(()), "a settled key needs the source no more");
        s.master.restart();
        s.slave.restart();
        settle_soon(&movers, &s, &d, b"other").await;
        assert_eq!(movers.stats().to_kill, 0);
    });
}

#[test]
fn a_short_wait_on_the_destination_leaves_the_key_on_the_source() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET k v");
    d.slave.stop();
    run(async {
        let movers = Movers::with(Settings { wait: Duration::from_millis(300), ..settings() });
        let error = settle(&movers, &s, &d, &[b"k"]).await.unwrap_err();
        assert!(error.reply().contains("0 of 1 slaves confirmed"), "{}", error.reply());
        assert_eq!(ask(&s.master, "GET k").text(), "v");
        d.slave.cont();
        settle_soon(&movers, &s, &d, b"k").await;
        assert_eq!(ask(&d.master, "GET k").text(), "v");
        assert_eq!(ask(&s.master, "EXISTS k"), Reply::Int(0));
    });
}

#[test]
fn a_short_wait_on_the_source_leaves_the_key_unsettled() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET k v");
    s.slave.stop();
    run(async {
        let movers = Movers::with(Settings { wait: Duration::from_millis(300), ..settings() });
        let error = settle(&movers, &s, &d, &[b"k"]).await.unwrap_err();
        assert!(error.reply().contains("0 of 1 slaves confirmed"), "{}", error.reply());
        assert!(!movers.is_settled(slot(), b"k"), "a slave promoted now would bring it back");
        s.slave.cont();
        settle_soon(&movers, &s, &d, b"k").await;
        assert_eq!(ask(&d.master, "GET k").text(), "v");
        assert_eq!(ask(&s.slave, "EXISTS k"), Reply::Int(0));
    });
}

#[test]
fn a_server_that_hangs_is_asked_again_only_after_the_connection_is_dead_there() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET first v");
    ask(&s.master, "SET k v");
    run(async {
        let movers = Movers::with(settings());
        settle(&movers, &s, &d, &[b"first"]).await.unwrap();
        let before = ask(&d.master, "CLIENT LIST").text();
        let id =
            before.lines().find(|line| line.contains("-move")).unwrap().split(' ').next().unwrap().to_owned();

        d.master.stop();
        let error = settle(&movers, &s, &d, &[b"k"]).await.unwrap_err();
        assert!(error.reply().contains("no answer within"), "{}", error.reply());
        assert_eq!(movers.stats().to_kill, 1);
        assert_eq!(ask(&s.master, "GET k").text(), "v");
        let paused = settle(&movers, &s, &d, &[b"k"]).await.unwrap_err();
        assert!(paused.reply().starts_with("TRYAGAIN"), "{}", paused.reply());
        let quiet = tokio::time::timeout(Duration::from_millis(200), movers.quiet(slot())).await;
        assert!(quiet.is_err(), "the RESTORE may still run: nothing may be acknowledged");
        let other = SlotId::new(8).unwrap();
        movers.quiet(other).await;

        d.master.cont();
        movers.quiet(slot()).await;
        assert_eq!(movers.stats().to_kill, 0);
        let after = ask(&d.master, "CLIENT LIST").text();
        assert!(
            !after.lines().any(|line| line.starts_with(&format!("{id} "))),
            "{id} is still there:\n{after}"
        );
        settle_soon(&movers, &s, &d, b"k").await;
        assert_eq!(ask(&d.master, "GET k").text(), "v");
        assert_eq!(ask(&s.master, "EXISTS k"), Reply::Int(0));
    });
}

#[test]
fn a_pair_that_does_not_work_holds_up_no_other() {
    need!("redis");
    let (s, d, other) = (Group::start(), Group::start(), Group::start());
    ask(&s.master, "MSET first 1 a 2 b 3 c 4");
    run(async {
        let movers = Movers::with(settings());
        settle(&movers, &s, &d, &[b"first"]).await.unwrap();
        settle(&movers, &s, &other, &[b"a"]).await.unwrap();
        d.master.stop();
        let (hanging, moved) = tokio::join!(settle(&movers, &s, &d, &[b"b"]), async {
            tokio::time::timeout(Duration::from_secs(1), settle(&movers, &s, &other, &[b"c"])).await
        });
        hanging.unwrap_err();
        moved.expect("the source serves others meanwhile").unwrap();
        assert_eq!(movers.stats().broken_pairs, 1);
        settle(&movers, &s, &other, &[b"d"]).await.unwrap();
        d.master.cont();
        settle_soon(&movers, &s, &d, b"b").await;
    });
    assert_eq!(ask(&other.master, "GET c").text(), "4");
    assert_eq!(ask(&d.master, "GET b").text(), "3");
}

#[test]
fn a_server_that_is_no_longer_a_master_is_not_waited_for() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET first v");
    ask(&s.master, "SET k v");
    run(async {
        let movers = Movers::with(settings());
        settle(&movers, &s, &d, &[b"first"]).await.unwrap();
        d.master.stop();
        settle(&movers, &s, &d, &[b"k"]).await.unwrap_err();
        assert_eq!(movers.stats().to_kill, 1);
        let mut table = Table::unassigned();
        table.set(slot(), Route::Online { master: s.endpoint() });
        movers.installed(&table);
        movers.quiet(slot()).await;
        assert_eq!(movers.stats().to_kill, 0);
    });
}

#[test]
fn requests_for_one_key_share_one_hand_over() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET k v");
    run(async {
        let movers = Movers::with(settings());
        let all = (0..100).map(|_| settle(&movers, &s, &d, &[b"k"]));
        assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
        assert_eq!(movers.stats().moved, 1);
    });
    assert_eq!(calls(&s.master, "dump"), 1);
}

#[test]
fn what_was_under_way_when_the_slot_changed_is_not_remembered() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET k v");
    run(async {
        let movers = Movers::with(Settings { command_timeout: SOON, ..settings() });
        pause_writes(&d.master);
        let changing = async {
            writer_waits(&d.master).await;
            movers.clear(slot());
            let quiet = tokio::time::timeout(Duration::from_millis(100), movers.quiet(slot())).await;
            assert!(quiet.is_err(), "a hand-over is still running");
            ask(&d.master, "CLIENT UNPAUSE");
            movers.quiet(slot()).await;
        };
        let (moved, ()) = tokio::join!(settle(&movers, &s, &d, &[b"k"]), changing);
        moved.unwrap();
        assert!(!movers.is_settled(slot(), b"k"));
    });
}

#[test]
fn a_caller_that_goes_away_does_not_break_off_the_hand_over() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET k v");
    run(async {
        let movers = Movers::with(Settings { command_timeout: SOON, ..settings() });
        pause_writes(&d.master);
        tokio::select! {
            _ = settle(&movers, &s, &d, &[b"k"]) => panic!("the destination does not take writes yet"),
            () = writer_waits(&d.master) => {}
        }
        ask(&d.master, "CLIENT UNPAUSE");
        movers.quiet(slot()).await;
        assert!(movers.is_settled(slot(), b"k"));
    });
}

#[test]
fn a_connection_that_the_server_closed_while_idle_is_replaced() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "MSET a 1 b 2");
    run(async {
        let movers = Movers::with(Settings { fresh: Duration::ZERO, ..settings() });
        settle(&movers, &s, &d, &[b"a"]).await.unwrap();
        for server in [&s.master, &d.master] {
            ask(server, "CLIENT KILL TYPE normal SKIPME yes");
        }
        settle(&movers, &s, &d, &[b"b"]).await.unwrap();
    });
    assert_eq!(
        ask(&d.master, "MGET a b"),
        Reply::Array(Some(vec![Reply::Bulk(Some(b"1".into())), Reply::Bulk(Some(b"2".into()))]))
    );
}

#[test]
fn a_connection_cut_between_hand_overs_fails_one_and_loses_nothing() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "MSET a 1 b 2");
    run(async {
        let movers = Movers::with(Settings { fresh: Duration::from_secs(3600), ..settings() });
        settle(&movers, &s, &d, &[b"a"]).await.unwrap();
        ask(&d.master, "CLIENT KILL TYPE normal SKIPME yes");
        settle(&movers, &s, &d, &[b"b"]).await.unwrap_err();
        assert_eq!(ask(&s.master, "GET b").text(), "2");
        settle_soon(&movers, &s, &d, b"b").await;
    });
    assert_eq!(ask(&d.master, "GET b").text(), "2");
}

#[test]
fn servers_with_a_password() {
    need!("redis");
    let s = RedisServer::builder().password("secret").start();
    let d = RedisServer::builder().password("secret").start();
    call(&mut s.client(), &[b"SET", b"k", b"v"]);
    run(async {
        let (from, to) = (endpoint(&s), endpoint(&d));
        let without = Movers::with(settings());
        let error = without.settle(slot(), &from, &to, 0, 0, keys(&[b"k"])).await.unwrap_err();
        assert!(error.reply().contains("NOAUTH"), "{}", error.reply());
        let wrong = Movers::with(Settings { password: Some(Secret::new("wrong")), ..settings() });
        let error = wrong.settle(slot(), &from, &to, 0, 0, keys(&[b"k"])).await.unwrap_err();
        assert!(error.reply().contains("WRONGPASS"), "{}", error.reply());
        let movers = Movers::with(Settings { password: Some(Secret::new("secret")), ..settings() });
        movers.settle(slot(), &from, &to, 0, 0, keys(&[b"k"])).await.unwrap();
        // One that asks for none is given it all the same.
        let open = RedisServer::start();
        call(&mut d.client(), &[b"SET", b"l", b"w"]);
        movers.settle(slot(), &to, &endpoint(&open), 0, 0, keys(&[b"l"])).await.unwrap();
        assert_eq!(ask(&open, "GET l").text(), "w");
    });
    assert_eq!(call(&mut d.client(), &[b"GET", b"k"]).text(), "v");
}

#[test]
fn keys_move_between_masters_only() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "SET k v");
    run(async {
        let movers = Movers::with(settings());
        let slave = endpoint(&d.slave);
        let error = movers.settle(slot(), &s.endpoint(), &slave, 0, 0, keys(&[b"k"])).await.unwrap_err();
        assert!(error.reply().contains("masters only"), "{}", error.reply());
    });
    assert_eq!(ask(&s.master, "GET k").text(), "v");
}

#[test]
fn no_more_wait_than_the_queue_holds() {
    need!("redis");
    let (s, d) = (Group::start(), Group::start());
    ask(&s.master, "MSET a 1 b 2");
    run(async {
        let movers = Movers::with(Settings { command_timeout: SOON, lanes: 1, queue: 1, ..settings() });
        pause_writes(&d.master);
        let refused = async {
            writer_waits(&d.master).await;
            let (queued, refused) = tokio::join!(settle(&movers, &s, &d, &[b"b"]), async {
                tokio::task::yield_now().await;
                let refused = settle(&movers, &s, &d, &[b"c"]).await.unwrap_err();
                ask(&d.master, "CLIENT UNPAUSE");
                refused
            });
            queued.unwrap();
            refused
        };
        let (first, refused) = tokio::join!(settle(&movers, &s, &d, &[b"a"]), refused);
        first.unwrap();
        assert!(refused.reply().starts_with("TRYAGAIN"), "{}", refused.reply());
    });
}
