//! Slots, groups and servers: typed writes, each guarded by the version that was read.

use codis_core::{Action, ActionKind, GroupId, Server, Slot, Versioned};

use super::proxies::missing_is_fine;
use super::{Product, Result};
use crate::error::ErrorKind;
use crate::layout::sequence;
use crate::node::{Acl, CreateMode, Op};
use crate::settle::pause;
use crate::store::Store;
use crate::wire;

/// Slots created in one transaction: 5 nodes each, a few milliseconds in a local store, and far below the size that a
/// ZooKeeper server takes as one request.
const BATCH: usize = 32;
/// Attempts of a batch while others publish actions in between.
pub(super) const ATTEMPTS: u32 = 5;

impl Product {
    /// Creates slots and publishes for each the `slot_changed` that the original's `slot init` publishes, in its
    /// order and with its numbers. `ts` is the actions' time in Unix seconds. For products without proxies
    /// online: receivers stay empty.
    ///
    /// Each batch is one transaction, so after an interruption the slots created are complete with
    /// their actions, and the rest can be created by asking for it.
    ///
    /// # Errors
    /// `NodeExists` when a slot is there already; nothing of its batch is done then.
    pub async fn create_slots(&self, slots: &[Slot], ts: u64) -> Result<()> {
        let layout = &self.layout;
        for dir in [layout.go_tasks(), layout.slots(), layout.actions(), layout.responses()] {
            self.store.ensure_dir(&dir).await?;
        }
        for batch in slots.chunks(BATCH) {
            let mut attempt = 1;
            while let Err(error) = self.create_batch(batch, ts).await {
                // Somebody else has drawn a number that was foreseen.
                let overtaken =
                    error.kind == ErrorKind::NodeExists && !error.path.starts_with(&layout.slots());
                if !overtaken || attempt == ATTEMPTS {
                    return Err(error);
                }
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
        }
        Ok(())
    }

    /// One transaction. Its first number is drawn; those after it are foreseen from how the store counts, two up
    /// for each action. Should others draw numbers meanwhile, the count is ahead of ours: then a foreseen
    /// number is free and stays so, or it is taken and the transaction fails as a whole.
    async fn create_batch(&self, slots: &[Slot], ts: u64) -> Result<()> {
        let layout = &self.layout;
        let record = |slot: &Slot| {
            let kind = ActionKind::SlotChanged(slot.clone());
            wire::action_json(self.name.as_str(), &Action { seq: None, kind, ts, receivers: Vec::new() })
        };
        let Some(first) = slots.first() else { return Ok(()) };
        let mut seq = self.next_seq(&record(first)).await?;
        let begun = seq;
        let mut ops = Vec::with_capacity(slots.len() * 5);
        for slot in slots {
            let action = record(slot);
            if seq != begun {
                ops.push(create(&layout.response(seq), "", CreateMode::Persistent, Acl::File));
            }
            ops.extend(self.publication(seq, &action));
            let data = wire::slot_json(self.name.as_str(), slot);
            ops.push(create(&layout.slot(slot.id), &data, CreateMode::Persistent, Acl::File));
            seq += 2;
        }
        match self.store.commit(ops).await {
            Ok(_) => Ok(()),
            Err(error) => {
                if !error.is_transient() {
                    // Refused as a whole: the drawn number is not needed. What stays behind here is collected
                    // with the old actions.
                    let _ = self.store.delete(&layout.response(begun), Some(0)).await;
                }
                Err(error)
            }
        }
    }

    /// A new number for an action: the sequential node under `ActionResponse` that the original begins with.
    pub(super) async fn next_seq(&self, action: &str) -> Result<u64> {
        let dir = self.layout.responses();
        let path = format!("{dir}/");
        let mode = CreateMode::PersistentSequential;
        let mut attempt = 0;
        let path = loop {
            // Not settled: another publisher's number may have the same content. One that was drawn unseen is
            // collected with the old actions.
            match self.store.create(&path, action.as_bytes(), mode, Acl::File).await {
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(error) if error.kind == ErrorKind::NoNode => self.store.ensure_dir(&dir).await?,
                Err(error) if error.kind == ErrorKind::Ambiguous => tokio::time::sleep(pause(attempt)).await,
                drawn => break drawn?,
            }
            attempt += 1;
        };
        sequence(&path).ok_or_else(|| {
            crate::error::StoreError::new("create", path, ErrorKind::Other)
                .caused_by("the store gave a sequential node a name without ten digits")
        })
    }

    /// The rest of publishing: the response node anew, with the access list of a directory, and the action that
    /// proxies see.
    pub(super) fn publication(&self, seq: u64, action: &str) -> [Op; 3] {
        let response = self.layout.response(seq);
        [
            Op::Delete { path: response.clone(), version: Some(0) },
            create(&response, action, CreateMode::Persistent, Acl::Dir),
            create(&self.layout.action(seq), action, CreateMode::Persistent, Acl::File),
        ]
    }

    /// Rewrites slots, all or none, each still at the version it carries.
    ///
    /// # Errors
    /// `BadVersion` with the slot's path when one was changed meanwhile.
    pub async fn put_slots(&self, slots: &[Versioned<Slot>]) -> Result<()> {
        let name = self.name.as_str();
        let set = |slot: &Versioned<Slot>| {
            set(self.layout.slot(slot.id), wire::slot_json(name, slot), slot.version)
        };
        self.store.commit_settled(slots.iter().map(set).collect()).await.map(drop)
    }

    /// Creates a group's node. `NodeExists` when it is there.
    pub async fn create_group(&self, id: GroupId) -> Result<()> {
        self.store.ensure_dir(&self.layout.groups()).await?;
        self.store
            .commit_settled(vec![create(&self.layout.group(id), "", CreateMode::Persistent, Acl::Dir)])
            .await
            .map(drop)
    }

    /// Removes a group that lists no server. `NotEmpty` when it does.
    pub async fn remove_group(&self, id: GroupId) -> Result<()> {
        let delete = Op::Delete { path: self.layout.group(id), version: None };
        self.store.commit_settled(vec![delete]).await.map(drop)
    }

    /// Lists a server. `NoNode` when there is no such group, `NodeExists` when it is listed already.
    pub async fn add_server(&self, server: &Server) -> Result<()> {
        let path = self.layout.server(server.group, server.addr.as_str());
        let add = create(&path, &wire::server_json(server), CreateMode::Persistent, Acl::File);
        self.store.commit_settled(vec![add]).await.map(drop)
    }

    /// Rewrites servers, all or none, each still at the version it carries.
    ///
    /// # Errors
    /// `BadVersion` with the server's path when one was changed meanwhile.
    pub async fn put_servers(&self, servers: &[Versioned<Server>]) -> Result<()> {
        let set = |server: &Versioned<Server>| {
            let path = self.layout.server(server.group, server.addr.as_str());
            set(path, wire::server_json(server), server.version)
        };
        self.store.commit_settled(servers.iter().map(set).collect()).await.map(drop)
    }

    /// Removes a server that is still at the version it carries.
    pub async fn remove_server(&self, server: &Versioned<Server>) -> Result<()> {
        let path = self.layout.server(server.group, server.addr.as_str());
        let delete = Op::Delete { path, version: Some(server.version) };
        self.store.commit_settled(vec![delete]).await.map(drop)
    }
}

/// Removes a node. A missing one is fine.
pub(super) async fn remove(store: &Store, path: String, version: Option<i32>) -> Result<()> {
    missing_is_fine(store.commit_settled(vec![Op::Delete { path, version }]).await.map(drop))
}

pub(super) fn create(path: &str, data: &str, mode: CreateMode, acl: Acl) -> Op {
    Op::Create { path: path.to_owned(), data: data.as_bytes().to_vec(), mode, acl }
}

pub(super) fn set(path: String, data: String, version: i32) -> Op {
    Op::Set { path, data: data.into_bytes(), version }
}
