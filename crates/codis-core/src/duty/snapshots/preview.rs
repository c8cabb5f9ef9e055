//! What a round on a host would come to, for people.

use super::rules::{chores, overdue};
use super::{Does, Host, SnapshotsPolicy};
use crate::{Addr, GroupId, Role};

/// One server's turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The server.
    pub addr: Addr,
    /// Its group.
    pub group: GroupId,
    /// Its role.
    pub role: Role,
    /// What its child would do. Nothing: it is not saved.
    pub does: Option<Does>,
    /// It is due.
    pub due: bool,
    /// Bytes that the child may need.
    pub needs: u64,
    /// Bytes there are; `None` if nobody knows what the host has.
    pub free: Option<u64>,
    /// Settings that are to be changed first: name, value now, value then.
    pub takes: Vec<(String, String, String)>,
    /// Why nothing can be done for it.
    pub trouble: Option<String>,
}

impl Turn {
    /// The child fits.
    pub fn fits(&self) -> bool {
        self.free.is_some_and(|free| self.needs <= free)
    }
}

/// All servers of a host in the order in which a round that begins now would save them.
pub fn preview(host: &Host, policy: &SnapshotsPolicy) -> Vec<Turn> {
    let free = host.free(policy);
    let mut turns = Vec::new();
    for instance in &host.instances {
        let turn = |does, due, needs| Turn {
            addr: instance.addr.clone(),
            group: instance.group,
            role: instance.role,
            does,
            due,
            needs,
            free,
            takes: Vec::new(),
            trouble: None,
        };
        let said = match &instance.said {
            Ok(said) => said,
            Err(unheard) => {
                turns.push((0, Turn { trouble: Some(unheard.why.clone()), ..turn(None, false, 0) }));
                continue;
            }
        };
        let trouble = said.settings.is_none().then(|| "its settings cannot be read".to_owned());
        let takes: Vec<_> = said
            .own_reasons()
            .into_iter()
            .map(|(name, then)| {
                let now = said.settings.as_ref().and_then(|all| all.get(name)).cloned().unwrap_or_default();
                (name.to_owned(), now, then)
            })
            .collect();
        let chores = chores(instance, said, policy);
        if chores.is_empty() {
            turns.push((0, Turn { takes, trouble, ..turn(None, false, 0) }));
            continue;
        }
        for (n, does) in chores.into_iter().enumerate() {
            let overdue = overdue(does, instance, said, policy);
            let takes = if n == 0 { takes.clone() } else { Vec::new() };
            let turn = turn(Some(does), overdue >= 1000, said.needs());
            turns.push((overdue, Turn { takes, trouble: trouble.clone(), ..turn }));
        }
    }
    turns.sort_by(|(a, one), (b, other)| (b, &one.addr).cmp(&(a, &other.addr)));
    turns.into_iter().map(|(_, turn)| turn).collect()
}
