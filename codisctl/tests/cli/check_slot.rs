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

/// The commands that a server has carried out since its statistics were reset and that change something.
fn writes(server: &RedisServer) -> Vec<String> {
    let mut client = server.client();
    let stats = client.call(&["INFO", "commandstats"]).unwrap().text();
    let names = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split([':', '|']).next());
    let changes =
        |name: &&str| format!("{:?}", client.call(&["COMMAND", "INFO", name]).unwrap()).contains("\"write\"");
    names.filter(changes).map(str::to_owned).collect()
}

#[test]
fn a_check_writes_and_deletes_nothing() {
    need!("redis");
    let (desk, servers) = desk();
    let sizes = |servers: &[RedisServer]| -> Vec<String> {
        servers.iter().map(|server| server.client().call(&["DBSIZE"]).unwrap().text()).collect()
    };
    // What would be seen.
    servers[2].client().call(&["DEL", "nothing"]).unwrap();
    assert_eq!(writes(&servers[2]), ["del"]);
    let before = (desk.tree(), sizes(&servers));
    for server in &servers {
        server.client().call(&["CONFIG", "RESETSTAT"]).unwrap();
    }
    for masters in [&[][..], &["--masters"]] {
        let args = [&["check-slot", "--all", "--to", "2", "--fast"], masters].concat();
        let ran = desk.run(&args);
        assert!(matches!(ran.status, 3 | 4), "{}", ran.all());
        let group = desk.run(&[&["check-slot", "--group", "1", "--fast"], masters].concat());
        assert_eq!(group.status, 3, "{}", group.all());
    }
    for server in &servers {
        assert_eq!(writes(server), Vec::<String>::new());
    }
    assert_eq!((desk.tree(), sizes(&servers)), before);
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

#[test]
fn the_largest_keys_by_bytes_elements_and_stall() {
    need!("redis");
    let (desk, servers) = desk();
    let mut client = servers[2].client();
    client.call(&["SET", "blob", &"x".repeat(2_000_000), "PX", "7200000"]).unwrap();
    let before = desk.tree();
    let json =
        |args: &[&str]| desk.run(&[&["bigkeys", "--fast", "--output", "json"], args].concat()).ok().json();
    let all = json(&[]);
    let names = |found: &serde_json::Value| -> Vec<String> {
        let keys = found["keys"].as_array().unwrap().iter();
        keys.map(|key| key["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&all)[..2], [key_in(97), "blob".to_owned()]);
    assert_eq!((&all["groups"][0]["role"], &all["groups"][1]["role"]), (&"slave".into(), &"master".into()));
    assert_eq!(names(&json(&["--by", "elements", "--top", "1"])), ["blob"], "its bytes");
    assert_eq!(names(&json(&["--by", "stall", "--top", "1"])), [key_in(97)]);
    assert_eq!(names(&json(&["--type", "hash"])), [key_in(97)]);
    assert_eq!(names(&json(&["--slots", "97"])), [key_in(97)]);
    assert_eq!(names(&json(&["--group", "2", "--top", "1"])), ["blob"]);
    let table = desk.run(&["bigkeys", "--fast", "--top", "2"]).ok().out;
    assert!(table.starts_with("key "), "{table}");
    assert!(table.contains(" hash      60 000 ") && table.contains("  string "), "{table}");
    assert!(table.contains("\n2 groups, 1 on slaves: 3 keys, "), "{table}");
    assert_eq!(desk.tree(), before);
    let missing = desk.run(&["bigkeys", "--group", "9"]);
    assert_eq!(missing.status, 1, "{}", missing.all());
}
