//! Hot keys, hot slots and big replies, as /hotkeys tells them.

use codis_testkit::{eventually, need};
use serde_json::Value;

use crate::{Cluster, DEADLINE, config, http_get, request};

fn page(cluster: &Cluster) -> Value {
    serde_json::from_str(&http_get(&cluster.proxy.admin_addr(), "/hotkeys")).unwrap()
}

/// Ranks of keys, as often as a Zipf load has them, in an order without a pattern.
fn zipf(keys: usize, requests: usize) -> Vec<usize> {
    let sum: f64 = (1..=keys).map(|rank| 1.0 / rank as f64).sum();
    let mut ranks: Vec<usize> = (1..=keys)
        .flat_map(|rank| std::iter::repeat_n(rank, (requests as f64 / rank as f64 / sum).round() as usize))
        .collect();
    let mut random: u64 = 42;
    for at in (1..ranks.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ranks.swap(at, (random >> 33) as usize % (at + 1));
    }
    ranks
}

#[test]
fn the_hottest_keys_of_a_zipf_load_are_found() {
    need!("redis");
    let cluster = Cluster::start(2);
    let load = zipf(5000, 20_000);
    let mut client = cluster.client();
    let mut sent = 0;
    // The sample grows with time, not with the load.
    eventually(DEADLINE, || {
        for batch in load.chunks(100) {
            let gets: Vec<u8> =
                batch.iter().flat_map(|rank| request(&["GET", &format!("rank:{rank}")])).collect();
            client.send(&gets).unwrap();
            batch.iter().for_each(|_| drop(client.read().unwrap()));
        }
        sent += load.len();
        page(&cluster)["sampled"].as_u64().unwrap() > 6000
    });
    let page = page(&cluster);
    let rank = |key: &Value| -> usize {
        key["key"].as_str().and_then(|key| key.strip_prefix("rank:")).unwrap().parse().unwrap()
    };
    let found: Vec<usize> = page["keys"].as_array().unwrap()[..10].iter().map(rank).collect();
    // Neighbours differ by less than a sample can tell.
    assert!(found.iter().all(|rank| *rank <= 20), "{found:?}");
    assert!((1..=5).all(|rank| found.contains(&rank)), "{found:?}");
    assert_eq!(found[..2], [1, 2]);
    let requests = page["requests"].as_u64().unwrap() as f64;
    assert!((requests / sent as f64 - 1.0).abs() < 0.15, "{requests} of {sent}");
    let hottest = &page["keys"][0];
    assert_eq!(hottest["commands"][0]["command"], "GET");
    assert_eq!(hottest["slot"], codis_core::slot_of_key(b"rank:1").get());
    assert_eq!(page["slots"][0]["slot"], hottest["slot"]);
}

#[test]
fn few_requests_are_all_counted_by_key_and_command() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let (here, there) = (cluster.key_on(0, 1), cluster.key_on(1, 1));
    for _ in 0..20 {
        assert_eq!(client.call(&["MSET", &here, "1", &there, "2"]).unwrap().text(), "OK");
        client.call(&["GET", &here]).unwrap();
        client.call(&["EVAL", "return 1", "1", &there]).unwrap();
        client.call(&["PING"]).unwrap();
    }
    let page = page(&cluster);
    assert_eq!((&page["requests"], &page["enabled"]), (&80.into(), &true.into()));
    for (key, second) in [(&here, "GET"), (&there, "EVAL")] {
        let keys = page["keys"].as_array().unwrap();
        let found = keys.iter().find(|one| one["key"] == **key).unwrap();
        assert_eq!((&found["requests"], &found["error"]), (&40.into(), &0.into()));
        let mut commands: Vec<_> = found["commands"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["command"].as_str().unwrap())
            .collect();
        commands.sort_unstable();
        assert_eq!(commands, if second < "MSET" { [second, "MSET"] } else { ["MSET", second] });
    }
}

#[test]
fn the_biggest_replies_are_told_with_their_keys() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let keys: Vec<String> = (0..100).map(|number| cluster.key_on(number % 2, number)).collect();
    for (number, key) in keys.iter().enumerate() {
        let value = "x".repeat(2000 * (number + 1));
        assert_eq!(client.call(&["SET", key, &value]).unwrap().text(), "OK");
    }
    for key in keys.iter().chain(&keys) {
        client.call(&["GET", key]).unwrap();
    }
    eventually(DEADLINE, || page(&cluster)["big_replies"].as_array().is_some_and(|all| all.len() >= 30));
    let page = page(&cluster);
    let told: Vec<&str> =
        page["big_replies"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    let expected: Vec<&String> = keys.iter().rev().take(30).collect();
    assert_eq!(told[..30], expected[..]);
    let biggest = &page["big_replies"][0];
    assert_eq!((&biggest["bytes"], &biggest["command"]), (&(200_000 + 11).into(), &"GET".into()));
    assert_eq!(biggest["backend"], cluster.servers[1].addr());
}

#[test]
fn statistics_can_be_switched_off() {
    need!("redis");
    let (_dir, path) = config("statistics = false");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    (0..20).for_each(|_| drop(client.call(&["SET", "a", "b"]).unwrap()));
    let hot = page(&cluster);
    assert_eq!((&hot["enabled"], &hot["keys"]), (&false.into(), &serde_json::json!([])));
    let stats: Value = serde_json::from_str(&http_get(&cluster.proxy.admin_addr(), "/stats")).unwrap();
    let set = stats["commands"].as_array().unwrap().iter().find(|one| one["command"] == "SET").unwrap();
    assert_eq!((&set["calls"], &set["latency"]["p99_ms"]), (&20.into(), &0.0.into()));
}
