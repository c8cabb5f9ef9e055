//! The recorded trees, and the tree that a store holds.

use std::collections::BTreeMap;
use std::path::Path;

use codis_store::{Acl, CreateMode, Store, StoreAddr};
use serde_json::Value;

use crate::common::Ground;

/// A node without what differs from run to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) data: String,
    pub(crate) version: i32,
    pub(crate) ephemeral: bool,
    /// Permission bits for everybody.
    pub(crate) acl: i64,
}

pub(crate) type Tree = BTreeMap<String, Stored>;

/// One recorded step.
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) begins: bool,
    pub(crate) total_nodes: usize,
    pub(crate) deleted: Vec<String>,
    pub(crate) set: Tree,
}

/// All steps in order.
pub(crate) fn steps() -> Vec<Step> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    assert_eq!(files.len(), 50);
    files.iter().map(|file| step(&std::fs::read(file).unwrap())).collect()
}

fn step(text: &[u8]) -> Step {
    let file: Value = serde_json::from_slice(text).unwrap();
    let node = |node: &Value| {
        let acl = node["acl"][0].as_str().unwrap().strip_prefix("world:anyone:").unwrap().parse().unwrap();
        let stored = Stored {
            data: node["data"].as_str().unwrap().to_owned(),
            version: node["version"].as_i64().unwrap().try_into().unwrap(),
            ephemeral: node["ephemeral"].as_bool().unwrap(),
            acl,
        };
        (node["path"].as_str().unwrap().to_owned(), stored)
    };
    Step {
        name: file["step"].as_str().unwrap().to_owned(),
        begins: file["base"].is_null(),
        total_nodes: file["total_nodes"].as_u64().unwrap().try_into().unwrap(),
        deleted: file["deleted"]
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_str().unwrap().to_owned())
            .collect(),
        set: file["set"].as_array().unwrap().iter().map(node).collect(),
    }
}

impl Step {
    /// Makes the tree of the step before into that of this one.
    pub(crate) fn apply(&self, tree: &mut Tree) {
        if self.begins {
            tree.clear();
        }
        tree.retain(|path, _| !self.deleted.contains(path));
        tree.extend(self.set.iter().map(|(path, node)| (path.clone(), node.clone())));
    }

    /// Changes a store in the same way, versions included.
    pub(crate) async fn apply_to(&self, store: &Store) {
        if self.begins {
            remove_all(store).await;
        }
        // Children before their parents.
        for path in self.deleted.iter().rev() {
            store.delete(path, None).await.unwrap();
        }
        for (path, node) in &self.set {
            put(store, path, node).await;
        }
    }
}

async fn put(store: &Store, path: &str, node: &Stored) {
    let mode = if node.ephemeral { CreateMode::Ephemeral } else { CreateMode::Persistent };
    let acl = if node.acl == 31 { Acl::Dir } else { Acl::File };
    let data = node.data.as_bytes();
    let mut version = match store.get(path).await {
        Ok(there) if there.ephemeral == node.ephemeral && there.version < node.version => there.version,
        there => {
            // Made anew, as the original did it.
            if there.is_ok() && store.delete(path, None).await.is_err() {
                return;
            }
            store.create(path, data, mode, acl).await.unwrap();
            0
        }
    };
    while version < node.version {
        version = store.set(path, data, version).await.unwrap();
    }
}

async fn remove_all(store: &Store) {
    let paths: Vec<String> = paths(store).await;
    for path in paths.iter().rev() {
        store.delete(path, None).await.unwrap();
    }
}

/// Every path from `/zk` on, parents before their children.
pub(crate) async fn paths(store: &Store) -> Vec<String> {
    let mut all = Vec::new();
    let mut level = vec!["/zk".to_owned()];
    if store.get("/zk").await.is_err() {
        return all;
    }
    while !level.is_empty() {
        let lists = store.children_many(&level).await.unwrap();
        let next = level.iter().zip(lists).flat_map(|(parent, names)| {
            names.unwrap().into_iter().map(move |name| format!("{parent}/{name}"))
        });
        let next = next.collect();
        all.append(&mut level);
        level = next;
    }
    all
}

/// The tree of a store, access lists read past this crate.
pub(crate) async fn dump(ground: &Ground, store: &Store) -> Tree {
    let paths = paths(store).await;
    let nodes = store.get_many(&paths).await.unwrap();
    let acls = acls(&ground.addr, &paths).await;
    paths
        .into_iter()
        .zip(nodes)
        .zip(acls)
        .map(|((path, node), acl)| {
            let node = node.unwrap();
            let data = String::from_utf8(node.data).unwrap();
            (path, Stored { data, version: node.version, ephemeral: node.ephemeral, acl })
        })
        .collect()
}

async fn acls(addr: &StoreAddr, paths: &[String]) -> Vec<i64> {
    match addr {
        StoreAddr::Zk { hosts, chroot } => {
            let client = zookeeper_client::Client::connector().connect(&hosts.join(",")).await.unwrap();
            let full: Vec<String> = paths.iter().map(|path| format!("{chroot}{path}")).collect();
            let asked: Vec<_> = full.iter().map(|path| client.get_acl(path)).collect();
            futures::future::join_all(asked).await.into_iter().map(|acl| bits(&acl.unwrap().0)).collect()
        }
        StoreAddr::Local { path } => {
            let db = rusqlite::Connection::open(path).unwrap();
            let mut select = db.prepare("SELECT acl FROM node WHERE path = ?1").unwrap();
            paths.iter().map(|path| select.query_row([path], |row| row.get(0)).unwrap()).collect()
        }
    }
}

fn bits(acl: &[zookeeper_client::Acl]) -> i64 {
    use zookeeper_client::Permission;
    assert_eq!(acl.len(), 1);
    assert_eq!((acl[0].scheme(), acl[0].id()), ("world", "anyone"));
    let all = [
        (Permission::READ, 1),
        (Permission::WRITE, 2),
        (Permission::CREATE, 4),
        (Permission::DELETE, 8),
        (Permission::ADMIN, 16),
    ];
    all.iter().filter(|(permission, _)| acl[0].permission().has(*permission)).map(|(_, bit)| bit).sum()
}
