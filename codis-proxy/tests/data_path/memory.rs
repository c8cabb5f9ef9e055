//! What clients and values cost in memory, as the kernel counts it.

use std::time::{Duration, Instant};

use codis_testkit::{Reply, RespClient, eventually, need};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{Cluster, DEADLINE, config};

const MIB: u64 = 1 << 20;

/// A field of `/proc/PID/status` of the proxy, in bytes: `VmRSS` is what it has in memory now, `VmHWM` the
/// most that it has ever had.
fn resident(cluster: &Cluster, field: &str) -> u64 {
    let path = format!("/proc/{}/status", cluster.proxy.process().pid());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// A connection that has sent a request.
fn used(cluster: &Cluster) -> RespClient {
    let mut client = RespClient::connect(cluster.proxy.port(), DEADLINE).unwrap();
    assert_eq!(client.call(&["GET", "nobody"]).unwrap(), Reply::Bulk(None));
    client
}

/// What the proxy has in memory, once that has not changed for as long as anything of its own takes to come again.
fn settled(cluster: &Cluster) -> u64 {
    let mut last = (resident(cluster, "VmRSS"), Instant::now());
    eventually(DEADLINE, || {
        let now = resident(cluster, "VmRSS");
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_secs(3)
    });
    last.0
}

/// Lets this process hold many connections.
fn raise_file_limit(files: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        limit.current = Some(files);
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

#[test]
fn a_thousand_clients_cost_a_megabyte() {
    need!("redis", "files");
    raise_file_limit(4096);
    let cluster = Cluster::start(2);
    // What the first ones and the first seconds bring into memory is code and tables, not what a client costs.
    drop((0..50).map(|_| used(&cluster)).collect::<Vec<_>>());
    let base = settled(&cluster);
    let mut clients: Vec<RespClient> = (0..1000).map(|_| used(&cluster)).collect();
    eventually(DEADLINE, || resident(&cluster, "VmRSS") <= base + MIB);
    // They are all still there.
    for client in &mut clients {
        assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
    }
}

#[test]
fn ten_thousand_idle_clients_are_held() {
    need!("redis", "files");
    raise_file_limit(12_000);
    let (_dir, path) = config("max_clients = 11000");
    let cluster = Cluster::with(2, |proxy| proxy.arg("--config").arg(path));
    let mut clients: Vec<RespClient> = (0..10_000).map(|_| used(&cluster)).collect();
    for client in &mut clients {
        assert_eq!(client.call(&["PING"]).unwrap().text(), "PONG");
    }
}

#[test]
fn a_value_of_64_mb_passes_both_ways_in_little_more_than_its_size() {
    need!("redis");
    let cluster = Cluster::start(2);
    let mut client = used(&cluster);
    let base = resident(&cluster, "VmRSS");
    let value: Vec<u8> = (0..64 * MIB).map(|i| (i % 251) as u8).collect();
    assert_eq!(client.call(&[&b"SET"[..], b"big", &value]).unwrap().text(), "OK");
    assert!(client.call(&["GET", "big"]).unwrap() == Reply::Bulk(Some(value)), "the value came back changed");
    let peak = resident(&cluster, "VmHWM");
    assert!(peak <= base + 160 * MIB, "{} MB above the base", (peak - base) / MIB);
    // And none of it is kept.
    eventually(DEADLINE, || resident(&cluster, "VmRSS") <= base + 8 * MIB);
}
