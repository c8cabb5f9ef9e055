//! Single cases of what a governor decides, on the simulated hosts.

use super::simulation::{Event, STEP_MS, Server, addr, carry_out, look, policy};
use super::*;

fn four() -> Vec<Server> {
    (0..4).map(|n| Server::new(n, 1000)).collect()
}

/// Servers that are taken over, and a governor that has seen them.
fn governed() -> (Vec<Server>, Governor) {
    let (mut servers, mut governor) = (four(), Governor::default());
    for _ in 0..3 {
        for order in governor.next(&look(&servers), &policy(), 0).orders {
            carry_out(&mut servers, &order);
        }
    }
    (servers, governor)
}

#[test]
fn settings_come_before_anything_else() {
    let servers = four();
    let decision = Governor::default().next(&look(&servers), &policy(), 0);
    let expected: Vec<Order> = (0..4).map(|n| Order::TakeOver(addr(n))).collect();
    assert_eq!(decision.orders, expected);
    let (servers, _) = governed();
    assert!(servers.iter().all(|server| server.setting("repl-diskless-sync-delay") == "60"));
}

#[test]
fn a_server_that_does_not_take_settings_keeps_the_others_waiting_only_so_long() {
    let (mut servers, mut governor) = governed();
    // Whatever it is told, it says this.
    servers[2].set("save", "900 1");
    (servers[1].said.changes, servers[1].said.saved_ago_ms) = (1, 20_000);
    let mut orders: Vec<Order> = Vec::new();
    for second in 0..10 {
        let decision = governor.next(&look(&servers), &policy(), second * 1000);
        let told = decision.plights.contains(&(addr(2), Plight::Unruly));
        assert_eq!(told, second >= 5, "{decision:?}");
        orders.extend(decision.orders);
    }
    let expected: Vec<Order> = std::iter::repeat_n(Order::TakeOver(addr(2)), 5).collect();
    assert_eq!(orders[..5], expected);
    assert_eq!(orders[5], Order::Fork(addr(1), Does::Save));
    let decision = governor.next(&look(&servers), &policy(), 70_000);
    assert_eq!(decision.orders, [Order::TakeOver(addr(2))]);
}

#[test]
fn what_was_not_saved_for_long_is_told_once_there_was_time_for_it() {
    let (mut servers, mut governor) = governed();
    servers[0].fork();
    (servers[1].said.changes, servers[1].said.saved_ago_ms) = (1, 3_000_000);
    servers[0].child_ms = u64::MAX;
    let late = [(addr(1), Plight::Late(3_000_000))];
    for second in 0..40 {
        let decision = governor.next(&look(&servers), &policy(), second * 1000);
        assert!(decision.orders.is_empty() && decision.waits.is_some(), "{decision:?}");
        assert_eq!(decision.plights == late, second > 30, "{second} s: {decision:?}");
    }
}

#[test]
fn what_does_not_fit_is_put_off_and_told_and_the_others_go_on() {
    let (mut servers, mut governor) = governed();
    for server in &mut servers {
        (server.said.changes, server.said.saved_ago_ms) = (1, 20_000);
    }
    servers[2].said.rss = 450;
    servers[2].said.saved_ago_ms = 25_000;
    let decision = governor.next(&look(&servers), &policy(), 1000);
    let no_room = Plight::NoRoom { needs: 450, free: Some(250), sync: false };
    assert_eq!(decision.plights, [(addr(2), no_room)]);
    assert!(matches!(&decision.orders[..], [Order::Fork(other, _)] if *other != addr(2)), "{decision:?}");
    servers[2].said.rss = 200;
    let decision = governor.next(&look(&servers), &policy(), 2000);
    assert_eq!(decision.orders, [Order::Fork(addr(2), Does::Save)]);
    // A host whose memory nobody knows has no room for anybody.
    let decision = governor.next(&Host { memory: 0, ..look(&servers) }, &policy(), 3000);
    assert!(decision.orders.is_empty() && !decision.plights.is_empty());
}

#[test]
fn slaves_go_first_and_wait_no_longer_than_somebody_cares() {
    let (mut servers, mut governor) = governed();
    servers[3].fork();
    servers[3].child_ms = 200_000;
    servers[1].happens(Event::SlaveComes);
    let mut now_ms = 0;
    // While another one has a child, the wait is prolonged, never by more than is needed.
    while servers[3].child_ms > STEP_MS {
        for order in governor.next(&look(&servers), &policy(), now_ms).orders {
            assert!(matches!(order, Order::Delay(..)), "{order:?}");
            carry_out(&mut servers, &order);
        }
        servers.iter_mut().for_each(Server::goes_on);
        now_ms += STEP_MS;
        let delay: u64 = servers[1].setting("repl-diskless-sync-delay").parse().unwrap();
        assert!(delay <= now_ms / 1000 + 2 * HOLD_S + 1, "{delay} after {now_ms} ms");
        assert_eq!(servers[1].forks, 0);
    }
    servers[3].goes_on();
    servers[3].said.changes = 1;
    servers[3].said.saved_ago_ms = 1_000_000;
    let decision = governor.next(&look(&servers), &policy(), now_ms);
    assert_eq!(decision.orders, [Order::Admit(addr(1))]);
    carry_out(&mut servers, &decision.orders[0]);
    let decision = governor.next(&look(&servers), &policy(), now_ms + 100);
    assert!(decision.orders.is_empty() && decision.waits.is_some(), "{decision:?}");
    servers[1].goes_on();
    assert_eq!(servers[1].forks, 1);
    let decision = governor.next(&look(&servers), &policy(), now_ms + 500);
    assert_eq!(decision.orders, [Order::Delay(addr(1), HOLD_S)]);
}

#[test]
fn slaves_that_come_again_and_again_leave_turns_to_others() {
    let (mut servers, mut governor) = governed();
    let mut now_ms = 0;
    for _ in 0..200 {
        if servers[1].waits.is_empty() {
            servers[1].happens(Event::SlaveComes);
        }
        servers[3].said.changes = 1;
        servers[3].said.saved_ago_ms += 10_000;
        for order in governor.next(&look(&servers), &policy(), now_ms).orders {
            carry_out(&mut servers, &order);
        }
        servers.iter_mut().for_each(Server::goes_on);
        now_ms += STEP_MS;
    }
    let (copies, saves) = (servers[1].forks, servers[3].forks);
    assert!(copies >= 5 && saves >= 5, "{copies} copies, {saves} saves");
}

#[test]
fn slaves_that_do_not_fit_go_on_after_a_while() {
    let (mut servers, mut governor) = governed();
    servers[1].said.rss = 600;
    servers[1].happens(Event::SlaveComes);
    let mut plights = 0;
    for step in 0..700 {
        let decision = governor.next(&look(&servers), &policy(), step * 1000);
        plights += decision.plights.len();
        if decision.orders == [Order::Admit(addr(1))] {
            assert!(step >= 600 && plights > 590, "{step} {plights}");
            return;
        }
        for order in decision.orders {
            assert!(matches!(order, Order::Delay(..)), "{order:?}");
            carry_out(&mut servers, &order);
        }
    }
    panic!("the slave waits for ever");
}

#[test]
fn a_server_that_has_gone_holds_the_others_up_for_a_minute_and_one_that_hangs_as_long_as_it_does() {
    let (servers, mut governor) = governed();
    let due = |refused: bool| {
        let mut host = look(&servers);
        host.instances[3].said = Err(Unheard { refused, why: "connection refused".to_owned() });
        if let Ok(said) = &mut host.instances[1].said {
            (said.changes, said.saved_ago_ms) = (1, 20_000);
        }
        host
    };
    assert!(governor.next(&due(true), &policy(), 0).waits.unwrap().contains("has gone"));
    assert!(governor.next(&due(false), &policy(), 70_000).waits.unwrap().contains("does not say"));
    assert!(governor.next(&due(true), &policy(), 80_000).waits.is_some());
    assert_eq!(governor.next(&due(true), &policy(), 141_000).orders, [Order::Fork(addr(1), Does::Save)]);
}

#[test]
fn whoever_is_asked_for_is_saved_once_due_or_not() {
    let (mut servers, mut governor) = governed();
    governor.ask(&look(&servers), &policy());
    let mut forked = Vec::new();
    for step in 0..40 {
        for order in governor.next(&look(&servers), &policy(), step * 1000).orders {
            carry_out(&mut servers, &order);
            forked.extend(match order {
                Order::Fork(addr, does) => Some((addr, does)),
                _ => None,
            });
        }
        servers.iter_mut().for_each(Server::goes_on);
    }
    forked.sort();
    let expected =
        [(0, Does::Rewrite), (1, Does::Save), (2, Does::Save), (2, Does::Rewrite), (3, Does::Save)];
    assert_eq!(forked, expected.map(|(n, does)| (addr(n), does)));
    assert_eq!(governor.asked().count(), 0);
}
