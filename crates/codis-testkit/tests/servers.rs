//! The kit's promises, against the real programs.

use std::process::{Command, Stdio};
use std::time::Duration;

use codis_testkit::{RedisServer, Tmux, ZooKeeper, eventually, need};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_server_answers_and_goes_with_its_value() {
    need!("redis");
    let server = RedisServer::builder().password("secret").start();
    let mut client = server.client();
    assert_eq!(client.call(&["SET", "k", "v"]).unwrap().text(), "OK");
    assert_eq!(client.call(&["GET", "k"]).unwrap().text(), "v");
    assert!(server.process().is_running());
    let (pid, dir) = (server.process().pid(), server.process().sandbox().path().to_owned());
    drop(server);
    assert!(!is_alive(pid));
    assert!(!dir.exists());
}

#[test]
fn a_slave_is_linked_when_it_is_started() {
    need!("redis");
    let master = RedisServer::builder().password("secret").start();
    let slave = RedisServer::builder().slave_of(&master).start();
    assert_eq!(master.client().call(&["SET", "k", "v"]).unwrap().text(), "OK");
    assert_eq!(master.client().call(&["WAIT", "1", "5000"]).unwrap().text(), "1");
    assert_eq!(slave.client().call(&["GET", "k"]).unwrap().text(), "v");
}

#[test]
fn a_killed_server_comes_back_at_its_address() {
    need!("redis");
    let mut server = RedisServer::start();
    let addr = server.addr();
    server.kill();
    assert!(!server.process().is_running());
    server.restart();
    assert_eq!(server.addr(), addr);
    assert_eq!(server.client().call(&["PING"]).unwrap().text(), "PONG");
}

#[test]
fn a_bad_setting_fails_with_the_servers_own_words() {
    need!("redis");
    let error = RedisServer::builder().config("no-such-setting", "1").try_start().unwrap_err().to_string();
    assert!(error.contains("no-such-setting"), "{error}");
}

#[test]
fn zookeeper_serves_and_keeps_its_data_over_a_restart() {
    need!("zookeeper");
    let mut zookeeper = ZooKeeper::start();
    let data = zookeeper.process().sandbox().path().join("data/version-2");
    assert!(data.is_dir());
    zookeeper.restart();
    assert!(zookeeper.process().is_running());
}

#[test]
fn a_terminal_shows_what_is_typed() {
    need!("tmux");
    let tmux = Tmux::start(60, 10, &["sh", "-c", "read line; echo \"got $line\"; exit 7"]);
    tmux.keys(&["hello", "Enter"]);
    eventually(SOON, || tmux.screen().contains("got hello"));
    eventually(SOON, || tmux.exit_status() == Some(7));
    assert_eq!(tmux.ask("#{pane_width}x#{pane_height}"), "60x10");
}

/// Run by [`servers_die_with_a_test_that_is_killed`] in a process of its own.
#[test]
#[ignore = "is the victim of another test, and waits to be killed"]
fn victim() {
    let server = RedisServer::start();
    println!("pid={}", server.process().pid());
    loop {
        std::thread::park();
    }
}

#[test]
fn servers_die_with_a_test_that_is_killed() {
    need!("redis");
    use std::io::{BufRead as _, BufReader};
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "victim", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid: u32 = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .find_map(|line| line.unwrap().split_once("pid=").map(|(_, pid)| pid.trim().to_owned()))
        .unwrap()
        .parse()
        .unwrap();
    assert!(is_alive(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(SOON, || !is_alive(pid));
}

/// Whether the process runs; a zombie that nobody has reaped yet does not.
fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}
