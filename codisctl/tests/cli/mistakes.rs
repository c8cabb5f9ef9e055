//! Every mistake is answered with what, where, why and what next, and with its exit status.

use std::io::{Read as _, Write as _};

use codis_testkit::{PortLease, need};

use crate::support::{Desk, PRODUCT};

#[test]
fn a_store_that_does_not_answer_is_5() {
    let mut desk = Desk::new();
    let lease = PortLease::take().unwrap();
    desk.name(&lease.addr(), "ZK");
    let store = format!("zk://{}", lease.addr());
    let ran = desk.bare(&["--store", &store, "--product", PRODUCT, "--timeout", "1s", "status"]);
    assert_eq!(ran.status, 5, "{}", ran.all());
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines[0], "error: cannot reach the store of product feed");
    assert_eq!(lines[1], "  where  zk://ZK");
    assert!(lines[2].starts_with("  why    ") && lines[2].contains("cannot be reached"), "{}", ran.err);
    assert!(lines[3].starts_with("  next   codisctl store ls --timeout 30s"), "{}", ran.err);
    assert_eq!(ran.out, "");
}

#[test]
fn a_local_store_that_is_not_there_is_5_and_not_made_by_looking() {
    let desk = Desk::new();
    for args in [["product", "list"], ["slot", "map"]] {
        let ran = desk.run(&args);
        assert_eq!(ran.status, 5, "{}", ran.all());
        assert!(ran.err.contains("  where  local:DIR/codis.db\n"), "{}", ran.err);
        assert!(
            ran.err.contains("  next   codisctl product init NAME    makes a local store\n"),
            "{}",
            ran.err
        );
    }
    assert!(!desk.sandbox.path().join("codis.db").exists());
}

#[test]
fn no_store_and_no_product_are_2() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.bare(&["--product", "feed", "status"]).all(), @"
    --- 2
    error: no store is named
      where  neither --store, nor CODIS_STORE, nor [store] address in codis.toml
      why    the state of a product lives in ZooKeeper or in a local file
      next   codisctl --store zk://HOST:2181 ...    or: --store local:PATH
    ");
    insta::assert_snapshot!(desk.bare(&["--store", desk.store(), "status"]).all(), @"
    --- 2
    error: no product is named
      where  neither --product, nor CODIS_PRODUCT, nor product in codis.toml
      why    a store can hold several products
      next   codisctl product list    then: codisctl --product NAME ...
    ");
}

#[test]
fn an_unknown_product_is_1() {
    let desk = Desk::new().with_product();
    insta::assert_snapshot!(desk.run(&["--product", "fed", "status"]).all(), @"
    --- 1
    error: cannot open product fed
      where  local:DIR/codis.db /zk/codis/db_fed
      why    the store has no product of that name
      next   codisctl product list    or: codisctl product init NAME
    ");
}

#[test]
fn a_slot_beyond_the_last_is_2() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.bare(&["slot", "assign", "1024", "1"]).all(), @"
    --- 2
    error: cannot take `1024` for <RANGES>
      where  codisctl slot assign 1024 1
      why    `1024` is not a set of slots (e.g. 0-511,600; slots are 0-1023)
      next   codisctl slot assign --help
    ");
    insta::assert_snapshot!(desk.bare(&["migrate", "start", "--slots", "0-1024", "--to", "2"]).all(), @"
    --- 2
    error: cannot take `0-1024` for --slots <RANGES>
      where  codisctl migrate start --slots 0-1024 --to 2
      why    `0-1024` is not a set of slots (e.g. 0-511,600; slots are 0-1023)
      next   codisctl migrate start --help
    ");
    insta::assert_snapshot!(desk.bare(&["slot", "key", "--slot", "1024"]).all(), @"
    --- 2
    error: cannot take `1024` for --slot <SLOT>
      where  codisctl slot key --slot 1024
      why    `1024` is not a slot (0-1023)
      next   codisctl slot key --help
    ");
}

#[test]
fn an_address_without_a_port_is_2() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.bare(&["group", "add", "1", "--master", "10.0.7.51"]).all(), @"
    --- 2
    error: cannot take `10.0.7.51` for --master <HOST:PORT>
      where  codisctl group add 1 --master 10.0.7.51
      why    `10.0.7.51` is not an address (host:port)
      next   codisctl group add --help
    ");
    insta::assert_snapshot!(desk.bare(&["server", "add", "1", "10.0.7.51:"]).all(), @"
    --- 2
    error: cannot take `10.0.7.51:` for <HOST:PORT>
      where  codisctl server add 1 10.0.7.51:
      why    `10.0.7.51:` is not an address (host:port)
      next   codisctl server add --help
    ");
    insta::assert_snapshot!(desk.bare(&["--store", "zk://10.0.7.11", "status"]).all(), @r#"
    --- 2
    error: cannot take `zk://10.0.7.11` for --store <ADDRESS>
      where  codisctl --store zk://10.0.7.11 status
      why    "zk://10.0.7.11" is not a store address: server "10.0.7.11" has no port; write zk://HOST:PORT[,HOST:PORT][/CHROOT] or local:PATH
      next   codisctl status --help
    "#);
}

#[test]
fn a_verb_that_does_not_exist_names_the_one_that_was_meant() {
    let desk = Desk::new();
    insta::assert_snapshot!(desk.bare(&["slot", "lst"]).all(), @"
    --- 2
    error: there is no command `lst`
      where  codisctl slot lst
      why    codisctl slot has: map, list, init, assign, set-state, key
      next   write list, or see codisctl slot --help
    ");
    insta::assert_snapshot!(desk.bare(&["slot", "map", "--wid"]).all(), @"
    --- 2
    error: there is no argument --wid
      where  codisctl slot map --wid
      why    this verb does not know it
      next   write --wide, or see codisctl slot map --help
    ");
    insta::assert_snapshot!(desk.bare(&["group", "promote", "1"]).all(), @"
    --- 2
    error: an argument is missing
      where  codisctl group promote 1
      why    it needs <HOST:PORT>
      next   codisctl group promote --help
    ");
}

#[test]
fn a_damaged_slot_is_1_and_the_others_are_shown() {
    let desk = Desk::new().with_product();
    desk.write("slots/slot_7", "{\"product_name\":\"feed\",\"id\":7,");
    insta::assert_snapshot!(desk.run(&["slot", "list"]).all(), @"
    slots      n  state       group  move  note
    ──────────────────────────────────────────────────────────────────────────
    0-6        7  offline
    7          1  unreadable               EOF while parsing a value (byte 29)
    8-1023  1016  offline
    1024 slots
    --- 1
    error: 1 node of product feed cannot be read; the rest is shown
      where  /zk/codis/db_feed/slots/slot_7
      why    EOF while parsing a value (byte 29)
      next   correct or delete the node; what needs it is refused until then
    ");
    let map = desk.run(&["slot", "map"]);
    assert_eq!(map.status, 1);
    assert!(map.out.contains("    0 _______? ________"), "{}", map.out);
    assert!(map.out.contains("? unreadable 1"), "{}", map.out);
    let json = desk.run(&["status", "--output", "json"]);
    assert_eq!(json.status, 1);
    assert_eq!(json.json()["slots"]["no_group"], 1023);
    assert_eq!(json.json()["findings"][0]["place"], "/zk/codis/db_feed/slots/slot_7");
    let assign = desk.run(&["slot", "assign", "0-15", "1", "--yes"]);
    assert_eq!(assign.status, 1, "{}", assign.all());
}

#[test]
fn a_group_without_a_master_is_4() {
    let desk = Desk::new().with_product();
    desk.run(&["group", "add", "1", "--yes"]).ok();
    insta::assert_snapshot!(desk.run(&["slot", "assign", "0-1023", "1", "--yes"]).all(), @"
    --- 4
    error: cannot assign slots 0-1023 to group 1
      where  servers/group_1
      why    group 1 has no master
      next   codisctl server add 1 HOST:PORT --role master
    ");
    insta::assert_snapshot!(desk.run(&["server", "add", "1", "127.0.0.1:7001", "--yes"]).all(), @"
    --- 4
    error: cannot add 127.0.0.1:7001 to group 1 as slave
      where  servers/group_1
      why    group 1 has no master
      next   codisctl server add 1 HOST:PORT --role master
    ");
}

#[test]
fn a_second_master_is_4() {
    let desk = Desk::new().with_product();
    let node = r#"{"type":"master","group_id":1,"addr":"127.0.0.1:7001"}"#;
    desk.write("servers/group_1/127.0.0.1:7001", node);
    let ran = desk.run(&["server", "add", "1", "127.0.0.1:7002", "--role", "master", "--yes"]);
    insta::assert_snapshot!(ran.all(), @"
    --- 4
    error: cannot add 127.0.0.1:7002 to group 1 as master
      where  servers/group_1
      why    its master is 127.0.0.1:7001
      next   codisctl server add 1 127.0.0.1:7002 --role slave    then: codisctl group promote 1 127.0.0.1:7002
    ");
}

#[test]
fn an_unknown_group_is_1() {
    let desk = Desk::new().with_product();
    insta::assert_snapshot!(desk.run(&["slot", "assign", "0", "9", "--yes"]).all(), @"
    --- 1
    error: cannot assign slots 0 to group 9
      where  servers/group_9
      why    group 9 does not exist
      next   codisctl group add 9 --master HOST:PORT
    ");
    insta::assert_snapshot!(desk.run(&["group", "show", "9"]).all(), @"
    --- 1
    error: cannot show group 9
      where  servers/group_9
      why    the product has no such group
      next   codisctl group list
    ");
}

#[test]
fn a_server_that_does_not_answer_is_5() {
    let mut desk = Desk::new().with_product();
    let lease = PortLease::take().unwrap();
    desk.name(&lease.addr(), "SERVER");
    insta::assert_snapshot!(desk.run(&["server", "info", &lease.addr()]).all(), @"
    --- 5
    error: the server does not answer
      where  SERVER
      why    cannot connect: Connection refused
      next   look whether it runs; its password goes into CODIS_PASSWORD or password_file
    ");
}

#[test]
fn a_change_without_a_terminal_needs_yes() {
    let desk = Desk::new().with_product();
    insta::assert_snapshot!(desk.run(&["group", "add", "1"]).all(), @"
    --- 2
    plan      add group 1
    writes 1  servers/group_1: created
    writes 2  actions: group_changed
    error: did not add group 1
      where  codisctl group add 1
      why    standard input is not a terminal, so nobody can be asked
      next   codisctl group add 1 --yes    or --dry-run, which only shows the plan
    ");
    assert_eq!(desk.run(&["group", "list"]).ok().out, "0 groups\n");
}

#[test]
fn a_store_that_answers_garbage_is_5() {
    let mut desk = Desk::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    desk.name(&addr, "JUNK");
    // Answers everybody until the test process ends.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nthis is not ZooKeeper");
        }
    });
    let store = format!("zk://{addr}");
    for args in [&["status"][..], &["store", "ls"], &["product", "init", "--yes"]] {
        let ran = desk.bare(&[&["--store", &store, "--product", PRODUCT, "--timeout", "1s"], args].concat());
        assert_eq!(ran.status, 5, "{}", ran.all());
        assert!(ran.err.contains("\n  where  zk://JUNK\n"), "{}", ran.err);
        assert!(ran.err.contains("\n  why    ") && ran.err.contains("\n  next   "), "{}", ran.err);
    }
}

#[test]
fn a_missing_slot_node_is_named_and_put_back() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let one = desk.redis("ONE");
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--yes"]).ok();
    desk.run(&["slot", "assign", "0-1023", "1", "--yes"]).ok();
    desk.delete("slots/slot_7");
    let status = desk.run(&["status", "--output", "json"]).json();
    assert_eq!(status["findings"][0]["what"], "1 slot node is missing");
    assert_eq!(status["findings"][0]["fix"], "codisctl slot init");
    desk.run(&["group", "add", "2", "--yes"]).ok();
    let moved = desk.run(&["migrate", "start", "--slots", "7", "--to", "1", "--yes"]);
    assert_eq!(moved.status, 1, "{}", moved.all());
    assert!(moved.err.contains("  where  slots/slot_7\n  why    the node does not exist\n"), "{}", moved.err);
    assert!(moved.err.ends_with("  next   codisctl product init\n"), "{}", moved.err);
    insta::assert_snapshot!(desk.run(&["product", "init", "--yes"]).all(), @"
    --- 0
    plan      put back 1 slot node of product feed
    note      the product is in use: assign them to the group that has their keys
    writes 1  slots/slot_7: created, offline, no group
    step 1 of 1 done in N ms
    done      put back 1 slot node of product feed
    next      codisctl slot assign 7 GROUP
    ");
    desk.run(&["slot", "assign", "7", "1", "--yes"]).ok();
    assert_eq!(desk.run(&["status", "--output", "json"]).json()["slots"]["online"], 1024);
}

#[test]
fn a_node_with_the_access_list_of_a_file_is_1() {
    need!("zookeeper");
    let mut desk = Desk::zk().with_product();
    // A group that was made as the Go tools make servers: nobody may create below it.
    need!("redis");
    desk.write("servers/group_1", "");
    desk.run(&["group", "remove", "1", "--yes"]).ok();
    desk.write("servers/group_1", "");
    let one = desk.redis("ONE");
    insta::assert_snapshot!(desk.run(&["server", "add", "1", &one.addr(), "--role", "master", "--yes"]).all(), @"
    --- 1
    plan      add ONE to group 1 as master
    writes 1  servers/group_1/ONE: created, master
    writes 2  actions: group_changed, acknowledged by every online proxy
    error: cannot complete this step: servers/group_1/ONE: created, master
      where  /zk/codis/db_feed/servers/group_1/ONE
      why    the access list of the node or of /zk/codis/db_feed/servers/group_1 forbids it; 19, which the Go tools give to nodes without children, lets nobody create or delete below
      next   codisctl store get /zk/codis/db_feed/servers/group_1    shows the list; with a client of ZooKeeper: setAcl /zk/codis/db_feed/servers/group_1 world:anyone:cdrwa
    ");
    let shown = desk.run(&["store", "get", "/zk/codis/db_feed/servers/group_1"]).ok();
    assert!(shown.out.contains("access    world:anyone:19\n"), "{}", shown.out);
}

#[test]
fn a_playground_cannot_be_tried_dry() {
    let desk = Desk::new();
    assert_eq!(desk.bare(&["playground", "--dry-run"]).status, 2);
    let ran = desk.bare(&["playground", "--groups", "0"]);
    insta::assert_snapshot!(ran.all(), @"
    --- 2
    error: cannot start the playground
      where  --groups
      why    0 is not from 1 to 1024
      next   codisctl playground --help
    ");
}

#[test]
fn a_reader_that_goes_away_is_no_mistake() {
    let desk = Desk::new().with_product();
    let mut child = desk.start(&["slot", "list", "--output", "json"]);
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((status.code(), err.as_str()), (Some(0), ""));
}
