//! The slots as this proxy has last loaded them, and the gate of each.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use tokio::sync::Notify;

/// Where the requests of a slot go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) group: i64,
    /// Master of the group that serves it.
    pub(crate) backend: Option<String>,
    /// Master of the group that keys are fetched from.
    pub(crate) from: Option<String>,
}

#[derive(Debug, Default)]
struct Slot {
    route: RefCell<Route>,
    held: Cell<bool>,
    in_flight: Cell<usize>,
    changed: Notify,
}

/// All slots.
#[derive(Debug)]
pub(crate) struct Routes(Vec<Slot>);

impl Default for Routes {
    fn default() -> Self {
        Self((0..1024).map(|_| Slot::default()).collect())
    }
}

/// A request that is under way in a slot.
pub(crate) struct Entered<'a>(&'a Slot);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.changed.notify_waiters();
    }
}

impl Routes {
    /// Waits, for ever if need be, until the slot is not held, and counts a request in.
    pub(crate) async fn enter(&self, slot: u16) -> (Entered<'_>, Route) {
        let slot = &self.0[usize::from(slot)];
        loop {
            let changed = slot.changed.notified();
            if !slot.held.get() {
                slot.in_flight.set(slot.in_flight.get() + 1);
                return (Entered(slot), slot.route.borrow().clone());
            }
            changed.await;
        }
    }

    /// Holds the slot, waits for its requests to finish, and changes its route. A slot in pre_migrate stays held.
    pub(crate) async fn change(&self, slot: u16, route: Route, stays_held: bool) {
        let slot = &self.0[usize::from(slot)];
        slot.held.set(true);
        loop {
            let changed = slot.changed.notified();
            if slot.in_flight.get() == 0 {
                break;
            }
            changed.await;
        }
        *slot.route.borrow_mut() = route;
        slot.held.set(stays_held);
        slot.changed.notify_waiters();
    }

    /// Slots that were loaded with this group.
    pub(crate) fn of_group(&self, group: i64) -> Vec<u16> {
        (0..1024).filter(|slot| self.0[usize::from(*slot)].route.borrow().group == group).collect()
    }

    /// Every server that a slot is connected to.
    pub(crate) fn servers(&self) -> BTreeSet<String> {
        let of = |slot: &Slot| {
            let route = slot.route.borrow();
            [route.backend.clone(), route.from.clone()]
        };
        self.0.iter().flat_map(of).flatten().collect()
    }
}
