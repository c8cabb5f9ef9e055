//! A product as large as they come: 1024 slots, 64 groups, 50 proxies, in ZooKeeper; and a queue of all its slots.

use std::time::{Duration, Instant};

use codis_testkit::need;

use crate::support::{Desk, PRODUCT};

/// What `status` may take here. The target is 150 ms for a release build on an idle machine; this
/// bound holds for a debug build beside other tests, and still catches reads one after another
/// (1300 of them) or waiting for 50 dead proxies.
const BOUND: Duration = Duration::from_secs(3);

#[test]
fn the_status_of_a_large_product_waits_for_nobody() {
    need!("zookeeper");
    let desk = Desk::zk().with_product();
    let mut nodes = Vec::new();
    for group in 1..=64 {
        for (port, role) in [(6400 + group, "master"), (6500 + group, "slave")] {
            let addr = format!("192.0.2.1:{port}");
            let node = format!("{{\"type\":\"{role}\",\"group_id\":{group},\"addr\":\"{addr}\"}}");
            nodes.push((format!("servers/group_{group}/{addr}"), node));
        }
    }
    for slot in 0..1024 {
        let group = slot / 16 + 1;
        let node = format!(
            "{{\"product_name\":\"{PRODUCT}\",\"id\":{slot},\"group_id\":{group},\"state\":{{\"status\":\"online\",\
             \"migrate_status\":{{\"from\":-1,\"to\":-1}},\"last_op_ts\":\"0\"}}}}"
        );
        nodes.push((format!("slots/slot_{slot}"), node));
    }
    for proxy in 1..=50 {
        // Reserved for documentation: nobody answers there, and nobody says so.
        let addr = format!("192.0.2.2:{}", 19000 + proxy);
        let node = format!(
            "{{\"id\":\"px-{proxy}\",\"addr\":\"{addr}\",\"last_event\":\"\",\"last_event_ts\":0,\"state\":\"online\",\
             \"description\":\"\",\"debug_var_addr\":\"192.0.2.2:{}\",\"pid\":1,\"start_at\":\"x rs/0.1.0\"}}",
            11000 + proxy
        );
        nodes.push((format!("proxy/px-{proxy}"), node));
        nodes.push((format!("fence/{addr}"), String::new()));
    }
    desk.write_all(&nodes);

    let begun = Instant::now();
    let status = desk.run(&["status", "--output", "json"]).ok();
    let took = begun.elapsed();
    let status = status.json();
    assert_eq!(status["findings"], serde_json::json!([]), "{status}");
    assert_eq!(status["slots"]["online"], 1024);
    assert_eq!((&status["groups"], &status["proxies"]["online"]), (&64.into(), &50.into()));
    println!("status: {} ms, of which reading {} ms", took.as_millis(), status["read_ms"]);
    assert!(took < BOUND, "status took {took:?}");

    let begun = Instant::now();
    let live = desk.run(&["status", "--live", "--output", "json"]).ok().json();
    assert_eq!((&live["live"]["silent_proxies"], &live["live"]["silent_servers"]), (&50.into(), &128.into()));
    // Asked 64 at a time, a second each at most.
    assert!(begun.elapsed() < BOUND + Duration::from_secs(4), "status --live took {:?}", begun.elapsed());
}

/// What deleting a whole queue may take, with the start of the program, reading and the audit record.
const DELETION: Duration = Duration::from_secs(2);

#[test]
fn a_queue_of_1024_tasks_is_deleted_in_two_seconds() {
    need!("zookeeper");
    for (store, desk) in [("local", Desk::new()), ("zookeeper", Desk::zk())] {
        let desk = desk.with_product();
        for (group, port) in [(1, 7001), (2, 7002)] {
            let node = format!(r#"{{"type":"master","group_id":{group},"addr":"192.0.2.1:{port}"}}"#);
            desk.write(&format!("servers/group_{group}/192.0.2.1:{port}"), &node);
        }
        desk.run(&["slot", "assign", "0-1023", "1", "--yes"]).ok();
        desk.run(&["migrate", "start", "--slots", "0-1023", "--to", "2", "--yes"]).ok();
        assert_eq!(desk.run(&["status", "--output", "json"]).json()["tasks"]["pending"], 1024);
        let begun = Instant::now();
        desk.run(&["task", "delete", "--state", "pending", "--yes"]).ok();
        let took = begun.elapsed();
        println!("{store}: 1024 tasks deleted in {} ms", took.as_millis());
        assert!(took < DELETION, "{store}: {took:?}");
        let status = desk.run(&["status", "--output", "json"]).json();
        assert_eq!((&status["tasks"]["pending"], &status["slots"]["online"]), (&0.into(), &1024.into()));
    }
}
