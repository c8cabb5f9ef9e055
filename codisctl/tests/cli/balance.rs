//! `migrate rebalance` and `migrate drain`: which slots are queued, and when nothing is.

use codis_testkit::{RedisServer, need};

use crate::support::Desk;

/// Groups 1 and 2 with half of the slots each, and a third one without any.
fn two_full_groups_and_a_new_one() -> (Desk, Vec<RedisServer>) {
    let mut desk = Desk::new().with_product();
    let servers: Vec<RedisServer> = ["ONE", "TWO", "THREE"].map(|name| desk.redis(name)).into();
    for (group, server) in ["1", "2", "3"].iter().zip(&servers) {
        desk.run(&["group", "add", group, "--master", &server.addr(), "--yes"]).ok();
    }
    desk.run(&["slot", "assign", "0-511", "1", "--yes"]).ok();
    desk.run(&["slot", "assign", "512-1023", "2", "--yes"]).ok();
    (desk, servers)
}

#[test]
fn a_new_group_gets_its_share_of_the_slots_and_no_more() {
    need!("redis");
    let (desk, _servers) = two_full_groups_and_a_new_one();
    insta::assert_snapshot!(desk.run(&["migrate", "rebalance", "--dry-run"]).all(), @"
    plan      even out slots: move 341 slots
    note      1 → 3: 170 slots, slots 342-511
    note      2 → 3: 171 slots, slots 853-1023
    writes 1  moves: 341 tasks queued
    dry run   nothing was written
    --- 0
    ");
    desk.run(&["migrate", "rebalance", "--yes"]).ok();
    let again = desk.run(&["migrate", "rebalance", "--yes"]);
    insta::assert_snapshot!(again.all(), @"
    --- 4
    error: cannot rebalance
      where  moves/0000000000
      why    341 tasks are queued
      next   codisctl migrate run    or: codisctl task delete TASK
    ");
    desk.run(&["migrate", "run", "--yes"]).ok();
    insta::assert_snapshot!(desk.run(&["slot", "list"]).ok().out, @"
    slots       n  state   group  move  note
    ────────────────────────────────────────
    0-341     342  online      1
    342-511   170  online      3
    512-852   341  online      2
    853-1023  171  online      3
    1024 slots
    ");
    insta::assert_snapshot!(desk.run(&["migrate", "rebalance", "--yes"]).all(), @"
    plan      even out slots
    note      nothing has to move
    done      nothing had to be written
    --- 0
    ");
}

#[test]
fn by_maxmemory_every_master_needs_a_limit() {
    need!("redis");
    let (desk, servers) = two_full_groups_and_a_new_one();
    insta::assert_snapshot!(desk.run(&["migrate", "rebalance", "--by", "maxmemory", "--dry-run"]).all(), @"
    --- 4
    error: cannot rebalance by maxmemory
      where  ONE
      why    its maxmemory is not set, so its share is not known
      next   set maxmemory on every master    or: codisctl migrate rebalance --by slots
    ");
    for (server, limit) in servers.iter().zip(["100mb", "100mb", "200mb"]) {
        server.client().call(&["CONFIG", "SET", "maxmemory", limit]).unwrap();
    }
    let plan = desk.run(&["migrate", "rebalance", "--by", "maxmemory", "--dry-run"]).ok().out;
    assert!(plan.contains("1 → 3: 256 slots") && plan.contains("2 → 3: 256 slots"), "{plan}");
}

#[test]
fn a_group_is_drained_to_all_others_or_to_those_named() {
    need!("redis");
    let (desk, _servers) = two_full_groups_and_a_new_one();
    insta::assert_snapshot!(desk.run(&["migrate", "drain", "2", "--dry-run"]).all(), @"
    plan      drain group 2: move 512 slots
    note      2 → 3: 512 slots, slots 512-1023
    writes 1  moves: 512 tasks queued
    dry run   nothing was written
    --- 0
    ");
    insta::assert_snapshot!(desk.run(&["migrate", "drain", "2", "--to", "1", "--dry-run"]).all(), @"
    plan      drain group 2: move 512 slots
    note      2 → 1: 512 slots, slots 512-1023
    writes 1  moves: 512 tasks queued
    dry run   nothing was written
    --- 0
    ");
    insta::assert_snapshot!(desk.run(&["migrate", "drain", "2", "--to", "9", "--dry-run"]).all(), @"
    --- 1
    error: cannot drain group 2
      where  servers/group_9
      why    group 9 does not exist
      next   codisctl group add 9 --master HOST:PORT
    ");
    insta::assert_snapshot!(desk.run(&["migrate", "drain", "2", "--to", "2", "--dry-run"]).all(), @"
    --- 4
    error: cannot drain group 2
      where  servers/group_2
      why    no other group can take its slots
      next   codisctl group add GROUP --master HOST:PORT
    ");
    insta::assert_snapshot!(desk.run(&["migrate", "drain", "7", "--dry-run"]).all(), @"
    --- 1
    error: cannot drain group 7
      where  servers/group_7
      why    group 7 does not exist
      next   codisctl group add 7 --master HOST:PORT
    ");
    insta::assert_snapshot!(desk.run(&["migrate", "drain", "3", "--yes"]).all(), @"
    plan      drain group 3
    note      nothing has to move
    done      nothing had to be written
    --- 0
    ");
}
