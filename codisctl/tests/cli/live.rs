//! With real servers and proxies: what they say of themselves, and keys on the move.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    time::Duration,
};

use codis_testkit::{ProxyProcess, RedisServer, eventually, need};

use crate::{
    support::{Desk, PRODUCT, assert_documented},
    terminal::terminal,
};

/// A product of two groups and a proxy, all slots at group 1.
pub(crate) struct Product {
    pub(crate) desk: Desk,
    pub(crate) servers: [RedisServer; 2],
    pub(crate) proxy: ProxyProcess,
}

impl Product {
    pub(crate) fn start() -> Self {
        let mut desk = Desk::new().with_product();
        let servers = [desk.redis("ONE"), desk.redis("TWO")];
        for (server, group) in servers.iter().zip(["1", "2"]) {
            desk.run(&["group", "add", group, "--master", &server.addr(), "--yes"]).ok();
        }
        desk.run(&["slot", "assign", "0-1023", "1", "--yes"]).ok();
        let proxy = ProxyProcess::following(desk.store(), PRODUCT, "px-1").start();
        desk.name(&proxy.addr(), "PROXY");
        desk.name(&proxy.admin_addr(), "ADMIN");
        desk.run(&["proxy", "online", "px-1", "--yes"]).ok();
        Self { desk, servers, proxy }
    }

    /// Writes this many keys through the proxy.
    pub(crate) fn fill(&self, keys: usize) {
        let mut client = self.proxy.client();
        eventually(Duration::from_secs(10), || {
            client.call(&["PING"]).is_ok_and(|reply| reply.text() == "PONG")
        });
        for key in 0..keys {
            assert_eq!(client.call(&["SET", &format!("key:{key}"), "value"]).unwrap().text(), "OK");
        }
    }
}

#[test]
fn slots_move_while_another_process_watches() {
    need!("redis");
    let product = Product::start();
    product.fill(500);
    let desk = &product.desk;
    desk.run(&["migrate", "start", "--slots", "0-1023", "--to", "2", "--yes"]).ok();
    desk.run(&["migrate", "run", "--dry-run", "--output", "json"]).ok().json();
    let plan = desk.run(&["migrate", "run", "--dry-run"]).ok();
    insta::assert_snapshot!(plan.out, @"
    plan      move 1024 slots
    wave 1    1 → 2: 1024 slots 0-1023, pending
    ");
    let mut watch = desk.start(&["migrate", "watch"]);
    let json = desk.start(&["migrate", "watch", "--output", "json"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(" pending 1→2 slots 0-1023"), "{first}");
    let run = desk.run(&["migrate", "run", "--yes", "--output", "json"]).ok();
    assert_eq!(run.json()["slots_moved"], 1024);
    assert_eq!(run.json()["keys_moved"], 500);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(rest.last().unwrap().contains(" done 1→2 slots "), "{rest:?}");
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    let json = json.wait_with_output().unwrap();
    let json: Vec<serde_json::Value> = json
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).unwrap())
        .collect();
    json.iter().for_each(assert_documented);
    assert_eq!(json.last().map(|line| &line["state"]), Some(&"done".into()), "{json:?}");
    let mut said = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.ends_with("the queue is empty; 1024 slots moved\n"), "{said}");

    let sizes =
        product.servers.each_ref().map(|server| server.client().call(&["DBSIZE"]).unwrap().text().to_owned());
    assert_eq!(sizes, ["0", "500"]);
    assert_eq!(desk.run(&["slot", "list", "--output", "plain"]).ok().out, "0-1023\t1024\tonline\t2\t\t\n");
}

#[test]
fn an_interrupted_run_says_how_to_go_on_and_goes_on() {
    need!("redis");
    let product = Product::start();
    product.fill(2000);
    let desk = &product.desk;
    desk.run(&["migrate", "start", "--slots", "0-1023", "--to", "2", "--yes"]).ok();
    let run = desk.start(&["migrate", "run", "--yes", "--rate", "200"]);
    eventually(Duration::from_secs(20), || {
        let tasks = desk.run(&["task", "list", "--state", "migrating", "--output", "json"]).json();
        tasks["tasks"].as_array().is_some_and(|tasks| !tasks.is_empty())
    });
    let pid = pid_of(&run);
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = run.wait_with_output().unwrap();
    let said = desk.steady(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stopping at the next safe point"), "{said}");
    assert!(said.contains("  next   codisctl migrate run"), "{said}");
    desk.run(&["migrate", "run", "--yes"]).ok();
    let sizes =
        product.servers.each_ref().map(|server| server.client().call(&["DBSIZE"]).unwrap().text().to_owned());
    assert_eq!(sizes, ["0", "2000"]);
}

#[test]
fn a_move_is_drawn_at_a_terminal() {
    need!("redis", "tmux");
    let product = Product::start();
    product.fill(2500);
    let desk = &product.desk;
    desk.run(&["migrate", "start", "--slots", "0-511", "--to", "2", "--yes"]).ok();
    let watch = terminal(desk, 100, &["migrate", "watch"]);
    let run = terminal(desk, 100, &["migrate", "run", "--yes", "--rate", "300"]);
    let moving = |screen: String| screen.contains("1 → 2  512 slots  █") && screen.contains(" keys  ");
    eventually(Duration::from_secs(30), || moving(run.screen()));
    eventually(Duration::from_secs(30), || moving(watch.screen()));
    assert!(run.screen().contains("stall p50 "), "{}", run.screen());
    assert!(watch.screen().contains("all      0 of 512 slots"), "{}", watch.screen());
    watch.keys(&["C-c"]);
    eventually(Duration::from_secs(10), || watch.exit_status() == Some(130));
    assert!(watch.screen().contains("what moves goes on"), "{}", watch.screen());
    eventually(Duration::from_secs(60), || run.exit_status() == Some(0));
    let screen = run.screen();
    assert!(screen.contains("moved     512 slots in 1 wave\n"), "{screen}");
    assert!(!screen.contains('█'), "the picture is taken away: {screen}");
}

fn pid_of(child: &std::process::Child) -> String {
    child.id().to_string()
}

#[test]
fn servers_and_proxies_tell_of_themselves() {
    need!("redis");
    let product = Product::start();
    product.fill(10);
    let desk = &product.desk;
    let groups = desk.run(&["group", "list", "--output", "json"]).ok().json();
    let server = &groups["groups"][0]["servers"][0];
    assert_eq!((&server["keys"], &server["live_role"]), (&10.into(), &"master".into()));
    desk.run(&["server", "info", &product.servers[0].addr(), "--output", "json"]).ok().json();
    desk.run(&["group", "show", "1", "--output", "json"]).ok().json();
    let shown = desk.run(&["group", "show", "1"]).ok().out;
    assert!(shown.starts_with("group     1\nslots     1024 slots: 0-1023\n"), "{shown}");
    let info = desk.run(&["server", "info", &product.servers[0].addr()]).ok().out;
    assert!(info.starts_with("server    ONE\nlisted    in group 1 as master\nrole      master\n"), "{info}");
    let proxies = desk.run(&["proxy", "list", "--output", "json"]).ok().json();
    let proxy = &proxies["proxies"][0];
    assert_eq!((&proxy["state"], &proxy["routes_agree"]), (&"online".into(), &true.into()));
    assert!(proxy["kind"].as_str().unwrap().starts_with("rs "), "{proxy}");
    let status = desk.run(&["status", "--live", "--output", "json"]).ok().json();
    assert_eq!((&status["live"]["keys"], &status["findings"]), (&10.into(), &serde_json::json!([])));

    product.servers[1].kill();
    let listed = desk.run(&["group", "list"]).ok().out;
    assert!(listed.contains("not reachable: "), "{listed}");
    assert!(listed.ends_with("2 groups, 2 servers, 1 not reachable, 10 keys\n"), "{listed}");
}

#[test]
fn a_proxy_leaves_when_it_is_asked() {
    need!("redis");
    let product = Product::start();
    let desk = &product.desk;
    insta::assert_snapshot!(desk.run(&["proxy", "offline", "px-1", "--yes"]).ok().err, @"
    plan      take proxy px-1 offline
    note      it is the last one online: no client can reach the product then
    writes 1  proxy/px-1: online → mark_offline (version 1)
    waits 2   wait until proxy/px-1 is gone
    step 1 of 2 done in N ms
    step 2 of 2 done in N ms
    done      take proxy px-1 offline
    next      codisctl proxy list
    ");
    assert_eq!(
        product.proxy.process().wait(Duration::from_secs(10)).and_then(|status| status.code()),
        Some(0)
    );
    assert_eq!(desk.run(&["proxy", "list"]).ok().out, "0 online; fences 0, all of online proxies\n");
    insta::assert_snapshot!(desk.run(&["proxy", "online", "px-1", "--yes"]).all(), @"
    --- 1
    error: cannot put proxy px-1 online
      where  proxy/px-1
      why    no such proxy is registered
      next   codisctl proxy list
    ");
}

#[test]
fn a_wait_can_be_interrupted() {
    need!("redis");
    let product = Product::start();
    let desk = &product.desk;
    product.proxy.process().stop();
    let offline = desk.start(&["proxy", "offline", "px-1", "--yes"]);
    let leaving =
        || desk.run(&["proxy", "list", "--output", "json"]).json()["proxies"][0]["state"] == "mark_offline";
    eventually(Duration::from_secs(20), leaving);
    let pid = pid_of(&offline);
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = offline.wait_with_output().unwrap();
    let said = desk.steady(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("\nerror: interrupted\n  where  "), "{said}");
    assert!(said.ends_with("  next   codisctl proxy offline px-1 --yes    does the rest\n"), "{said}");
    // What it was asked stays.
    product.proxy.process().cont();
    assert!(product.proxy.process().wait(Duration::from_secs(20)).is_some());
}

#[test]
fn a_playground_runs_until_it_is_interrupted() {
    need!("redis");
    let desk = Desk::new();
    let args = ["playground", "--groups", "1", "--slaves", "0", "--proxies", "1", "--output", "json"];
    let mut child = desk.start(&args);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.ends_with("\n}\n") {
        assert!(out.read_line(&mut text).unwrap() > 0, "it ended: {text}");
    }
    let ready: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_documented(&ready);
    let store = ready["store"].as_str().unwrap();
    let slots =
        desk.bare(&["--store", store, "--product", "demo", "slot", "list", "--output", "plain"]).ok().out;
    assert_eq!(slots, "0-1023\t1024\tonline\t1\t\t\n");
    let pid = pid_of(&child);
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!desk.sandbox.path().join("playground").exists());
}
