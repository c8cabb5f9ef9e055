//! The routing table: where each of the 1024 slots is served, as one immutable value.
//!
//! The control thread builds it (from the store, or from a file), the workers only read it. It is
//! replaced as a whole by `Workers::install`, never changed in place, so a worker cannot see half
//! of a change.

use std::collections::BTreeMap;

use codis_core::{Addr, SLOT_COUNT, SlotId};

/// A server as the data path and the hand-over reach it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// Host and port, as the store has it.
    pub(crate) addr: Addr,
}

impl From<Addr> for Endpoint {
    fn from(addr: Addr) -> Self {
        Self { addr }
    }
}

/// What happens to a request for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// No group, or a group without a master: requests fail.
    Unassigned,
    /// Requests go to this master.
    Online {
        /// The group's master.
        master: Endpoint,
    },
    /// The slot is in `pre_migrate`: requests wait, bounded in number and time.
    Blocked {
        /// The master that still has the keys.
        master: Endpoint,
    },
    /// The slot is in `migrate`: requests go to `to` once their keys have left `from`.
    Migrate {
        /// Master of the old group.
        from: Endpoint,
        /// Master of the new group.
        to: Endpoint,
        /// Linked slaves of `from`, which the hand-over waits for.
        from_slaves: u32,
        /// Linked slaves of `to`, which the hand-over waits for.
        to_slaves: u32,
    },
}

impl Route {
    /// The master that requests are sent to, if any.
    pub(crate) fn master(&self) -> Option<&Endpoint> {
        match self {
            Self::Unassigned => None,
            Self::Online { master } | Self::Blocked { master } => Some(master),
            Self::Migrate { to, .. } => Some(to),
        }
    }

    /// The masters on which the slot's keys may lie, the one that they leave first.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Endpoint> {
        let from = if let Self::Migrate { from, .. } = self { Some(from) } else { None };
        from.into_iter().chain(self.master())
    }

    /// True if the slot's keys may lie on this server.
    pub(crate) fn names(&self, addr: &Addr) -> bool {
        self.servers().any(|endpoint| endpoint.addr == *addr)
    }
}

/// Routes of all slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// Counts the tables of this process; a later table has a higher one.
    pub(crate) epoch: u64,
    /// Counts the registrations of this process in its product. What was found out under another one
    /// is void: routes that are the same again may have been others in between.
    pub(crate) membership: u64,
    /// The store has been away for too long: nothing is served.
    pub(crate) fenced: bool,
    routes: Vec<Route>,
    /// Slaves of masters, as the store lists them; reads may go there.
    pub(crate) slaves: BTreeMap<Addr, Vec<Addr>>,
}

impl Table {
    /// A table in which no slot is assigned.
    pub(crate) fn unassigned() -> Self {
        let routes = vec![Route::Unassigned; usize::from(SLOT_COUNT)];
        Self { epoch: 0, membership: 0, fenced: false, routes, slaves: BTreeMap::new() }
    }

    /// The route of a slot.
    pub(crate) fn route(&self, slot: SlotId) -> &Route {
        &self.routes[slot.index()]
    }

    /// Replaces the route of one slot, while the table is being built.
    pub(crate) fn set(&mut self, slot: SlotId, route: Route) {
        self.routes[slot.index()] = route;
    }

    /// All slots with their routes, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SlotId, &Route)> {
        SlotId::all().zip(&self.routes)
    }

    /// The slots whose route differs from that in `other`.
    pub(crate) fn changed_from<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = SlotId> + 'a {
        self.iter().zip(&other.routes).filter(|((_, new), old)| new != old).map(|((slot, _), _)| slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_slots_are_those_with_another_route() {
        let old = Table::unassigned();
        let mut new = old.clone();
        let slot = SlotId::new(7).unwrap();
        let master: Endpoint = "127.0.0.1:6379".parse::<Addr>().unwrap().into();
        new.set(slot, Route::Online { master: master.clone() });
        assert_eq!(new.changed_from(&old).collect::<Vec<_>>(), [slot]);
        assert_eq!(new.route(slot).master(), Some(&master));
        assert_eq!(new.changed_from(&new.clone()).count(), 0);
    }
}
