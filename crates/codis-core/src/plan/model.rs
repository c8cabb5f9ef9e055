//! What a step does to a snapshot, so that a plan can be followed without a store.

use super::{ChangeMaster, Step};
use crate::{Cluster, GoTask, Group, Role, Server, Slot, Versioned, ha::SagaKind};

impl Cluster {
    /// Applies a step to the snapshot as carrying it out changes the store. Steps that only touch
    /// servers or tell proxies change nothing here.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::CreateSlots(slots) => {
                for id in slots.iter() {
                    self.slots[id.index()] = Some(Versioned::new(Slot::unassigned(id), 0));
                }
            }
            Step::CreateGroup(id) => {
                self.groups.entry(*id).or_insert_with(|| Group { id: *id, servers: Vec::new() });
            }
            Step::RemoveGroup(id) => {
                self.groups.remove(id);
            }
            Step::AddServer(server) => self.put_server(Versioned::new(server.clone(), 0)),
            Step::PutServers(servers) => {
                for server in servers {
                    self.put_server(Versioned::new(server.value.clone(), server.version + 1));
                }
            }
            Step::RemoveServer(server) => {
                if let Some(group) = self.groups.get_mut(&server.group) {
                    group.servers.retain(|other| other.addr != server.addr);
                }
            }
            Step::PutSlots(slots) => {
                for slot in slots {
                    let written = Versioned::new(slot.value.clone(), slot.version + 1);
                    self.slots[slot.id.index()] = Some(written);
                }
            }
            Step::SetProxyState { proxy, state } => {
                if let Some(proxy) = self.proxies.get_mut(&proxy.id) {
                    proxy.value.state = *state;
                    proxy.version += 1;
                }
            }
            Step::AwaitProxyGone(id) => {
                if let Some(proxy) = self.proxies.remove(id) {
                    self.fences.remove(proxy.addr.as_str());
                }
            }
            Step::ClearFence(addr) => {
                self.fences.remove(addr);
            }
            Step::QueueMoves(moves) => {
                let last = self.moves.last().map_or(0, |task| task.task);
                let numbered = moves.iter().zip(last + 1..).map(|(task, number)| {
                    let mut task = task.clone();
                    task.task = number;
                    Versioned::new(task, 0)
                });
                self.moves.extend(numbered);
            }
            Step::PutMoves(moves) => {
                for task in &mut self.moves {
                    if let Some(put) = moves.iter().find(|put| put.task == task.task) {
                        *task = Versioned::new(put.value.clone(), put.version + 1);
                    }
                }
            }
            Step::DeleteMoves(moves) => {
                self.moves.retain(|task| !moves.iter().any(|doomed| doomed.task == task.task));
            }
            Step::QueueGoTasks(tasks) => {
                let next = self.go_tasks.iter().filter_map(|task| task.name.parse::<u64>().ok()).max();
                let next = next.map_or(0, |last| last + 1);
                let named = tasks.iter().zip(next..).map(|(task, number)| {
                    Versioned::new(GoTask { name: format!("{number:010}"), ..task.clone() }, 0)
                });
                self.go_tasks.extend(named);
            }
            Step::DeleteGoTasks(tasks) => {
                self.go_tasks.retain(|task| !tasks.iter().any(|doomed| doomed.name == task.name));
            }
            Step::ChangeMaster(change) => self.change_master(change),
            Step::ClearLock(lock) => self.locks.retain(|other| other.name != lock.name),
            Step::ClearDashboard(_) => self.dashboard = None,
            Step::RemoveProduct(_) => *self = Self::empty(self.product.clone()),
            Step::Replicate { .. } | Step::Announce { .. } | Step::CollectActions { .. } => {}
        }
        debug_assert!(self.check().is_ok(), "{step} left {:?}", self.check());
    }

    fn change_master(&mut self, change: &ChangeMaster) {
        let former = if change.kind == SagaKind::Planned { Role::Slave } else { Role::Offline };
        let listed = self.groups.get(&change.group).map(|group| group.servers.clone()).unwrap_or_default();
        for (addr, role) in [(&change.old, former), (&change.new, Role::Master)] {
            if let Some(server) = listed.iter().find(|server| &server.addr == addr && server.role != role) {
                let changed = Server { role, ..server.value.clone() };
                self.put_server(Versioned::new(changed, server.version + 1));
            }
        }
    }

    fn put_server(&mut self, server: Versioned<Server>) {
        let Some(group) = self.groups.get_mut(&server.group) else { return };
        group.servers.retain(|other| other.addr != server.addr);
        group.servers.push(server);
        group.servers.sort_by(|a, b| a.addr.cmp(&b.addr));
    }

    /// What every plan must preserve: a slot that is served or moving names groups that exist, and
    /// no group has two masters. Returns the first thing that is wrong.
    pub fn check(&self) -> Result<(), String> {
        for group in self.groups.values() {
            if group.masters().count() > 1 {
                return Err(format!("group {} has {} masters", group.id, group.masters().count()));
            }
        }
        for slot in self.known_slots() {
            let (from, to) = slot.moving().map_or((None, None), |(from, to)| (Some(from), Some(to)));
            for id in [slot.group, from, to].into_iter().flatten() {
                if !self.groups.contains_key(&id) {
                    return Err(format!("slot {} names group {id}, which does not exist", slot.id));
                }
            }
        }
        Ok(())
    }
}
