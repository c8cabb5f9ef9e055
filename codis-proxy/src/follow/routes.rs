//! From what the store says about slots and groups to where requests go.

use std::collections::{BTreeMap, BTreeSet};

use codis_core::{Addr, Group, GroupId, SLOT_COUNT, Slot, SlotId, SlotStatus};

use crate::table::{Endpoint, Route, Table};

/// What was last read of slots and groups.
#[derive(Debug, Clone)]
pub(super) struct View {
    slots: Vec<Option<Slot>>,
    groups: BTreeMap<GroupId, Group>,
    /// Slaves that were linked to a master when its group was last asked.
    linked: BTreeMap<Addr, u32>,
    /// Groups whose requests are held back.
    held: BTreeSet<GroupId>,
    /// What the current route of each slot was made of.
    routed: Vec<Option<Ownership>>,
}

/// What a slot's route depends on, apart from who is master.
type Ownership = (SlotStatus, Option<GroupId>, Option<GroupId>);

/// A slot that cannot be served as the store says, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) slot: SlotId,
    pub(super) why: String,
}

impl View {
    /// Nothing has been read yet.
    pub(super) fn empty() -> Self {
        let count = usize::from(SLOT_COUNT);
        Self {
            slots: vec![None; count],
            groups: BTreeMap::new(),
            linked: BTreeMap::new(),
            held: BTreeSet::new(),
            routed: vec![None; count],
        }
    }

    /// Notes a slot as read; `None`: its node is missing or cannot be understood.
    pub(super) fn set_slot(&mut self, id: SlotId, slot: Option<Slot>) {
        self.slots[id.index()] = slot;
    }

    /// Notes a group as read; `None`: it does not exist.
    pub(super) fn set_group(&mut self, id: GroupId, group: Option<Group>) {
        match group {
            Some(group) => self.groups.insert(id, group),
            None => self.groups.remove(&id),
        };
    }

    /// All servers of the product.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Addr> {
        self.groups.values().flat_map(|group| &group.servers).map(|server| &server.addr)
    }

    /// Notes which of some groups are held back.
    pub(super) fn set_held(&mut self, groups: &[GroupId], held: &BTreeSet<GroupId>) {
        self.held.retain(|group| !groups.contains(group));
        self.held.extend(held);
    }

    /// True if a group is held back.
    pub(super) fn is_held(&self, group: GroupId) -> bool {
        self.held.contains(&group)
    }

    /// The groups that are held back.
    pub(super) fn held_groups(&self) -> Vec<GroupId> {
        self.held.iter().copied().collect()
    }

    /// Notes how many slaves follow a master.
    pub(super) fn set_linked(&mut self, master: Addr, slaves: u32) {
        self.linked.insert(master, slaves);
    }

    /// How many slaves follow a master, if it has been asked.
    pub(super) fn linked(&self, master: &Addr) -> Option<u32> {
        self.linked.get(master).copied()
    }

    /// Forgets the slaves of masters that no slot is moving from or to: they are asked again when one does.
    pub(super) fn forget_idle_masters(&mut self) {
        let all: Vec<SlotId> = SlotId::all().collect();
        let moving = self.moving_groups(&all).into_iter();
        let masters: BTreeSet<Addr> = moving.filter_map(|group| Some(group.master()?.addr.clone())).collect();
        self.linked.retain(|master, _| masters.contains(master));
    }

    /// Takes over what the current routes were made of.
    pub(super) fn keep_routed(&mut self, old: &Self) {
        self.routed.clone_from(&old.routed);
    }

    /// The slots that the group serves, or still holds keys of.
    pub(super) fn slots_using(&self, group: GroupId) -> Vec<SlotId> {
        self.slots.iter().flatten().filter(|slot| slot.uses(group)).map(|slot| slot.id).collect()
    }

    /// The groups of which one of these servers is the master.
    pub(super) fn groups_led_by(&self, servers: &BTreeSet<Addr>) -> BTreeSet<GroupId> {
        let led = |group: &&Group| group.master().is_some_and(|master| servers.contains(&master.addr));
        self.groups.values().filter(led).map(|group| group.id).collect()
    }

    /// The groups that these slots need.
    pub(super) fn groups_of(&self, slots: &[SlotId]) -> BTreeSet<GroupId> {
        let known = slots.iter().filter_map(|id| self.slots[id.index()].as_ref());
        known.flat_map(|slot| [slot.group, slot.from, slot.to]).flatten().collect()
    }

    /// The groups between which one of these slots is moving, with what the store lists.
    pub(super) fn moving_groups(&self, slots: &[SlotId]) -> Vec<&Group> {
        let known = slots.iter().filter_map(|id| self.slots[id.index()].as_ref());
        let moving = known.filter(|slot| slot.status == SlotStatus::Migrate).filter_map(Slot::moving);
        let ids: BTreeSet<GroupId> = moving.flat_map(|(from, to)| [from, to]).collect();
        ids.iter().filter_map(|id| self.groups.get(id)).collect()
    }

    /// Slots that keep a proxy from going online: those that are offline, and those without a master.
    /// One in pre_migrate does not: it is held back here like everywhere else, and whoever moves it
    /// may be waiting for this proxy.
    pub(super) fn not_ready(&self) -> Vec<Trouble> {
        let (table, mut troubles) = self.clone().table(&Table::unassigned(), 0);
        for (slot, route) in table.iter() {
            if *route == Route::Unassigned && !troubles.iter().any(|trouble| trouble.slot == slot) {
                troubles.push(Trouble { slot, why: "it is offline".to_owned() });
            }
        }
        troubles
    }

    /// The table for this view. A slot that cannot be resolved keeps the route it has in `old`,
    /// unless the store has given it to another group since: then its requests are answered with an
    /// error. Both are reported.
    pub(super) fn table(&mut self, old: &Table, epoch: u64) -> (Table, Vec<Trouble>) {
        let mut table = Table::unassigned();
        table.epoch = epoch;
        for group in self.groups.values() {
            let slaves: Vec<Addr> = group.slaves().map(|server| server.addr.clone()).collect();
            if let Some(master) = group.master().filter(|_| !slaves.is_empty()) {
                table.slaves.insert(master.addr.clone(), slaves);
            }
        }
        let mut troubles = Vec::new();
        for id in SlotId::all() {
            let ownership = self.slots[id.index()].as_ref().map(|slot| (slot.status, slot.group, slot.from));
            match self.route(id) {
                Ok(route) => {
                    self.routed[id.index()] = ownership;
                    table.set(id, route);
                }
                Err(why) => {
                    troubles.push(Trouble { slot: id, why });
                    if ownership.is_none() || self.routed[id.index()] == ownership {
                        table.set(id, old.route(id).clone());
                    }
                }
            }
        }
        (table, troubles)
    }

    fn route(&self, id: SlotId) -> Result<Route, String> {
        let Some(slot) = &self.slots[id.index()] else {
            return Err("its node is missing or cannot be understood".to_owned());
        };
        if slot.status == SlotStatus::Offline {
            return Ok(Route::Unassigned);
        }
        let Some(group) = slot.group else { return Err(format!("it is {} without a group", slot.status)) };
        let master = self.master(group)?;
        let keys_from = slot.moving().filter(|_| slot.status == SlotStatus::Migrate);
        if self.is_held(group) || keys_from.is_some_and(|(from, _)| self.is_held(from)) {
            return Ok(Route::Blocked { master });
        }
        match slot.status {
            SlotStatus::Offline => Ok(Route::Unassigned),
            SlotStatus::Online => Ok(Route::Online { master }),
            SlotStatus::PreMigrate => Ok(Route::Blocked { master }),
            SlotStatus::Migrate => {
                let Some((from, _)) = slot.moving() else {
                    return Err("it is in migrate without a source group".to_owned());
                };
                let from = self.master(from)?;
                let (from_slaves, to_slaves) = (self.slaves(&from.addr), self.slaves(&master.addr));
                Ok(Route::Migrate { from, to: master, from_slaves, to_slaves })
            }
        }
    }

    fn master(&self, id: GroupId) -> Result<Endpoint, String> {
        let Some(group) = self.groups.get(&id) else { return Err(format!("group {id} does not exist")) };
        match group.master() {
            Some(master) => Ok(master.addr.clone().into()),
            None => Err(format!("group {id} has {} masters and must have one", group.masters().count())),
        }
    }

    /// Slaves to wait for: those that were linked, or all that the store lists while that is not known.
    fn slaves(&self, master: &Addr) -> u32 {
        let listed = || {
            let group = self.groups.values().find(|group| group.master().is_some_and(|m| &m.addr == master));
            group.map_or(0, |group| u32::try_from(group.slaves().count()).unwrap_or(u32::MAX))
        };
        self.linked.get(master).copied().unwrap_or_else(listed)
    }
}

#[cfg(test)]
mod tests {
    use codis_core::{Role, Server, Versioned};

    use super::*;

    fn slot(n: u16) -> SlotId {
        SlotId::new(n).unwrap()
    }

    fn addr(port: u16) -> Addr {
        format!("127.0.0.1:{port}").parse().unwrap()
    }

    fn endpoint(port: u16) -> Endpoint {
        addr(port).into()
    }

    fn group(id: u32, servers: &[(u16, Role)]) -> Group {
        let id = GroupId(id);
        let servers = servers
            .iter()
            .map(|&(port, role)| Versioned::new(Server::new(addr(port), id, role), 0))
            .collect();
        Group { id, servers }
    }

    /// All slots online at group 1, groups 1 and 2 with a slave each.
    fn view() -> View {
        let mut view = View::empty();
        for id in SlotId::all() {
            view.set_slot(id, Some(Slot::unassigned(id).online_at(GroupId(1))));
        }
        view.set_group(GroupId(1), Some(group(1, &[(7001, Role::Master), (7002, Role::Slave)])));
        view.set_group(GroupId(2), Some(group(2, &[(7003, Role::Master), (7004, Role::Slave)])));
        view
    }

    fn change(view: &mut View, n: u16, change: impl FnOnce(&Slot) -> Slot) {
        let new = change(view.slots[slot(n).index()].as_ref().unwrap());
        view.set_slot(slot(n), Some(new));
    }

    fn route(view: &View, n: u16) -> Route {
        let (table, troubles) = view.clone().table(&Table::unassigned(), 1);
        assert_eq!(troubles, []);
        table.route(slot(n)).clone()
    }

    #[test]
    fn a_slot_on_its_way_through_a_move() {
        let mut view = view();
        assert_eq!(route(&view, 7), Route::Online { master: endpoint(7001) });
        assert_eq!(view.not_ready(), []);
        change(&mut view, 7, Slot::pre_migrate);
        assert_eq!(route(&view, 7), Route::Blocked { master: endpoint(7001) });
        assert_eq!(view.not_ready(), []);
        change(&mut view, 7, |slot| slot.migrate(GroupId(1), GroupId(2)));
        let moving = |from_slaves, to_slaves| Route::Migrate {
            from: endpoint(7001),
            to: endpoint(7003),
            from_slaves,
            to_slaves,
        };
        assert_eq!(route(&view, 7), moving(1, 1), "what the store lists, until the masters have been asked");
        view.set_linked(addr(7001), 2);
        view.set_linked(addr(7003), 0);
        assert_eq!(route(&view, 7), moving(2, 0));
        assert_eq!(view.not_ready(), []);
        assert_eq!(
            view.moving_groups(&[slot(7), slot(8)]).iter().map(|g| g.id.0).collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(view.slots_using(GroupId(2)), [slot(7)]);
        assert_eq!(view.slots_using(GroupId(1)).len(), 1024, "the source is still in use");
        // The way back blocks first and keeps both groups in the node.
        change(&mut view, 7, Slot::pre_migrate);
        assert_eq!(route(&view, 7), Route::Blocked { master: endpoint(7003) });
        change(&mut view, 7, |slot| slot.online_at(GroupId(2)));
        assert_eq!(route(&view, 7), Route::Online { master: endpoint(7003) });
    }

    #[test]
    fn a_new_master_of_the_source_is_followed_too() {
        let mut view = view();
        change(&mut view, 7, |slot| slot.migrate(GroupId(1), GroupId(2)));
        view.set_group(GroupId(1), Some(group(1, &[(7001, Role::Offline), (7002, Role::Master)])));
        let Route::Migrate { from, from_slaves, .. } = route(&view, 7) else { panic!("not migrating") };
        assert_eq!((from, from_slaves), (endpoint(7002), 0));
    }

    #[test]
    fn what_cannot_be_resolved_keeps_its_route_and_is_reported() {
        let mut view = view();
        let (old, _) = view.table(&Table::unassigned(), 1);
        view.set_group(GroupId(1), Some(group(1, &[(7001, Role::Master), (7002, Role::Master)])));
        view.set_slot(slot(5), None);
        change(&mut view, 6, |slot| slot.online_at(GroupId(9)));
        let (table, troubles) = view.table(&old, 2);
        assert_eq!(troubles.len(), 1024);
        assert_eq!(troubles[0].why, "group 1 has 2 masters and must have one");
        assert_eq!(troubles[5].why, "its node is missing or cannot be understood");
        assert_eq!(troubles[6].why, "group 9 does not exist");
        for kept in [0, 5] {
            assert_eq!(table.route(slot(kept)), &Route::Online { master: endpoint(7001) });
        }
        assert_eq!(table.route(slot(6)), &Route::Unassigned, "another group's keys are not where they were");
        let (again, _) = view.table(&table, 3);
        assert_eq!(again.route(slot(0)), table.route(slot(0)));
    }

    #[test]
    fn an_offline_slot_is_no_trouble_but_not_ready() {
        let mut view = view();
        change(&mut view, 3, |slot| Slot::unassigned(slot.id));
        assert_eq!(route(&view, 3), Route::Unassigned);
        assert_eq!(view.not_ready(), [Trouble { slot: slot(3), why: "it is offline".into() }]);
        assert_eq!(View::empty().not_ready().len(), 1024);
    }
}
