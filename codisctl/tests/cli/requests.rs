//! What proxies and servers tell about requests: `proxy show|slots|top|slowlog|hotkeys`, `server slowlog`.

use std::time::Duration;

use codis_testkit::{eventually, need};
use serde_json::{Value, json};

use crate::live::Product;

fn json(product: &Product, args: &[&str]) -> Value {
    product.desk.run(&[args, &["--output", "json"]].concat()).ok().json()
}

#[test]
fn commands_and_keys_that_clients_use_most() {
    need!("redis");
    let product = Product::start();
    product.fill(50);
    let mut client = product.proxy.client();
    for _ in 0..100 {
        client.call(&["GET", "key:7"]).unwrap();
    }
    client.call(&["SET", "big", &"x".repeat(50_000)]).unwrap();
    client.call(&["GET", "big"]).unwrap();
    client.call(&["LPUSH", "big", "x"]).unwrap();
    let top = json(&product, &["proxy", "top"]);
    let line = |name: &str| {
        top["commands"].as_array().unwrap().iter().find(|line| line["command"] == name).unwrap().clone()
    };
    assert_eq!((&line("SET")["calls"], &line("GET")["calls"]), (&51.into(), &101.into()));
    assert_eq!((&line("LPUSH")["calls"], &line("LPUSH")["errors"]), (&1.into(), &1.into()));
    assert!(line("GET")["p50_ms"].as_f64().unwrap() <= line("GET")["max_ms"].as_f64().unwrap());
    let share: f64 =
        top["commands"].as_array().unwrap().iter().map(|line| line["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 0.001, "{share}");
    let one = product.desk.run(&["proxy", "top", "px-1", "--limit", "1"]).ok().out;
    assert!(
        one.starts_with("command  calls  mean ms  p50 ms  p99 ms  max ms  fails  share of time\n"),
        "{one}"
    );
    assert!(one.contains("\n1 proxy: 1 command, ") && one.ends_with(" more not shown\n"), "{one}");

    let hot = json(&product, &["proxy", "hotkeys"]);
    assert_eq!((&hot["keys"][0]["key"], &hot["keys"][0]["requests"]), (&"key:7".into(), &101.into()));
    assert_eq!(hot["slots"][0]["slot"], hot["keys"][0]["slot"]);
    assert_eq!(
        (&hot["big_replies"][0]["key"], &hot["big_replies"][0]["bytes"]),
        (&"big".into(), &50_010.into())
    );
    let sets = json(&product, &["proxy", "hotkeys", "px-1", "--command", "set", "--limit", "100"]);
    let keys = sets["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 51);
    assert!(keys.iter().all(|key| key["requests"] == 1 && key["commands"][0]["command"] == "SET"));
    let slot = hot["keys"][0]["slot"].to_string();
    let here = json(&product, &["proxy", "hotkeys", "--slots", &slot]);
    assert!(here["keys"].as_array().unwrap().iter().all(|key| key["slot"] == hot["keys"][0]["slot"]));
    let table = product.desk.run(&["proxy", "hotkeys", "--limit", "2"]).ok().out;
    assert!(table.starts_with("key ") && table.contains("\n49 KiB  GET      big"), "{table}");
}

#[test]
fn slow_requests_of_proxies_and_of_a_server() {
    need!("redis");
    let product = Product::start();
    product.fill(1);
    let mut admin = product.servers[0].client();
    admin.call(&["CONFIG", "SET", "slowlog-log-slower-than", "1000"]).unwrap();
    let mut client = product.proxy.client();
    let busy = "local n = 0; for i = 1, 3000000 do n = n + i end; return 1";
    client.call(&["EVAL", busy, "1", "key:0"]).unwrap();
    let slow = json(&product, &["proxy", "slowlog"]);
    let entry = &slow["entries"][0];
    assert_eq!(
        (&entry["proxy"], &entry["command"], &entry["key"]),
        (&"px-1".into(), &"EVAL".into(), &"key:0".into())
    );
    let part = |name: &str| entry[name].as_u64().unwrap();
    let sum = part("queue_us") + part("migration_wait_us") + part("backend_us") + part("flush_us");
    assert_eq!(part("took_us"), sum);
    let table = product.desk.run(&["proxy", "slowlog", "px-1"]).ok().out;
    assert!(table.starts_with("when (UTC)") && table.contains("  EVAL     key:0 "), "{table}");
    assert!(table.contains(" slow request") && table.ends_with("since the start\n"), "{table}");

    let addr = product.servers[0].addr();
    let server = json(&product, &["server", "slowlog", &addr]);
    let entries = server["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["args"][0] == "EVAL").unwrap();
    assert!(entry["usecs"].as_u64().unwrap() >= 1000, "{entry}");
    assert_eq!((&entry["args"][2], &entry["args"][3]), (&"1".into(), &"key:0".into()));
    let table = product.desk.run(&["server", "slowlog", &addr, "--last", "1"]).ok().out;
    assert!(table.ends_with("\n1 slow command\n"), "{table}");
    product.servers[1].kill();
    let gone = product.desk.run(&["server", "slowlog", &product.servers[1].addr()]);
    assert_eq!(gone.status, 5, "{}", gone.err);
}

#[test]
fn one_proxy_and_what_failed_there() {
    need!("redis");
    let product = Product::start();
    product.fill(5);
    let mut client = product.proxy.client();
    assert!(client.call(&["SHUTDOWN"]).unwrap().is_error());
    product.servers[0].kill();
    assert!(client.call(&["GET", "key:1"]).unwrap().is_error());
    let shown = json(&product, &["proxy", "show", "px-1"]);
    assert_eq!(
        (&shown["state"], &shown["fence"], &shown["differing"]),
        (&"online".into(), &true.into(), &json!([]))
    );
    assert_eq!(shown["live"]["ready"], true);
    assert_eq!(shown["backends"][0]["addr"], "ONE");
    let errors = shown["errors"].as_array().unwrap();
    assert_eq!((&errors[0]["command"], &errors[0]["key"]), (&"GET".into(), &"key:1".into()));
    assert!(errors.iter().any(|error| error["command"] == "SHUTDOWN" && error["cause"] == "refused"));
    let text = product.desk.run(&["proxy", "show", "px-1"]).ok().out;
    assert!(
        text.starts_with("proxy     px-1\naddress   PROXY   admin ADMIN\nstate     online, fence there, rs "),
        "{text}"
    );
    for part in
        ["\nslots     all as in the store\n", "\nserver ", "\nfailed (UTC) ", "\nfailed since the start: "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    insta::assert_snapshot!(product.desk.run(&["proxy", "show", "px-9"]).all(), @"
    --- 1
    error: no such proxy
      where  proxy/px-9
      why    none of that name is registered
      next   codisctl proxy list
    ");
}

#[test]
fn routes_of_a_proxy_are_compared_with_the_store() {
    need!("redis");
    let product = Product::start();
    let desk = &product.desk;
    assert_eq!(desk.run(&["proxy", "slots", "px-1"]).ok().out, "1024 slots agree\n");
    // Behind the back of the proxy: nobody has announced it.
    let slot = |id: u16, group: u16, status: &str| {
        let node = format!(
            "{{\"product_name\":\"feed\",\"id\":{id},\"group_id\":{group},\"state\":{{\"status\":\"{status}\",\
             \"migrate_status\":{{\"from\":-1,\"to\":-1}},\"last_op_ts\":\"0\"}}}}"
        );
        desk.write(&format!("slots/slot_{id}"), &node);
    };
    (5..8).for_each(|id| slot(id, 2, "online"));
    slot(9, 1, "pre_migrate");
    insta::assert_snapshot!(desk.run(&["proxy", "slots", "px-1"]).all(), @"
    slots  n  store          proxy
    ─────────────────────────────────
    5-7    3  online 2       online 1
    9      1  pre_migrate 1  online 1
    1020 slots agree
    --- 3
    error: 4 slots differ
      where  slot 5-7
      why    the store says online 2, the proxy online 1
      next   codisctl proxy show px-1    and see again in a moment
    ");
    let compared = desk.run(&["proxy", "slots", "px-1", "--output", "json"]);
    assert_eq!((compared.status, &compared.json()["agreeing"]), (3, &1020.into()));
    // A Go proxy tells its routes in another shape, and not that it holds requests back.
    let node = format!(
        "{{\"id\":\"px-go\",\"addr\":\"h:1\",\"last_event\":\"\",\"last_event_ts\":0,\"state\":\"online\",\"description\":\"\",\
         \"debug_var_addr\":\"{}\",\"pid\":1,\"start_at\":\"2026-11-22 09:00:00\"}}",
        product.proxy.admin_addr()
    );
    desk.write("proxy/px-go", &node);
    let of_go = desk.run(&["proxy", "slots", "px-go"]);
    assert_eq!(of_go.status, 3);
    assert!(of_go.out.contains("5-7    3  online 2  online 1\n1021 slots agree\n"), "{}", of_go.out);
    let top = json(&product, &["proxy", "top"]);
    assert_eq!((&top["proxies"], &top["silent"][0]["proxy"]), (&json!(["px-1"]), &"px-go".into()));
    let shown = json(&product, &["proxy", "show", "px-go"]);
    assert_eq!((&shown["kind"], &shown["live"]), (&"go".into(), &Value::Null));
    product.proxy.process().stop();
    let silent = desk.run(&["proxy", "slots", "px-1"]);
    assert_eq!(silent.status, 5, "{}", silent.err);
    product.proxy.process().cont();
    eventually(Duration::from_secs(20), || desk.run(&["proxy", "slots", "px-1"]).status == 3);
}
