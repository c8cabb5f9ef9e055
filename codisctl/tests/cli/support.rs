//! A store of a test's own, and `codisctl` on it.

use std::{path::Path, process::Stdio};

use assert_cmd::Command;
use codis_store::{Acl, ConnectOptions, CreateMode, Store};
use codis_testkit::{RedisServer, Sandbox, ZooKeeper};
use serde_json::Value;

/// Name of the product in every test.
pub(crate) const PRODUCT: &str = "feed";

/// What is promised of JSON.
const PAGE: &str = include_str!("../../../docs/json.md");

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Exit status and both outputs, for a snapshot.
    pub(crate) fn all(&self) -> String {
        format!("{}--- {}\n{}", self.out, self.status, self.err)
    }

    /// The same run, which must have ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}{}", self.out, self.err);
        self
    }

    /// Standard output as JSON; every field in it is documented.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let value = serde_json::from_str(&self.out);
        let value: Value = value.unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err));
        assert_eq!(value["v"], 1);
        assert_documented(&value);
        value
    }
}

/// Fails on a field that docs/json.md does not name.
#[track_caller]
pub(crate) fn assert_documented(value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                assert!(PAGE.contains(&format!("`{name}`")), "docs/json.md does not name `{name}`");
                assert_documented(inner);
            }
        }
        Value::Array(values) => values.iter().for_each(assert_documented),
        _ => {}
    }
}

/// A store, a directory to run in, and the words that differ from run to run.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) sandbox: Sandbox,
    store: String,
    zookeeper: Option<ZooKeeper>,
    words: Vec<(String, String)>,
}

impl Desk {
    /// On a local store that does not exist yet.
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::create("desk").unwrap();
        let store = format!("local:{}", sandbox.path().join("codis.db").display());
        let words = vec![(sandbox.path().display().to_string(), "DIR".to_owned())];
        Self { sandbox, store, zookeeper: None, words }
    }

    /// On an empty ZooKeeper.
    pub(crate) fn zk() -> Self {
        let zookeeper = ZooKeeper::start();
        let mut desk = Self::new();
        desk.store = zookeeper.url();
        desk.words.push((zookeeper.addr(), "ZK".to_owned()));
        desk.zookeeper = Some(zookeeper);
        desk
    }

    /// With the product and its slots.
    pub(crate) fn with_product(self) -> Self {
        self.run(&["product", "init", "--yes"]).ok();
        self
    }

    /// The store's address.
    pub(crate) fn store(&self) -> &str {
        &self.store
    }

    /// Prints `name` instead of this word in snapshots.
    pub(crate) fn name(&mut self, word: &str, name: &str) {
        self.words.push((word.to_owned(), name.to_owned()));
    }

    /// A redis-server whose address prints as `name`.
    pub(crate) fn redis(&mut self, name: &str) -> RedisServer {
        let server = RedisServer::start();
        self.name(&server.addr(), name);
        server
    }

    /// Runs `codisctl` on the store and the product, with nobody at a terminal.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).env("CODIS_STORE", &self.store).env("CODIS_PRODUCT", PRODUCT).end(self)
    }

    /// Runs `codisctl` as it is, without a store or a product.
    pub(crate) fn bare(&self, args: &[&str]) -> Ran {
        self.command(args).end(self)
    }

    /// `codisctl` in an environment that holds nothing.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.current_dir(self.sandbox.path());
        command
    }

    /// The same for whoever wants to see it run.
    pub(crate) fn start(&self, args: &[&str]) -> std::process::Child {
        std::process::Command::new(program())
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CODIS_STORE", &self.store)
            .env("CODIS_PRODUCT", PRODUCT)
            .current_dir(self.sandbox.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The text with the words that differ from run to run replaced, times included.
    pub(crate) fn steady(&self, text: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(text).into_owned();
        for (word, name) in &self.words {
            text = text.replace(word, name);
        }
        without_times(&text)
    }

    /// Writes a node behind the program's back; makes it if it is not there.
    pub(crate) fn write(&self, path: &str, data: &str) {
        self.write_all(&[(path.to_owned(), data.to_owned())]);
    }

    /// Writes nodes behind the program's back; makes those that are not there.
    pub(crate) fn write_all(&self, nodes: &[(String, String)]) {
        self.with_store(async |store| {
            for (path, data) in nodes {
                put(store, &format!("/zk/codis/db_{PRODUCT}/{path}"), data.as_bytes()).await;
            }
        });
    }

    /// Deletes a node behind the program's back.
    pub(crate) fn delete(&self, path: &str) {
        self.with_store(async |store| {
            store.delete(&format!("/zk/codis/db_{PRODUCT}/{path}"), None).await.unwrap();
        });
    }

    /// Everything that the store has, with versions: the same before and after what must not write.
    pub(crate) fn tree(&self) -> Vec<(String, Vec<u8>, i32)> {
        let mut found = Vec::new();
        self.with_store(async |store| {
            let mut paths = vec!["/zk".to_owned()];
            while let Some(path) = paths.pop() {
                // Nodes of a session that has just ended may still go.
                let Ok(node) = store.get(&path).await else { continue };
                let children = store.children(&path).await.unwrap_or_default();
                paths.extend(children.into_iter().map(|child| format!("{path}/{child}")));
                found.push((path, node.data.to_vec(), node.version));
            }
        });
        found.sort();
        found
    }

    /// Does something to the store behind the program's back.
    pub(crate) fn with_store(&self, work: impl AsyncFnOnce(&Store)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store =
                Store::connect(&self.store.parse().unwrap(), &ConnectOptions::control()).await.unwrap();
            work(&store).await;
            store.close().await.unwrap();
        });
    }
}

async fn put(store: &Store, path: &str, data: &[u8]) {
    if let Ok(node) = store.get(path).await {
        store.set(path, data, node.version).await.unwrap();
        return;
    }
    let (dir, _) = path.rsplit_once('/').unwrap();
    store.ensure_dir(dir).await.unwrap();
    store.create(path, data, CreateMode::Persistent, Acl::File).await.unwrap();
}

/// Path of the program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_codisctl"))
}

trait End {
    fn end(&mut self, desk: &Desk) -> Ran;
}

impl End for Command {
    fn end(&mut self, desk: &Desk) -> Ran {
        let output = self.timeout(std::time::Duration::from_secs(60)).output().unwrap();
        Ran {
            status: output.status.code().unwrap_or(-1),
            out: desk.steady(&output.stdout),
            err: desk.steady(&output.stderr),
        }
    }
}

/// `12 ms` becomes `N ms`, a date and time `TIME`.
fn without_times(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for i in 0..words.len() {
            if words[i].trim_end_matches(',') == "ms"
                && i > 0
                && words[i - 1].chars().all(|c| c.is_ascii_digit())
            {
                words[i - 1] = "N".to_owned();
            }
            let date =
                |word: &str| word.len() == 10 && word.starts_with("20") && word.matches('-').count() == 2;
            if date(&words[i]) && words.get(i + 1).is_some_and(|time| time.matches(':').count() == 2) {
                words[i] = "DATE".to_owned();
                words[i + 1] = "TIME".to_owned();
            }
        }
        lines.push(words.join(" "));
    }
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}
