//! Real client libraries, with their default settings, through the proxy in front of three servers.
//!
//! Each is asked for the same: pipelines, transactions within one slot, scripts by their name, BLPOP,
//! publish and subscribe without a lost message, streams with consumer groups, a SCAN that sees each key
//! exactly once, RESP3, and 500 connections. Those in other languages are scripts beside this file.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure")]

mod rust;

use std::{path::Path, time::Duration};

use codis_testkit::{Process, ProxyProcess, RedisServer, need, node_clients, program, python_client};

/// Longer than any script takes, on a busy machine, too.
const DEADLINE: Duration = Duration::from_secs(120);

/// Three servers and a proxy that spreads the slots over them.
struct Cluster {
    proxy: ProxyProcess,
    _servers: Vec<RedisServer>,
}

impl Cluster {
    fn start() -> Self {
        let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start()).collect();
        let addrs: Vec<String> = servers.iter().map(RedisServer::addr).collect();
        let proxy = ProxyProcess::fixed(&addrs).program(env!("CARGO_BIN_EXE_codis-proxy")).workers(2).start();
        Self { proxy, _servers: servers }
    }
}

/// Runs a script against a product of its own; what it has printed.
#[track_caller]
fn run(interpreter: &Path, script: &str, env: &[(&str, &str)]) -> String {
    let cluster = Cluster::start();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let (path, port) = (path.to_str().unwrap().to_owned(), cluster.proxy.port().to_string());
    let sandbox = cluster.proxy.process().sandbox();
    let process = Process::start(script, interpreter, [path, port], env, sandbox).unwrap();
    let status = process.wait(DEADLINE);
    let log = process.log();
    assert!(status.is_some_and(|status| status.success()), "{status:?}\n{log}");
    log
}

#[test]
fn redis_py() {
    need!("redis", "python-clients");
    let log = run(&python_client().unwrap(), "redis_py.py", &[]);
    assert!(log.contains("protocol 3"), "the newest speaks RESP3 unless it is told not to: {log}");
}

#[test]
fn ioredis() {
    need!("redis", "node-clients");
    let libraries = node_clients().unwrap();
    run(&program("node").unwrap(), "ioredis.mjs", &[("CLIENT_LIBRARIES", libraries.to_str().unwrap())]);
}

#[test]
fn node_redis() {
    need!("redis", "node-clients");
    let libraries = node_clients().unwrap();
    let env = [("CLIENT_LIBRARIES", libraries.to_str().unwrap())];
    let log = run(&program("node").unwrap(), "node_redis.mjs", &env);
    assert!(log.contains("resp=2") && log.contains("resp=3"), "{log}");
}
