//! Looking through a real server before a move.

use std::time::Duration;

use codis_core::{SlotSet, slot_of_key};
use codis_redis::{ConnectOptions, Kind, SurveyOptions, survey};
use codis_testkit::{RedisServer, RespClient, need};

use crate::common::addr;

const BUDGET: Duration = Duration::from_millis(5);

fn how(duty: Option<f64>) -> SurveyOptions<'static> {
    SurveyOptions { only: None, duty, budget: BUDGET, largest: 0 }
}

/// 3000 small keys, and one of each type that takes longer than the budget.
fn fill(client: &mut RespClient) {
    for n in 0..3000 {
        client.call(&["SET", &format!("small:{n}"), "x"]).unwrap();
    }
    let mut many = |command: &str, key: &str, count: usize, words: fn(usize) -> Vec<String>| {
        for first in (0..count).step_by(1000) {
            let mut line = vec![command.to_owned(), key.to_owned()];
            line.extend((first..first + 1000).flat_map(words));
            client.call(&line).unwrap();
        }
    };
    many("HSET", "big:hash", 100_000, |n| vec![format!("f{n}"), "v".repeat(20)]);
    many("ZADD", "big:zset", 100_000, |n| vec![n.to_string(), format!("m{n}")]);
    many("SADD", "big:set", 100_000, |n| vec![format!("m{n}")]);
    many("RPUSH", "small:list", 1000, |n| vec![n.to_string()]);
    for n in 0..20 {
        many("HSET", &format!("moderate:{n}"), 1000, |n| vec![format!("f{n}"), "v".repeat(20)]);
    }
    client.call(&["PEXPIRE", "big:set", "3600000"]).unwrap();
}

#[tokio::test]
async fn big_keys_are_found_and_every_key_is_counted_in_its_slot() {
    need!("redis");
    let server = RedisServer::start();
    fill(&mut server.client());
    let mut told = 0;
    let found =
        survey(&addr(&server), &ConnectOptions::default(), &how(None), |seen| told = seen).await.unwrap();
    assert_eq!(told, 3024);
    assert_eq!(found.by_slot.iter().map(|slot| slot.keys).sum::<u64>(), 3024);
    let bytes: u64 = found.by_slot.iter().map(|slot| slot.bytes).sum();
    assert!((10_000_000..60_000_000).contains(&bytes), "{bytes}");
    let mut big: Vec<_> = found.big.iter().map(|key| (key.kind, key.elements, key.ttl.is_some())).collect();
    big.sort_by_key(|(kind, ..)| kind.as_str());
    assert_eq!(big, [(Kind::Hash, 100_000, false), (Kind::Set, 100_000, true), (Kind::Zset, 100_000, false)]);
    for key in &found.big {
        assert_eq!(key.slot, slot_of_key(&key.key));
        assert!(
            key.one_shot.longest() > BUDGET && key.one_shot.longest() < Duration::from_secs(2),
            "{key:?}"
        );
    }
    assert!(found.sized && found.calibrated);
    let home = slot_of_key(b"big:hash");
    let only: SlotSet = [home].into_iter().collect();
    let options = SurveyOptions { only: Some(&only), ..how(None) };
    let one = survey(&addr(&server), &ConnectOptions::default(), &options, |_| ()).await.unwrap();
    assert_eq!(one.by_slot[home.index()], found.by_slot[home.index()]);
    let all: u64 = one.by_slot.iter().map(|slot| slot.keys).sum();
    assert_eq!((all, one.big.len()), (found.by_slot[home.index()].keys, 1), "keys of other slots");
    // The longest comes first.
    assert!(found.big.is_sorted_by(|a, b| a.one_shot.longest() >= b.one_shot.longest()));
}

#[tokio::test]
async fn nothing_is_written_and_no_key_looks_used() {
    need!("redis");
    let server = RedisServer::start();
    let mut client = server.client();
    fill(&mut client);
    let state = |client: &mut RespClient| {
        let info = client.call(&["INFO", "persistence"]).unwrap().text();
        let changes =
            info.lines().find(|line| line.starts_with("rdb_changes_since_last_save")).unwrap().to_owned();
        (changes, client.call(&["DBSIZE"]).unwrap().text())
    };
    let before = state(&mut client);
    survey(&addr(&server), &ConnectOptions::default(), &how(None), |_| ()).await.unwrap();
    assert_eq!(state(&mut client), before);
}

#[tokio::test]
async fn with_a_share_of_a_core_most_of_the_time_is_pauses() {
    need!("redis");
    let server = RedisServer::start();
    let mut client = server.client();
    for n in 0..5000 {
        client.call(&["SET", &format!("small:{n}"), "x"]).unwrap();
    }
    let busy = |client: &mut RespClient| {
        let info = client.call(&["INFO", "commandstats"]).unwrap().text();
        let of = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split("usec=")
                .nth(1)
                .and_then(|rest| rest.split(',').next()?.parse::<u64>().ok())
                .unwrap_or(0)
        };
        Duration::from_micros(of("cmdstat_scan:") + of("cmdstat_memory|usage:"))
    };
    let before = busy(&mut client);
    let found = survey(&addr(&server), &ConnectOptions::default(), &how(Some(0.1)), |_| ()).await.unwrap();
    let share = (busy(&mut client) - before).as_secs_f64() / found.took.as_secs_f64();
    assert!(share <= 0.1, "{share}");
}
