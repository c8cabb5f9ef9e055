//! Verbs that change something: the plan, the change, the record.

use codis_testkit::{RedisServer, need};

use crate::support::Desk;

#[test]
fn init_shows_its_plan_and_can_be_repeated() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.run(&["product", "init", "--dry-run"]).all(), @"
    plan      initialise product feed with 1024 slots
    writes 1  slots/slot_0-1023: created, offline, no group
    dry run   nothing was written
    --- 0
    ");
    insta::assert_snapshot!(desk.run(&["product", "init", "--yes"]).all(), @"
    --- 0
    plan      initialise product feed with 1024 slots
    writes 1  slots/slot_0-1023: created, offline, no group
    step 1 of 1 done in N ms
    done      initialise product feed with 1024 slots
    next      codisctl group add 1 --master HOST:PORT    then: codisctl slot assign 0-1023 1
    ");
    insta::assert_snapshot!(desk.run(&["slot", "init", "--yes"]).all(), @"
    plan      initialise product feed with 1024 slots
    note      all 1024 slots exist already
    done      nothing had to be written
    --- 0
    ");
}

#[test]
fn a_group_grows_changes_its_master_and_goes() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let (one, two, three) = (desk.redis("ONE"), desk.redis("TWO"), desk.redis("THREE"));
    let add = desk.run(&["group", "add", "1", "--master", &one.addr(), "--slave", &two.addr(), "--yes"]).ok();
    assert!(add.err.contains("writes 3  servers/group_1/ONE: created, master\n"), "{}", add.err);
    assert!(add.err.contains("\nnext      codisctl slot assign RANGES 1"), "{}", add.err);
    assert_eq!(role_of(&two), "slave");

    desk.run(&["slot", "assign", "0-1023", "1", "--yes"]).ok();
    insta::assert_snapshot!(desk.run(&["slot", "list"]).ok().out, @"
    slots      n  state   group  move  note
    ───────────────────────────────────────
    0-1023  1024  online      1
    1024 slots
    ");

    insta::assert_snapshot!(desk.run(&["group", "promote", "1", &two.addr(), "--yes"]).ok().err, @"
    plan      make TWO the master of group 1
    writes 1  failover/group_1: requests wait, TWO catches up and is the master, ONE its slave
    step 1 of 1 done in N ms
    done      make TWO the master of group 1
    next      codisctl group show 1
    ");
    assert_eq!((role_of(&one), role_of(&two)), ("slave".into(), "master".into()));

    desk.run(&["server", "add", "1", &three.addr(), "--yes"]).ok();
    assert_eq!(role_of(&three), "slave");
    desk.run(&["server", "remove", "1", &three.addr(), "--yes"]).ok();
    desk.run(&["server", "remove", "1", &one.addr(), "--yes"]).ok();

    let refused = desk.run(&["group", "remove", "1", "--yes"]);
    insta::assert_snapshot!(refused.all(), @"
    --- 4
    error: cannot remove group 1
      where  slots 0-1023
      why    the group owns them
      next   codisctl migrate start --slots 0-1023 --to GROUP
    ");

    desk.run(&["group", "add", "2", "--yes"]).ok();
    desk.run(&["group", "remove", "2", "--yes"]).ok();
    let groups = desk.run(&["group", "list", "--output", "json"]).json();
    let left: Vec<&serde_json::Value> =
        groups["groups"].as_array().unwrap().iter().map(|g| &g["group"]).collect();
    assert_eq!(left, [1]);
}

fn role_of(server: &RedisServer) -> String {
    let reply = server.client().call(&["INFO", "replication"]).unwrap();
    let text = reply.text().to_owned();
    text.lines().find_map(|line| line.strip_prefix("role:")).unwrap_or_default().trim().to_owned()
}

#[test]
fn every_change_leaves_a_record() {
    let desk = Desk::new().with_product();
    desk.run(&["group", "add", "1", "--yes"]).ok();
    desk.run(&["group", "add", "2", "--dry-run"]).ok();
    let records = desk.run(&["audit", "--output", "json"]).json();
    let records = records["records"].as_array().unwrap();
    let lines: Vec<&str> = records.iter().map(|record| record["argv"].as_str().unwrap()).collect();
    assert_eq!(lines, ["codisctl group add 1 --yes", "codisctl product init --yes"]);
    assert_eq!(records[0]["plan"], "add group 1\n1 servers/group_1: created\n2 actions: group_changed");
    assert_eq!((&records[0]["outcome"], &records[0]["consent"]), (&"done".into(), &"--yes".into()));
    let shown = desk.run(&["audit", "--last", "1", "--plan"]).ok();
    assert!(shown.out.contains("  step    1 servers/group_1: created\n"), "{}", shown.out);
}

#[test]
fn the_outcome_of_a_change_is_data_where_data_is_asked_for() {
    let desk = Desk::new().with_product();
    insta::assert_snapshot!(desk.run(&["group", "add", "1", "--dry-run", "--output", "json"]).ok().all(), @r#"
    {
      "v": 1,
      "outcome": "dry_run",
      "title": "add group 1",
      "notes": [],
      "steps": [
        "servers/group_1: created",
        "actions: group_changed"
      ]
    }
    --- 0
    "#);
    insta::assert_snapshot!(desk.run(&["group", "add", "1", "--yes", "--output", "json"]).ok().out, @r#"
    {
      "v": 1,
      "outcome": "applied",
      "title": "add group 1",
      "notes": [],
      "steps": [
        "servers/group_1: created",
        "actions: group_changed"
      ]
    }
    "#);
    assert_eq!(desk.run(&["group", "add", "2", "--yes", "--output", "json"]).json()["outcome"], "applied");
    insta::assert_snapshot!(desk.run(&["group", "add", "3", "--yes", "--output", "plain"]).ok().out, @"
    1	servers/group_3: created
    2	actions: group_changed
    ");
}

#[test]
fn stale_fences_stop_changes_until_they_are_cleared() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let one = desk.redis("ONE");
    desk.write("fence/10.0.9.24:19000", "");
    insta::assert_snapshot!(desk.run(&["group", "add", "1", "--master", &one.addr(), "--yes"]).all(), @"
    --- 4
    error: cannot add ONE to group 1 as master
      where  fence/10.0.9.24:19000
      why    a proxy that is not online has left a fence: it may still serve the old routes, and cannot be asked
      next   codisctl proxy fence list    then, when that process is gone: codisctl proxy fence clear
    ");
    insta::assert_snapshot!(desk.run(&["proxy", "fence", "list"]).ok().out, @"
    fence            proxy  state  verdict
    ─────────────────────────────────────────────────────────────────────
    10.0.9.24:19000  -      -      ✗ stale: it may still serve old routes
    1 fence, 1 stale   → when those processes are gone: codisctl proxy fence clear
    ");
    insta::assert_snapshot!(desk.run(&["proxy", "fence", "clear", "--dry-run"]).ok().out, @"
    plan      clear 1 stale fence
    writes 1  fence/10.0.9.24:19000: deleted
    dry run   nothing was written
    ");
    desk.run(&["proxy", "fence", "clear", "--yes"]).ok();
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--yes"]).ok();
    assert_eq!(desk.run(&["proxy", "fence", "list"]).ok().out, "0 fences, none stale\n");
}

#[test]
fn tasks_are_queued_listed_and_deleted() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let (one, two) = (desk.redis("ONE"), desk.redis("TWO"));
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--yes"]).ok();
    desk.run(&["group", "add", "2", "--master", &two.addr(), "--yes"]).ok();
    desk.run(&["slot", "assign", "0-1023", "1", "--yes"]).ok();
    let started = desk.run(&["migrate", "start", "--slots", "5-6,9", "--to", "2", "--yes"]).ok();
    insta::assert_snapshot!(started.err, @"
    plan      move 3 slots to group 2
    note      1 → 2: 3 slots, slots 5-6,9
    writes 1  moves: 3 tasks queued
    step 1 of 1 done in N ms
    done      move 3 slots to group 2
    next      codisctl migrate run
    ");
    let tasks = desk.run(&["task", "list", "--output", "json"]).json();
    let slots: Vec<&serde_json::Value> =
        tasks["tasks"].as_array().unwrap().iter().map(|t| &t["slot"]).collect();
    assert_eq!(slots, [5, 6, 9]);
    let listed = desk.run(&["task", "list"]).ok();
    assert!(listed.out.ends_with("3 tasks: 3 pending\n"), "{}", listed.out);
    assert!(listed.out.contains("5  1 → 2  pending        0"), "{}", listed.out);

    let first = tasks["tasks"][0]["task"].to_string();
    insta::assert_snapshot!(desk.run(&["task", "delete", &first, "--yes"]).ok().err, @"
    plan      delete 1 task
    note      task 0: slot 5, 1 → 2; no key has moved
    writes 1  moves/0000000000: deleted
    step 1 of 1 done in N ms
    done      delete 1 task
    next      codisctl task list
    ");
    desk.run(&["task", "delete", "--state", "pending", "--yes"]).ok();
    assert_eq!(desk.run(&["task", "list"]).ok().out, "0 tasks\n");
    let nothing = desk.run(&["migrate", "run", "--yes"]).ok();
    assert_eq!(nothing.out, "moved     0 slots\n");
    insta::assert_snapshot!(desk.run(&["task", "delete", "99", "--yes"]).all(), @"
    --- 1
    error: cannot delete task 99
      where  moves/0000000099
      why    no such task
      next   codisctl task list
    ");
}
