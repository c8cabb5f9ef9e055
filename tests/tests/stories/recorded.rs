//! Trees and writes of a real Codis 2 cluster, as they were recorded, and the same of a running product.
//!
//! What cannot be the same in two runs is blanked in both: process ids, times, numbers of actions (their order stays),
//! the ports of servers. See `tests/golden/README.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use codis_store::{Acl, CreateMode, Op, Store as Nodes};
use serde_json::Value;

/// The recorded product's root.
pub(crate) const ROOT: &str = "/zk/codis/db_spec";

/// A node, without its access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) data: String,
    pub(crate) version: i64,
    pub(crate) ephemeral: bool,
}

pub(crate) type Tree = BTreeMap<String, Stored>;

/// What differs between two trees; `None`: the node has gone.
pub(crate) type Change = BTreeMap<String, Option<Stored>>;

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name)).unwrap()
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

/// A step's change of the tree, with the access lists of what it creates.
fn step(number: u32) -> (Change, BTreeMap<String, Acl>, bool) {
    let file = read(&format!("{number:02}-"));
    let mut change = Change::new();
    let mut acls = BTreeMap::new();
    for path in file["deleted"].as_array().unwrap() {
        change.insert(path.as_str().unwrap().to_owned(), None);
    }
    for node in file["set"].as_array().unwrap() {
        let path = node["path"].as_str().unwrap().to_owned();
        let acl = if node["acl"][0].as_str().unwrap().ends_with(":31") { Acl::Dir } else { Acl::File };
        let stored = Stored {
            data: node["data"].as_str().unwrap().to_owned(),
            version: node["version"].as_i64().unwrap(),
            ephemeral: node["ephemeral"].as_bool().unwrap(),
        };
        acls.insert(path.clone(), acl);
        change.insert(path, Some(stored));
    }
    (change, acls, file["base"].is_null())
}

/// What a recorded step changed.
pub(crate) fn change_of(number: u32) -> Change {
    step(number).0
}

/// Puts the recorded tree of a step into an empty store, versions included, without what belongs to a running program:
/// the dashboard, and the proxies, which register themselves. `rename` gives servers the addresses that they have here.
pub(crate) async fn load(nodes: &Nodes, number: u32, rename: impl Fn(&str) -> String) {
    let (mut tree, mut lists) = (Tree::new(), BTreeMap::new());
    for number in 0..=number {
        let (change, acls, begins) = step(number);
        if begins {
            tree.clear();
        }
        lists.extend(acls);
        for (path, node) in change {
            match node {
                Some(node) => drop(tree.insert(path, node)),
                None => drop(tree.remove(&path)),
            }
        }
    }
    // The recording leaves out the slots that nothing happens to: half of them are each group's.
    for slot in 0..1024 {
        let group = if slot < 512 { 1 } else { 2 };
        let data = format!(
            r#"{{"product_name":"spec","id":{slot},"group_id":{group},"state":{{"status":"online","migrate_status":{{"from":-1,"to":-1}},"last_op_ts":"0"}}}}"#
        );
        let path = format!("{ROOT}/slots/slot_{slot}");
        lists.entry(path.clone()).or_insert(Acl::File);
        tree.entry(path).or_insert(Stored { data, version: 1, ephemeral: false });
    }
    let alive = ["dashboard", "proxy/", "fence/"].map(|name| format!("{ROOT}/{name}"));
    let mut ops = Vec::new();
    for (path, node) in tree {
        if alive.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        let (acl, renamed, data) = (lists[&path], rename(&path), rename(&node.data).into_bytes());
        let create =
            Op::Create { path: renamed.clone(), data: data.clone(), mode: CreateMode::Persistent, acl };
        ops.push(create);
        let versions = 0..i32::try_from(node.version).unwrap();
        ops.extend(versions.map(|version| Op::Set { path: renamed.clone(), data: data.clone(), version }));
    }
    // The store numbers by the nodes that there have ever been: on from the number of the newest action, whose response
    // has been made twice.
    let dir = format!("{ROOT}/ActionResponse/");
    let made: Vec<u32> = ops.iter().filter_map(|op| op.path().strip_prefix(&dir)?.parse().ok()).collect();
    for _ in made.len()..*made.iter().max().unwrap() as usize + 2 {
        let path = format!("{dir}spent");
        let (data, mode) = (Vec::new(), CreateMode::Persistent);
        ops.push(Op::Create { path: path.clone(), data, mode, acl: Acl::File });
        ops.push(Op::Delete { path, version: None });
    }
    for batch in ops.chunks(200) {
        nodes.commit(batch.to_vec()).await.unwrap();
    }
}

/// The product's tree now.
pub(crate) async fn dump(nodes: &Nodes) -> Tree {
    let mut all = Vec::new();
    let mut level = vec![ROOT.to_owned()];
    while !level.is_empty() {
        let lists = nodes.children_many(&level).await.unwrap();
        let below = level.iter().zip(lists).flat_map(|(parent, names)| {
            names.unwrap_or_default().into_iter().map(move |name| format!("{parent}/{name}"))
        });
        let below = below.collect();
        all.append(&mut level);
        level = below;
    }
    let read = nodes.get_many(&all).await.unwrap();
    let stored = |(path, node): (String, Option<codis_store::Node>)| {
        let node = node?;
        let (version, ephemeral) = (i64::from(node.version), node.ephemeral);
        Some((path, Stored { data: String::from_utf8(node.data).unwrap(), version, ephemeral }))
    };
    all.into_iter().zip(read).filter_map(stored).collect()
}

/// From one tree to the next.
pub(crate) fn change(before: &Tree, after: &Tree) -> Change {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    changed.map(|path| (path.clone(), after.get(path).cloned())).collect()
}

/// What is left when everything that differs from run to run is blanked. `actions` are all numbers of actions there
/// are, in order: they become their places from the end.
pub(crate) fn blank(change: &Change, actions: &BTreeSet<String>, rename: &impl Fn(&str) -> String) -> Change {
    let numbers: BTreeMap<String, String> =
        actions.iter().enumerate().map(|(n, name)| (name.clone(), format!("#{n}"))).collect();
    let path = |path: &str| {
        let path = rename(path);
        path.split('/')
            .map(|part| numbers.get(part).map_or(part, String::as_str))
            .collect::<Vec<_>>()
            .join("/")
    };
    let node = |node: &Stored| Stored { data: blank_data(&rename(&node.data)), ..node.clone() };
    change.iter().map(|(name, stored)| (path(name), stored.as_ref().map(node))).collect()
}

/// Numbers of actions that a tree or a change names.
pub(crate) fn actions<'a>(paths: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let prefix = format!("{ROOT}/actions/");
    paths.into_iter().filter_map(|path| path.strip_prefix(&prefix)).map(str::to_owned).collect()
}

fn blank_data(data: &str) -> String {
    match serde_json::from_str::<Value>(data) {
        Ok(mut value) => {
            blank_value(&mut value);
            value.to_string()
        }
        Err(_) => data.to_owned(),
    }
}

fn blank_value(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (name, field) in fields.iter_mut() {
        match name.as_str() {
            "pid" | "ts" | "create_at" | "start_at" => *field = Value::Null,
            // Texts of records, in the order in which the store listed the proxies.
            "receivers" => {
                let Value::Array(receivers) = field else { continue };
                for receiver in receivers.iter_mut() {
                    *receiver = Value::String(blank_data(receiver.as_str().unwrap()));
                }
                receivers.sort_by_key(ToString::to_string);
            }
            _ => {}
        }
    }
}

/// One write to the store: what was done to which node, and the status that it has then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Write {
    pub(crate) op: &'static str,
    /// Below the product's root; numbers of actions as places in the order of this list.
    pub(crate) path: String,
    pub(crate) status: String,
}

/// The writes of a recording, or the beginning of it.
pub(crate) fn recorded_writes(name: &str, rename: &impl Fn(&str) -> String) -> Vec<Write> {
    let file = read(&format!("writes-{name}"));
    let of = |write: &Value| {
        let op = match write["op"].as_str().unwrap() {
            "create" => "create",
            "setData" => "set",
            "delete" => "delete",
            _ => return None,
        };
        let path = write["path"].as_str().unwrap().strip_prefix(ROOT)?.strip_prefix('/')?;
        Some(Write { op, path: rename(path), status: status_of(write["data"].as_str().unwrap_or_default()) })
    };
    tidy(file["writes"].as_array().unwrap().iter().filter_map(of).collect())
}

/// The transactions that ZooKeeper's toolkit has printed of its log: each begins with session and number, and may have
/// ends of lines among the bytes of its encoding.
pub(crate) fn transactions(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in text.split('\n') {
        match all.last_mut() {
            _ if line.contains(" session 0x") && line.contains(" zxid 0x") => all.push(line.to_owned()),
            Some(last) => last.extend(["\n", line]),
            None => {}
        }
    }
    all
}

/// The writes of these transactions.
pub(crate) fn logged_writes(transactions: &[String]) -> Vec<Write> {
    tidy(transactions.iter().flat_map(|line| writes_of(line)).collect())
}

/// One transaction: one write, or several with some bytes of their encoding between them.
fn writes_of(line: &str) -> Vec<Write> {
    let Some((_, rest)) = line.split_once(" zxid ") else { return Vec::new() };
    let mut found = Vec::new();
    let mut rest = rest;
    let root = format!("{ROOT}/");
    while let Some(at) = rest.find(&root) {
        let (before, after) = (&rest[..at], &rest[at + root.len()..]);
        let end = after.find(|c: char| c.is_control() || matches!(c, ',' | ';' | ' ')).unwrap_or(after.len());
        let next = after.find(&root).unwrap_or(after.len());
        // The last word before the path says what was done.
        let ops = [("create", "create"), ("setData", "set"), ("delete", "delete")];
        let op = ops.iter().filter_map(|(word, op)| Some((before.rfind(word)?, *op))).max();
        if let Some((_, op)) = op {
            let status = status_of(&after[..next]);
            found.push(Write { op, path: after[..end].trim_end_matches('\'').to_owned(), status });
        }
        rest = &after[end..];
    }
    found
}

fn status_of(data: &str) -> String {
    let text = |name: &str| Some(data.split_once(name)?.1.split('"').next()?.to_owned());
    text(r#""status":""#).or_else(|| text(r#"{"type":""#)).unwrap_or_default()
}

/// Numbers of actions become their places, and acknowledgements that follow each other are sorted: proxies answer in
/// any order.
fn tidy(mut writes: Vec<Write>) -> Vec<Write> {
    let number = |path: &str| {
        let (dir, rest) = path.split_once('/')?;
        let number = rest.split('/').next()?;
        matches!(dir, "actions" | "ActionResponse").then(|| number.to_owned()).filter(|n| n.len() == 10)
    };
    let numbers: BTreeSet<String> = writes.iter().filter_map(|write| number(&write.path)).collect();
    let numbers: BTreeMap<String, usize> = numbers.into_iter().zip(0..).collect();
    for write in &mut writes {
        if let Some(number) = number(&write.path) {
            write.path = write.path.replace(&number, &format!("#{}", numbers[&number]));
        }
    }
    let is_ack =
        |write: &Write| write.path.matches('/').count() == 2 && write.path.starts_with("ActionResponse/");
    for acks in writes.chunk_by_mut(|a, b| is_ack(a) && is_ack(b)) {
        acks.sort();
    }
    for write in writes.iter_mut().filter(|write| is_ack(write)) {
        write.status.clear();
    }
    writes
}
