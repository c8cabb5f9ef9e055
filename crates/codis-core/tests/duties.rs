//! What the watching duties find: tables of cases, each with what ends it.
#![expect(clippy::unwrap_used, reason = "test")]

use codis_core::duty::{
    Acks, ActionSeen, Connectivity, ConnectivityPolicy, Memory, MemoryPolicy, Proxies, ProxiesPolicy,
    ProxyCounters, ProxySeen, QueueSeen, Replication, ReplicationPolicy, Seen, ServerFacts, ServerSeen,
    Tasks, failed_moves,
};
use codis_core::notice::{Facts, Kind, Round, Trouble};
use codis_core::{
    ActionKind, Addr, Extra, GroupId, Move, MoveState, Role, Severity, SlotId, SlotStatus, Versioned,
};

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
        by_server: std::sync::Arc::new([(addr(1), failed), (addr(2), 0)].into()),
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

#[test]
fn the_queue_is_an_agents_turn_when_nobody_else_has_worked_on_it_for_long_enough() {
    const AFTER: u64 = 30_000;
    let idle = QueueSeen { work: true, taken: false };
    let moved = QueueSeen { work: true, taken: true };
    let empty = QueueSeen { work: false, taken: false };
    // What is seen when, and whether it is the agent's turn.
    let cases = [
        (0, idle, false),
        (29_999, idle, false),
        (30_000, idle, true),
        // A person is faster, and is killed.
        (30_100, moved, false),
        (40_000, moved, false),
        (41_000, idle, false),
        (71_000, idle, true),
        (72_000, empty, false),
        (80_000, idle, false),
        // The clock is set back.
        (50_000, idle, false),
        (79_999, idle, false),
        (80_000, idle, true),
    ];
    let mut tasks = Tasks::default();
    for (now, queue, due) in cases {
        assert_eq!(tasks.is_due(&queue, AFTER, now), due, "{now} {queue:?}");
    }
}

fn task(slot: u16, to: u32, state: MoveState, held: bool, note: &str) -> Versioned<Move> {
    let task = Move {
        task: u64::from(slot),
        slot: SlotId::new(slot).unwrap(),
        from: GroupId(1),
        to: GroupId(to),
        state,
        wave: 7,
        created: 0,
        keys_total: None,
        keys_moved: 0,
        held,
        note: note.to_owned(),
        extra: Extra::default(),
    };
    Versioned::new(task, 0)
}

#[test]
fn moves_that_wait_for_a_person_are_told_together_by_where_they_go() {
    use MoveState::{Error, Migrating, Paused, Pending};
    let told = |moves: &[Versioned<Move>]| {
        let mut round = Round::default();
        failed_moves(moves, 5, &mut round);
        assert!(round.looked.contains_key(&Kind::TaskError), "what is not found any more is over");
        let line = |facts: &Facts| match facts {
            Facts::TaskError { tasks, slots, state, why, .. } => format!("{tasks} {slots} {state} {why}"),
            other => panic!("{other:?}"),
        };
        round.alerts.iter().map(|alert| format!("{} {}", alert.id(), line(&alert.facts))).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&[
            task(1, 2, Pending, false, ""),
            task(2, 2, Migrating, false, "an older note"),
            // By a person.
            task(3, 2, Paused, false, ""),
        ]),
        NONE
    );
    assert_eq!(
        told(&[
            task(4, 2, Error, false, "px-1 is silent"),
            task(5, 2, Error, false, "px-1 is silent"),
            task(6, 2, Paused, true, "no room"),
            task(7, 3, Paused, true, "no room"),
        ]),
        ["task_error:1-2 3 4-6 error no room; px-1 is silent", "task_error:1-3 1 7 paused no room"]
    );
}

#[test]
fn a_proxy_is_told_of_that_does_not_acknowledge_for_long_enough() {
    const LINE: u64 = 5000;
    let action = |seq: u64, status, waiting: &[&str]| ActionSeen {
        seq,
        kind: ActionKind::Wave { slots: "0-3".parse().unwrap(), status },
        waiting: waiting.iter().map(|id| (id.parse().unwrap(), format!("{id}:19000"))).collect(),
    };
    let pre = |seq, waiting: &[&str]| action(seq, SlotStatus::PreMigrate, waiting);
    let online = |seq, waiting: &[&str]| action(seq, SlotStatus::Online, waiting);
    let line = |facts: &Facts| match facts {
        Facts::ProxyAck { actions, taken_back, .. } => format!("{} {taken_back}", actions.join(", ")),
        other => panic!("{other:?}"),
    };
    let unread: Option<Vec<ActionSeen>> = None;
    // When, what waits, and what is told of it.
    type Case<'a> = (u64, Option<Vec<ActionSeen>>, &'a [&'a str]);
    let cases: [Case<'_>; 8] = [
        (0, Some(vec![pre(7, &["px-1", "px-2"])]), &[]),
        (4999, Some(vec![pre(7, &["px-1"])]), &[]),
        (
            5000,
            Some(vec![pre(7, &["px-1"])]),
            &["proxy_ack:px-1 since 0: actions/0000000007 slots_changed true"],
        ),
        // The way back is told, and waits for it as well; that has just begun.
        (
            6000,
            Some(vec![online(8, &["px-1"]), pre(7, &["px-1"])]),
            &["proxy_ack:px-1 since 0: actions/0000000007 slots_changed true"],
        ),
        (7000, unread, &[]),
        (8000, Some(vec![]), &[]),
        (9000, Some(vec![online(9, &["px-1"])]), &[]),
        (
            14_000,
            Some(vec![online(9, &["px-1"])]),
            &["proxy_ack:px-1 since 9000: actions/0000000009 slots_changed false"],
        ),
    ];
    let mut acks = Acks::default();
    for (now, waiting, expected) in cases {
        let mut round = Round::default();
        acks.check(waiting.as_deref(), LINE, now, &mut round);
        let told =
            round.alerts.iter().map(|a| format!("{} since {}: {}", a.id(), a.since_ms, line(&a.facts)));
        assert_eq!(told.collect::<Vec<_>>(), expected, "{now}");
        assert_eq!(round.looked.contains_key(&Kind::ProxyAck), waiting.is_some(), "{now}");
    }
}
