//! Clients and servers that mean harm, beside a client that does not: the proxy lives, its memory stays
//! bounded, and the one that behaves gets its replies, in time.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the failure")]
#![expect(clippy::print_stdout, reason = "how late and how big it was is what one wants to read")]

mod clients;
mod memory;
mod servers;

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use codis_testkit::{ProxyProcess, RedisServer, RespClient, eventually};

/// Longer than anything here takes; only a failure waits for so long.
const DEADLINE: Duration = Duration::from_secs(30);
/// What the proxy may use above what it has at rest.
const MOST_ABOVE_REST: usize = 256 << 20;
/// The longest that the client that behaves may wait for a reply.
const LATEST: Duration = Duration::from_secs(1);

/// One attack at a time, so that each is measured alone.
static ALONE: Mutex<()> = Mutex::new(());

/// A proxy under attack, a server, and a client that behaves.
struct Siege {
    proxy: ProxyProcess,
    _server: RedisServer,
    at_rest: usize,
    beside: Beside,
    _alone: MutexGuard<'static, ()>,
}

impl Siege {
    /// With these lines in the `[proxy]` table.
    fn lay(lines: &str) -> Self {
        Self::with_backend(lines, |server| vec![server.addr()])
    }

    /// `backends` names the servers, between which the slots are divided; the first one is real.
    fn with_backend(lines: &str, backends: impl FnOnce(&RedisServer) -> Vec<String>) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("codis.toml");
        std::fs::write(&path, format!("[proxy]\n{lines}\n")).unwrap();
        let server = RedisServer::start();
        let proxy = ProxyProcess::fixed(&backends(&server))
            .program(env!("CARGO_BIN_EXE_codis-proxy"))
            .workers(2)
            .arg("--config")
            .arg(path.to_str().unwrap())
            .start();
        let beside = Beside::start(&proxy);
        let at_rest = memory_of(&proxy, "VmRSS:");
        Self { proxy, _server: server, at_rest, beside, _alone: alone }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy.addr()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// The proxy has lived through it, within its bounds. Prints what it was like.
    #[track_caller]
    fn survived(self, attack: &str) {
        // Some attacks are over soon.
        eventually(DEADLINE, || self.beside.count.load(Ordering::Relaxed) >= 50);
        let peak = memory_of(&self.proxy, "VmHWM:").saturating_sub(self.at_rest);
        let mut taken = self.beside.stop();
        taken.sort_unstable();
        let (count, worst) = (taken.len(), taken[taken.len() - 1]);
        let p99 = taken[taken.len() * 99 / 100];
        println!(
            "{attack}: memory +{} MiB, {count} requests beside it, p99 {p99:?}, worst {worst:?}",
            peak >> 20
        );
        assert!(self.proxy.process().is_running());
        assert!(worst <= LATEST, "{worst:?} beside {attack}");
        assert!(peak <= MOST_ABOVE_REST, "{attack}: {} MiB more than at rest", peak >> 20);
    }
}

/// A line of the proxy's `/proc/PID/status`, in bytes.
fn memory_of(proxy: &ProxyProcess, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.process().pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

/// A client that behaves: it writes, reads what it wrote, and takes the time.
struct Beside {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Beside {
    fn start(proxy: &ProxyProcess) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (seen, counted, port) = (stop.clone(), count.clone(), proxy.port());
        let thread = std::thread::spawn(move || {
            let mut client = RespClient::connect(port, DEADLINE).unwrap();
            let mut taken = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                // A slot of the server that is real.
                let value = format!("{}-{}", taken.len(), "v".repeat(taken.len() % 3000));
                let begun = Instant::now();
                assert_eq!(client.call(&["SET", "{a1}beside", &value]).unwrap().text(), "OK");
                taken.push(begun.elapsed());
                let begun = Instant::now();
                assert_eq!(client.call(&["GET", "{a1}beside"]).unwrap().text(), value);
                taken.push(begun.elapsed());
                counted.store(taken.len(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            taken
        });
        Self { stop, count, thread }
    }

    fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the client that behaves got a wrong reply")
    }
}

/// A request as an array of bulk strings.
fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Everything that comes until the connection ends.
fn until_closed(stream: &mut TcpStream) -> String {
    let mut told = Vec::new();
    // A reset may follow what was told.
    let _ = stream.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

/// Writes as long as the other side takes it; true if all has gone.
fn push(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}
