//! `migrate plan`, `task show`, and what is refused before anything is written.

use codis_core::slot_of_key;
use codis_testkit::{RedisServer, need};
use serde_json::{Value, json};

use crate::support::Desk;

/// A key of this slot.
fn key_in(slot: u16) -> String {
    (0..).map(|n| format!("key:{n}")).find(|key| slot_of_key(key.as_bytes()).get() == slot).unwrap()
}

/// Slots 0-511 at group 1, 512-1021 at group 2, 1022-1023 nobody's; group 3 has no master.
fn desk() -> (Desk, Vec<RedisServer>) {
    let mut desk = Desk::new().with_product();
    let servers: Vec<RedisServer> = ["ONE", "TWO"].map(|name| desk.redis(name)).into();
    for (group, server) in ["1", "2"].iter().zip(&servers) {
        desk.run(&["group", "add", group, "--master", &server.addr(), "--yes"]).ok();
    }
    desk.run(&["group", "add", "3", "--yes"]).ok();
    desk.run(&["slot", "assign", "0-511", "1", "--yes"]).ok();
    desk.run(&["slot", "assign", "512-1021", "2", "--yes"]).ok();
    (desk, servers)
}

/// Adds the fields of a big hash to this slot: so many that it would stall its servers.
fn big_key(server: &RedisServer, slot: u16) {
    let mut client = server.client();
    for first in (0..60_000).step_by(1000) {
        let mut line = vec!["HSET".to_owned(), key_in(slot)];
        line.extend((first..first + 1000).flat_map(|n| [format!("f{n}"), "v".repeat(20)]));
        client.call(&line).unwrap();
    }
}

/// The writes that a server has counted since its start.
fn changes(server: &RedisServer) -> String {
    let info = server.client().call(&["INFO", "persistence"]).unwrap().text();
    info.lines().find(|line| line.starts_with("rdb_changes_since_last_save:")).unwrap().to_owned()
}

#[test]
fn a_plan_shows_everything_and_writes_nothing() {
    need!("redis");
    let (desk, servers) = desk();
    let mut client = servers[0].client();
    for slot in 5..8 {
        client.call(&["SET", &key_in(slot), "x"]).unwrap();
    }
    let before = (desk.tree(), servers.iter().map(changes).collect::<Vec<_>>());
    let args = ["migrate", "plan", "--slots", "0-63", "--to", "2"];
    let ran = desk.run(&args).ok();
    let shown: Vec<&str> = ran.out.lines().collect();
    assert_eq!(
        shown[0],
        "plan      64 slots of group 1 → group 2, 1 wave, 64 tasks; nothing is written by this command"
    );
    assert!(
        shown[1].starts_with("keys      3 keys, ") && shown[1].contains("; group 2 after it: "),
        "{}",
        ran.out
    );
    for guard in [
        "✓ both are masters and answer",
        "✓ RDB version ",
        "✓ group 2 holds no key of them",
        "✓ no Go dashboard",
        "✓ fences clean",
        "• no proxy is online",
        "• a probe key: when it begins",
    ] {
        assert!(ran.out.contains(guard), "{guard}: {}", ran.out);
    }
    assert!(
        ran.out.contains("\nstalls    budget 5 ms: 0 big keys in these slots; batches of about "),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("\nwrites 1  moves: 64 tasks queued\n"), "{}", ran.out);
    let change = "writes 2  slots/slot_0-63: pre_migrate → migrate (1 → 2) → online at 2, as the wave goes\n";
    assert!(ran.out.contains(change), "{}", ran.out);
    assert!(
        ran.out
            .ends_with("\ntakes     below a second\nnext      codisctl migrate start --slots 0-63 --to 2\n")
    );

    let json = desk.run(&[&args[..], &["--output", "json"]].concat()).ok().json();
    assert_eq!((&json["count"], &json["keys"], &json["to"]), (&64.into(), &3.into(), &2.into()));
    assert_eq!(json["waves"][0]["slots"], "0-63");
    assert!(json["guards"].as_array().unwrap().iter().all(|guard| guard["mark"] != "bad"), "{json}");
    assert!(json["used_memory_after"].as_u64() > json["used_memory"].as_u64(), "{json}");
    let after = (desk.tree(), servers.iter().map(changes).collect::<Vec<_>>());
    assert_eq!(after, before);
}

#[test]
fn a_plan_names_the_slots_that_cannot_move_and_goes_on_with_the_others() {
    need!("redis");
    let (desk, servers) = desk();
    big_key(&servers[0], 97);
    servers[1].client().call(&["SET", &key_in(5), "stray"]).unwrap();
    let before = desk.tree();
    let ran = desk.run(&["migrate", "plan", "--slots", "0-127", "--to", "2"]);
    assert_eq!(ran.status, 3, "{}", ran.all());
    assert!(ran.out.contains("✗ group 2 holds keys of slots 5 "), "{}", ran.out);
    assert!(ran.out.contains("budget 5 ms: 1 big key in these slots"), "{}", ran.out);
    assert!(ran.out.contains("blocked   ✗ slots 97: big keys\n"), "{}", ran.out);
    assert!(ran.out.contains("blocked   ✗ slots 5: TWO holds keys of it already\n"), "{}", ran.out);
    let next = "codisctl migrate start --slots 0-4,6-96,98-127 --to 2    moves the others";
    assert!(ran.err.contains("error: 2 slots cannot move\n") && ran.err.contains(next), "{}", ran.err);

    servers[1].client().call(&["DEL", &key_in(5)]).unwrap();
    let allowed = ["migrate", "plan", "--slots", "97", "--to", "2", "--allow-stall", "--output", "json"];
    let json = desk.run(&allowed).ok().json();
    assert_eq!((&json["blocked"], &json["big_keys"][0]["slot"]), (&json!([]), &97.into()));
    servers[1].client().call(&["CONFIG", "SET", "maxmemory", "1mb"]).unwrap();
    let full = desk.run(&allowed);
    assert_eq!(full.status, 3, "{}", full.err);
    assert_eq!(full.json()["blocked"][0]["why"], "group 2 has no room");
    assert_eq!(desk.tree(), before);
}

#[test]
fn a_plan_is_refused_where_nothing_can_move() {
    need!("redis");
    let (desk, servers) = desk();
    let before = desk.tree();
    let plan = ["migrate", "plan", "--slots", "7", "--to", "2"];
    // The store calls it a master.
    servers[1].client().call(&["REPLICAOF", "127.0.0.1", &servers[0].port().to_string()]).unwrap();
    let ran = desk.run(&plan);
    assert_eq!(ran.status, 4, "{}", ran.all());
    assert!(ran.out.contains("✗ TWO: the store calls it a master, but it is a slave"), "{}", ran.out);
    assert!(
        ran.err.contains("  where  TWO\n  why    the store calls it a master, but it is a slave\n"),
        "{}",
        ran.err
    );
    servers[1].kill();
    let ran = desk.run(&plan);
    assert_eq!(ran.status, 5, "{}", ran.all());
    assert!(ran.err.contains("  where  TWO\n"), "{}", ran.err);
    assert_eq!(desk.tree(), before);
}

/// A request that cannot be carried out, its exit status, and a word of the reason.
type Bad = (&'static [&'static str], i32, &'static str);

/// Every mistake is refused with its reason, by the plan and by the start alike, and leaves the store as it was.
#[test]
fn bad_input_is_refused_before_anything_is_written() {
    need!("redis");
    let (desk, _servers) = desk();
    let bad: &[Bad] = &[
        (&["--slots", "7", "--to", "9"], 1, "group 9 does not exist"),
        (&["--slots", "1024", "--to", "2"], 2, "is not a set of slots"),
        (&["--slots", "0-5,3-7", "--to", "2"], 2, "without overlaps"),
        (&["--slots", "9-3", "--to", "2"], 2, "not an ascending range"),
        (&["--slots", "", "--to", "2"], 2, "is not a set of slots"),
        (&["--slots", "7-9", "--to", "1"], 4, "source and destination are the same"),
        (&["--slots", "7", "--to", "3"], 4, "group 3 has no master"),
        (&["--slots", "1022", "--to", "2"], 4, "not served by a group"),
        (&["--slots", "7,1023", "--to", "2"], 4, "slots/slot_1023"),
    ];
    refuses(&desk, bad);
    // The same where nobody but the store knows.
    desk.write("proxy/go", GO_PROXY);
    desk.write("fence/h:1", "");
    refuses(&desk, &[(&["--slots", "7", "--to", "2"], 4, "a Go proxy is online")]);
    desk.delete("proxy/go");
    refuses(&desk, &[(&["--slots", "7", "--to", "2"], 4, "left a fence")]);
    desk.delete("fence/h:1");
    desk.write("dashboard", r#"{"addr":"127.0.0.1:18087","pid":4242}"#);
    refuses(&desk, &[(&["--slots", "7", "--to", "2"], 4, "a Go dashboard is at")]);
    desk.delete("dashboard");
    desk.run(&["migrate", "start", "--slots", "7", "--to", "2", "--yes"]).ok();
}

/// As the original registers itself.
const GO_PROXY: &str = r#"{"id":"go","addr":"h:1","last_event":"","last_event_ts":0,"state":"online","description":"","debug_var_addr":"h:2","pid":1,"start_at":"2026-11-22 09:00:00 +0000 UTC"}"#;

fn refuses(desk: &Desk, bad: &[Bad]) {
    let before = desk.tree();
    for (args, status, why) in bad {
        for verb in ["plan", "start"] {
            let line = [&["migrate", verb], *args, &["--yes"]].concat();
            let ran = desk.run(&line);
            assert_eq!(ran.status, *status, "{line:?}: {}", ran.all());
            assert!(ran.err.contains(why), "{line:?}: {}", ran.err);
            assert!(ran.err.contains("\n  next   "), "{line:?}: {}", ran.err);
            assert_eq!(desk.tree(), before, "{line:?}");
        }
    }
}

#[test]
fn a_task_is_shown_with_what_can_be_done_with_it() {
    need!("redis");
    let (desk, _servers) = desk();
    desk.run(&["migrate", "start", "--slots", "5-6", "--to", "2", "--yes"]).ok();
    let tasks = desk.run(&["task", "list", "--output", "json"]).ok().json();
    let number = |at: usize| tasks["tasks"][at]["task"].to_string();
    let shown = desk.run(&["task", "show", &number(0)]).ok().out;
    for line in [
        "move      slot 5, 1 → 2, wave ",
        "status    pending\n",
        "slot      online at group 1\n",
        "mover     nobody moves slots now\n",
        "can       codisctl migrate run    ",
        "can       codisctl task pause ",
        "can       codisctl task delete ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains("task resume"), "it is not paused: {shown}");

    // On its way: what would strand it is named as impossible, with the reason.
    let slot = r#"{"product_name":"feed","id":5,"group_id":2,"state":{"status":"migrate","migrate_status":{"from":1,"to":2},"last_op_ts":"0"}}"#;
    desk.write("slots/slot_5", slot);
    desk.run(&["task", "pause", &number(0), "--yes"]).ok();
    let json = desk.run(&["task", "show", &number(0), "--output", "json"]).ok().json();
    assert_eq!(
        (&json["status"], &json["state"], &json["group"]),
        (&"paused".into(), &"migrate".into(), &2.into())
    );
    let can: Vec<(&str, bool)> = json["can"].as_array().unwrap().iter().map(can).collect();
    assert_eq!(can, [("resume", true), ("cancel", true), ("delete", false)]);
    let before = desk.tree();
    let refused = desk.run(&["task", "delete", &number(0), "--yes"]);
    assert_eq!(refused.status, 4, "{}", refused.all());
    assert!(
        refused.err.contains("slot 5 is in migrate: without its task nobody would finish it"),
        "{}",
        refused.err
    );
    let instead = format!("codisctl task cancel {}    takes it back", number(0));
    assert!(refused.err.contains(&instead), "{}", refused.err);
    assert_eq!(desk.tree(), before);

    let missing = desk.run(&["task", "show", "99"]);
    assert_eq!(missing.status, 1, "{}", missing.all());
    assert!(missing.err.contains("one that is done is deleted"), "{}", missing.err);
}

/// The verb, and whether it can be carried out.
fn can(line: &Value) -> (&str, bool) {
    let command = line["command"].as_str().unwrap();
    (command.split(' ').nth(2).unwrap(), line["possible"].as_bool().unwrap())
}
