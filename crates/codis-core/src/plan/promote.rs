//! Making a slave the master of its group.

use super::{
    ChangeMaster, Plan, Refusal, Step, plural,
    refusal::{fences_clean, group},
};
use crate::{ActionKind, Addr, Cluster, Group, GroupId, Role, Server, Versioned, ha::SagaKind};

/// Makes a slave the master. One step, because a journal in the store keeps how far it is: whoever finds it goes on.
///
/// `force`: the old master is dead, so there is nobody to catch up with and nobody to attach.
/// Without it refused for a group that slots move from or to: a slave that missed a key's removal would bring it back;
/// and while a server that was master before has not come back, so that it stays known which change lost what.
pub fn promote(cluster: &Cluster, id: GroupId, addr: &Addr, force: bool) -> Result<Plan, Refusal> {
    let what = format!("cannot promote {addr} in group {id}");
    let place = format!("servers/group_{id}/{addr}");
    let group = group(cluster, id, &what)?;
    let Some(candidate) = group.server(addr) else {
        return Err(Refusal::missing(what, place, "the server is not listed in the group")
            .next(format!("codisctl group show {id}")));
    };
    let saga = cluster.sagas.get(&id);
    let mut plan = Plan::new(format!("make {addr} the master of group {id}"));
    let kind = if force { SagaKind::Failover } else { SagaKind::Planned };
    let go = !cluster.all_ours();
    if let Some(saga) = saga.filter(|saga| !saga.stage.is_over()) {
        plan.note(format!("a change to {} has been begun and is completed first", saga.new));
        if &saga.new == addr {
            let (old, new, kind) = (saga.old.clone(), saga.new.clone(), saga.kind);
            plan.steps.push(Step::ChangeMaster(ChangeMaster { group: id, old, new, kind, go }));
            return Ok(plan);
        }
    }
    if !force {
        fences_clean(cluster, &what)?;
    }
    let old = group.masters().find(|server| &server.addr != addr);
    match candidate.role {
        Role::Master if old.is_none() => {
            plan.note("it is the master already; the proxies are told again");
            let servers = group.servers.iter().map(|server| server.value.clone()).collect();
            let kind = ActionKind::GroupChanged { group: id, servers: Some(servers) };
            plan.steps.push(Step::Announce { kind, confirm: true });
            return Ok(plan);
        }
        Role::Slave => {}
        role => {
            return Err(Refusal::unsafe_(what, place, format!("it is listed as {role}, not as slave"))
                .next(format!("codisctl server add {id} {addr} --role slave")));
        }
    }
    let Some(old) = old.filter(|_| group.masters().count() == 1) else {
        return without_one_master(&group, addr, force, plan, &what);
    };
    if let Some(slot) = cluster.slots_using(id).find(|slot| slot.moving().is_some()).filter(|_| !force) {
        return Err(Refusal::unsafe_(
            what,
            format!("slots/slot_{}", slot.id),
            "keys move from or to the group",
        )
        .next("codisctl migrate run    finishes the move; or --force if the master is dead"));
    }
    if let Some(open) =
        saga.and_then(|saga| saga.demoted.iter().find(|server| server.open)).filter(|_| !force)
    {
        let why = format!(
            "{} was master before, a proxy may still write to it, and it is not back: what it took would be mistaken for \
             a loss of this change",
            open.addr
        );
        return Err(Refusal::unsafe_(what, format!("failover/group_{id}"), why).next(format!(
            "codisctl group sync {id}    or, if it is gone: codisctl server remove {id} {}",
            open.addr
        )));
    }
    let change = ChangeMaster { group: id, old: old.addr.clone(), new: addr.clone(), kind, go };
    plan.steps.push(Step::ChangeMaster(change));
    if force {
        plan.note(format!(
            "{} stays listed as offline: codisctl group sync {id}    when it is back",
            old.addr
        ));
        plan.note("what the old master had not sent to this slave is lost");
    } else if go {
        plan.note("Go proxies are online, which cannot hold requests back: clients may see -NOREPLICAS for a moment");
    }
    Ok(plan)
}

/// There is nobody to take over from, or more than one, which no change of ours leaves behind: somebody has to be named.
fn without_one_master(
    group: &Group,
    addr: &Addr,
    force: bool,
    mut plan: Plan,
    what: &str,
) -> Result<Plan, Refusal> {
    let id = group.id;
    if !force {
        let why =
            format!("the group lists {}, not one", plural(group.masters().count(), "master", "masters"));
        return Err(Refusal::unsafe_(what, format!("servers/group_{id}"), why)
            .next(format!("codisctl group show {id}    then, if this is the one with the data: --force")));
    }
    plan.steps.push(Step::Replicate { server: addr.clone(), master: None });
    let with_role = |server: &Versioned<Server>, role| {
        Versioned::new(Server { role, ..server.value.clone() }, server.version)
    };
    let mut servers: Vec<_> = group.masters().map(|server| with_role(server, Role::Offline)).collect();
    servers.extend(group.server(addr).map(|server| with_role(server, Role::Master)));
    plan.steps.push(Step::PutServers(servers.clone()));
    let role = |server: &Versioned<Server>| {
        let written = servers.iter().find(|written| written.addr == server.addr);
        written.unwrap_or(server).value.clone()
    };
    let servers = Some(group.servers.iter().map(role).collect());
    plan.steps.push(Step::Announce { kind: ActionKind::GroupChanged { group: id, servers }, confirm: true });
    for slave in group.slaves().filter(|server| &server.addr != addr) {
        plan.steps.push(Step::Replicate { server: slave.addr.clone(), master: Some(addr.clone()) });
    }
    Ok(plan)
}
