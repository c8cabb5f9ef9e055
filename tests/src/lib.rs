//! Stories that cross programs: real servers, real proxies, and `codisctl` as people call it.
//!
//! The stories are in `tests/`. Here is what they share: a [`Product`] of its own for each story, put
//! together with the same commands that an operator types.

pub mod go;

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use codis_testkit::{Network, Process, ProxyProcess, RedisBuilder, RedisServer, Sandbox, ZooKeeper, bin};

/// Name of the product in every story.
pub const PRODUCT: &str = "story";
/// How long one codisctl command may take in a story; the moves are small.
const COMMAND: Duration = Duration::from_secs(90);

/// SIGABRT, by which a program ends at a crash point: without unwinding, so that it can put nothing right.
const ABORTED: i32 = 6;

/// Where a product keeps its state.
#[derive(Debug)]
pub enum Store {
    /// One SQLite file, shared by all programs.
    Local(Sandbox),
    /// A ZooKeeper of the story's own.
    Zk(ZooKeeper),
}

impl Store {
    /// A local store that does not exist yet.
    ///
    /// # Panics
    /// When there is no place for it.
    #[must_use]
    pub fn local() -> Self {
        match Sandbox::create("store") {
            Ok(sandbox) => Self::Local(sandbox),
            Err(error) => panic!("{error}"),
        }
    }

    /// An empty ZooKeeper.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn zk() -> Self {
        Self::Zk(ZooKeeper::start())
    }

    /// As `--store` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Local(sandbox) => format!("local:{}", sandbox.path().join("codis.db").display()),
            Self::Zk(zookeeper) => zookeeper.url(),
        }
    }
}

/// One group of servers; its number is its place in [`Product::groups`], counted from 1.
#[derive(Debug)]
pub struct Servers {
    /// The master.
    pub master: RedisServer,
    /// Its slaves.
    pub slaves: Vec<RedisServer>,
}

impl Servers {
    /// A master with these settings, and slaves that follow it.
    #[must_use]
    pub fn start(settings: RedisBuilder, slaves: usize) -> Self {
        let master = settings.start();
        let slaves = (0..slaves).map(|_| RedisServer::builder().slave_of(&master).start()).collect();
        Self { master, slaves }
    }
}

/// A product that is online. Everything ends with it.
#[derive(Debug)]
pub struct Product {
    /// The proxies, `px-1` and on. First, because they end first.
    pub proxies: Vec<ProxyProcess>,
    /// The groups, 1 and on.
    pub groups: Vec<Servers>,
    /// The store.
    pub store: Store,
    codisctl: PathBuf,
    home: Sandbox,
    /// Agents started so far: each has a log of its own.
    agents: AtomicUsize,
}

impl Product {
    /// Puts a product together: all slots are online at group 1, all proxies are online.
    ///
    /// # Panics
    /// When a command fails; with what it said.
    #[must_use]
    pub fn start(store: Store, groups: Vec<Servers>, proxies: usize) -> Self {
        Self::start_with(store, groups, proxies, &[])
    }

    /// The same, with these lines in the `[proxy]` table of every proxy.
    ///
    /// # Panics
    /// When a command fails; with what it said.
    #[must_use]
    pub fn start_with(store: Store, groups: Vec<Servers>, proxies: usize, settings: &[&str]) -> Self {
        let mut this = Self::nothing_in(store);
        this.groups = groups;
        this.ctl_ok(&["product", "init", PRODUCT]);
        for (n, group) in (1..).zip(&this.groups) {
            let (number, master) = (n.to_string(), group.master.addr());
            let mut args = vec!["group", "add", &number, "--master", &master];
            let slaves: Vec<String> = group.slaves.iter().map(RedisServer::addr).collect();
            args.extend(slaves.iter().flat_map(|slave| ["--slave", slave.as_str()]));
            this.ctl_ok(&args);
        }
        this.ctl_ok(&["slot", "assign", "0-1023", "1"]);
        for n in 1..=proxies {
            let id = format!("px-{n}");
            let proxy = ProxyProcess::following(&this.store.url(), PRODUCT, &id);
            this.proxies.push(settings.iter().fold(proxy, |proxy, line| proxy.setting(*line)).start());
            this.ctl_ok(&["proxy", "online", &id]);
        }
        for proxy in &this.proxies {
            // Also waits: a proxy parks nothing before it has its routes, and says so.
            codis_testkit::eventually(Duration::from_secs(20), || {
                proxy.client().call(&["EXISTS", "any"]).is_ok_and(|reply| !reply.is_error())
            });
        }
        this
    }

    /// A store in which there is no product yet.
    ///
    /// # Panics
    /// When there is no place for the files of its programs.
    #[must_use]
    pub fn nothing_in(store: Store) -> Self {
        let home = match Sandbox::create("home") {
            Ok(home) => home,
            Err(error) => panic!("{error}"),
        };
        Self {
            proxies: Vec::new(),
            groups: Vec::new(),
            store,
            codisctl: bin("codisctl"),
            home,
            agents: AtomicUsize::new(0),
        }
    }

    /// Runs codisctl to its end.
    ///
    /// # Panics
    /// When it cannot be run, or does not end in a minute and a half.
    #[must_use]
    pub fn ctl(&self, args: &[&str]) -> Output {
        let begun = Instant::now();
        let output = match self.command(args).output() {
            Ok(output) => output,
            Err(error) => panic!("cannot run codisctl {}: {error}", args.join(" ")),
        };
        assert!(begun.elapsed() < COMMAND, "codisctl {} took {:?}", args.join(" "), begun.elapsed());
        output
    }

    /// Runs codisctl, which must succeed, and returns what it printed.
    ///
    /// # Panics
    /// When it fails; with what it said.
    pub fn ctl_ok(&self, args: &[&str]) -> String {
        let output = self.ctl(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "codisctl {}: {}\n{said}", args.join(" "), output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs codisctl, which dies as by SIGKILL just before the `nth` of its writes, to the store or to a server, counted from 1.
    /// True if it died; false if it has done all it had to with fewer writes.
    ///
    /// # Panics
    /// When it fails instead.
    #[must_use]
    pub fn ctl_dies_at(&self, nth: u64, args: &[&str]) -> bool {
        let mut command = self.command(args);
        let output = match command.env("CODIS_CRASH_AT", nth.to_string()).output() {
            Ok(output) => output,
            Err(error) => panic!("cannot run codisctl {}: {error}", args.join(" ")),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let died = output.status.signal() == Some(ABORTED);
        assert!(
            died || output.status.success(),
            "codisctl {}, write {nth}: {}\n{said}",
            args.join(" "),
            output.status
        );
        died
    }

    /// The writes that codisctl makes for this command, to the store and to servers, in their order. It must succeed.
    ///
    /// # Panics
    /// When it fails; with what it said.
    #[must_use]
    pub fn ctl_writes(&self, args: &[&str]) -> Vec<String> {
        let log = self.home.path().join("writes.log");
        let _ = std::fs::remove_file(&log);
        let output = self.command(args).env("CODIS_CRASH_LOG", &log).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run codisctl {}: {error}", args.join(" ")));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.split_once('\t')?.1.to_owned())).collect()
    }

    /// Starts codisctl and returns at once; it is killed with the value.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn ctl_start(&self, args: &[&str]) -> Process {
        self.ctl_start_with(&[], args)
    }

    /// The same with these variables in its environment.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn ctl_start_with(&self, env: &[(&str, &str)], args: &[&str]) -> Process {
        let args = self.arguments(args);
        match Process::start("codisctl", &self.codisctl, args, env, &self.home) {
            Ok(process) => process,
            Err(error) => panic!("{error}"),
        }
    }

    /// The directory that everything of it runs in.
    pub fn home(&self) -> &Sandbox {
        &self.home
    }

    /// Starts an agent with these settings (tables of `codis.toml`) and variables of the environment; it is killed with the
    /// value. Returns at once.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn agent(&self, settings: &str, env: &[(&str, &str)]) -> Process {
        let (label, args) = self.agent_arguments(settings);
        match Process::start(&label, &self.codisctl, args, env, &self.home) {
            Ok(process) => process,
            Err(error) => panic!("{error}"),
        }
    }

    /// The same in a network of its own.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn agent_in(&self, network: &Network, settings: &str) -> Process {
        let (label, args) = self.agent_arguments(settings);
        match network.start(&label, &self.codisctl, &args, &[], &self.home) {
            Ok(process) => process,
            Err(error) => panic!("{error}"),
        }
    }

    fn agent_arguments(&self, settings: &str) -> (String, Vec<String>) {
        let label = format!("agent-{}", self.agents.fetch_add(1, Ordering::Relaxed) + 1);
        // Each has a file of its own: the one before may still be reading.
        let path = match self.home.write(&format!("{label}.toml"), settings) {
            Ok(path) => path,
            Err(error) => panic!("{error}"),
        };
        let mut args = self.arguments(&["agent", "run", "-v", "--config"]);
        args.insert(4, path.display().to_string());
        (label, args)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = codis_testkit::command("codisctl");
        command.args(self.arguments(args)).current_dir(self.home.path());
        command
    }

    fn arguments(&self, args: &[&str]) -> Vec<String> {
        let url = self.store.url();
        let named = args.contains(&"--product");
        let product: &[&str] = if named { &[] } else { &["--product", PRODUCT] };
        let fixed = ["--store", &url, "--yes", "--timeout", "10s"];
        args.iter().chain(product).chain(&fixed).map(|arg| (*arg).to_owned()).collect()
    }
}
