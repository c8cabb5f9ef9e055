//! One process of a proxy takes the place of another, under load.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use codis_core::{ActionKind, GroupId, ProxyState, Slot, SlotId, SlotStatus};
use codis_testkit::{
    ProxyProcess, RedisServer, Reply, RespClient, Sandbox, eventually, eventually_async, need,
};

use crate::fixture::{Fixture, SOON, ask};

/// The longest that a client may wait for a reply while one process follows another.
const LATEST: Duration = Duration::from_secs(2);

/// Clients of several kinds. Each checks every reply.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    worst: Arc<Mutex<Duration>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(port: u16) -> Self {
        let mut load =
            Self { stop: Arc::default(), calls: Arc::default(), worst: Arc::default(), threads: Vec::new() };
        for number in 0..6 {
            // Mostly idle.
            load.spawn(port, Duration::from_millis(7 * number), move |client, round| {
                let key = format!("idle-{number}-{}", round % 10);
                assert_eq!(client.call(&["SET", &key, &round.to_string()]).unwrap().text(), "OK");
                assert_eq!(client.call(&["GET", &key]).unwrap().text(), round.to_string());
            });
        }
        for number in 0..2 {
            // A hundred at a time.
            load.spawn(port, Duration::from_millis(1), move |client, round| {
                let requests: Vec<u8> = (0..100)
                    .flat_map(|i| {
                        format!("SET pipe-{number}-{i} {round}\r\nGET pipe-{number}-{i}\r\n").into_bytes()
                    })
                    .collect();
                client.send(&requests).unwrap();
                for _ in 0..100 {
                    assert_eq!(client.read().unwrap().text(), "OK");
                    assert_eq!(client.read().unwrap().text(), round.to_string());
                }
            });
        }
        // New ones.
        load.spawn(port, Duration::from_millis(2), move |_, round| {
            let mut client = RespClient::connect(port, SOON).unwrap();
            assert_eq!(client.call(&["ECHO", &round.to_string()]).unwrap().text(), round.to_string());
        });
        // Requests that come in two pieces.
        load.spawn(port, Duration::ZERO, move |client, round| {
            let value = format!("{round:050}").repeat(100);
            let request = format!("*3\r\n$3\r\nSET\r\n$5\r\npiece\r\n${}\r\n{value}\r\n", value.len());
            let (head, tail) = request.split_at(round % request.len());
            client.send(head.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            client.send(tail.as_bytes()).unwrap();
            assert_eq!(client.read().unwrap().text(), "OK");
            assert_eq!(client.call(&["GET", "piece"]).unwrap().text(), value);
        });
        // Somebody waits for an element most of the time, and gets each.
        load.spawn(port, Duration::ZERO, move |client, round| {
            client.send(b"BLPOP list 0\r\n").unwrap();
            std::thread::sleep(Duration::from_millis(20));
            let mut pusher = RespClient::connect(port, SOON).unwrap();
            assert_eq!(pusher.call(&["RPUSH", "list", &round.to_string()]).unwrap(), Reply::Int(1));
            let Reply::Array(Some(popped)) = client.read().unwrap() else { panic!("nothing was popped") };
            assert_eq!(popped[1].text(), round.to_string());
        });
        load
    }

    fn spawn(&mut self, port: u16, pause: Duration, step: impl Fn(&mut RespClient, usize) + Send + 'static) {
        let (stop, calls, worst) = (self.stop.clone(), self.calls.clone(), self.worst.clone());
        self.threads.push(std::thread::spawn(move || {
            let mut client = RespClient::connect(port, SOON).unwrap();
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                step(&mut client, round);
                let taken = begun.elapsed();
                let mut worst = worst.lock().unwrap();
                *worst = taken.max(*worst);
                drop(worst);
                calls.fetch_add(1, Ordering::Relaxed);
                round += 1;
                std::thread::sleep(pause);
            }
        }));
    }

    /// Until every kind of client has had its turn a few times.
    fn go_on(&self) {
        let before = self.calls.load(Ordering::Relaxed);
        eventually(SOON, || {
            self.calls.load(Ordering::Relaxed) > before + 200
                || self.threads.iter().any(JoinHandle::is_finished)
        });
    }

    /// No client saw an error, and none waited for long.
    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client saw an error");
        }
        let worst = *self.worst.lock().unwrap();
        let calls = self.calls.load(Ordering::Relaxed);
        assert!(worst <= LATEST, "of {calls} calls one took {worst:?}");
    }
}

/// Lets a successor take over; the one before ends by itself, and well.
fn take_over(proxy: &mut ProxyProcess) {
    let successor = proxy.successor(&[]);
    let before = proxy.succeeded_by(successor);
    let status =
        before.wait(SOON).unwrap_or_else(|| panic!("the process before does not end: {}", before.log()));
    assert_eq!(status.code(), Some(0), "{}", before.log());
    assert!(proxy.process().is_running(), "{}", before.log());
}

fn control(proxy: codis_testkit::ProxyBuilder, sandbox: &Sandbox) -> codis_testkit::ProxyBuilder {
    proxy.arg("--control").arg(sandbox.path().join("control.sock").display().to_string())
}

#[test]
fn with_a_fixed_slot_map_no_client_notices() {
    need!("redis");
    let sandbox = Sandbox::create("restart").unwrap();
    let servers = [RedisServer::start(), RedisServer::start()];
    let addrs: Vec<String> = servers.iter().map(RedisServer::addr).collect();
    let mut proxy = control(ProxyProcess::fixed(&addrs).workers(2), &sandbox).start();
    let mut idle = proxy.client();
    ask(&mut idle, "CLIENT SETNAME idle");
    let mut resp3 = TcpStream::connect(proxy.addr()).unwrap();
    resp3.write_all(b"HELLO 3\r\n").unwrap();
    let mut hello = [0; 4096];
    assert!(resp3.read(&mut hello).unwrap() > 0 && hello[0] == b'%', "a map");
    // Half of a request lies in the proxy.
    let mut half = TcpStream::connect(proxy.addr()).unwrap();
    half.write_all(b"*2\r\n$4\r\nECHO\r\n$4\r\nha").unwrap();
    let load = Load::start(proxy.port());
    for _ in 0..4 {
        load.go_on();
        take_over(&mut proxy);
    }
    load.go_on();
    load.end();
    assert_eq!(ask(&mut idle, "CLIENT GETNAME").text(), "idle");
    resp3.write_all(b"GET nothing\r\n").unwrap();
    let mut nil = [0; 3];
    resp3.read_exact(&mut nil).unwrap();
    assert_eq!(&nil, b"_\r\n", "it still speaks RESP3");
    half.write_all(b"lf\r\n").unwrap();
    let mut reply = [0; 10];
    half.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"$4\r\nhalf\r\n");
}

#[test]
fn who_is_not_the_same_proxy_takes_nothing_over() {
    need!("redis");
    let sandbox = Sandbox::create("restart").unwrap();
    let server = RedisServer::start();
    let proxy = control(ProxyProcess::fixed(&[server.addr()]).workers(1), &sandbox).start();
    let socket = sandbox.path().join("control.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let other = control(ProxyProcess::fixed(&[server.addr()]).workers(1).arg("--take-over"), &sandbox);
    let error = other.try_start().unwrap_err().to_string();
    assert!(error.contains("it is not the same proxy"), "{error}");
    assert_eq!(ask(&mut proxy.client(), "PING").text(), "PONG");
    proxy.process().terminate();
    assert!(proxy.process().wait(SOON).unwrap().success());
    assert!(!socket.exists(), "the socket goes with its process");
}

#[test]
fn without_a_process_before_it_starts_alone() {
    need!("redis");
    let sandbox = Sandbox::create("restart").unwrap();
    let server = RedisServer::start();
    let builder = control(ProxyProcess::fixed(&[server.addr()]).workers(1), &sandbox);
    let mut proxy = builder.start();
    // Its socket file stays behind.
    proxy.kill();
    let next = proxy.successor(&[]);
    let _ = proxy.succeeded_by(next);
    eventually(SOON, || RespClient::connect(proxy.port(), SOON).is_ok());
    assert_eq!(ask(&mut proxy.client(), "PING").text(), "PONG");
    take_over(&mut proxy);
    assert_eq!(ask(&mut proxy.client(), "PING").text(), "PONG");
}

pub(crate) async fn no_client_notices(url: &str) {
    let sandbox = Sandbox::create("restart").unwrap();
    let fixture = Fixture::new(url).await;
    let mut proxy = control(fixture.proxy("p1"), &sandbox).start();
    let load = Load::start(proxy.port());
    for _ in 0..2 {
        load.go_on();
        let before = fixture.registered("p1").await.unwrap();
        take_over(&mut proxy);
        let now = fixture.registered("p1").await.unwrap();
        assert_eq!((now.state, now.addr.clone()), (ProxyState::Online, before.addr.clone()));
        assert_eq!(now.pid, i64::from(proxy.process().pid()));
        assert!(fixture.node(&format!("fence/{}", proxy.addr())).await.is_some(), "the fence stands");
    }
    load.go_on();
    load.end();
    fixture.publish_confirmed(ActionKind::GroupRemove(GroupId(9))).await;
}

pub(crate) async fn a_successor_that_dies_changes_nothing(url: &str) {
    let sandbox = Sandbox::create("restart").unwrap();
    let fixture = Fixture::new(url).await;
    let proxy = control(fixture.proxy("p1"), &sandbox).start();
    let load = Load::start(proxy.port());
    // It dies before each of its writes to the store: the one that registers it, the one with which it is online.
    for nth in 1..=2 {
        load.go_on();
        let successor = proxy.successor(&[("CODIS_CRASH_AT", &nth.to_string())]);
        assert!(successor.wait(SOON).is_some(), "it does not die: {}", successor.log());
        assert!(proxy.process().is_running(), "{}", proxy.process().log());
        eventually_async(SOON, || async {
            let now = fixture.registered("p1").await;
            now.is_some_and(|now| {
                now.state == ProxyState::Online && now.pid == i64::from(proxy.process().pid())
            })
        })
        .await;
    }
    load.go_on();
    load.end();
    fixture.publish_confirmed(ActionKind::GroupRemove(GroupId(9))).await;
}

pub(crate) async fn a_predecessor_that_dies_is_not_waited_for(url: &str) {
    let sandbox = Sandbox::create("restart").unwrap();
    let fixture = Fixture::new(url).await;
    let mut proxy = control(fixture.proxy("p1"), &sandbox).start();
    // The successor has the listeners and waits for this slot.
    let slot = SlotId::new(600).unwrap();
    fixture.rewrite(slot, |slot| Slot { status: SlotStatus::Offline, ..slot.clone() }).await;
    let successor = proxy.successor(&[]);
    eventually(SOON, || successor.log().contains("slots 600 are not ready"));
    assert_eq!(ask(&mut proxy.client(), "PING").text(), "PONG", "the one before serves meanwhile");
    proxy.kill();
    let mut waits = RespClient::connect(proxy.port(), SOON).expect("nobody is refused");
    let _ = proxy.succeeded_by(successor);
    fixture.rewrite(slot, |slot| slot.online_at(GroupId(1))).await;
    assert_eq!(ask(&mut waits, "SET k v").text(), "OK");
    assert_eq!(fixture.registered("p1").await.unwrap().pid, i64::from(proxy.process().pid()));
    fixture.publish_confirmed(ActionKind::GroupRemove(GroupId(9))).await;
}
