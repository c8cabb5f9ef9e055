//! Why a planner does not act, in the four parts every error of ours has.

use std::fmt;

use super::plural;
use crate::{Cluster, Group, GroupId, Server, Slot, SlotId, Versioned};

/// What sort of no this is; decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// It would be unsafe, or contradicts what is there.
    Unsafe,
    /// What it names does not exist, or could not be read.
    Missing,
    /// What was asked makes no sense.
    Usage,
}

/// A decision not to act, with its reason and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What sort of no this is.
    pub kind: RefusalKind,
    /// What is not done.
    pub what: String,
    /// The node or server that stands in the way.
    pub place: String,
    /// Why.
    pub why: String,
    /// The command to go on with.
    pub next: String,
}

impl Refusal {
    /// A refusal because it would be unsafe.
    pub fn unsafe_(what: impl fmt::Display, place: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(RefusalKind::Unsafe, what, place, why)
    }

    /// A refusal because something is not there.
    pub fn missing(what: impl fmt::Display, place: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(RefusalKind::Missing, what, place, why)
    }

    /// A refusal because the request makes no sense.
    pub fn usage(what: impl fmt::Display, place: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(RefusalKind::Usage, what, place, why)
    }

    fn new(
        kind: RefusalKind,
        what: impl fmt::Display,
        place: impl fmt::Display,
        why: impl fmt::Display,
    ) -> Self {
        let [what, place, why] = [what.to_string(), place.to_string(), why.to_string()];
        Self { kind, what, place, why, next: String::new() }
    }

    /// The same refusal with the command to go on with.
    #[must_use]
    pub fn next(mut self, next: impl fmt::Display) -> Self {
        self.next = next.to_string();
        self
    }
}

/// The group, or a refusal that names it.
pub(super) fn group(cluster: &Cluster, id: GroupId, what: &str) -> Result<Group, Refusal> {
    let place = format!("servers/group_{id}");
    if let Some(gap) = cluster.gaps.iter().find(|gap| gap.path.contains(&format!("/{place}"))) {
        return Err(Refusal::missing(what, &gap.path, &gap.why).next("codisctl group list"));
    }
    cluster.groups.get(&id).cloned().ok_or_else(|| {
        Refusal::missing(what, place, format!("group {id} does not exist"))
            .next(format!("codisctl group add {id} --master HOST:PORT"))
    })
}

/// The group's only master, or a refusal.
pub(super) fn master(group: &Group, what: &str) -> Result<Versioned<Server>, Refusal> {
    let id = group.id;
    let place = format!("servers/group_{id}");
    match group.masters().count() {
        1 => {}
        0 => {
            return Err(Refusal::unsafe_(what, place, format!("group {id} has no master"))
                .next(format!("codisctl server add {id} HOST:PORT --role master")));
        }
        n => {
            return Err(Refusal::unsafe_(what, place, format!("group {id} has {n} masters"))
                .next(format!("codisctl group show {id}")));
        }
    }
    group.master().cloned().ok_or_else(|| Refusal::unsafe_(what, place, "its master changed"))
}

/// The slot, or a refusal that says whether its node is missing or damaged.
pub(super) fn slot(cluster: &Cluster, id: SlotId, what: &str) -> Result<Versioned<Slot>, Refusal> {
    if let Some(slot) = cluster.slot(id) {
        return Ok(slot.clone());
    }
    let place = format!("slots/slot_{id}");
    let gap = cluster.gaps.iter().find(|gap| gap.path.ends_with(&format!("/{place}")));
    Err(match gap {
        Some(gap) => Refusal::missing(what, &gap.path, &gap.why).next("codisctl slot list"),
        None => Refusal::missing(what, place, "the node does not exist").next("codisctl product init"),
    })
}

/// Refuses while a proxy that may still serve old routes cannot be asked.
pub(super) fn fences_clean(cluster: &Cluster, what: &str) -> Result<(), Refusal> {
    let stale = cluster.stale_fences();
    if stale.is_empty() {
        return Ok(());
    }
    let count = plural(stale.len(), "a proxy that is not online has", "proxies that are not online have");
    let count = count.trim_start_matches("1 ");
    Err(Refusal::unsafe_(
        what,
        format!("fence/{}", stale.join(", fence/")),
        format!("{count} left a fence: it may still serve the old routes, and cannot be asked"),
    )
    .next("codisctl proxy fence list    then, when that process is gone: codisctl proxy fence clear"))
}
