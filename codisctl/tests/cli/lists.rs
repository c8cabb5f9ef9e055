//! Verbs that only look, on a product without live parts.

use codis_testkit::need;

use crate::support::Desk;

/// Two groups of servers that nobody runs, slots and a task, as another tool might have left them.
fn desk() -> Desk {
    let desk = Desk::new().with_product();
    for (group, server, role) in [
        (1, "10.0.7.51:6381", "master"),
        (1, "10.0.7.52:6381", "slave"),
        (2, "10.0.7.53:6382", "master"),
        (12, "10.0.7.54:6392", "master"),
        (12, "10.0.7.55:6392", "offline"),
    ] {
        let node = format!("{{\"type\":\"{role}\",\"group_id\":{group},\"addr\":\"{server}\"}}");
        desk.write(&format!("servers/group_{group}/{server}"), &node);
    }
    let slot = |id: u16, group: i32, status: &str, from: i32, to: i32| {
        let node = format!(
            "{{\"product_name\":\"feed\",\"id\":{id},\"group_id\":{group},\"state\":{{\"status\":\"{status}\",\
             \"migrate_status\":{{\"from\":{from},\"to\":{to}}},\"last_op_ts\":\"0\"}}}}"
        );
        desk.write(&format!("slots/slot_{id}"), &node);
    };
    for id in 0..20 {
        slot(id, 1, "online", -1, -1);
    }
    for id in 20..30 {
        slot(id, 12, "online", -1, -1);
    }
    slot(30, 2, "migrate", 1, 2);
    slot(31, 1, "pre_migrate", -1, -1);
    slot(32, 1, "offline", -1, -1);
    desk
}

#[test]
fn the_slots_of_a_product_in_all_forms() {
    let desk = desk();
    insta::assert_snapshot!(desk.run(&["slot", "list"]).ok().out, @"
    slots      n  state        group  move   note
    ─────────────────────────────────────────────
    0-19      20  online           1
    20-29     10  online          12
    30         1  migrate          2  1 → 2
    31         1  pre_migrate      1
    32         1  offline          1
    33-1023  991  offline
    1024 slots
    ");
    insta::assert_snapshot!(desk.run(&["slot", "list", "--state", "migrate", "--output", "plain"]).ok().out, @"30	1	migrate	2	1 → 2");
    insta::assert_snapshot!(desk.run(&["slot", "list", "--slots", "19-20", "--output", "json"]).ok().out, @r#"
    {
      "v": 1,
      "product": "feed",
      "runs": [
        {
          "slots": "19",
          "count": 1,
          "state": "online",
          "group": 1,
          "from": null,
          "to": null,
          "note": null
        },
        {
          "slots": "20",
          "count": 1,
          "state": "online",
          "group": 12,
          "from": null,
          "to": null,
          "note": null
        }
      ]
    }
    "#);
    let owned = desk.run(&["slot", "list", "--group", "2", "--output", "json"]).json();
    assert_eq!(owned["runs"][0]["slots"], "30");
    for rest in
        [&["slot", "map"][..], &["product", "show"], &["product", "list"], &["proxy", "fence", "list"]]
    {
        desk.run(&[rest, &["--output", "json"]].concat()).ok().json();
    }
    let map = desk.run(&["slot", "map"]).ok().out;
    insta::assert_snapshot!(first_and_last(&map), @"
          +0       +8       +16      +24      +32      +40      +48      +56
        0 1······· ········ ····a··· ······!‖ x_______ ________ ________ ________
       64 ________ ________ ________ ________ ________ ________ ________ ________
    groups 1-2 and a=12   » migrate 1   ‖ pre_migrate 1   x offline 1   _ no group 991   ! stuck 1
    ");
    let wide = desk.run(&["slot", "map", "--wide", "--ascii"]).ok().out;
    insta::assert_snapshot!(first_and_last(&wide), @"
          +0               +8               +16              +24
        0 1 . . . . . . .  . . . . . . . .  . . . . 12. . .  . . . . . . >!=
       32 x _ _ _ _ _ _ _  _ _ _ _ _ _ _ _  _ _ _ _ _ _ _ _  _ _ _ _ _ _ _ _
    3 groups   > migrate 1   = pre_migrate 1   x offline 1   _ no group 991   ! stuck 1
    ");
}

/// All but the first line, whose right end depends on the length of a path.
fn below_the_head(text: &str) -> &str {
    let (head, rest) = text.split_once('\n').unwrap();
    assert!(head.starts_with("feed      ") && head.ends_with(" DATE TIME UTC, read in N ms"), "{head}");
    rest
}

/// The head of the map, its first row, and the legend.
fn first_and_last(map: &str) -> String {
    let lines: Vec<&str> = map.lines().collect();
    [&lines[..3], &lines[lines.len() - 1..]].concat().join("\n")
}

#[test]
fn the_state_of_a_product_names_what_is_wrong() {
    let desk = desk();
    insta::assert_snapshot!(below_the_head(&desk.run(&["status"]).ok().out), @"
    health    ✗ 1 critical  ▲ 2 warnings  • 1 remark
    slots     30 online  1 pre_migrate  1 migrate  1 offline  991 without a group  1 stuck
    groups    3   servers 5: 3 master, 1 slave, 1 offline
    proxies   0 online  0 offline; fences clean      no agent; failover off
    tasks     none
    traffic   not asked   → codisctl status --live
    ✗ 1 slot is in pre_migrate without a task: requests wait                                    slots 31
      fix   codisctl migrate start --slots 31 --to GROUP
    ▲ 992 slots are not served                                                             slots 32-1023
      fix   codisctl slot assign 32-1023 GROUP
    ▲ 1 slot is in migrate without a task                                                       slots 30
      fix   codisctl migrate start --slots 30 --to 2
    • a server of group 12 is listed as offline                                           10.0.7.55:6392
      fix   codisctl server add 12 10.0.7.55:6392 --role slave
    ");
    insta::assert_snapshot!(desk.run(&["product", "show"]).ok().out, @"
    product   feed
    store     local:DIR/codis.db
    slots     30 online  1 pre_migrate  1 migrate  1 offline  991 without a group  1 stuck
    proxies   0 online of 0
    tasks     0
    group  master          slaves  offline  slots
    ─────────────────────────────────────────────
        1  10.0.7.51:6381       1        0     23
        2  10.0.7.53:6382       0        0      1
       12  10.0.7.54:6392       0        1     10
    3 groups
    ");
    let status = desk.run(&["status", "--output", "json"]).json();
    assert_eq!(status["v"], 1);
    assert_eq!(status["servers"]["offline"], 1);
    assert_eq!(status["findings"][0]["severity"], "critical");
    assert_eq!(status["live"], serde_json::Value::Null);
}

#[test]
fn products_are_listed() {
    let desk = Desk::new().with_product();
    desk.run(&["product", "init", "other", "--yes"]).ok();
    assert_eq!(desk.run(&["product", "list", "--output", "plain"]).ok().out, "feed\nother\n");
    insta::assert_snapshot!(desk.bare(&["--store", desk.store(), "product", "list"]).ok().out, @"
    product
    ───────
    feed
    other
    2 products in local:DIR/codis.db
    ");
}

#[test]
fn keys_tell_their_slots_without_a_store() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.bare(&["slot", "key", "a", "user:{a}:1", "x{}y"]).ok().out, @"
    key         hashed part  slot  group
    ────────────────────────────────────
    a           a             579
    user:{a}:1  a             579
    x{}y                        0
    ");
    let alone = desk.run(&["slot", "key", "a", "--output", "plain"]);
    assert_eq!((alone.status, alone.out.as_str()), (5, "a\ta\t579\t\n"), "{}", alone.err);
    let made = desk.bare(&["slot", "key", "--slot", "17", "--output", "plain"]).ok().out;
    let mut cells = made.trim().split('\t');
    let key = cells.next().unwrap();
    let again = desk.bare(&["slot", "key", key, "--output", "json"]).ok().json();
    assert_eq!(again["keys"][0]["slot"], 17);
    assert_eq!(again["keys"][0]["group"], serde_json::Value::Null);
}

#[test]
fn keys_tell_their_group_with_one() {
    let desk = desk();
    desk.write("slots/slot_579", "{\"product_name\":\"feed\",\"id\":579,\"group_id\":2,\"state\":{\"status\":\"online\",\"migrate_status\":{\"from\":-1,\"to\":-1},\"last_op_ts\":\"0\"}}");
    assert_eq!(desk.run(&["slot", "key", "a", "--output", "plain"]).ok().out, "a\ta\t579\t2\n");
}

#[test]
fn everything_is_the_same_in_zookeeper() {
    need!("zookeeper");
    let desk = Desk::zk().with_product();
    desk.run(&["group", "add", "1", "--yes"]).ok();
    insta::assert_snapshot!(desk.run(&["product", "list"]).ok().out, @"
    product
    ───────
    feed
    1 product in zk://ZK
    ");
    insta::assert_snapshot!(below_the_head(&desk.run(&["status"]).ok().out), @"
    health    ▲ 2 warnings
    slots     0 online  0 pre_migrate  0 migrate  0 offline  1024 without a group
    groups    1   servers 0: 0 master, 0 slave, 0 offline
    proxies   0 online  0 offline; fences clean      no agent; failover off
    tasks     none
    traffic   not asked   → codisctl status --live
    ▲ 1024 slots are not served                                                             slots 0-1023
      fix   codisctl slot assign 0-1023 GROUP
    ▲ group 1 has no master                                                              servers/group_1
      fix   codisctl server add 1 HOST:PORT --role master
    ");
    desk.write("slots/slot_7", "{\"product_name\":");
    insta::assert_snapshot!(desk.run(&["slot", "list"]).all(), @"
    slots      n  state       group  move  note
    ──────────────────────────────────────────────────────────────────────────
    0-6        7  offline
    7          1  unreadable               EOF while parsing a value (byte 15)
    8-1023  1016  offline
    1024 slots
    --- 1
    error: 1 node of product feed cannot be read; the rest is shown
      where  /zk/codis/db_feed/slots/slot_7
      why    EOF while parsing a value (byte 15)
      next   correct or delete the node; what needs it is refused until then
    ");
    insta::assert_snapshot!(desk.run(&["--product", "fed", "status"]).all(), @"
    --- 1
    error: cannot open product fed
      where  zk://ZK /zk/codis/db_fed
      why    the store has no product of that name
      next   codisctl product list    or: codisctl product init NAME
    ");
    let audit = desk.run(&["audit", "--output", "json"]).json();
    assert_eq!(audit["records"][0]["argv"], "codisctl group add 1 --yes");
}
