//! The data path from outside: the real proxy with a fixed slot map in front of real servers.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the failure")]

mod backend_loss;
mod blocking;
mod clients;
mod codis2;
mod failures;
mod fanout;
mod garbage;
mod hot;
mod killed_servers;
mod limits;
mod memory;
mod pages;
mod pipeline;
mod process;
mod pubsub;
mod resp3;
mod scripts;
mod sessions;
mod slowlog;
mod split;
mod transactions;

use std::{io::Read, time::Duration};

use codis_testkit::{ProxyBuilder, ProxyProcess, RedisServer, RespClient};

/// Longer than anything here takes; only a failure waits for so long.
const DEADLINE: Duration = Duration::from_secs(20);

/// Some servers and a proxy that spreads the slots evenly over them.
struct Cluster {
    proxy: ProxyProcess,
    servers: Vec<RedisServer>,
}

impl Cluster {
    fn start(servers: usize) -> Self {
        Self::with(servers, |proxy| proxy)
    }

    fn with(servers: usize, options: impl FnOnce(ProxyBuilder) -> ProxyBuilder) -> Self {
        let servers: Vec<RedisServer> = (0..servers).map(|_| RedisServer::start()).collect();
        let proxy = options(fixed(&servers)).start();
        Self { proxy, servers }
    }

    fn client(&self) -> RespClient {
        self.proxy.client()
    }

    /// A key that the `at`-th server has, one for each `number`.
    fn key_on(&self, at: usize, number: usize) -> String {
        let here = |key: &String| {
            let slot = usize::from(codis_core::slot_of_key(key.as_bytes()).get());
            slot * self.servers.len() / 1024 == at
        };
        (0..).map(|i| format!("key-{number}-{i}")).find(here).unwrap()
    }
}

fn fixed(servers: &[RedisServer]) -> ProxyBuilder {
    let addrs: Vec<String> = servers.iter().map(RedisServer::addr).collect();
    ProxyProcess::fixed(&addrs).program(env!("CARGO_BIN_EXE_codis-proxy")).workers(2)
}

/// A request as an array of bulk strings.
fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A configuration file with these lines in its `[proxy]` table.
fn config(lines: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("codis.toml");
    std::fs::write(&path, format!("[proxy]\n{lines}\n")).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

/// A number of the proxy's `/stats` page, or the bytes that it has received from its servers.
fn stat(cluster: &Cluster, name: &str) -> u64 {
    let page = http_get(&cluster.proxy.admin_addr(), "/stats");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    if name == "backend_bytes_in" {
        return page["backends"].as_array().unwrap().iter().map(|b| b["bytes_in"].as_u64().unwrap()).sum();
    }
    page[name].as_u64().unwrap_or_else(|| panic!("{name} is not in {page}"))
}

fn http_get(addr: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}
