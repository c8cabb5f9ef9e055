//! What failed can be read at `/errors` and in the log: who asked for what, and why it failed.

use codis_testkit::{RespClient, eventually, need};
use serde_json::Value;

use crate::{Cluster, DEADLINE, config, http_get, request};

fn page(cluster: &Cluster) -> Value {
    serde_json::from_str(&http_get(&cluster.proxy.admin_addr(), "/errors")).unwrap()
}

/// The newest failure with this cause, waited for.
fn newest(cluster: &Cluster, cause: &str) -> Value {
    let mut found = Value::Null;
    eventually(DEADLINE, || {
        let page = page(cluster);
        let errors = page["errors"].as_array().unwrap();
        found = errors.iter().find(|error| error["cause"] == cause).cloned().unwrap_or_default();
        !found.is_null()
    });
    found
}

fn addr_of(client: &mut RespClient) -> String {
    let info = client.call(&["CLIENT", "INFO"]).unwrap().text();
    info.split(' ').find_map(|word| word.strip_prefix("addr=")).unwrap().to_owned()
}

#[test]
fn a_refused_request_is_told_with_client_command_and_key() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let (here, there) = (cluster.key_on(0, 1), cluster.key_on(1, 1));
    assert!(client.call(&["SINTER", &here, &there]).unwrap().is_error());
    let error = newest(&cluster, "refused");
    assert_eq!(error["client"], addr_of(&mut client));
    assert_eq!((&error["command"], &error["key"]), (&"SINTER".into(), &here.clone().into()));
    assert_eq!(error["slot"], codis_core::slot_of_key(here.as_bytes()).get());
    assert_eq!(error["why"], "CROSSSLOT Keys in request don't hash to the same slot");
    assert!(client.call(&["SHUTDOWN"]).unwrap().is_error());
    assert_eq!(newest(&cluster, "refused")["command"], "SHUTDOWN");
    assert!(client.call(&["nosuch", &here]).unwrap().is_error());
    assert_eq!(newest(&cluster, "refused")["command"], "NOSUCH");
    let log = cluster.proxy.process().log();
    let line = log.lines().find(|line| line.contains("operation failed: CROSSSLOT")).unwrap();
    assert!(line.contains("command=\"SINTER\"") && line.contains(&here), "{line}");
}

#[test]
fn long_keys_are_shortened_and_passwords_are_not_told() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = cluster.client();
    let long = "k".repeat(500);
    assert!(client.call(&["GETEX", &long, "EX"]).unwrap().is_error(), "the server's own error");
    assert!(client.call(&["RENAME", &long, "\u{1}other"]).unwrap().is_error());
    let error = newest(&cluster, "refused");
    assert_eq!(error["key"].as_str().unwrap(), format!("{}…", "k".repeat(31)));
    assert!(client.call(&["AUTH", "default", "hush-hush"]).unwrap().is_error());
    assert_eq!(newest(&cluster, "refused")["command"], "AUTH");
    assert!(!page(&cluster).to_string().contains("hush"));
    assert!(!cluster.proxy.process().log().contains("hush"));
}

#[test]
fn an_error_of_the_server_is_a_reply_and_not_a_failure() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", "text", "x"]).unwrap().text(), "OK");
    assert!(client.call(&["INCR", "text"]).unwrap().is_error());
    assert!(client.call(&["LPUSH", "text", "x"]).unwrap().is_error());
    let page = page(&cluster);
    assert_eq!((&page["counts"], &page["errors"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[test]
fn servers_that_hang_or_are_gone_are_told_apart() {
    need!("redis");
    let (_dir, path) = config("backend_timeout = 0.3");
    let cluster = Cluster::with(2, |proxy| proxy.arg("--config").arg(path));
    let (here, there) = (cluster.key_on(0, 1), cluster.key_on(1, 1));
    let mut client = cluster.client();
    assert_eq!(client.call(&["MSET", &here, "h", &there, "t"]).unwrap().text(), "OK");
    cluster.servers[1].stop();
    assert!(client.call(&["MGET", &here, &there]).unwrap().is_error());
    let error = newest(&cluster, "backend_timeout");
    assert_eq!((&error["command"], &error["key"]), (&"MGET".into(), &there.clone().into()));
    assert_eq!((&error["backend"], &error["sent"]), (&cluster.servers[1].addr().into(), &true.into()));
    assert!(error["took_us"].as_u64().unwrap() >= 300_000, "{error}");
    cluster.servers[1].kill();
    assert!(client.call(&["GET", &there]).unwrap().is_error());
    let error = newest(&cluster, "backend_unreachable");
    assert_eq!((&error["command"], &error["key"]), (&"GET".into(), &there.into()));
    assert_eq!((&error["backend"], &error["sent"]), (&cluster.servers[1].addr().into(), &false.into()));
}

#[test]
fn clients_that_are_disconnected_are_told_with_the_reason() {
    need!("redis");
    let (_dir, path) = config("idle_timeout = 0.5\nclient_output = 2000000\nclient_pause = 100000000");
    let cluster = Cluster::with(1, |proxy| proxy.arg("--config").arg(path));
    let mut client = cluster.client();
    let who = addr_of(&mut client);
    client.send(b"*1\r\n:5\r\n").unwrap();
    assert!(client.read().unwrap().is_error());
    let error = newest(&cluster, "protocol");
    assert_eq!((&error["client"], &error["command"]), (&who.into(), &Value::Null));
    let mut greedy = cluster.client();
    assert_eq!(greedy.call(&["SET", "big", &"x".repeat(1 << 20)]).unwrap().text(), "OK");
    greedy.send(&request(&["GET", "big"]).repeat(100)).unwrap();
    assert!(newest(&cluster, "slow_reader")["why"].as_str().unwrap().contains("client_output"));
    let _silent = cluster.client();
    assert_eq!(newest(&cluster, "idle")["why"], "silent for 0.5 s (idle_timeout)");
}

#[test]
fn a_burst_is_counted_and_not_all_of_it_written_down() {
    need!("redis");
    let cluster = Cluster::start(1);
    let mut client = cluster.client();
    let burst = 20_000;
    for _ in 0..20 {
        client.send(&request(&["SHUTDOWN"]).repeat(burst / 20)).unwrap();
        (0..burst / 20).for_each(|_| assert!(client.read().unwrap().is_error()));
    }
    let page = page(&cluster);
    assert_eq!(page["counts"], serde_json::json!([{ "cause": "refused", "count": burst }]));
    let (kept, left_out) = (page["errors"].as_array().unwrap().len(), page["left_out"].as_u64().unwrap());
    assert!(kept == 1000 && left_out > 0 && left_out <= 19_000, "{kept} kept, {left_out} left out");
    eventually(DEADLINE, || cluster.proxy.process().log().contains("more operations failed"));
    let lines = cluster.proxy.process().log().matches("operation failed").count();
    assert!(lines < 1000, "{lines} lines");
}
