//! Starting and stopping.

use std::{net::TcpListener, process::Command};

use codis_testkit::{ProxyProcess, Reply, Sandbox, eventually, need};

use crate::{Cluster, DEADLINE, config, request, stat};

fn run(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_codis-proxy")).args(args).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn sigterm_finishes_what_is_in_flight() {
    need!("redis");
    let cluster = Cluster::start(2);
    let key = cluster.key_on(1, 1);
    let mut idle = cluster.client();
    let mut client = cluster.client();
    assert_eq!(client.call(&["SET", &key, "v"]).unwrap().text(), "OK");
    cluster.servers[1].stop();
    client.send(&request(&["GET", &key])).unwrap();
    client.send(&request(&["ECHO", "x"])).unwrap();
    eventually(DEADLINE, || stat(&cluster, "in_flight") == 2);
    cluster.proxy.process().terminate();
    assert!(idle.read().is_err(), "an idle client is let go at once");
    cluster.servers[1].cont();
    assert_eq!(client.read().unwrap(), Reply::Bulk(Some(b"v".to_vec())));
    assert_eq!(client.read().unwrap().text(), "x");
    assert!(client.read().is_err());
    let status = cluster.proxy.process().wait(DEADLINE).unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_hard_limit_of_open_files_that_is_too_low_is_reported() {
    need!("redis");
    let log = |files: u32| {
        let sandbox = Sandbox::create("limited").unwrap();
        let proxy = env!("CARGO_BIN_EXE_codis-proxy");
        let script = format!("#!/bin/sh\nulimit -n {files}\nexec '{proxy}' \"$@\"\n");
        let script = sandbox.write("limited", &script).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let (_dir, settings) = config("max_clients = 300\nmax_pinned = 100\nworkers = 1");
        let proxy = ProxyProcess::fixed(&[]).program(script).arg("--config").arg(settings).start();
        proxy.process().log()
    };
    let low = log(200);
    assert!(low.contains("the hard limit of open files is lower") && low.contains("allowed=200"), "{low}");
    let high = log(1000);
    assert!(!high.contains("the hard limit"), "{high}");
}

#[test]
fn an_address_in_use_is_exit_status_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (status, text) = run(&["--static", "/dev/null", "--listen", &addr, "--admin", "127.0.0.1:0"]);
    assert_eq!(status, Some(1), "{text}");
    let told = format!(
        "error: cannot listen on {addr}\n  where  --listen {addr}\n  why    address already in use\n  next "
    );
    assert!(text.contains(&told), "{text}");
}

#[test]
fn mistakes_are_exit_status_2_and_say_where() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let some = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let map = write("map.json", "[{\"id\":0,\n\"backend_addr\":7}]");
    let (status, text) = run(&[&["--static", &map][..], &some].concat());
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("map.json:2:"), "{text}");
    let (status, text) = run(&[&["--static", "/no/such/file"][..], &some].concat());
    assert_eq!(status, Some(2), "{text}");
    assert!(
        text.contains(
            "cannot read the slot map\n  where  /no/such/file\n  why    no such file or directory\n  next "
        ),
        "{text}"
    );
    let toml = write("codis.toml", "[proxy]\nmax_clients = \"many\"\n");
    let (status, text) = run(&["--static", "x", "--config", &toml]);
    assert_eq!(status, Some(2), "{text}");
    assert!(
        text.starts_with("error: codis.toml line 2: wrong value for `proxy.max_clients`\n  where "),
        "{text}"
    );
    assert!(
        text.contains("codis.toml:2:1   max_clients = \"many\"\n  why    it takes a whole number from"),
        "{text}"
    );
    let (status, text) = run(&[]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("the store is not given"), "{text}");
    let (status, _) = run(&["--nonsense"]);
    assert_eq!(status, Some(2));
}
