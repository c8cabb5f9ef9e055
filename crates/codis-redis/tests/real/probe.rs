//! Control connections to real servers.

use std::time::{Duration, Instant};

use crate::common::addr;
use codis_redis::{
    Conn, ConnectOptions, LiveRole, Password, Redis, RedisCause, ServerKind, kill_by_name, probe, replicaof,
    scan_slots,
};
use codis_testkit::{RedisServer, eventually_async, need};

fn options() -> ConnectOptions {
    ConnectOptions { command_timeout: Duration::from_secs(2), ..ConnectOptions::default() }
}

#[tokio::test]
async fn a_master_and_its_slave_say_what_they_are() {
    need!("redis");
    let master = RedisServer::builder().config("maxmemory", "64mb").start();
    let slave = RedisServer::builder().slave_of(&master).start();
    master.client().call(&["SET", "a", "1"]).unwrap();
    let info = probe(&addr(&master), &options()).await.unwrap();
    assert_eq!((info.role, info.kind, info.keys), (LiveRole::Master, Some(ServerKind::Stock), 1));
    assert_eq!((info.maxmemory, info.policy.as_str()), (64 << 20, "noeviction"));
    assert_eq!((info.slaves_online(), info.slaves.len()), (1, 1));
    assert!(info.used_memory > 0 && info.major() >= 5, "{info:?}");
    let theirs = probe(&addr(&slave), &options()).await.unwrap();
    assert_eq!((theirs.role, theirs.link_up), (LiveRole::Slave, Some(true)));
    assert_eq!(theirs.master, Some(addr(&master)));
    let mut redis = Redis::connect(&addr(&slave), &options()).await.unwrap();
    assert_eq!(redis.role().await.unwrap(), LiveRole::Slave);
    assert!(redis.ping().await.unwrap() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_server_with_data_does_not_follow_an_empty_one() {
    need!("redis");
    let (full, empty) = (RedisServer::start(), RedisServer::start());
    full.client().call(&["SET", "a", "1"]).unwrap();
    let error = replicaof(&addr(&full), Some(&addr(&empty)), &options()).await.unwrap_err();
    assert!(matches!(&error.cause, RedisCause::Unsafe(why) if why.contains("1 keys")), "{error:?}");
    assert_eq!(full.client().call(&["GET", "a"]).unwrap().text(), "1");
    let itself = replicaof(&addr(&full), Some(&addr(&full)), &options()).await.unwrap_err();
    assert!(matches!(itself.cause, RedisCause::Unsafe(_)), "{itself:?}");

    // The other way round is what adding a slave does.
    replicaof(&addr(&empty), Some(&addr(&full)), &options()).await.unwrap();
    eventually_async(Duration::from_secs(10), || async {
        probe(&addr(&empty), &options()).await.is_ok_and(|info| info.keys == 1 && info.link_up == Some(true))
    })
    .await;
    let cascade = replicaof(&addr(&full), Some(&addr(&empty)), &options()).await.unwrap_err();
    assert!(matches!(cascade.cause, RedisCause::Unsafe(_)), "{cascade:?}");
    replicaof(&addr(&empty), None, &options()).await.unwrap();
    assert_eq!(probe(&addr(&empty), &options()).await.unwrap().role, LiveRole::Master);
}

#[tokio::test]
async fn errors_name_address_and_reason_but_no_password() {
    need!("redis");
    let server = RedisServer::builder().password("right-password").start();
    let with = |password: &str| ConnectOptions::with_password(&Password::new(password));
    let info = probe(&addr(&server), &with("right-password")).await.unwrap();
    assert_eq!(info.role, LiveRole::Master);
    let wrong = probe(&addr(&server), &with("wrong-password")).await.unwrap_err();
    assert!(matches!(wrong.cause, RedisCause::Auth(_)), "{wrong:?}");
    let none = probe(&addr(&server), &ConnectOptions::default()).await.unwrap_err();
    assert!(none.to_string().contains(&server.addr()), "{none}");
    for error in [wrong, none] {
        assert!(!format!("{error:?} {error} {}", error.cause).contains("-password"), "{error:?}");
    }
    assert_eq!(format!("{:?}", Password::new("secret")), "Password(set)");

    let gone = addr(&server);
    server.kill();
    let refused = probe(&gone, &options()).await.unwrap_err();
    assert!(matches!(refused.cause, RedisCause::Connect(_)), "{refused:?}");
}

#[tokio::test]
async fn a_frozen_server_is_given_up_in_time() {
    need!("redis");
    let server = RedisServer::start();
    let short = ConnectOptions { command_timeout: Duration::from_millis(200), ..options() };
    let mut redis = Redis::connect(&addr(&server), &short).await.unwrap();
    server.stop();
    let begun = Instant::now();
    let error = redis.ping().await.unwrap_err();
    assert!(matches!(error.cause, RedisCause::Timeout(_)) && error.is_unknown(), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(2));
    // Its answer may still come; nobody may take it for the answer to something else.
    server.cont();
    assert_eq!(redis.ping().await.unwrap_err().cause, error.cause);
}

#[tokio::test]
async fn connections_are_killed_by_the_beginning_of_their_name() {
    need!("redis");
    let server = RedisServer::start();
    let addr = addr(&server);
    let mut old = Conn::open(&addr, &options().named("codis-mover-3.0.1.")).await.unwrap();
    let mut older = Conn::open(&addr, &options().named("codis-mover-2.0.1.")).await.unwrap();
    let mut other = Conn::open(&addr, &options().named("codis-control")).await.unwrap();
    assert_eq!(kill_by_name(&addr, &options(), "codis-mover-").await.unwrap(), 2);
    assert!(matches!(old.query(&["PING"]).await.unwrap_err().cause, RedisCause::Broken(_)));
    older.query(&["PING"]).await.unwrap_err();
    other.query(&["PING"]).await.unwrap();
    assert_eq!(kill_by_name(&addr, &options(), "codis-mover-").await.unwrap(), 0);
}

#[tokio::test]
async fn what_a_killed_probe_left_is_not_counted_as_a_key() {
    need!("redis");
    let server = RedisServer::start();
    let mut client = server.client();
    client.call(&["SET", "codis:probe:a4fcfdd0:2", "x", "PX", "60000"]).unwrap();
    client.call(&["SET", "codis:prob", "x"]).unwrap();
    let all = "0-1023".parse().unwrap();
    let keys = scan_slots(&addr(&server), &options(), &all).await.unwrap();
    assert_eq!((keys.count, keys.some), (1, vec![b"codis:prob".to_vec()]));
}
