//! Verbs that clear away and that look at the store as it is.

use codis_store::{Acl, CreateMode};
use codis_testkit::{PortLease, need};
use serde_json::Value;

use crate::support::{Desk, PRODUCT};

/// The number of a process that has just ended.
fn dead_pid() -> u32 {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    pid
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

fn lock(hostname: &str, pid: u32) -> String {
    format!(r#"{{"desc":"set slot range, {{FromSlot:0 ToSlot:511}}","hostname":"{hostname}","pid":{pid}}}"#)
}

#[test]
fn a_slave_goes_offline_and_comes_back() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let (one, two) = (desk.redis("ONE"), desk.redis("TWO"));
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--slave", &two.addr(), "--yes"]).ok();
    insta::assert_snapshot!(desk.run(&["server", "offline", &two.addr(), "--yes"]).all(), @"
    --- 0
    plan      take TWO of group 1 offline
    note      it is the last slave of group 1: nobody can take over from the master then
    note      it keeps running and replicating, but cannot be promoted
    writes 1  servers/group_1/TWO: offline (version 0)
    step 1 of 1 done in N ms
    done      take TWO of group 1 offline
    next      codisctl server add 1 TWO    takes it back
    ");
    let promote = desk.run(&["group", "promote", "1", &two.addr(), "--yes"]);
    assert_eq!(promote.status, 4, "{}", promote.all());
    desk.run(&["server", "add", "1", &two.addr(), "--yes"]).ok();
    insta::assert_snapshot!(desk.run(&["server", "offline", &one.addr(), "--yes"]).all(), @"
    --- 4
    error: cannot take ONE offline
      where  servers/group_1/ONE
      why    it is the group's master
      next   codisctl group promote 1 TWO    which takes this one offline
    ");
    insta::assert_snapshot!(desk.run(&["server", "offline", "127.0.0.1:1", "--yes"]).all(), @"
    --- 1
    error: cannot take 127.0.0.1:1 offline
      where  servers
      why    no group lists the server
      next   codisctl group list
    ");
}

#[test]
fn a_server_is_listed_only_if_it_is_fit() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let (one, two) = (desk.redis("ONE"), desk.redis("TWO"));
    let lease = PortLease::take().unwrap();
    desk.name(&lease.addr(), "NOBODY");
    insta::assert_snapshot!(desk.run(&["group", "add", "1", "--master", &lease.addr(), "--yes"]).all(), @"
    --- 5
    error: cannot add NOBODY to group 1 as master
      where  NOBODY
      why    cannot connect: Connection refused
      next   start it, or correct the address, then run this again
    ");
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--yes"]).ok();
    let other = one.addr().replace("127.0.0.1", "localhost");
    desk.name(&other, "OTHER");
    insta::assert_snapshot!(desk.run(&["server", "add", "1", &other, "--yes"]).all(), @"
    --- 4
    error: cannot add OTHER to group 1 as slave
      where  OTHER
      why    it is the server that group 1 lists as ONE
      next   codisctl group show 1
    ");
    let ran = desk.run(&["server", "add", "1", &lease.addr(), "--yes"]);
    assert_eq!(ran.status, 5, "{}", ran.all());
    one.client().call(&["SET", "here", "1"]).unwrap();
    two.client().call(&["SET", "there", "1"]).unwrap();
    let ran = desk.run(&["server", "add", "1", &two.addr(), "--dry-run"]).ok();
    assert!(ran.out.contains("note      it holds 1 key, replaced by those of the master\n"), "{}", ran.out);
    let shown = desk.run(&["group", "show", "1", "--output", "json"]).json();
    assert_eq!(shown["servers"].as_array().unwrap().len(), 1, "nothing that was refused is listed");
}

#[test]
fn a_product_goes_when_nobody_is_at_work() {
    let desk = Desk::new().with_product();
    let gone = lock("bastion-2", 5512);
    desk.write("LOCK/lock-0000000093", &gone);
    insta::assert_snapshot!(desk.run(&["product", "remove", PRODUCT, "--yes"]).all(), @"
    --- 4
    error: cannot remove product feed
      where  LOCK/lock-0000000093
      why    pid 5512 on bastion-2 holds the lock: set slot range, {FromSlot:0 ToSlot:511}
      next   codisctl lock show
    ");
    desk.delete("LOCK/lock-0000000093");
    desk.write("fence/10.0.9.24:19000", "");
    let ran = desk.run(&["product", "remove", PRODUCT, "--yes"]);
    assert!(ran.status == 4 && ran.err.contains("codisctl proxy fence clear"), "{}", ran.all());
    desk.delete("fence/10.0.9.24:19000");
    let ran = desk.run(&["product", "remove", PRODUCT]);
    assert!(ran.status == 2 && ran.err.contains("nobody can be asked"), "{}", ran.all());
    insta::assert_snapshot!(desk.run(&["product", "remove", PRODUCT, "--yes"]).all(), @"
    --- 0
    plan      remove product feed
    note      its audit records go with it: codisctl store export keeps a copy of everything
    writes 1  /zk/codis/db_feed: deleted with everything below it
    step 1 of 1 done in N ms
    done      remove product feed
    ");
    assert_eq!(desk.run(&["product", "list"]).ok().out, "0 products in local:DIR/codis.db\n");
    assert_eq!(desk.run(&["product", "remove", PRODUCT, "--yes"]).status, 1);
}

#[test]
fn a_removal_that_dies_at_any_of_its_writes_is_completed_by_asking_again() {
    let desk = Desk::new();
    for nth in 1.. {
        desk.run(&["product", "init", "--yes"]).ok();
        // As many actions as slots would take long to delete over and over.
        desk.run(&["action", "gc", "--keep", "1", "--yes"]).ok();
        desk.run(&["group", "add", "1", "--yes"]).ok();
        let mut command = desk.command(&["product", "remove", PRODUCT, "--yes"]);
        command.env("CODIS_STORE", desk.store()).env("CODIS_CRASH_AT", nth.to_string());
        let died = command.output().unwrap().status.code().is_none();
        if died {
            let again = desk.run(&["product", "remove", PRODUCT, "--yes"]);
            let gone = again.err.contains("the store has no product of that name");
            assert!(again.status == 0 || (again.status == 1 && gone), "write {nth}: {}", again.all());
        }
        assert_eq!(desk.run(&["product", "list", "--output", "plain"]).ok().out, "", "write {nth}");
        if !died {
            assert!(nth > 10, "a removal of {nth} writes has not been a removal");
            return;
        }
    }
}

#[test]
fn a_stale_lock_is_named_shown_and_cleared() {
    let mut desk = Desk::new().with_product();
    let (host, pid) = (hostname(), dead_pid());
    desk.name(&host, "HERE");
    desk.name(&pid.to_string(), "5512");
    assert_eq!(desk.run(&["lock", "show"]).ok().out, "nobody holds the lock\n");
    desk.write("LOCK/lock-0000000000", &lock(&host, pid));
    let ran = desk.run(&["group", "add", "1", "--yes"]);
    assert_eq!(ran.status, 4);
    assert!(ran.err.contains("error: cannot add group 1: the topology is locked by someone else\n"));
    assert!(ran.err.contains("\n  where  LOCK/lock-0000000000\n"), "{}", ran.err);
    assert!(
        ran.err
            .contains(" s old, by pid 5512 on HERE: set slot range, {FromSlot:0 ToSlot:511}; waited 10 s\n")
    );
    assert!(
        ran.err.ends_with(
            "\n  next   codisctl lock show    then, if pid 5512 on HERE is gone: codisctl lock clear\n"
        ),
        "{}",
        ran.err
    );

    let shown = desk.run(&["lock", "show"]).ok().out;
    assert!(shown.contains("lock-0000000000  pid 5512 on HERE"), "{shown}");
    assert!(shown.contains("✗ stale: its process is gone"), "{shown}");
    assert!(shown.ends_with("1 lock, 1 stale   → codisctl lock clear\n"), "{shown}");
    let json = desk.run(&["lock", "show", "--output", "json"]).json();
    assert_eq!(json["locks"][0]["owner"], "gone");
    assert_eq!(
        (&json["locks"][0]["holds"], &json["locks"][0]["session"]),
        (&Value::Bool(true), &Value::Bool(false))
    );

    let missing = desk.run(&["lock", "clear", "lock-0000000007", "--yes"]);
    assert_eq!(missing.status, 1, "{}", missing.all());
    insta::assert_snapshot!(desk.run(&["lock", "clear", "--yes"]).all(), @"
    --- 0
    plan      clear the lock lock-0000000000
    note      pid 5512 does not run on this host any more
    writes 1  LOCK/lock-0000000000: deleted (of pid 5512 on HERE: set slot range, {FromSlot:0 ToSlot:511})
    step 1 of 1 done in N ms
    done      clear the lock lock-0000000000
    ");
    desk.run(&["group", "add", "1", "--yes"]).ok();
    let records = desk.run(&["audit", "--output", "json"]).json();
    assert!(records["records"].as_array().unwrap().iter().any(|r| r["argv"] == "codisctl lock clear --yes"));
}

#[test]
fn the_lock_of_a_living_process_stays() {
    let mut desk = Desk::new().with_product();
    let (host, pid) = (hostname(), std::process::id());
    desk.name(&host, "HERE");
    desk.name(&pid.to_string(), "PID");
    desk.write("LOCK/lock-0000000093", &lock(&host, pid));
    let refused = desk.run(&["lock", "clear", "--yes"]);
    assert_eq!(refused.status, 4, "{}", refused.all());
    assert!(refused.err.contains("  why    pid PID runs on this host: "), "{}", refused.err);
    assert!(refused.err.ends_with("  next   end it first: kill PID\n"), "{}", refused.err);
    desk.delete("LOCK/lock-0000000093");
    desk.write("LOCK/lock-0000000094", &lock("bastion-2", 5512));
    let asked = desk.run(&["lock", "clear", "--dry-run"]).ok();
    let note =
        "note      whether pid 5512 on bastion-2 still runs cannot be told from here: look there first\n";
    assert!(asked.out.contains(note), "{}", asked.out);
}

#[test]
fn a_foreign_dashboard_is_respected_while_it_lives_and_cleared_when_it_is_dead() {
    let mut desk = Desk::new().with_product();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    desk.name(&addr, "DASH");
    for (group, port) in [(1, 7001), (2, 7003)] {
        let node = format!(r#"{{"type":"master","group_id":{group},"addr":"127.0.0.1:{port}"}}"#);
        desk.write(&format!("servers/group_{group}/127.0.0.1:{port}"), &node);
    }
    desk.run(&["slot", "assign", "0-1023", "1", "--yes"]).ok();
    desk.write("dashboard", &format!(r#"{{"addr":"{addr}","pid":4242}}"#));
    for args in
        [&["migrate", "start", "--slots", "7", "--to", "2", "--yes"][..], &["product", "remove", PRODUCT]]
    {
        let ran = desk.run(args);
        assert_eq!(ran.status, 4, "{}", ran.all());
        assert!(ran.err.contains("\n  where  dashboard\n"), "{}", ran.err);
        assert!(ran.err.contains("DASH (pid 4242)"), "{}", ran.err);
        assert!(ran.err.contains("if it is dead: codisctl lock clear dashboard\n"), "{}", ran.err);
    }
    insta::assert_snapshot!(desk.run(&["lock", "show"]).ok().out, @"
    nobody holds the lock
    dashboard at DASH (pid 4242), of Go tools: it lives, so nothing can be moved from here
    ");
    insta::assert_snapshot!(desk.run(&["lock", "clear", "dashboard", "--yes"]).all(), @"
    --- 4
    error: cannot clear the dashboard node
      where  dashboard
      why    something listens at DASH: it lives
      next   stop it there, pid 4242
    ");
    drop(listener);
    assert_eq!(desk.run(&["lock", "show", "--output", "json"]).json()["dashboard"]["owner"], "gone");
    insta::assert_snapshot!(desk.run(&["lock", "clear", "dashboard", "--yes"]).all(), @"
    --- 0
    plan      clear the node of a dead dashboard
    note      nothing listens at DASH (pid 4242)
    writes 1  dashboard: deleted (of DASH, pid 4242)
    step 1 of 1 done in N ms
    done      clear the node of a dead dashboard
    ");
    assert_eq!(desk.run(&["lock", "clear", "dashboard", "--yes"]).status, 1);
    desk.run(&["migrate", "start", "--slots", "7", "--to", "2", "--yes"]).ok();
}

#[test]
fn a_lock_that_cannot_be_read_is_shown_and_cleared_all_the_same() {
    let desk = Desk::new().with_product();
    desk.write("LOCK/lock-0000000000", "{");
    let shown = desk.run(&["lock", "show"]);
    assert!(shown.status == 1 && shown.out.contains("lock-0000000000  an unknown owner"), "{}", shown.all());
    let refused = desk.run(&["product", "remove", PRODUCT, "--yes"]);
    assert!(
        refused.status == 4 && refused.err.ends_with("  next   codisctl lock show\n"),
        "{}",
        refused.all()
    );
    let cleared = desk.run(&["lock", "clear", "--yes"]).ok();
    let note = "note      whether an unknown owner still runs cannot be told from here: look there first\n";
    assert!(cleared.err.contains(note), "{}", cleared.err);
    desk.run(&["group", "add", "1", "--yes"]).ok();
}

#[test]
fn actions_are_listed_with_who_has_not_followed_and_collected() {
    let desk = Desk::new().with_product();
    let receiver = |id: &str| {
        let node = format!(
            r#"{{"id":"{id}","addr":"h:19000","last_event":"","last_event_ts":0,"state":"online","description":"","debug_var_addr":"h:11000","pid":1,"start_at":""}}"#
        );
        Value::String(node).to_string()
    };
    let action = format!(
        r#"{{"type":"slot_premigrate","desc":"","target":{{"product_name":"feed","id":7,"group_id":1,"state":{{"status":"pre_migrate","migrate_status":{{"from":-1,"to":-1}},"last_op_ts":"0"}}}},"ts":"1795333841","receivers":[{},{}]}}"#,
        receiver("px-1"),
        receiver("px-4")
    );
    desk.write("actions/0000009000", &action);
    desk.write("ActionResponse/0000009000/px-1", "");
    let list = desk.run(&["action", "list", "-n", "2", "--output", "plain"]).ok().out;
    let rows: Vec<Vec<&str>> = list.lines().map(|row| row.split('\t').collect()).collect();
    assert_eq!(rows[0][0], "9000");
    assert_eq!(rows[0][2..], ["slot_premigrate", "slot 7, pre_migrate at group 1", "✗ 1 of 2, missing px-4"]);
    assert_eq!(rows[1][2..], ["slot_changed", "slot 1023, offline, no group", "no proxy was online"]);
    let json = desk.run(&["action", "list", "-n", "1", "--output", "json"]).json();
    assert_eq!(json["actions"][0]["missing"], serde_json::json!(["px-4"]));
    assert_eq!(json["actions"][0]["ts_ms"], 1_795_333_841_000_u64);

    let there = json["there"].as_u64().unwrap();
    let plan = desk.run(&["action", "gc", "--keep", "3", "--dry-run"]).ok().out;
    assert!(plan.contains(&format!("the oldest {} deleted\n", there - 3)), "{plan}");
    desk.run(&["action", "gc", "--keep", "3", "--yes"]).ok();
    assert_eq!(desk.run(&["action", "list", "--output", "json"]).json()["there"], 3);
    let again = desk.run(&["action", "gc", "--keep", "3", "--yes"]).ok();
    assert!(again.out.contains("note      there are 3, and the newest 3 are kept\n"), "{}", again.out);
}

#[test]
fn a_foreign_tree_is_shown_without_a_product() {
    let desk = Desk::new().with_product();
    desk.with_store(async |store| {
        store.ensure_dir("/other/app").await.unwrap();
        let bytes = b"\x1b[2J\xff\x00";
        store.create("/other/app/bin", bytes, CreateMode::Persistent, Acl::File).await.unwrap();
        store.create("/other/app/text", b"one\ttwo\n", CreateMode::Persistent, Acl::Dir).await.unwrap();
    });
    let bare = |args: &[&str]| desk.bare(&[&["--store", desk.store()], args].concat());
    assert!(bare(&["store", "ls"]).ok().out.contains("\nother         1      0        0      31"));
    let ls = bare(&["store", "ls", "/other/app", "--output", "json"]).json();
    assert_eq!(ls["nodes"][0]["name"], "bin");
    assert_eq!((&ls["nodes"][0]["bytes"], &ls["nodes"][0]["access"]), (&6.into(), &19.into()));
    let get = bare(&["store", "get", "/other/app/bin"]).ok().out;
    assert!(get.ends_with("content   6 bytes\n\\u{1b}[2J\\xff\\u{0}\n"), "{get}");
    let json = bare(&["store", "get", "/other/app/bin", "--output", "json"]).json();
    assert_eq!((&json["data"], &json["hex"]), (&Value::Null, &"1b5b324aff00".into()));
    let export = bare(&["store", "export", "/other"]).ok().out;
    assert_eq!(
        export,
        r#"{"v":1,"store":"local:DIR/codis.db","path":"/other","total_nodes":4,"set":[
{"path":"/other","data":"","version":0,"ephemeral":false,"acl":["world:anyone:31"]},
{"path":"/other/app","data":"","version":0,"ephemeral":false,"acl":["world:anyone:31"]},
{"path":"/other/app/bin","data":null,"hex":"1b5b324aff00","version":0,"ephemeral":false,"acl":["world:anyone:19"]},
{"path":"/other/app/text","data":"one\ttwo\n","version":0,"ephemeral":false,"acl":["world:anyone:31"]}
]}
"#
    );
    for (args, status) in
        [(["ls", "/no"], 1), (["get", "/no/where"], 1), (["get", "no"], 2), (["ls", "/zk/"], 2)]
    {
        let ran = bare(&[&["store"], &args[..]].concat());
        assert_eq!(ran.status, status, "{}", ran.all());
        assert!(ran.err.contains("\n  next   codisctl store ls /"), "{}", ran.err);
    }
}

#[test]
fn zookeeper_is_exported_with_its_access_lists() {
    need!("zookeeper");
    let desk = Desk::zk().with_product();
    let export = desk.run(&["store", "export", "/zk/codis/db_feed/slots"]).ok();
    let export: Value = serde_json::from_str(&export.out).unwrap();
    let nodes = export["set"].as_array().unwrap();
    assert_eq!((nodes.len(), &export["total_nodes"]), (1025, &1025.into()));
    let of = |path: &str| nodes.iter().find(|node| node["path"].as_str() == Some(path)).unwrap();
    assert_eq!(of("/zk/codis/db_feed/slots")["acl"][0], "world:anyone:31");
    assert_eq!(of("/zk/codis/db_feed/slots/slot_7")["acl"][0], "world:anyone:19");
    insta::assert_snapshot!(desk.run(&["store", "migrate", "--output", "plain"]).ok().out, @"feed	codis 2	0");
}

#[test]
fn a_layout_that_is_not_understood_is_3() {
    let desk = Desk::new().with_product();
    desk.write("slots/slot_7", "{");
    let ran = desk.run(&["store", "migrate"]);
    assert_eq!(ran.status, 3, "{}", ran.all());
    assert!(ran.err.contains("  where  /zk/codis/db_feed/slots/slot_7\n"), "{}", ran.err);
}
