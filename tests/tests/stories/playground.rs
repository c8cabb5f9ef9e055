//! `codisctl playground`: it comes up, shows what it promises, and goes without a trace.

use std::time::Duration;

use codis_testkit::{Process, RespClient, Sandbox, bin, command, eventually, need};

const READY: Duration = Duration::from_secs(60);
const GONE: Duration = Duration::from_secs(20);

#[test]
fn the_tour_verifies_every_step() {
    need!("redis");
    let home = Sandbox::create("tour").unwrap();
    let tour = ["playground", "--tour", "--keys", "5000", "--dir", "play"];
    let output = command("codisctl").args(tour).current_dir(home.path()).output().unwrap();
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{shown}\n{said}", output.status);
    assert!(shown.contains("6 of 6 verified") || said.contains("6 of 6 verified"), "{shown}\n{said}");
    assert!(!home.path().join("play").exists());
}

/// A small playground that is ready, and the address of its only server.
fn start(home: &Sandbox) -> (Process, u16) {
    let args = "playground --groups 1 --slaves 0 --proxies 1 --dir play --output json".split(' ');
    let playground = Process::start("playground", &bin("codisctl"), args, &[], home).unwrap();
    let master = || {
        let log = playground.log();
        let (_, rest) = log
            .split_once("\"master\":\"127.0.0.1:")
            .or_else(|| log.split_once("\"master\": \"127.0.0.1:"))?;
        rest.split_once('"')?.0.parse().ok()
    };
    playground.wait_ready(READY, || master().is_some()).unwrap();
    let port = master().unwrap();
    assert!(answers(port));
    (playground, port)
}

fn answers(port: u16) -> bool {
    RespClient::connect(port, Duration::from_secs(2))
        .and_then(|mut client| client.call(&["PING"]))
        .is_ok_and(|reply| reply.text() == "PONG")
}

#[test]
fn a_signal_ends_all_programs_and_removes_the_directory() {
    need!("redis");
    let home = Sandbox::create("playground").unwrap();
    let (playground, port) = start(&home);
    assert!(home.path().join("play").is_dir());
    playground.terminate();
    let status = playground.wait(GONE).expect("it ends after SIGTERM");
    assert!(status.success(), "{status}\n{}", playground.log());
    assert!(!answers(port));
    assert!(!home.path().join("play").exists());
}

#[test]
fn programs_do_not_outlive_a_killed_playground() {
    need!("redis");
    let home = Sandbox::create("playground").unwrap();
    let (playground, port) = start(&home);
    playground.kill();
    eventually(GONE, || !answers(port));
}
