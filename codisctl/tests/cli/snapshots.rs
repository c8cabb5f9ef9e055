//! What people see of hosts and how full they are, and of saving their servers one after another.

use codis_testkit::{RedisServer, Sandbox, need};
use serde_json::Value;

use crate::support::Desk;

/// A server whose settings are as in a fresh installation, wherever this is run.
fn server() -> RedisServer {
    RedisServer::builder().config("save", "900 1").config("maxmemory", "64mb").start()
}

/// A product with two servers, and one that nobody has ever started on a host of its own.
fn product(servers: &[RedisServer; 2]) -> Desk {
    let mut desk = Desk::new().with_product();
    for (server, (group, name)) in servers.iter().zip([("1", "ONE"), ("2", "TWO")]) {
        desk.run(&["group", "add", group, "--master", &server.addr(), "--yes"]).ok();
        desk.name(&server.addr(), name);
        server.client().call(&["SET", "key", "value"]).unwrap();
    }
    let silent = r#"{"type":"slave","group_id":1,"addr":"127.0.0.9:1"}"#;
    desk.write("servers/group_1/127.0.0.9:1", silent);
    desk
}

fn settings(folder: &Sandbox, text: &str) -> String {
    folder.write("codis.toml", text).unwrap().display().to_string()
}

#[test]
fn how_full_hosts_are() {
    need!("redis");
    let servers = [server(), server()];
    let desk = product(&servers);
    let all: Value = {
        let ran = desk.run(&["capacity", "--output", "json"]);
        assert_eq!(ran.status, 3, "{}", ran.all());
        ran.json()
    };
    let [here, there] = [0, 1].map(|n| &all["hosts"][n]);
    assert_eq!(
        (&here["host"], &here["instances"], &here["over"]),
        (&"127.0.0.1".into(), &2.into(), &false.into())
    );
    assert_eq!(here["max"], 2 * (64u64 << 20));
    assert_eq!(here["fill"].as_u64().unwrap(), here["memory"].as_u64().unwrap() / 2);
    assert_eq!((&there["memory"], &there["silent"][0]), (&Value::Null, &"127.0.0.9:1".into()));

    let ran = desk.run(&["capacity", "--host", "127.0.0.9"]);
    insta::assert_snapshot!(ran.all(), @r#"
    host       memory  instances  used  max  fork needs  may be filled to
    ─────────────────────────────────────────────────────────────────────
    127.0.0.9       -          1   0 B    -         0 B  ✗ not known
    127.0.0.9: not counted, as they do not answer: 127.0.0.9:1
    --- 3
    error: a host's capacity is not known
      where  127.0.0.9
      why    its servers do not say how much memory it has
      next   write "127.0.0.9" = "64gb" into [duty.snapshots.host_memory]
    "#);
    let folder = Sandbox::create("settings").unwrap();
    let config = settings(&folder, "[duty.snapshots.host_memory]\n\"127.0.0.1\" = \"10mb\"\n");
    let ran = desk.run(&["capacity", "--host", "127.0.0.1", "--config", &config]);
    assert_eq!(ran.status, 3, "{}", ran.all());
    assert!(ran.out.contains("now over") && ran.out.contains("is more than the host has"), "{}", ran.out);
    insta::assert_snapshot!(desk.run(&["capacity", "--host", "10.9.9.9"]).all(), @"
    --- 1
    error: no server is on host 10.9.9.9
      where  servers
      why    servers are on: 127.0.0.1, 127.0.0.9
      next   codisctl capacity
    ");
}

#[test]
fn what_a_round_would_do_and_that_it_writes_nothing() {
    need!("redis");
    let servers = [server(), server()];
    let desk = product(&servers);
    let before = desk.tree();
    let plan = desk.run(&["snapshot", "plan", "--host", "127.0.0.1", "--output", "json"]).ok().json();
    let turn = &plan["hosts"][0]["turns"][0];
    assert_eq!(
        (&turn["does"], &turn["fits"], &turn["taken_over"]),
        (&"BGSAVE".into(), &true.into(), &false.into())
    );
    assert_eq!((&turn["takes"][0]["setting"], &turn["takes"][0]["now"]), (&"save".into(), &"900 1".into()));
    let ran = desk.run(&["snapshot", "run", "--host", "127.0.0.1", "--dry-run", "--output", "json"]).ok();
    assert_eq!(ran.json()["hosts"][0]["turns"], plan["hosts"][0]["turns"]);
    let ran = desk.run(&["snapshot", "plan", "--host", "127.0.0.9"]);
    insta::assert_snapshot!(ran.all(), @"
    host       server       role   child     needs  free  verdict
    ──────────────────────────────────────────────────────────────────────────────────────────
    127.0.0.9  127.0.0.9:1  slave  -           0 B     -  ✗ cannot connect: Connection refused
    --- 3
    error: a server cannot be saved
      where  127.0.0.9:1
      why    cannot connect: Connection refused
      next   codisctl server info 127.0.0.9:1
    ");
    assert_eq!(desk.tree(), before);

    let ran = desk.run(&["snapshot", "run", "--host", "127.0.0.1"]);
    assert!(ran.status == 2 && ran.err.contains("nobody can be asked"), "{}", ran.all());
    let ran = desk.run(&["snapshot", "run", "--host", "127.0.0.1", "--yes", "--output", "json"]).ok();
    let saved = ran.json();
    assert!(saved["servers"].as_array().unwrap().iter().all(|one| one["outcome"] == "saved"), "{saved}");
    assert_eq!(saved["servers"].as_array().unwrap().len(), 2);
    let undone = desk.run(&["snapshot", "undo", "--yes", "--output", "json"]).ok().json();
    assert_eq!(undone["done"].as_array().unwrap().len(), 0, "the round has done it");
    let folder = Sandbox::create("settings").unwrap();
    let config = settings(&folder, "[duty.snapshots.host_memory]\n\"127.0.0.1\" = \"10mb\"\n");
    let ran = desk.run(&["snapshot", "run", "--host", "127.0.0.1", "--yes", "--config", &config]);
    assert!(ran.status == 3 && ran.out.contains("put off: no room"), "{}", ran.all());
}

#[test]
fn sizes_that_cannot_be() {
    let desk = Desk::new();
    let folder = Sandbox::create("settings").unwrap();
    let config = settings(&folder, "[duty.snapshots]\nreserve = \"2 gigabytes\"\n");
    let ran = desk.run(&["capacity", "--config", &config]);
    assert!(ran.status == 2 && ran.err.contains("a size in double quotes"), "{}", ran.all());
    let config = settings(&folder, "[duty.snapshots.host_memory]\n\"10.0.7.51\" = 64\n");
    let ran = desk.run(&["capacity", "--config", &config]);
    assert!(ran.status == 2 && ran.err.contains("duty.snapshots.host_memory.10.0.7.51"), "{}", ran.all());
}
