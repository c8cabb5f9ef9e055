//! What is put right while nobody is lost: slaves that follow the wrong server, write stops that were left, old
//! masters that are back.

use crate::{
    Addr, Role,
    ha::{Facts, Picture, Policy, ServerView},
};

/// One thing to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upkeep {
    /// Whoever stopped the master's writes has died.
    AllowWrites {
        /// The group's master.
        master: Addr,
    },
    /// A slave that is a master, or follows another server: attach it to the group's master.
    Reattach {
        /// The slave.
        server: Addr,
        /// The group's master.
        master: Addr,
    },
    /// An old master that answers again: keep what only it has, then attach it.
    Rejoin {
        /// The old master.
        server: Addr,
        /// The group's master.
        master: Addr,
        /// It has, or may have, writes that the new master has not.
        diverged: bool,
    },
    /// It follows the master and has everything: list it as a slave.
    ListAsSlave {
        /// The old master.
        server: Addr,
    },
    /// It is not listed any more: nobody waits for it.
    Forget {
        /// The old master.
        server: Addr,
    },
    /// An old master is back, and people want to look before it becomes a slave.
    Waiting {
        /// The old master.
        server: Addr,
    },
}

/// What to do in a group, in order. Nothing while a change of its master is under way, or while the master does not
/// answer or is no master: nobody is sent to such a server.
pub fn upkeep(picture: &Picture<'_>, policy: &Policy) -> Vec<Upkeep> {
    let under_way = picture.saga.is_some_and(|saga| !saga.stage.is_over());
    let Some(master) = picture.group.master().filter(|_| !under_way) else { return Vec::new() };
    let Some(leads) = fit_to_follow(picture, &master.addr) else { return Vec::new() };
    let mut all = Vec::new();
    if picture.servers.get(&master.addr).is_some_and(|view| view.writes_stopped) {
        all.push(Upkeep::AllowWrites { master: master.addr.clone() });
    }
    for server in picture.group.slaves() {
        let Some(facts) = usable(picture, &server.addr) else { continue };
        if facts.master.as_ref() != Some(&master.addr) && may_follow(facts, leads) {
            all.push(Upkeep::Reattach { server: server.addr.clone(), master: master.addr.clone() });
        }
    }
    for old in picture.saga.iter().flat_map(|saga| &saga.demoted) {
        let server = old.addr.clone();
        match picture.group.server(&server).map(|listed| listed.role) {
            None | Some(Role::Master | Role::Slave) => all.push(Upkeep::Forget { server }),
            Some(Role::Offline) => {
                let Some(facts) = usable(picture, &server) else { continue };
                let follows = facts.master.as_ref() == Some(&master.addr);
                if follows && facts.link_up && !facts.syncing {
                    all.push(Upkeep::ListAsSlave { server });
                } else if !follows && !policy.auto_rejoin && !old.asked {
                    all.push(Upkeep::Waiting { server });
                } else if !follows && may_follow(facts, leads) {
                    // In another history since its restart, or one that cannot be known: nobody can tell.
                    let diverged = facts.keys > 0 && old.went_on(facts) != Some(0);
                    all.push(Upkeep::Rejoin { server, master: master.addr.clone(), diverged });
                }
            }
        }
    }
    all
}

/// The master, if it is one and can be replicated from.
fn fit_to_follow<'a>(picture: &Picture<'a>, master: &Addr) -> Option<&'a Facts> {
    usable(picture, master).filter(|facts| facts.is_master)
}

fn usable<'a>(picture: &Picture<'a>, addr: &Addr) -> Option<&'a Facts> {
    let view: &'a ServerView = picture.servers.get(addr)?;
    view.facts.as_ref().filter(|facts| view.is_reachable() && !facts.loading)
}

/// No server with data is sent to an empty one.
fn may_follow(facts: &Facts, master: &Facts) -> bool {
    facts.keys == 0 || master.keys > 0
}
