//! Servers of one host that save, rewrite and copy: seen from outside, by their processes, one child at a time.
//!
//! The ordinary tests take 3 rounds; with `CODIS_LONG_STORIES` it is 20.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use codis_testkit::{Process, RedisBuilder, RedisServer, SmtpServer, eventually, need};
use codis_tests::{Product, Servers, Store};
use serde_json::Value;

/// How long anything may take that is awaited, a round included.
const SOON: Duration = Duration::from_secs(60);
/// What a server had of its own before it is taken over.
const NAMES: [&str; 5] = [
    "save",
    "auto-aof-rewrite-percentage",
    "repl-diskless-sync",
    "repl-diskless-sync-delay",
    "repl-diskless-sync-max-replicas",
];
/// Keys in each server; each takes its child a millisecond.
const KEYS: u64 = 200;

fn long() -> bool {
    std::env::var("CODIS_LONG_STORIES").is_ok()
}

fn rounds() -> usize {
    if long() { 20 } else { 3 }
}

/// A server whose children take a while, with its settings in a file.
fn slow() -> RedisBuilder {
    RedisServer::builder()
        .config("rdb-key-save-delay", "1000")
        .config("enable-debug-command", "yes")
        .config("auto-aof-rewrite-min-size", "1kb")
        .in_file()
}

/// Four servers on one host that fork whenever they like: by save points, for their append-only files, for slaves.
fn four() -> Vec<Servers> {
    let builders = [
        slow().config("save", "1 1"),
        slow().config("appendonly", "yes"),
        slow().config("save", "2 1").config("repl-diskless-sync", "no"),
        slow().config("save", "1 1").config("appendonly", "yes"),
    ];
    builders.into_iter().map(|builder| Servers::start(builder, 0)).collect()
}

fn fill(server: &RedisServer) {
    let mut client = server.client();
    for n in 0..KEYS {
        client.call(&["SET", &format!("key-{n}"), "some value of it"]).unwrap();
    }
}

fn setting(server: &RedisServer, name: &str) -> String {
    match server.client().call(&["CONFIG", "GET", name]).unwrap() {
        codis_testkit::Reply::Array(Some(items)) => items[1].text(),
        other => panic!("{name}: {}", other.text()),
    }
}

fn settings(server: &RedisServer) -> Vec<String> {
    NAMES.iter().map(|name| setting(server, name)).collect()
}

fn info(server: &RedisServer, name: &str) -> u64 {
    let text = server.client().call(&["INFO"]).unwrap().text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name}")).trim().parse().unwrap()
}

/// The exit status of a command, and all that it printed.
fn said(output: &std::process::Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// The processes that a process has forked and not yet seen the end of.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Looks at the children of servers every millisecond.
struct Sampler {
    stop: Arc<AtomicBool>,
    crowded: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Children of each server, by their process.
    children: Vec<BTreeSet<u32>>,
    /// Each time that two servers had one.
    together: Vec<String>,
    looks: u64,
}

impl Sampler {
    fn start<'a>(servers: impl Iterator<Item = &'a RedisServer>) -> Self {
        let pids: Vec<u32> = servers.map(|server| server.process().pid()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let crowded = Arc::new(AtomicBool::new(false));
        let (stopped, crowd) = (Arc::clone(&stop), Arc::clone(&crowded));
        let thread = std::thread::spawn(move || {
            let look = || pids.iter().map(|pid| children(*pid)).collect::<Vec<Vec<u32>>>();
            let mut seen = Seen { children: vec![BTreeSet::new(); pids.len()], ..Seen::default() };
            let begun = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let now = look();
                // Servers are looked at one after another: two were there at once if both still are.
                let still =
                    || look().into_iter().flatten().filter(|pid| now.iter().any(|all| all.contains(pid)));
                if now.iter().flatten().count() > 1 && still().count() > 1 {
                    seen.together.push(format!("{:?}: {now:?}", begun.elapsed()));
                    crowd.store(true, Ordering::Relaxed);
                }
                for (all, now) in seen.children.iter_mut().zip(now) {
                    all.extend(now);
                }
                seen.looks += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            seen
        });
        Self { stop, crowded, thread }
    }

    fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Writes to all servers, and has a slave copy everything again and again, until it is dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn on(product: &Product, slave: &RedisServer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients: Vec<_> = product.groups.iter().map(|group| group.master.client()).collect();
        let mut master = product.groups[0].master.client();
        let mut slave = slave.client();
        let (writes, copies) = (Arc::clone(&stop), Arc::clone(&stop));
        let threads = vec![
            std::thread::spawn(move || {
                for n in 0u64.. {
                    if writes.load(Ordering::Relaxed) {
                        return;
                    }
                    for client in &mut clients {
                        client.call(&["SET", &format!("key-{}", n % KEYS), "another value"]).unwrap();
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }),
            std::thread::spawn(move || {
                while !copies.load(Ordering::Relaxed) {
                    let state = slave.call(&["INFO", "replication"]).map(|reply| reply.text());
                    if state.is_ok_and(|text| text.contains("master_link_status:up")) {
                        // With another history there is nothing that it could go on with.
                        master.call(&["DEBUG", "CHANGE-REPL-ID"]).unwrap();
                        master.call(&["CLIENT", "KILL", "TYPE", "slave"]).unwrap();
                    }
                    std::thread::sleep(Duration::from_secs(1));
                }
            }),
        ];
        Self { stop, threads }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const AGENT: &str = "[agent]\ncheck_interval = \"200ms\"\n[ha]\ndown_after = \"20s\"\n\
    [duty.memory]\non = false\n[duty.replication]\non = false\n[duty.connectivity]\non = false\n";

/// Until no server forks on its own any more, and nobody has a child.
fn until_taken_over(product: &Product, agent: &Process) {
    let masters = || product.groups.iter().map(|group| &group.master);
    let end = Instant::now() + SOON;
    let quiet = |server: &RedisServer| {
        let [save, growth, diskless, delay, _] = <[String; 5]>::try_from(settings(server)).unwrap();
        let never = save.is_empty() || save.starts_with("2147483647");
        never && growth == "0" && diskless == "yes" && delay.parse::<u64>().unwrap() >= 60
    };
    while !masters().all(quiet) || masters().any(|server| !children(server.process().pid()).is_empty()) {
        let now: Vec<_> = masters().map(settings).collect();
        assert!(Instant::now() < end, "{now:?}\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn four_servers_of_a_host_never_have_two_children_at_once() {
    need!("redis");
    let product = Product::start(Store::local(), four(), 0);
    let masters = || product.groups.iter().map(|group| &group.master);
    masters().for_each(fill);
    let slave = RedisServer::builder()
        .slave_of(&product.groups[0].master)
        .config("bind", "127.0.0.1 127.0.0.2")
        .start();
    product.ctl_ok(&["server", "add", "1", &format!("127.0.0.2:{}", slave.port())]);
    let before: Vec<_> = masters().map(settings).collect();

    let traffic = Traffic::on(&product, &slave);
    // Left to themselves they do: so the sampler can see it.
    let alone = Sampler::start(masters());
    eventually(SOON, || alone.crowded.load(Ordering::Relaxed));
    assert!(!alone.end().together.is_empty());

    let duty = format!("{AGENT}[duty.snapshots]\non = true\ninterval = \"2s\"\n");
    let agent = product.agent(&duty, &[]);
    until_taken_over(&product, &agent);
    // In the long form the agent dies half-way, and another one goes on.
    let heir = long().then(|| product.agent(&duty, &[]));
    let copies = info(&product.groups[0].master, "sync_full");
    let begun = Instant::now();
    let sampler = Sampler::start(masters());
    // A round is over when every server has had a child of its own, and the slave a copy.
    let saved = |server: &RedisServer| info(server, "rdb_saves") + info(server, "aof_rewrites");
    let at_first: Vec<u64> = masters().map(saved).collect();
    for round in 1..=rounds() as u64 {
        let done = || {
            masters().zip(&at_first).all(|(server, first)| saved(server) >= first + round)
                && info(&product.groups[0].master, "sync_full") >= copies + round
        };
        let end = Instant::now() + SOON;
        while !done() {
            let now: Vec<_> = masters().map(saved).collect();
            assert!(Instant::now() < end, "round {round}: {at_first:?} {now:?}\n{}", agent.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        if heir.is_some() && round == rounds() as u64 / 2 {
            agent.kill();
        }
    }
    let agent = heir.unwrap_or(agent);
    let seen = sampler.end();
    let took = begun.elapsed();
    let counts: Vec<usize> = seen.children.iter().map(BTreeSet::len).collect();
    let copied = info(&product.groups[0].master, "sync_full") - copies;
    eprintln!(
        "{} rounds in {took:.1?}: {counts:?} children, {copied} whole copies for a slave, {} looks",
        rounds(),
        seen.looks
    );
    assert_eq!(seen.together, Vec::<String>::new(), "{}", agent.log());
    assert!(counts.iter().all(|count| *count >= rounds()), "{counts:?}");

    // By hand only where no agent does it.
    let (code, refused) = said(&product.ctl(&["snapshot", "run"]));
    assert!(code == Some(4) && refused.contains("cannot govern"), "{code:?} {refused}");
    let plan: Value =
        serde_json::from_str(&product.ctl_ok(&["snapshot", "plan", "--output", "json"])).unwrap();
    assert!(plan["hosts"][0]["governor"].is_string() && plan["hosts"][0]["turns"][0]["taken_over"] == true);

    // Afterwards they are as they were.
    drop(traffic);
    agent.terminate();
    assert!(agent.wait(SOON).is_some(), "{}", agent.log());
    product.ctl_ok(&["snapshot", "undo"]);
    assert_eq!(masters().map(settings).collect::<Vec<_>>(), before);
    assert_eq!(product.ctl_ok(&["snapshot", "undo"]), "no server is taken over\n");
    let record = product.ctl_ok(&["audit", "--last", "1", "--output", "plain"]);
    assert!(record.contains("snapshot undo") && record.contains("\tdone\t"), "{record}");
}

#[test]
fn a_change_of_master_sets_what_servers_get_when_they_are_let_go() {
    need!("redis", "zookeeper");
    let master = RedisServer::builder().config("save", "900 1").in_file().start();
    let slave = RedisServer::builder().config("save", "900 1").in_file().slave_of(&master).start();
    let product = Product::start(Store::zk(), vec![Servers { master, slaves: vec![slave] }], 0);
    let (master, slave) = (&product.groups[0].master, &product.groups[0].slaves[0]);
    let settings = AGENT.replace("[ha]\n", "[ha]\nmaster_save = \"77 7\"\nslave_save = \"88 8\"\n");
    let agent = product.agent(&format!("{settings}[duty.snapshots]\non = true\n"), &[]);
    let governed = |server: &RedisServer| setting(server, "save").starts_with("2147483647");
    eventually(SOON, || governed(master) && governed(slave));
    product.ctl_ok(&["group", "promote", "1", &slave.addr()]);
    assert!(governed(master) && governed(slave), "{}", agent.log());
    agent.terminate();
    assert!(agent.wait(SOON).is_some(), "{}", agent.log());
    product.ctl_ok(&["snapshot", "undo"]);
    assert_eq!((setting(slave, "save"), setting(master, "save")), ("77 7".into(), "88 8".into()));
}

#[test]
fn a_round_that_does_not_fit_is_put_off_and_told_and_made_when_it_fits() {
    need!("redis", "smtp");
    let mail = SmtpServer::start();
    let groups = (0..4).map(|_| Servers::start(RedisServer::builder(), 0)).collect();
    let product = Product::start(Store::local(), groups, 0);
    let masters: Vec<&RedisServer> = product.groups.iter().map(|group| &group.master).collect();
    masters.iter().for_each(|server| fill(server));
    // 128 MB of values that are really there.
    let value = "x".repeat(1 << 20);
    for n in 0..128 {
        masters[2].client().call(&["SET", &format!("big-{n}"), &value]).unwrap();
    }
    // A server looks at that only now and then.
    eventually(SOON, || info(masters[2], "used_memory_rss") > 128 << 20);
    let all: u64 = masters.iter().map(|server| info(server, "used_memory_rss")).sum();
    let host = format!("{}mb", (all >> 20) + 64);
    let settings = format!(
        "{AGENT}[alert]\nrecover_after = \"500ms\"\n[alert.mail]\nserver = \"{}\"\nsecurity = \"none\"\n\
         from = \"codis@example.com\"\nto = \"li@example.com\"\n\
         [duty.snapshots]\non = true\ninterval = \"1s\"\n[duty.snapshots.host_memory]\n\"127.0.0.1\" = \"{host}\"\n",
        mail.addr()
    );
    let agent = product.agent(&settings, &[]);
    let mailed = |words: &[&str]| {
        let has = |text: &str| words.iter().all(|word| text.contains(word));
        mail.mails().into_iter().find(|mail| has(&format!("{}\n{}", mail.subject, mail.text)))
    };
    let big = masters[2].addr();
    eventually(SOON, || mailed(&["cannot be saved now", &big, "are free"]).is_some());
    let told = mailed(&["cannot be saved now", &big]).unwrap();
    assert!(told.text.contains("put off"), "{}", told.text);
    // The others go on.
    eventually(SOON, || [0, 1, 3].iter().all(|n| info(masters[*n], "rdb_saves") >= 1));
    assert_eq!(info(masters[2], "rdb_saves"), 0, "{}", agent.log());
    // It is seen where people look.
    let config = product.home().write("governor.toml", &settings).unwrap();
    let config = config.to_str().unwrap();
    let capacity = product.ctl(&["capacity", "--config", config]);
    let (code, shown) = said(&capacity);
    assert!(code == Some(3) && shown.contains("now over"), "{code:?} {shown}");
    let (code, shown) = said(&product.ctl(&["snapshot", "plan", "--config", config]));
    assert!(code == Some(3) && shown.contains("no room"), "{code:?} {shown}");

    for n in 0..128 {
        masters[2].client().call(&["DEL", &format!("big-{n}")]).unwrap();
    }
    masters[2].client().call(&["MEMORY", "PURGE"]).unwrap();
    eventually(SOON, || info(masters[2], "rdb_saves") >= 1);
    eventually(SOON, || mailed(&["lasted", "cannot be saved now", &big]).is_some());
    let capacity = product.ctl_ok(&["capacity", "--config", config, "--output", "json"]);
    let capacity: Value = serde_json::from_str(&capacity).unwrap();
    let (memory, fill) = (&capacity["hosts"][0]["memory"], &capacity["hosts"][0]["fill"]);
    assert_eq!(fill.as_u64().unwrap(), memory.as_u64().unwrap() / 4 * 3, "three of four");
}

#[test]
fn a_round_by_hand_leaves_servers_as_they_were_wherever_it_dies() {
    need!("redis");
    let group = Servers::start(RedisServer::builder().config("save", "900 1").in_file(), 0);
    let mut product = Product::start(Store::local(), vec![group], 0);
    fill(&product.groups[0].master);
    let before = settings(&product.groups[0].master);
    // The first one makes directories in the store as well.
    product.ctl_ok(&["snapshot", "run"]);
    let writes = product.ctl_writes(&["snapshot", "run"]);
    let saves = info(&product.groups[0].master, "rdb_saves");
    assert!(saves >= 2 && settings(&product.groups[0].master) == before, "{writes:#?}");
    let changes = |line: &String| line.starts_with("server ") || line.contains("/snapshots/");
    let points: Vec<u64> = (1..).zip(&writes).filter(|(_, line)| changes(line)).map(|(n, _)| n).collect();
    assert!(points.len() >= 8, "{writes:#?}");
    for point in points {
        assert!(product.ctl_dies_at(point, &["snapshot", "run"]), "{writes:#?}");
        // The claim of the dead one goes with its session.
        eventually(SOON, || product.ctl(&["snapshot", "undo"]).status.success());
        assert_eq!(
            settings(&product.groups[0].master),
            before,
            "write {point}: {}",
            writes[point as usize - 1]
        );
        assert_eq!(product.ctl_ok(&["snapshot", "undo"]), "no server is taken over\n");
    }
    // What is kept is on disk as well: it comes back as it was.
    let server = &mut product.groups[0].master;
    server.restart();
    assert_eq!(settings(server), before);
}
