//! Which masters there are, and in which order a SCAN visits them.
//!
//! While slots move, a key may leave a master before it is passed there. So the old master of a slot
//! in `migrate` is visited before the new one: what is no longer there is found on the new one later.
//! That holds as long as no slot changes its route, which the mark tells: it is a hash of all routes,
//! the same in every proxy of the product.

use std::collections::BTreeSet;

use codis_core::Addr;

use super::cursor::MARK_BITS;
use crate::{
    table::{Route, Table},
    worker::backend::BackendId,
};

/// The masters of a table.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::worker) struct Plan {
    /// First every master once; then those that have to be visited again because slots move both ways.
    steps: Vec<BackendId>,
    masters: usize,
    mark: u16,
}

impl Plan {
    /// The masters that `table` names; `backend` knows them.
    pub(super) fn new(table: &Table, backend: impl Fn(&Addr) -> Option<BackendId>) -> Self {
        let servers = table.iter().flat_map(|(_, route)| route.servers());
        let mut left: BTreeSet<&Addr> = servers.map(|endpoint| &endpoint.addr).collect();
        let moves: BTreeSet<(&Addr, &Addr)> = table
            .iter()
            .filter_map(|(_, route)| match route {
                Route::Migrate { from, to, .. } if from != to => Some((&from.addr, &to.addr)),
                _ => None,
            })
            .collect();
        let mut order: Vec<&Addr> = Vec::new();
        while let Some(first) = left.first().copied() {
            // One that nothing moves to any more; if slots move in a circle, just any.
            let waits = |to: &&Addr| moves.iter().any(|(from, other)| other == to && left.contains(from));
            let next = left.iter().copied().find(|addr| !waits(addr)).unwrap_or(first);
            left.remove(next);
            order.push(next);
        }
        let masters = order.len();
        for (from, to) in moves {
            let first = order.iter().position(|addr| *addr == from);
            let last = order.iter().rposition(|addr| *addr == to);
            if first > last {
                order.push(to);
            }
        }
        // Every server of the table in use has a backend.
        let steps = order.into_iter().filter_map(backend).collect();
        Self { steps, masters, mark: mark(table) }
    }

    /// Every master once.
    pub(in crate::worker) fn masters(&self) -> &[BackendId] {
        &self.steps[..self.masters.min(self.steps.len())]
    }

    /// The masters in the order in which a SCAN visits them.
    pub(super) fn steps(&self) -> &[BackendId] {
        &self.steps
    }

    /// Differs, most likely, from that of any other table; never 0.
    pub(super) fn mark(&self) -> u16 {
        self.mark
    }
}

/// FNV-1a over all routes, folded.
fn mark(table: &Table) -> u16 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for (_, route) in table.iter() {
        for server in route.servers() {
            server.addr.host().bytes().for_each(&mut add);
            server.addr.port().to_be_bytes().into_iter().for_each(&mut add);
            add(b',');
        }
        add(b';');
    }
    let folded = hash ^ (hash >> 32);
    ((folded ^ (folded >> 16)) as u16 & ((1 << MARK_BITS) - 1)).max(1)
}

#[cfg(test)]
mod tests {
    use codis_core::SlotId;

    use super::*;
    use crate::table::Endpoint;

    fn endpoint(id: BackendId) -> Endpoint {
        format!("h{id}:1").parse::<Addr>().unwrap().into()
    }

    fn id(addr: &Addr) -> Option<BackendId> {
        addr.host().strip_prefix('h').and_then(|id| id.parse().ok())
    }

    /// A table whose first slots are online at, or move between, these.
    fn table(routes: &[(BackendId, BackendId)]) -> Table {
        let mut table = Table::unassigned();
        for (slot, (from, to)) in SlotId::all().zip(routes) {
            let (from, to) = (endpoint(*from), endpoint(*to));
            let route = if from == to {
                Route::Online { master: to }
            } else {
                Route::Migrate { from, to, from_slaves: 0, to_slaves: 0 }
            };
            table.set(slot, route);
        }
        table
    }

    fn plan(routes: &[(BackendId, BackendId)]) -> Plan {
        Plan::new(&table(routes), id)
    }

    #[test]
    fn every_master_is_visited_once_while_nothing_moves() {
        let plan = plan(&[(3, 3), (1, 1), (3, 3), (2, 2)]);
        assert_eq!((plan.steps(), plan.masters()), (&[1, 2, 3][..], &[1, 2, 3][..]));
        assert!(Plan::new(&Table::unassigned(), id).steps().is_empty());
    }

    #[test]
    fn a_master_is_visited_before_those_that_its_keys_move_to() {
        assert_eq!(plan(&[(1, 1), (2, 2), (2, 1)]).steps(), [2, 1]);
        assert_eq!(plan(&[(3, 2), (2, 1), (4, 4)]).steps(), [3, 2, 1, 4]);
        // Sources that own no slot any more belong to it, too.
        assert_eq!(plan(&[(9, 1), (1, 1)]).steps(), [9, 1]);
    }

    #[test]
    fn a_circle_is_closed() {
        let plan = plan(&[(1, 2), (2, 1), (3, 3)]);
        assert_eq!(plan.masters(), [3, 1, 2]);
        assert_eq!(plan.steps(), [3, 1, 2, 1]);
        for routes in [&[(1, 2), (2, 3), (3, 1)][..], &[(1, 2), (2, 1), (2, 3), (3, 2), (1, 3)]] {
            let plan = Plan::new(&table(routes), id);
            for (from, to) in routes {
                let first = plan.steps().iter().position(|id| id == from);
                let last = plan.steps().iter().rposition(|id| id == to);
                assert!(first < last, "{routes:?}: {plan:?}");
            }
        }
    }

    #[test]
    fn the_mark_tells_where_slots_are_served() {
        let marks: BTreeSet<u16> =
            [&[(1, 1), (2, 2)][..], &[(2, 2), (1, 1)], &[(1, 2), (2, 2)], &[(2, 2), (2, 2)], &[(2, 2)], &[]]
                .iter()
                .map(|routes| plan(routes).mark())
                .collect();
        assert_eq!(marks.len(), 6);
        assert_eq!(plan(&[(1, 1)]).mark(), plan(&[(1, 1)]).mark());
    }
}
