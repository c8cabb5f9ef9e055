//! `check-slot`: may these slots be moved?

use codis_core::slot_of_key;
use codis_testkit::{RedisServer, need};

use crate::support::Desk;

/// A key of this slot.
fn key_in(slot: u16) -> String {
    (0..).map(|n| format!("key:{n}")).find(|key| slot_of_key(key.as_bytes()).get() == slot).unwrap()
}

/// Slots 0-511 at group 1 (with a slave), 512-1023 at group 2. A hash of slot 97 is big, and group 1 has a key
/// of slot 515.
fn desk() -> (Desk, Vec<RedisServer>) {
    let mut desk = Desk::new().with_product();
    let servers: Vec<RedisServer> = ["ONE", "SLAVE", "TWO"].map(|name| desk.redis(name)).into();
    let [one, slave, two] = &servers[..] else { panic!("three servers") };
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--slave", &slave.addr(), "--yes"]).ok();
    desk.run(&["group", "add", "2", "--master", &two.addr(), "--yes"]).ok();
    desk.run(&["slot", "assign", "0-511", "1", "--yes"]).ok();
    desk.run(&["slot", "assign", "512-1023", "2", "--yes"]).ok();
    let mut client = one.client();
    for first in (0..60_000).step_by(1000) {
        let mut line = vec!["HSET".to_owned(), key_in(97)];
        line.extend((first..first + 1000).flat_map(|n| [format!("f{n}"), "v".repeat(20)]));
        client.call(&line).unwrap();
    }
    client.call(&["SET", &key_in(515), "x"]).unwrap();
    client.call(&["WAIT", "1", "10000"]).unwrap();
    (desk, servers)
}

#[test]
fn a_slot_with_a_big_key_cannot_move_unless_stalls_are_allowed() {
    need!("redis");
    let (desk, _servers) = desk();
    let checked = desk.run(&["check-slot", "--group", "1", "--fast", "--output", "json"]);
    assert_eq!(checked.status, 3, "{}", checked.err);
    let json = checked.json();
    let group = &json["groups"][0];
    assert_eq!(
        (group["role"].as_str(), &json["ok"], &json["blocked"]),
        (Some("slave"), &511.into(), &1.into())
    );
    let big = &group["big_keys"][0];
    assert_eq!((&big["slot"], &big["kind"], &big["elements"]), (&97.into(), &"hash".into(), &60_000.into()));
    assert!(big["dump_ms"].as_f64().unwrap() > 5.0, "{big}");
    let strays = serde_json::json!([{ "slots": "515", "group": 2, "keys": 1 }]);
    assert_eq!(group["strays"], strays);

    let allowed = desk.run(&["check-slot", "97", "--fast", "--allow-stall"]).ok().out;
    assert!(allowed.contains("▲ stalls: big keys, allowed      1"), "{allowed}");
    assert!(allowed.ends_with("0 ok, 1 with stalls, 0 blocked\n"), "{allowed}");
    let generous = desk.run(&["check-slot", "97", "--fast", "--max-stall", "10s"]).ok().out;
    assert!(generous.ends_with("1 ok, 0 blocked\n"), "{generous}");
}

#[test]
fn the_destination_must_have_room_and_no_keys_of_the_slots() {
    need!("redis");
    let (desk, servers) = desk();
    servers[2].client().call(&["SET", &key_in(5), "x"]).unwrap();
    let held = desk.run(&["check-slot", "4-6", "--to", "2", "--fast", "--output", "plain"]);
    insta::assert_snapshot!(held.all(), @"
    4	1	ok	0	0	0	0.0	
    5	1	blocked	0	0	0	0.0	TWO holds keys of it already
    6	1	ok	0	0	0	0.0	
    --- 3
    error: 1 slot cannot move
      where  slots 5
      why    the table says why
      next   codisctl slot list
    ");
    servers[2].client().call(&["CONFIG", "SET", "maxmemory", "1mb"]).unwrap();
    let full = desk.run(&["check-slot", "97", "--to", "2", "--fast", "--allow-stall", "--output", "plain"]);
    assert_eq!(full.status, 3);
    assert!(full.out.contains("blocked") && full.out.contains("group 2 has no room"), "{}", full.out);
}

#[test]
fn mistakes_are_told_before_anything_is_looked_at() {
    need!("redis");
    let desk = Desk::new().with_product();
    insta::assert_snapshot!(desk.run(&["check-slot", "5"]).all(), @"
    --- 4
    error: cannot check slots 5
      where  slots/slot_5
      why    no group serves it
      next   codisctl slot list
    ");
    insta::assert_snapshot!(desk.run(&["check-slot", "--group", "9"]).all(), @"
    --- 1
    error: cannot check group 9
      where  servers/group_9
      why    the product has no such group
      next   codisctl group list
    ");
    assert_eq!(desk.run(&["check-slot"]).status, 2);
    assert_eq!(desk.run(&["check-slot", "1024"]).status, 2);
}
