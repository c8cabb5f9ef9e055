//! Rows, labels and colours of groups.

use std::collections::{BTreeMap, BTreeSet};

use codis_core::{Cluster, GroupId, SlotId, SlotSet};

use super::{Cell, State};
use crate::model::Model;

/// A group in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Its number.
    pub id: GroupId,
    /// Slots that it serves.
    pub slots: usize,
    /// Slots on their way from or to it.
    pub migrating: usize,
    /// Slots of it whose requests wait.
    pub held: usize,
    /// Keys on its master; `None` if that was not asked yet, or does not answer.
    pub keys: Option<u64>,
    /// Slots that it serves, as ranges set apart by blanks.
    pub ranges: String,
    /// How many servers are listed as its master; one is right.
    pub masters: usize,
}

/// How a group is named and coloured in the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Two columns at most.
    pub two: String,
    /// One column.
    pub one: char,
    /// Colour number; `None` where groups have no colours.
    pub tint: Option<usize>,
}

/// Groups as listed, and those that slots name without being listed.
fn ids(cluster: &Cluster, cells: &[Cell]) -> BTreeSet<GroupId> {
    let named = cells.iter().flat_map(|cell| [cell.owner, cell.to]).flatten();
    cluster.groups.keys().copied().chain(named).collect()
}

pub(super) fn rows(
    model: &Model,
    cluster: &Cluster,
    cells: &[Cell],
    labels: &BTreeMap<GroupId, Label>,
) -> Vec<GroupRow> {
    let mut served: BTreeMap<GroupId, Vec<SlotId>> = BTreeMap::new();
    for slot in cluster.known_slots() {
        if let Some(group) = slot.group {
            served.entry(group).or_default().push(slot.id);
        }
    }
    let row = |id: &GroupId| {
        let group = cluster.groups.get(id);
        let slots: SlotSet = served.get(id).into_iter().flatten().copied().collect();
        let touches = |cell: &&Cell| cell.to.is_some() && (cell.owner == Some(*id) || cell.to == Some(*id));
        let answer = group.and_then(|g| g.master()).and_then(|m| model.servers.get(&m.addr));
        GroupRow {
            id: *id,
            slots: slots.len(),
            migrating: cells.iter().filter(touches).count(),
            held: cells.iter().filter(|c| c.state == State::PreMigrate && c.owner == Some(*id)).count(),
            keys: answer.and_then(|answer| answer.as_ref().ok()).map(|facts| facts.keys),
            ranges: slots.to_string().replace(',', " "),
            masters: group.map_or(0, |g| g.masters().count()),
        }
    };
    labels.keys().map(row).collect()
}

/// Names and colours of all groups. A group's colour is its rank, unless a neighbour in the map has
/// that one already; then it takes the next that no neighbour has.
pub(super) fn labels(cluster: &Cluster, cells: &[Cell], colours: usize) -> BTreeMap<GroupId, Label> {
    let ids = ids(cluster, cells);
    let mut tints: BTreeMap<GroupId, usize> = BTreeMap::new();
    if colours > 0 {
        let neighbours = neighbours(cells);
        for (rank, id) in ids.iter().enumerate() {
            let near: BTreeSet<usize> = neighbours
                .get(id)
                .into_iter()
                .flatten()
                .filter_map(|other| tints.get(other))
                .copied()
                .collect();
            let free = (rank..rank + colours).map(|n| n % colours).find(|tint| !near.contains(tint));
            tints.insert(*id, free.unwrap_or(rank % colours));
        }
    }
    let mut above_99 = 0;
    ids.into_iter()
        .map(|id| {
            let two = if id.0 > 99 { letters(&mut above_99) } else { id.to_string() };
            (id, Label { two, one: one_char(id), tint: tints.get(&id).copied() })
        })
        .collect()
}

/// Groups whose slots touch in the map with 32 columns.
fn neighbours(cells: &[Cell]) -> BTreeMap<GroupId, BTreeSet<GroupId>> {
    let mut near: BTreeMap<GroupId, BTreeSet<GroupId>> = BTreeMap::new();
    for (i, cell) in cells.iter().enumerate() {
        for other in [cells.get(i + 1), cells.get(i + 32)].into_iter().flatten() {
            if let (Some(a), Some(b)) = (cell.owner, other.owner)
                && a != b
            {
                near.entry(a).or_default().insert(b);
                near.entry(b).or_default().insert(a);
            }
        }
    }
    near
}

/// `aa`, `ab` ... for groups whose number needs three digits.
fn letters(next: &mut u32) -> String {
    let n = *next % (26 * 26);
    *next += 1;
    [n / 26, n % 26].into_iter().filter_map(|d| char::from_digit(d + 10, 36)).collect()
}

/// 0-9, a-z, A-Z; `*` from 62 on: the list of groups and the cursor tell those apart.
fn one_char(id: GroupId) -> char {
    match id.0 {
        n @ 0..36 => char::from_digit(n, 36).unwrap_or('*'),
        n @ 36..62 => char::from_digit(n - 26, 36).map_or('*', |c| c.to_ascii_uppercase()),
        _ => '*',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_one_column_names_up_to_61() {
        let names: String = [1, 9, 10, 35, 36, 61, 62].into_iter().map(|n| one_char(GroupId(n))).collect();
        assert_eq!(names, "19azAZ*");
        let mut next = 0;
        assert_eq!([letters(&mut next), letters(&mut next)], ["aa", "ab"]);
    }

    #[test]
    fn neighbours_in_the_map_never_share_a_colour() {
        // 20 groups on 12 colours, dealt so that ranks 12 apart touch.
        let owners = |i: u32| GroupId(if i.is_multiple_of(2) { i / 64 % 8 } else { i / 64 % 8 + 12 });
        let cells: Vec<Cell> =
            (0..1024).map(|i| Cell { state: State::Online, owner: Some(owners(i)), to: None }).collect();
        let cluster = Cluster::empty("feed".parse().unwrap());
        let labels = labels(&cluster, &cells, 12);
        for (i, cell) in cells.iter().enumerate() {
            for other in [cells.get(i + 1), cells.get(i + 32)].into_iter().flatten() {
                let (a, b) = (cell.owner.unwrap(), other.owner.unwrap());
                assert!(a == b || labels[&a].tint != labels[&b].tint, "groups {a} and {b} look the same");
            }
        }
    }
}
