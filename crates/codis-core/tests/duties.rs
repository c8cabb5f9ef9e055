//! What the watching duties find: tables of cases, each with what ends it.
#![expect(clippy::unwrap_used, reason = "test")]

use codis_core::duty::{
    Connectivity, ConnectivityPolicy, Memory, MemoryPolicy, Proxies, ProxiesPolicy, ProxyCounters, ProxySeen,
    Replication, ReplicationPolicy, Seen, ServerFacts, ServerSeen,
};
use codis_core::notice::{Facts, Kind, Round, Trouble};
use codis_core::{Addr, GroupId, Role, Severity};

const GIB: u64 = 1 << 30;
const HOUR: u64 = 3_600_000;

fn addr(port: u16) -> Addr {
    format!("10.0.7.51:{port}").parse().unwrap()
}

fn server(port: u16, role: Role, facts: ServerFacts) -> ServerSeen {
    let group = GroupId(1);
    ServerSeen {
        group,
        addr: addr(port),
        role,
        silent: None,
        odd: None,
        ping_us: Some(100),
        facts: Some(facts),
    }
}

fn seen(now_ms: u64, servers: &[ServerSeen]) -> Seen {
    Seen { servers: servers.to_vec(), proxies: Vec::new(), now_ms }
}

/// The alerts of a round as `kind:subject`.
fn ids(round: &Round) -> Vec<String> {
    round.alerts.iter().map(|alert| alert.id().to_string()).collect()
}

const NONE: [&str; 0] = [];

fn memory(duty: &mut Memory, seen: &Seen) -> Round {
    let mut round = Round::default();
    duty.check(seen, &MemoryPolicy::default(), &mut round);
    round
}

fn using(used: u64, max: u64) -> ServerFacts {
    ServerFacts { used, max, host: 64 * GIB, is_master: true, ..ServerFacts::default() }
}

#[test]
fn a_server_is_full_from_its_line_on_and_urgently_so_later() {
    let cases = [
        (79, 100, None),
        (80, 100, Some(Severity::Warning)),
        (95, 100, Some(Severity::Critical)),
        (99, 0, None),
    ];
    for (used, max, expected) in cases {
        let servers = [server(1, Role::Master, using(used * GIB / 10, max * GIB / 10))];
        let round = memory(&mut Memory::default(), &seen(0, &servers));
        assert_eq!(round.alerts.first().map(|alert| alert.severity), expected, "{used} of {max}");
        assert_eq!(round.looked[&Kind::Memory].len(), 0, "it was looked at");
    }
}

#[test]
fn who_does_not_answer_is_not_called_well() {
    let silent = ServerSeen { facts: None, ..server(1, Role::Master, ServerFacts::default()) };
    let round = memory(&mut Memory::default(), &seen(0, &[silent]));
    assert!(round.looked[&Kind::Memory].contains("10.0.7.51:1"));
    assert!(round.looked[&Kind::HostMemory].contains("10.0.7.51"));
}

#[test]
fn growth_is_foreseen_from_an_hour_on() {
    let mut duty = Memory::default();
    let facts = |round: &Round| match &round.alerts[0].facts {
        Facts::Memory { growth, full_ms, .. } => (*growth, *full_ms),
        other => panic!("{other:?}"),
    };
    let at = |hour: u64, used: u64| seen(hour * HOUR, &[server(1, Role::Master, using(used, 15 * GIB))]);
    assert_eq!(facts(&memory(&mut duty, &at(0, 12 * GIB))), (None, None));
    // 6 MiB an hour: 144 MiB a day, and 3 GiB less 6 MiB to go.
    let (growth, full_ms) = facts(&memory(&mut duty, &at(1, 12 * GIB + (6 << 20))));
    assert_eq!(growth, Some(144 << 20));
    let days = (full_ms.unwrap() - HOUR) / (24 * HOUR);
    assert_eq!(days, 21);
    assert_eq!(facts(&memory(&mut duty, &at(2, 12 * GIB))), (None, None), "it does not grow");
}

#[test]
fn a_host_is_full_when_its_servers_are_together() {
    let servers: Vec<_> = (1..=4).map(|port| server(port, Role::Master, using(15 * GIB, 0))).collect();
    assert_eq!(ids(&memory(&mut Memory::default(), &seen(0, &servers))), ["host_memory:10.0.7.51"]);
    assert_eq!(ids(&memory(&mut Memory::default(), &seen(0, &servers[..3]))), NONE);
}

/// A master at an offset, and a slave that has come so far.
fn pair(master: u64, slave: ServerFacts) -> [ServerSeen; 2] {
    let facts = ServerFacts { is_master: true, offset: master, ..ServerFacts::default() };
    [server(1, Role::Master, facts), server(2, Role::Slave, slave)]
}

fn follower(offset: u64) -> ServerFacts {
    ServerFacts { follows: Some(addr(1)), link_up: true, offset, ..ServerFacts::default() }
}

fn replication(
    duty: &mut Replication,
    at_s: u64,
    servers: &[ServerSeen],
) -> Option<(Trouble, Option<u64>, Option<u64>)> {
    let mut round = Round::default();
    duty.check(&seen(at_s * 1000, servers), &ReplicationPolicy::default(), &mut round);
    assert!(round.looked.contains_key(&Kind::Replication));
    let alert = round.alerts.into_iter().next()?;
    assert_eq!(alert.subject, "10.0.7.51:2");
    match alert.facts {
        Facts::Replication { trouble, lag_ms, lag_bytes, .. } => Some((trouble, lag_ms, lag_bytes)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_slave_that_is_broken_is_told_after_a_while() {
    let cases = [
        (ServerFacts { link_up: false, link_down_ms: Some(12_000), ..follower(0) }, Trouble::LinkDown),
        (ServerFacts { follows: Some(addr(9)), ..follower(0) }, Trouble::Follows(addr(9))),
        (ServerFacts { is_master: true, ..follower(0) }, Trouble::Master),
    ];
    for (slave, expected) in cases {
        let mut duty = Replication::default();
        assert_eq!(replication(&mut duty, 0, &pair(0, slave.clone())), None, "it may be attached right now");
        assert_eq!(replication(&mut duty, 9, &pair(0, slave.clone())), None);
        let found = replication(&mut duty, 10, &pair(0, slave.clone()));
        assert_eq!(found.map(|(trouble, ..)| trouble), Some(expected.clone()));
        assert_eq!(replication(&mut duty, 11, &pair(0, follower(0))), None, "over");
        assert_eq!(replication(&mut duty, 12, &pair(0, slave)), None, "counts anew");
    }
}

#[test]
fn how_far_behind_is_told_in_time_and_in_bytes() {
    let mut duty = Replication::default();
    for at in 0..=40 {
        let found = replication(&mut duty, at, &pair(1000 * at, follower(10_000.min(1000 * at))));
        // It has had what the master had at 10 s, and nothing since.
        let expected = (at >= 40).then_some((Trouble::Behind, Some(30_000), Some(30_000)));
        assert_eq!(found, expected, "{at}");
    }
    assert_eq!(replication(&mut duty, 41, &pair(41_000, follower(41_000))), None, "it has caught up");
    let far = replication(&mut duty, 42, &pair(1 << 30, follower(41_000)));
    assert_eq!(far, Some((Trouble::Behind, Some(1000), Some((1 << 30) - 41_000))), "bytes alone are enough");
    let other = ServerFacts { history: Some("other".into()), ..follower(0) };
    assert_eq!(replication(&mut duty, 43, &pair(1 << 30, other)), None, "histories are not compared");
}

#[test]
fn copies_of_everything_again_and_again_are_too_many() {
    let mut duty = Replication::default();
    let with = |copies: u64| {
        let mut pair = pair(0, follower(0));
        pair[0].facts.as_mut().unwrap().full_syncs = copies;
        pair
    };
    for (at, copies) in [(0, 5), (60, 6), (120, 7)] {
        assert_eq!(
            replication(&mut duty, at, &with(copies)),
            None,
            "those before it was looked at do not count"
        );
    }
    assert_eq!(replication(&mut duty, 180, &with(8)), Some((Trouble::Resyncs(3), None, None)));
    assert_eq!(replication(&mut duty, 180 + 3600, &with(8)), None, "an hour without any");
}

fn connectivity(duty: &mut Connectivity, server: ServerSeen) -> Vec<String> {
    let mut round = Round::default();
    duty.check(&seen(100_000, &[server]), &ConnectivityPolicy::default(), &mut round);
    ids(&round)
}

#[test]
fn silence_and_slowness_are_told_when_they_last() {
    let fine = || server(1, Role::Master, ServerFacts::default());
    let silent =
        |ms, role| ServerSeen { silent: Some((ms, "refused".into())), role, ping_us: None, ..fine() };
    let mut duty = Connectivity::default();
    assert_eq!(connectivity(&mut duty, silent(5999, Role::Slave)), NONE);
    assert_eq!(connectivity(&mut duty, silent(6000, Role::Slave)), ["unreachable:10.0.7.51:1"]);
    assert_eq!(connectivity(&mut duty, silent(6000, Role::Offline)), NONE, "it may be");
    let slow = || ServerSeen { ping_us: Some(14_000), ..fine() };
    assert_eq!(connectivity(&mut duty, slow()), NONE);
    assert_eq!(connectivity(&mut duty, slow()), NONE);
    assert_eq!(connectivity(&mut duty, slow()), ["slow:10.0.7.51:1"]);
    assert_eq!(connectivity(&mut duty, fine()), NONE);
    assert_eq!(connectivity(&mut duty, slow()), NONE, "counts anew");
    let odd = ServerSeen { odd: Some("HTTP/1.1 400".into()), ..fine() };
    assert_eq!(connectivity(&mut duty, odd), ["check:10.0.7.51:1"]);
}

fn proxy(failed: u64, ops: u64) -> ProxySeen {
    let counters = ProxyCounters {
        ops,
        failed_ops: failed,
        by_server: [(addr(1), failed), (addr(2), 0)].into(),
        ..ProxyCounters::default()
    };
    ProxySeen {
        id: "px-4".into(),
        addr: "10.0.9.24:19000".into(),
        online: true,
        counters: Ok(counters),
        differing: Some("".parse().unwrap_or_default()),
    }
}

fn proxies(duty: &mut Proxies, at_s: u64, proxy: &ProxySeen) -> Round {
    let mut round = Round::default();
    let seen = Seen { servers: Vec::new(), proxies: vec![proxy.clone()], now_ms: at_s * 1000 };
    duty.check(&seen, &ProxiesPolicy::default(), &mut round);
    round
}

#[test]
fn failures_are_counted_over_the_window() {
    let mut duty = Proxies::default();
    assert_eq!(ids(&proxies(&mut duty, 0, &proxy(5000, 100_000))), NONE, "those of long ago do not count");
    assert_eq!(ids(&proxies(&mut duty, 60, &proxy(5099, 110_000))), NONE);
    let round = proxies(&mut duty, 120, &proxy(5100, 120_000));
    let expected = Facts::ProxyOps {
        proxy: "px-4".into(),
        addr: "10.0.9.24:19000".into(),
        failed: 100,
        total: 20_000,
        window_ms: 120_000,
        line: 100,
        worst: Some(addr(1)),
        worst_failed: 100,
    };
    assert_eq!(round.alerts[0].facts, expected);
    assert_eq!(ids(&proxies(&mut duty, 361, &proxy(5100, 160_000))), NONE, "the window has passed");
    let round = proxies(&mut duty, 370, &proxy(100, 200));
    assert_eq!(ids(&round), ["proxy_ops:px-4"], "a restart counts from nothing");
}

#[test]
fn silence_and_wrong_routes_of_a_proxy_are_told_when_they_last() {
    let mut duty = Proxies::default();
    let silent = ProxySeen { counters: Err("refused".into()), differing: None, ..proxy(0, 0) };
    let round = proxies(&mut duty, 0, &silent);
    assert_eq!(ids(&round), NONE);
    assert!(
        round.looked[&Kind::ProxyOps].contains("px-4") && round.looked[&Kind::ProxyTable].contains("px-4")
    );
    assert_eq!(ids(&proxies(&mut duty, 5, &silent)), ["proxy_silent:px-4"]);
    assert_eq!(ids(&proxies(&mut duty, 6, &ProxySeen { online: false, ..silent })), NONE);

    let wrong = ProxySeen { differing: Some("0-15".parse().unwrap()), ..proxy(0, 0) };
    assert_eq!(ids(&proxies(&mut duty, 10, &wrong)), NONE, "it may be about to follow");
    let round = proxies(&mut duty, 15, &wrong);
    assert_eq!(ids(&round), ["proxy_table:px-4"]);
    assert!(matches!(&round.alerts[0].facts, Facts::ProxyTable { slots: 16, which, .. } if which == "0-15"));
    assert_eq!(round.alerts[0].since_ms, 10_000);
    assert_eq!(ids(&proxies(&mut duty, 16, &proxy(0, 0))), NONE);
    assert_eq!(ids(&proxies(&mut duty, 21, &wrong)), NONE, "counts anew");
}
