//! The program in a real terminal, on a real product: it shows what is there, follows what changes,
//! and leaves a usable shell whichever way it ends.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use codis_testkit::{Sandbox, Tmux, ZooKeeper, eventually, need};

use crate::live::Product;

const TUI: &str = env!("CARGO_BIN_EXE_codis-tui");
/// Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(30);

/// A shell in a terminal.
struct Shell(Tmux);

impl Shell {
    fn open() -> Self {
        let shell = ["env", "-u", "NO_COLOR", "-u", "ENV", "LC_ALL=C.UTF-8", "PS1=$ ", "sh", "-i"];
        let this = Self(Tmux::start(120, 40, &shell));
        this.shows("$");
        this
    }

    fn types(&self, line: &str) {
        self.0.keys(&["-l", line]);
        self.0.keys(&["Enter"]);
    }

    fn shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    fn until(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let mut screen = String::new();
        let end = std::time::Instant::now() + SOON;
        while std::time::Instant::now() < end {
            screen = self.0.screen();
            if condition(&screen) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the terminal never showed {what}, but\n{screen}");
    }

    fn is_ours(&self) -> bool {
        self.0.ask("#{alternate_on}") == "1"
    }

    /// Ordinary screen, visible cursor, and a shell that echoes what is typed and runs it.
    fn is_usable(&self) {
        eventually(SOON, || !self.is_ours() && self.0.ask("#{cursor_flag}") == "1");
        self.types("stty -a | grep -o ' echo ' && echo us''able");
        self.shows("us''able");
        self.until("the output of the shell", |screen| screen.lines().any(|line| line == "usable"));
        self.until("echo switched on", |screen| screen.lines().any(|line| line.trim() == "echo"));
    }

    /// Runs a command whose exit status is printed when it has ended.
    fn runs(&self, command: &str) {
        self.types(&format!("{command}; echo status=$?"));
    }

    /// The exit status of the command that ran.
    fn status_is(&self, status: &str) {
        self.shows(&format!("status={status}"));
    }
}

fn command(product: &Product) -> String {
    format!("{TUI} --store {} --product feed", product.store)
}

fn map_row(screen: &str, first_slot: u16) -> &str {
    let label = format!(" {first_slot} ");
    screen
        .lines()
        .find(|line| line.chars().skip(1).take(label.len() + 4).collect::<String>().contains(&label))
        .unwrap_or("")
}

#[test]
fn it_shows_a_product_follows_it_and_q_leaves_a_usable_shell() {
    need!("tmux", "redis");
    let product = Product::local();
    let shell = Shell::open();
    shell.runs(&command(&product));
    shell.shows("online 992");
    assert!(shell.is_ours());
    let screen = shell.0.screen();
    assert!(
        map_row(&screen, 480).contains("480 1 ·") && map_row(&screen, 544).contains("544 2 ·"),
        "{screen}"
    );
    assert!(screen.contains("No proxies: nothing serves clients now."), "{screen}");

    shell.0.keys(&["Right", "j"]);
    shell.shows("slot 33 ");
    shell.0.keys(&["Z"]);
    shell.shows("Z means nothing here");
    shell.0.keys(&["?"]);
    shell.shows("any key closes");
    shell.0.keys(&["Escape"]);

    product.assign("512-543", 1);
    shell.until("slots 512-543 at group 1", |screen| map_row(screen, 512).contains("512 1 ·"));

    shell.0.resize(80, 24);
    shell.shows("+56");
    shell.0.resize(38, 9);
    shell.shows("codis-tui needs 80 x 24");
    shell.0.resize(120, 40);
    shell.shows("online 1024");

    shell.0.keys(&["q"]);
    shell.status_is("0");
    shell.is_usable();
}

#[test]
fn a_lost_server_is_said_and_forgotten_when_it_returns() {
    need!("tmux", "redis");
    let mut product = Product::local();
    let shell = Shell::open();
    shell.runs(&command(&product));
    shell.shows("online 992");
    let banner = format!("SERVER LOST: {}, master of group 2", product.masters[1].addr());
    product.masters[1].kill();
    shell.shows(&banner);
    product.masters[1].restart();
    shell.until("no banner", |screen| !screen.contains("SERVER LOST"));
    shell.0.keys(&["q"]);
    shell.is_usable();
}

#[test]
fn a_signal_leaves_a_usable_shell() {
    need!("tmux", "redis");
    let product = Product::local();
    let sandbox = Sandbox::create("tui-signal").unwrap();
    let pid_file = sandbox.path().join("pid");
    for signal in ["TERM", "INT", "HUP"] {
        let shell = Shell::open();
        shell.runs(&format!("sh -c 'echo $$ > {}; exec {}'", pid_file.display(), command(&product)));
        shell.shows("online 992");
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        let kill = Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status().unwrap();
        assert!(kill.success());
        shell.status_is("130");
        shell.shows(&format!("SIG{signal} was received"));
        shell.is_usable();
    }
}

#[test]
fn a_panic_is_told_on_a_usable_shell() {
    need!("tmux");
    // Built with the tests, like every example.
    let examples = PathBuf::from(TUI).parent().unwrap().join("examples");
    let shell = Shell::open();
    shell.runs(&format!("RUST_BACKTRACE=0 {}/panic", examples.display()));
    shell.shows("on purpose");
    shell.status_is("101");
    shell.is_usable();
    // Nothing was printed over the message.
    shell.shows("note: run with `RUST_BACKTRACE=1`");
}

#[test]
fn a_lost_store_is_a_banner_over_the_last_picture() {
    need!("tmux", "redis", "zookeeper");
    let zookeeper = ZooKeeper::start();
    let sandbox = Sandbox::create("tui-zk").unwrap();
    let product = Product::new(zookeeper.url(), sandbox);
    let shell = Shell::open();
    shell.runs(&command(&product));
    shell.shows("online 992");
    zookeeper.stop();
    shell.shows("STORE LOST");
    // The picture stays, and keys still work.
    shell.0.keys(&["Down"]);
    shell.until("the cursor in the second row", |screen| map_row(screen, 32).starts_with('▸'));
    let screen = shell.0.screen();
    assert!(map_row(&screen, 544).contains("544 2 ·"), "{screen}");
    shell.shows("Servers are still asked directly: 2 of 2 answer.");
    zookeeper.cont();
    shell.until("no banner", |screen| !screen.contains("STORE LOST") && screen.contains("online 992"));
    shell.0.keys(&["q"]);
    shell.is_usable();
}

#[test]
fn an_unknown_product_ends_it_with_the_reason() {
    need!("tmux", "redis");
    let product = Product::local();
    let shell = Shell::open();
    shell.runs(&format!("{TUI} --store {} --product nosuch", product.store));
    shell.status_is("1");
    shell.shows("cannot open product nosuch");
    shell.shows("codisctl product list");
    shell.is_usable();
}

#[test]
fn a_store_that_never_answers_ends_it_after_the_start_timeout() {
    need!("tmux");
    let lease = codis_testkit::PortLease::take().unwrap();
    let shell = Shell::open();
    let store = format!("zk://127.0.0.1:{}", lease.port());
    shell.runs(&format!("{TUI} --store {store} --product feed --start-timeout 2s"));
    shell.shows("NO STORE");
    shell.status_is("5");
    shell.shows("cannot reach the store");
    shell.is_usable();
}

#[test]
fn without_a_terminal_it_says_what_to_use_instead() {
    let output = Command::new(TUI)
        .args(["--store", "local:/nowhere/store.db", "--product", "feed"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("cannot open the dashboard") && error.contains("codisctl status"), "{error}");
}

#[test]
fn a_settings_file_names_store_and_product() {
    need!("tmux", "redis");
    let product = Product::local();
    let sandbox = Sandbox::create("tui-config").unwrap();
    let config = format!("product = \"feed\"\n[store]\naddress = \"{}\"\n", product.store);
    let good = sandbox.write("codis.toml", &config).unwrap();
    let shell = Shell::open();
    shell.runs(&format!("{TUI} --config {}", good.display()));
    shell.shows("online 992");
    shell.0.keys(&["q"]);
    shell.status_is("0");

    let wrong = sandbox.write("wrong.toml", &config.replace("address", "adress")).unwrap();
    let shell = Shell::open();
    shell.runs(&format!("{TUI} --config {}", wrong.display()));
    shell.status_is("2");
    shell.shows("wrong.toml line 3: unknown key `store.adress`");
    let shell = Shell::open();
    shell.runs(&format!("env -u CODIS_STORE {TUI} --product feed"));
    shell.status_is("2");
    shell.shows("neither --store, nor CODIS_STORE, nor [store] address in codis.toml");
}

#[test]
fn wrong_options_are_refused() {
    for (options, why) in [
        (["--store", "redis://h:1"], "--store"),
        (["--interval", "1ms"], "the interval must be between 100ms and 60s"),
        (["--theme", "pink"], "[possible values: auto, dark, light, cb, mono]"),
    ] {
        let command = Command::new(TUI)
            .args(["--product", "feed", "--store", "zk://h:2181"])
            .args(options)
            .env_remove("CODIS_STORE")
            .output()
            .unwrap();
        let error = String::from_utf8(command.stderr).unwrap();
        assert_eq!(command.status.code(), Some(2), "{error}");
        assert!(error.contains(why), "{error}");
    }
}
