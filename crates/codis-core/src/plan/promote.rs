//! Making a slave the master of its group.

use super::{
    Plan, Refusal, Step,
    refusal::{fences_clean, group},
};
use crate::{ActionKind, Addr, Cluster, GroupId, Role, Server, Versioned};

/// Makes a slave the master. The order keeps a crash after any step harmless: until the store
/// names the new master, the old one is complete and the slave can be attached again.
///
/// `force`: the old master is dead, so there is nobody to catch up with and nobody to attach.
/// Refused for a group that slots move from or to, unless forced: a slave that missed a key's
/// removal would bring it back.
pub fn promote(cluster: &Cluster, id: GroupId, addr: &Addr, force: bool) -> Result<Plan, Refusal> {
    let what = format!("cannot promote {addr} in group {id}");
    let place = format!("servers/group_{id}/{addr}");
    let group = group(cluster, id, &what)?;
    let Some(candidate) = group.server(addr) else {
        return Err(Refusal::missing(what, place, "the server is not listed in the group")
            .next(format!("codisctl group show {id}")));
    };
    fences_clean(cluster, &what)?;
    let old: Vec<_> = group.masters().filter(|server| &server.addr != addr).cloned().collect();
    let mut plan = Plan::new(format!("make {addr} the master of group {id}"));
    match candidate.role {
        Role::Master if old.is_empty() => plan.note("it is the master already; the proxies are told again"),
        Role::Slave => {}
        role => {
            return Err(Refusal::unsafe_(what, place, format!("it is listed as {role}, not as slave"))
                .next(format!("codisctl server add {id} {addr} --role slave")));
        }
    }
    if let Some(slot) = cluster.slots_using(id).find(|slot| slot.moving().is_some()).filter(|_| !force) {
        return Err(Refusal::unsafe_(
            what,
            format!("slots/slot_{}", slot.id),
            "keys move from or to the group",
        )
        .next("codisctl migrate run    finishes the move; or --force if the master is dead"));
    }
    if candidate.role == Role::Slave {
        if let Some(master) = old.first().filter(|_| !force) {
            plan.steps.push(Step::CatchUp { slave: addr.clone(), master: master.addr.clone() });
        }
        plan.steps.push(Step::Replicate { server: addr.clone(), master: None });
        let with_role = |server: &Versioned<Server>, role| {
            Versioned::new(Server { role, ..server.value.clone() }, server.version)
        };
        let mut writes: Vec<_> = old.iter().map(|server| with_role(server, Role::Offline)).collect();
        writes.push(with_role(candidate, Role::Master));
        plan.steps.push(Step::PutServers(writes));
    }
    let mut model = cluster.clone();
    for step in &plan.steps {
        model.apply(step);
    }
    let servers = model.groups[&id].servers.iter().map(|server| server.value.clone()).collect();
    let kind = ActionKind::GroupChanged { group: id, servers: Some(servers) };
    plan.steps.push(Step::Announce { kind, confirm: true });
    // Not before: a client that writes through one proxy and reads through one that has not heard of
    // the new master yet would read the old value.
    plan.steps.push(Step::AllowWrites(addr.clone()));
    // Not before the proxies have followed: a Go proxy exits when its master changes role.
    let others = group.slaves().filter(|server| &server.addr != addr);
    let demoted = old.iter().filter(|_| !force);
    for server in others.chain(demoted) {
        plan.steps.push(Step::Replicate { server: server.addr.clone(), master: Some(addr.clone()) });
    }
    if let Some(master) = old.first() {
        plan.note(format!(
            "{} stays listed as offline: codisctl server add {id} {} --role slave",
            master.addr, master.addr
        ));
        if force {
            plan.note("what the old master had not sent to this slave is lost");
        }
    }
    Ok(plan)
}
