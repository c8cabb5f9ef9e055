//! What people see of agents, and of failovers that could be.

use std::time::{Duration, Instant};

use codis_testkit::need;
use serde_json::{Value, json};

use crate::support::{Desk, Ran};

/// A group whose servers nobody has ever started.
fn silent() -> Desk {
    let desk = Desk::new().with_product();
    let server = |role: &str, addr: &str| {
        let node = format!("servers/group_1/{addr}");
        (node, format!("{{\"type\":\"{role}\",\"group_id\":1,\"addr\":\"{addr}\"}}"))
    };
    desk.write_all(&[server("master", "127.0.0.1:1"), server("slave", "127.0.0.1:2")]);
    desk
}

fn json_of(desk: &Desk, args: &[&str]) -> Value {
    desk.run(&[args, &["--output", "json"]].concat()).ok().json()
}

/// An agent, ended with the test.
struct Agent(std::process::Child);

impl Agent {
    /// Returns when it leads.
    fn start(desk: &Desk, more: &[&str]) -> Self {
        let agent = Self(desk.start(&[&["agent", "run"], more].concat()));
        let begun = Instant::now();
        while json_of(desk, &["agent", "list"])["agents"].as_array().unwrap().is_empty()
            || (more.is_empty() && json_of(desk, &["agent", "list"])["leader"].is_null())
        {
            assert!(begun.elapsed() < Duration::from_secs(30), "there is no agent");
            std::thread::sleep(Duration::from_millis(50));
        }
        agent
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_an_agent_every_verb_says_so() {
    let desk = silent();
    insta::assert_snapshot!(desk.run(&["agent", "list"]).ok().out, @"no agent watches over this product   → codisctl agent run");
    insta::assert_snapshot!(desk.run(&["ha", "status"]).ok().out, @"no agent watches over this product   → codisctl agent run");
    insta::assert_snapshot!(desk.run(&["ha", "explain", "1"]).ok().out, @"
    group 1 now: master 127.0.0.1:1 does not answer (no agents). Nothing is done about it now.
    if it stays so: nobody would take its place
    candidate    reachable  link  behind  priority  verdict
    ────────────────────────────────────────────────────────────────────────────────────────────────────
    127.0.0.1:2  no         down                 0  ✗ not reachable: cannot connect: Connection refused…
    could block it:
      ✗ majority of agents: no agent watches
      ✓ product not paused
      ✓ no failover here in the last 60 s
      ✗ a server that is fit: none of those above
    ");
    assert_eq!(json_of(&desk, &["agent", "list"]), json!({"v": 1, "leader": null, "agents": []}));
    let status = json_of(&desk, &["ha", "status"]);
    assert_eq!(status, json!({"v": 1, "agents": 0, "leader": null, "paused": null, "changes": []}));
    let explained = json_of(&desk, &["ha", "explain", "1"]);
    assert_eq!((&explained["chosen"], &explained["answers"]), (&Value::Null, &json!(false)));
    let blocks = &explained["obstacles"][0];
    let majority = json!({"what": "majority of agents", "stands": true, "why": "no agent watches"});
    assert_eq!(blocks, &majority);
    let agents = json!({"live": 0, "leader": null, "failover": false, "paused_by": null});
    assert_eq!(json_of(&desk, &["status"])["agents"], agents);
    assert_eq!(desk.run(&["ha", "explain", "9"]).status, 1);
}

#[test]
fn failovers_are_suspended_for_a_while_and_for_a_reason() {
    let desk = silent();
    let paused = desk.run(&["ha", "pause", "--why", "OPS-812", "--time", "60m", "--yes"]).ok();
    assert!(paused.err.contains("failovers are suspended until DATE TIME UTC"), "{}", paused.all());
    let pause = &json_of(&desk, &["ha", "status"])["paused"];
    assert_eq!(pause["why"], "OPS-812");
    let lasts = pause["until_ms"].as_u64().unwrap() - pause["since_ms"].as_u64().unwrap();
    assert!((3_500_000..3_700_000).contains(&lasts), "{pause}");
    let told = desk.run(&["ha", "explain", "1"]).ok().out;
    assert!(told.contains("✗ product not paused: suspended by ") && told.contains(": OPS-812"), "{told}");
    let status = desk.run(&["ha", "status"]).ok().out;
    assert!(status.contains("until DATE TIME UTC: OPS-812   → codisctl ha resume"), "{status}");
    desk.run(&["ha", "resume", "--yes"]).ok();
    assert!(json_of(&desk, &["ha", "status"])["paused"].is_null());
    assert_eq!(desk.run(&["ha", "pause", "--time", "soon", "--yes"]).status, 2);
    assert_eq!(desk.run(&["ha", "pause"]).status, 2, "nobody can be asked");
}

#[test]
fn an_agent_is_listed_and_what_it_would_do_is_explained() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let (one, two) = (desk.redis("ONE"), desk.redis("TWO"));
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--slave", &two.addr(), "--yes"]).ok();
    let agent = Agent::start(&desk, &[]);
    let listed = json_of(&desk, &["agent", "list"]);
    assert_eq!(
        (&listed["agents"][0]["leads"], &listed["agents"][0]["observe_only"]),
        (&json!(true), &json!(false))
    );
    let people = desk.run(&["agent", "list"]).ok().out;
    assert!(people.contains(&agent.pid()) && people.contains("1 agent, "), "{people}");
    assert_eq!(json_of(&desk, &["status"])["agents"]["failover"], true);
    assert!(desk.run(&["status"]).ok().out.contains(" leads; failover on\n"));

    let until = Instant::now() + Duration::from_secs(30);
    while json_of(&desk, &["ha", "explain", "1"])["chosen"].is_null() {
        assert!(Instant::now() < until, "{}", desk.run(&["ha", "explain", "1"]).all());
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = desk.run(&["ha", "explain", "1"]).ok().out;
    for line in [
        "group 1 now: master ONE is up (1 of 1 agents). Nothing would be done.",
        "if it died now, in about 6.5 s: TWO would be master",
        "could block it: ✓ majority of agents  ✓ product not paused  ✓ no failover here in the last 60 s",
        "expected loss: what TWO has not received, now ",
        "save policy: master as it is, slave as it is",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let explained = json_of(&desk, &["ha", "explain", "1"]);
    assert_eq!(explained["obstacles"].as_array().unwrap().len(), 3, "{explained}");
    let sync = json_of(&desk, &["group", "sync", "1", "--yes"]);
    assert_eq!(
        (&sync["done"], &sync["left"], sync["by"].is_string()),
        (&json!([]), &json!([]), true),
        "{sync}"
    );
}

#[test]
fn what_cannot_be_put_right_is_named_server_by_server() {
    need!("redis");
    let mut desk = Desk::new().with_product();
    let one = desk.redis("ONE");
    desk.run(&["group", "add", "1", "--master", &one.addr(), "--yes"]).ok();
    assert_eq!(sync(&desk).out, "group 1 is right\n");
    let node = "{\"type\":\"offline\",\"group_id\":1,\"addr\":\"127.0.0.1:2\"}";
    desk.write("servers/group_1/127.0.0.1:2", node);
    let ran = sync(&desk);
    assert_eq!(ran.status, 3, "{}", ran.all());
    assert!(ran.out.starts_with("left      127.0.0.1:2 is offline: not reachable: "), "{}", ran.out);
    let json = desk.run(&["group", "sync", "1", "--yes", "--output", "json"]).json();
    assert_eq!((&json["by"], json["left"].as_array().unwrap().len()), (&Value::Null, 1));
}

fn sync(desk: &Desk) -> Ran {
    desk.run(&["group", "sync", "1", "--yes"])
}
