//! What is not well in a snapshot, worst first, each with the command that helps.

use std::{collections::BTreeMap, str::FromStr};

use crate::{
    Cluster, Gap, Group, GroupId, MoveState, ParseError, ProxyState, Role, SLOT_COUNT, Slot, SlotId, SlotSet,
    SlotStatus, Versioned, plan::plural,
};

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Clients get errors, or nothing can be changed.
    Critical,
    /// Will not go away by itself.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// The word for people: `critical`, `warning` or `info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl FromStr for Severity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = [Self::Critical, Self::Warning, Self::Info].into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| ParseError::new(text, "a severity (critical, warning, info)"))
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, with its number.
    pub what: String,
    /// The node, group or proxy it is about.
    pub place: String,
    /// The command that helps, or what to do; may be empty.
    pub fix: String,
}

/// A lock is held for one change. One that is older than this has been forgotten, milliseconds.
const OLD_LOCK_MS: u64 = 60_000;
/// So many unreadable nodes are named one by one.
const NAMED: usize = 5;

/// Looks at a snapshot alone; servers and proxies are not asked. Worst first, then in the order in
/// which a person would look: store, slots, groups, proxies, tasks.
pub fn findings(cluster: &Cluster) -> Vec<Finding> {
    let mut found = Found(Vec::new());
    found.gaps(&cluster.gaps);
    found.slots(cluster);
    found.groups(cluster);
    found.proxies(cluster);
    found.moves(cluster);
    found.others(cluster);
    found.0.sort_by_key(|finding| finding.severity);
    found.0
}

struct Found(Vec<Finding>);

impl Found {
    fn add(&mut self, severity: Severity, what: String, place: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { severity, what, place: place.into(), fix: fix.into() });
    }

    fn gaps(&mut self, gaps: &[Gap]) {
        for gap in gaps.iter().take(NAMED) {
            let what = format!("a node cannot be read: {}", gap.why);
            self.add(
                Severity::Critical,
                what,
                &gap.path,
                "correct or delete the node; nothing that needs it is changed",
            );
        }
        if let Some(next) = gaps.get(NAMED) {
            let more = plural(gaps.len() - NAMED, "more node", "more nodes");
            self.add(Severity::Critical, format!("{more} cannot be read"), &next.path, "codisctl slot list");
        }
    }

    fn slots(&mut self, cluster: &Cluster) {
        let unread =
            |id: &SlotId| cluster.gaps.iter().any(|gap| gap.path.ends_with(&format!("/slots/slot_{id}")));
        let missing: SlotSet =
            SlotId::all().filter(|id| cluster.slot(*id).is_none() && !unread(id)).collect();
        if missing.len() == usize::from(SLOT_COUNT) {
            self.add(
                Severity::Warning,
                "the slots are not initialised".to_owned(),
                "slots",
                "codisctl slot init",
            );
            return;
        }
        if !missing.is_empty() {
            let what = format!("{} missing", plural(missing.len(), "slot node is", "slot nodes are"));
            self.add(Severity::Critical, what, format!("slots {missing}"), "codisctl slot init");
        }
        // Without a proxy nobody is turned away.
        let served = cluster.online_proxies().next().is_some();
        let severity = if served { Severity::Critical } else { Severity::Warning };
        let offline = set(cluster, |slot| slot.status == SlotStatus::Offline || slot.group.is_none());
        if !offline.is_empty() {
            let what = format!("{} not served", plural(offline.len(), "slot is", "slots are"));
            self.add(
                severity,
                what,
                format!("slots {offline}"),
                format!("codisctl slot assign {offline} GROUP"),
            );
        }
        let mut orphans: BTreeMap<GroupId, Vec<SlotId>> = BTreeMap::new();
        for slot in cluster.known_slots() {
            for group in slot.group.into_iter().filter(|group| !cluster.groups.contains_key(group)) {
                orphans.entry(group).or_default().push(slot.id);
            }
        }
        for (group, slots) in orphans {
            let slots: SlotSet = slots.into_iter().collect();
            let what =
                format!("group {group} owns {} and does not exist", plural(slots.len(), "slot", "slots"));
            self.add(
                Severity::Critical,
                what,
                format!("slots {slots}"),
                format!("codisctl group add {group} --master HOST:PORT"),
            );
        }
        self.left_alone(cluster);
        self.broken_off(cluster);
    }

    /// Slots on their way that no task of ours or of the Go tools works on.
    fn left_alone(&mut self, cluster: &Cluster) {
        let tasked = |slot: &Slot| {
            cluster.move_of(slot.id).is_some() || cluster.go_tasks.iter().any(|task| task.slot == slot.id)
        };
        let held = set(cluster, |slot| slot.status == SlotStatus::PreMigrate && !tasked(slot));
        if !held.is_empty() {
            let what = format!(
                "{} in pre_migrate without a task: requests wait",
                plural(held.len(), "slot is", "slots are")
            );
            self.add(
                Severity::Critical,
                what,
                format!("slots {held}"),
                format!("codisctl migrate start --slots {held} --to GROUP"),
            );
        }
        let mut stuck: BTreeMap<Option<GroupId>, Vec<SlotId>> = BTreeMap::new();
        for slot in cluster.known_slots().filter(|slot| slot.status == SlotStatus::Migrate && !tasked(slot)) {
            stuck.entry(slot.moving().map(|(_, to)| to)).or_default().push(slot.id);
        }
        for (to, slots) in stuck {
            let slots: SlotSet = slots.into_iter().collect();
            let what = format!("{} in migrate without a task", plural(slots.len(), "slot is", "slots are"));
            let to = to.map_or_else(|| "GROUP".to_owned(), |to| to.to_string());
            self.add(
                Severity::Warning,
                what,
                format!("slots {slots}"),
                format!("codisctl migrate start --slots {slots} --to {to}"),
            );
        }
    }

    /// Slots that a Go dashboard put online at the destination before all their keys were there: it leaves the
    /// source in the node then.
    fn broken_off(&mut self, cluster: &Cluster) {
        let mut found: BTreeMap<(GroupId, GroupId), Vec<SlotId>> = BTreeMap::new();
        for slot in cluster.known_slots().filter(|slot| slot.status == SlotStatus::Online) {
            if let (Some(from), Some(at)) = (slot.from, slot.group) {
                found.entry((from, at)).or_default().push(slot.id);
            }
        }
        for ((from, at), slots) in found {
            let slots: SlotSet = slots.into_iter().collect();
            let what = format!(
                "{} online at group {at} after a move from group {from} was broken off: keys may have stayed there, \
                 which nobody can read",
                plural(slots.len(), "slot is", "slots are")
            );
            self.add(
                Severity::Warning,
                what,
                format!("slots {slots}"),
                format!("compare their keys in both groups; back together: codisctl migrate start --slots {slots} --to {from}"),
            );
        }
    }

    fn groups(&mut self, cluster: &Cluster) {
        for group in cluster.groups.values() {
            self.masters(cluster, group);
            for server in group.servers.iter().filter(|server| server.role == Role::Offline) {
                let (id, addr) = (group.id, &server.addr);
                let what = format!("a server of group {id} is listed as offline");
                self.add(
                    Severity::Info,
                    what,
                    addr.to_string(),
                    format!("codisctl server add {id} {addr} --role slave"),
                );
            }
        }
    }

    fn masters(&mut self, cluster: &Cluster, group: &Group) {
        let id = group.id;
        let slots = cluster.slots_using(id).count();
        let place = format!("servers/group_{id}");
        let severity = if slots > 0 { Severity::Critical } else { Severity::Warning };
        let owns =
            if slots > 0 { format!(" and owns {}", plural(slots, "slot", "slots")) } else { String::new() };
        match (group.masters().count(), group.slaves().next()) {
            (1, _) => {}
            (0, Some(slave)) => {
                let fix = format!("codisctl group promote {id} {} --force", slave.addr);
                self.add(severity, format!("group {id} has no master{owns}"), place, fix);
            }
            (0, None) => {
                let fix = format!("codisctl server add {id} HOST:PORT --role master");
                self.add(severity, format!("group {id} has no master{owns}"), place, fix);
            }
            (n, _) => {
                self.add(
                    severity,
                    format!("group {id} has {n} masters{owns}"),
                    place,
                    format!("codisctl group show {id}"),
                );
            }
        }
    }

    fn proxies(&mut self, cluster: &Cluster) {
        let stale = cluster.stale_fences();
        if !stale.is_empty() {
            let what = format!(
                "{} left by a proxy that is not online: it may still serve old routes, so nothing can be changed",
                plural(stale.len(), "fence was", "fences were")
            );
            self.add(
                Severity::Critical,
                what,
                format!("fence/{}", stale.join(", fence/")),
                "when its process is gone: codisctl proxy fence clear",
            );
        }
        for proxy in cluster.proxies.values().filter(|proxy| proxy.state == ProxyState::MarkOffline) {
            let what = format!("proxy {} was asked to leave and is still there", proxy.id);
            self.add(
                Severity::Info,
                what,
                proxy.addr.to_string(),
                format!("codisctl proxy offline {}    waits for it", proxy.id),
            );
        }
        let mut at: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for proxy in cluster.proxies.values() {
            at.entry(proxy.addr.as_str()).or_default().push(proxy.id.as_str());
        }
        for (addr, ids) in at.into_iter().filter(|(_, ids)| ids.len() > 1) {
            self.add(
                Severity::Warning,
                format!("{} proxies say that they are at one address: {}", ids.len(), ids.join(", ")),
                addr,
                "all but one are wrong, and their fence is one: correct their configuration",
            );
        }
        for id in &cluster.suspended {
            self.add(
                Severity::Warning,
                format!("a Go dashboard has told proxy {id} to stop: it did not answer in time"),
                format!("proxy_suspend/{id}"),
                "when it runs on it stops by itself: start it again",
            );
        }
        if !cluster.proxies.is_empty() && cluster.online_proxies().next().is_none() {
            self.add(
                Severity::Warning,
                "no proxy is online: no client is served".to_owned(),
                "proxy",
                "codisctl proxy list    then: codisctl proxy online ID",
            );
        }
    }

    fn moves(&mut self, cluster: &Cluster) {
        for task in cluster.moves.iter().filter(|task| task.state == MoveState::Error) {
            let note = if task.note.is_empty() { "no reason is given" } else { &task.note };
            let what = format!("task {} stopped: {note}", task.task);
            let place = format!("slot {}, {} → {}", task.slot, task.from, task.to);
            self.add(Severity::Warning, what, place, "codisctl migrate run    tries again");
        }
        let waits = |state: MoveState| !matches!(state, MoveState::Error | MoveState::Paused);
        let waiting = cluster.moves.iter().filter(|task| waits(task.state)).count();
        if waiting > 0 && cluster.mover.is_none() {
            let what =
                format!("{} and nobody works on the queue", plural(waiting, "task waits", "tasks wait"));
            self.add(Severity::Warning, what, "moves", "codisctl migrate run");
        }
    }

    fn others(&mut self, cluster: &Cluster) {
        if let Some(dashboard) = cluster.dashboard.as_ref().filter(|dashboard| !dashboard.ephemeral) {
            let what = format!(
                "a Go dashboard is at {} (pid {}): no slots can be moved from here",
                dashboard.addr, dashboard.pid
            );
            self.add(
                Severity::Warning,
                what,
                "dashboard",
                "stop it before moving slots; if it is dead: codisctl lock clear dashboard",
            );
        }
        if !cluster.go_tasks.is_empty() {
            let count = plural(cluster.go_tasks.len(), "task", "tasks");
            self.add(
                Severity::Info,
                format!("the queue of the Go tools has {count}"),
                "migrate_tasks",
                "codisctl task list",
            );
        }
        for lock in &cluster.locks {
            let age = cluster.taken_ms.saturating_sub(lock.created_ms);
            if age > OLD_LOCK_MS {
                let what = format!(
                    "the topology is locked since {} s by {}: {}",
                    age / 1000,
                    lock.owner(),
                    lock.desc
                );
                self.add(Severity::Critical, what, format!("LOCK/{}", lock.name), "codisctl lock show");
            }
        }
    }
}

fn set(cluster: &Cluster, want: impl Fn(&Versioned<Slot>) -> bool) -> SlotSet {
    cluster.known_slots().filter(|slot| want(slot)).map(|slot| slot.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dashboard, Extra, GoTask, LockEntry, Move, Proxy, Server};

    /// Two groups with a master each, all slots at group 1, one proxy online.
    fn healthy() -> Cluster {
        let mut cluster = Cluster::empty("feed".parse().unwrap());
        for (id, addr) in [(1, "10.0.7.51:6381"), (2, "10.0.7.52:6382")] {
            let server = Server::new(addr.parse().unwrap(), GroupId(id), Role::Master);
            let servers = vec![Versioned::new(server, 0)];
            cluster.groups.insert(GroupId(id), Group { id: GroupId(id), servers });
        }
        for id in SlotId::all() {
            cluster.slots[id.index()] = Some(Versioned::new(Slot::unassigned(id).online_at(GroupId(1)), 0));
        }
        let proxy = Proxy {
            id: "px-1".parse().unwrap(),
            addr: "10.0.9.21:19000".parse().unwrap(),
            state: ProxyState::Online,
            debug_var_addr: String::new(),
            pid: 1,
            start_at: String::new(),
            extra: Extra::default(),
        };
        cluster.fences.insert(proxy.addr.to_string());
        cluster.proxies.insert(proxy.id.clone(), Versioned::new(proxy, 0));
        cluster.taken_ms = 1_000_000;
        cluster
    }

    fn slot(number: u16) -> SlotId {
        SlotId::new(number).unwrap()
    }

    fn change(cluster: &mut Cluster, number: u16, make: impl Fn(&Slot) -> Slot) {
        let old = cluster.slots[usize::from(number)].take().unwrap();
        cluster.slots[usize::from(number)] = Some(Versioned::new(make(&old), 1));
    }

    fn task(number: u16, state: MoveState) -> Versioned<Move> {
        let task = Move {
            task: u64::from(number),
            slot: slot(number),
            from: GroupId(1),
            to: GroupId(2),
            state,
            wave: 1,
            created: 0,
            keys_total: None,
            keys_moved: 0,
            held: false,
            note: "px-4 did not acknowledge".to_owned(),
            extra: Extra::default(),
        };
        Versioned::new(task, 0)
    }

    /// `severity what` of everything found.
    fn found(cluster: &Cluster) -> Vec<String> {
        findings(cluster).iter().map(|f| format!("{} {}", f.severity.as_str(), f.what)).collect()
    }

    #[test]
    fn nothing_is_found_in_a_healthy_product() {
        assert_eq!(findings(&healthy()), []);
    }

    #[test]
    fn an_empty_product_is_told_how_to_begin() {
        let cluster = Cluster::empty("feed".parse().unwrap());
        assert_eq!(found(&cluster), ["warning the slots are not initialised"]);
    }

    #[test]
    fn unreadable_nodes_come_first_and_are_not_called_missing() {
        let mut cluster = healthy();
        cluster.slots[7] = None;
        cluster.slots[9] = None;
        cluster
            .gaps
            .push(Gap { path: "/zk/codis/db_feed/slots/slot_7".into(), why: "byte 12: not JSON".into() });
        let all = findings(&cluster);
        assert_eq!(all[0].place, "/zk/codis/db_feed/slots/slot_7");
        assert_eq!(all[0].what, "a node cannot be read: byte 12: not JSON");
        assert_eq!((all[1].what.as_str(), all[1].place.as_str()), ("1 slot node is missing", "slots 9"));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn slots_that_are_not_served_matter_more_when_clients_are() {
        let mut cluster = healthy();
        change(&mut cluster, 5, |old| Slot::unassigned(old.id));
        assert_eq!(found(&cluster), ["critical 1 slot is not served"]);
        cluster.proxies.clear();
        cluster.fences.clear();
        assert_eq!(found(&cluster), ["warning 1 slot is not served"]);
    }

    #[test]
    fn moving_slots_need_a_task() {
        let mut cluster = healthy();
        change(&mut cluster, 5, Slot::pre_migrate);
        change(&mut cluster, 6, |old| old.migrate(GroupId(1), GroupId(2)));
        assert_eq!(
            found(&cluster),
            [
                "critical 1 slot is in pre_migrate without a task: requests wait",
                "warning 1 slot is in migrate without a task"
            ]
        );
        assert_eq!(findings(&cluster)[1].fix, "codisctl migrate start --slots 6 --to 2");
        cluster.moves = vec![task(5, MoveState::Migrating), task(6, MoveState::Migrating)];
        assert_eq!(found(&cluster), ["warning 2 tasks wait and nobody works on the queue"]);
        cluster.mover = Some(crate::MoverLease { owner: "ops@bastion".into(), pid: 1, epoch: 1 });
        assert_eq!(findings(&cluster), []);
    }

    #[test]
    fn groups_need_one_master() {
        let mut cluster = healthy();
        let slave = Server::new("10.0.7.53:6381".parse().unwrap(), GroupId(1), Role::Slave);
        cluster.groups.get_mut(&GroupId(1)).unwrap().servers = vec![Versioned::new(slave, 0)];
        cluster.groups.get_mut(&GroupId(2)).unwrap().servers[0].value.role = Role::Offline;
        let all = findings(&cluster);
        assert_eq!(all[0].what, "group 1 has no master and owns 1024 slots");
        assert_eq!(all[0].fix, "codisctl group promote 1 10.0.7.53:6381 --force");
        assert_eq!(
            found(&cluster)[1..],
            ["warning group 2 has no master", "info a server of group 2 is listed as offline"]
        );
        cluster.groups.remove(&GroupId(1));
        assert_eq!(found(&cluster)[0], "critical group 1 owns 1024 slots and does not exist");
    }

    #[test]
    fn what_a_go_dashboard_leaves_after_a_failed_move_and_proxies_at_one_address_are_named() {
        let mut cluster = healthy();
        let mut left = Slot::unassigned(slot(20)).online_at(GroupId(2));
        (left.from, left.to) = (Some(GroupId(1)), Some(GroupId(2)));
        cluster.slots[20] = Some(Versioned::new(left, 6));
        cluster.suspended.insert("px-1".to_owned());
        let twin =
            Proxy { id: "px-2".parse().unwrap(), ..cluster.proxies.values().next().unwrap().value.clone() };
        cluster.proxies.insert(twin.id.clone(), Versioned::new(twin, 0));
        assert_eq!(
            found(&cluster),
            [
                "warning 1 slot is online at group 2 after a move from group 1 was broken off: keys may have stayed there, which nobody can read",
                "warning 2 proxies say that they are at one address: px-1, px-2",
                "warning a Go dashboard has told proxy px-1 to stop: it did not answer in time",
            ]
        );
    }

    #[test]
    fn a_stale_fence_a_failed_task_a_dashboard_and_an_old_lock_are_named() {
        let mut cluster = healthy();
        cluster.fences.insert("10.0.9.9:19000".to_owned());
        cluster.moves = vec![task(5, MoveState::Error)];
        cluster.dashboard = Some(Dashboard { addr: "10.0.9.1:18087".into(), pid: 7, ephemeral: false });
        let task = GoTask {
            name: "0000000001".into(),
            slot: slot(8),
            to: GroupId(2),
            delay_ms: 0,
            created: 0,
            status: "pending".into(),
            extra: Extra::default(),
        };
        cluster.go_tasks = vec![Versioned::new(task, 0)];
        cluster.locks = vec![LockEntry {
            name: "lock-0000000093".into(),
            desc: "migrate".into(),
            hostname: "bastion-2".into(),
            pid: 5512,
            created_ms: 100_000,
            ephemeral: false,
        }];
        assert_eq!(
            found(&cluster),
            [
                "critical 1 fence was left by a proxy that is not online: it may still serve old routes, so nothing can be changed",
                "critical the topology is locked since 900 s by pid 5512 on bastion-2: migrate",
                "warning task 5 stopped: px-4 did not acknowledge",
                "warning a Go dashboard is at 10.0.9.1:18087 (pid 7): no slots can be moved from here",
                "info the queue of the Go tools has 1 task",
            ]
        );
    }
}
