//! Adding and removing groups and servers.

use super::{
    Plan, Refusal, Step, plural,
    refusal::{fences_clean, group, master},
};
use crate::{ActionKind, Addr, Cluster, Group, GroupId, Role, Server, Slot, SlotSet, Versioned};

/// Creates a group, with a master and slaves if they are given. What exists already as asked is
/// left out, so that an interrupted run can be completed by asking again.
pub fn add_group(
    cluster: &Cluster,
    id: GroupId,
    master: Option<&Addr>,
    slaves: &[Addr],
) -> Result<Plan, Refusal> {
    let what = format!("cannot add group {id}");
    let existing = cluster.groups.get(&id);
    if let (Some(group), None) = (existing, master) {
        let servers = plural(group.servers.len(), "server", "servers");
        return Err(Refusal::unsafe_(
            what,
            format!("servers/group_{id}"),
            format!("it exists, with {servers}"),
        )
        .next(format!("codisctl group show {id}")));
    }
    if master.is_none() && !slaves.is_empty() {
        return Err(Refusal::usage(what, "--slave", "a group needs a master before it can have slaves")
            .next(format!("codisctl group add {id} --master HOST:PORT --slave HOST:PORT")));
    }
    let mut plan = Plan::new(format!("add group {id}"));
    let mut model = cluster.clone();
    if existing.is_none() {
        push(&mut plan, &mut model, Step::CreateGroup(id));
        plan.steps.push(changed(id, None, false));
    }
    let masters = master.iter().map(|addr| (*addr, Role::Master));
    for (addr, role) in masters.chain(slaves.iter().map(|addr| (addr, Role::Slave))) {
        for step in add_server(&model, id, addr, role)?.steps {
            push(&mut plan, &mut model, step);
        }
    }
    Ok(plan)
}

fn push(plan: &mut Plan, model: &mut Cluster, step: Step) {
    model.apply(&step);
    plan.steps.push(step);
}

fn changed(group: GroupId, servers: Option<Vec<Server>>, confirm: bool) -> Step {
    Step::Announce { kind: ActionKind::GroupChanged { group, servers }, confirm }
}

/// Lists a server in a group. A server listed as offline in that group comes back as a slave.
/// A slave is told to replicate from the master after its node is written.
pub fn add_server(cluster: &Cluster, id: GroupId, addr: &Addr, role: Role) -> Result<Plan, Refusal> {
    let what = format!("cannot add {addr} to group {id} as {role}");
    let place = format!("servers/group_{id}");
    let group = group(cluster, id, &what)?;
    if let Some(listed) = cluster.server(addr).filter(|server| server.group != id) {
        let why = format!("it is listed in group {} as {}", listed.group, listed.role);
        return Err(Refusal::unsafe_(what, format!("servers/group_{}/{addr}", listed.group), why)
            .next(format!("codisctl server remove {} {addr}", listed.group)));
    }
    let listed = group.server(addr);
    let mut plan = Plan::new(format!("add {addr} to group {id} as {role}"));
    match role {
        Role::Master => {
            if let Some(other) = group.masters().find(|server| &server.addr != addr) {
                return Err(Refusal::unsafe_(what, place, format!("its master is {}", other.addr)).next(
                    format!("codisctl server add {id} {addr} --role slave    then: codisctl group promote {id} {addr}"),
                ));
            }
            if listed.is_some_and(|server| server.role != Role::Master) {
                return Err(Refusal::unsafe_(what, place, format!("{addr} is listed with another role"))
                    .next(format!("codisctl group promote {id} {addr}")));
            }
            fences_clean(cluster, &what)?;
            let server = Server::new(addr.clone(), id, Role::Master);
            let mut servers = servers_of(&group);
            if listed.is_none() {
                plan.steps.push(Step::AddServer(server.clone()));
                servers.push(server);
                servers.sort_by(|a, b| a.addr.cmp(&b.addr));
            }
            plan.steps.push(changed(id, Some(servers), true));
        }
        Role::Slave => {
            let master = master(&group, &what)?;
            if &master.addr == addr {
                return Err(Refusal::unsafe_(what, place, "it is the group's master")
                    .next(format!("codisctl group show {id}")));
            }
            match listed {
                Some(server) if server.role == Role::Offline => {
                    let back = Server { role: Role::Slave, ..server.value.clone() };
                    plan.steps.push(Step::PutServers(vec![Versioned::new(back, server.version)]));
                }
                Some(_) => plan.note("it is listed as a slave already; it is told again to replicate"),
                None => plan.steps.push(Step::AddServer(Server::new(addr.clone(), id, Role::Slave))),
            }
            plan.steps.push(Step::Replicate { server: addr.clone(), master: Some(master.addr.clone()) });
        }
        Role::Offline => {
            return Err(Refusal::usage(what, "--role", "a new server is a master or a slave")
                .next(format!("codisctl server add {id} {addr} --role slave")));
        }
    }
    Ok(plan)
}

fn servers_of(group: &Group) -> Vec<Server> {
    group.servers.iter().map(|server| server.value.clone()).collect()
}

/// Takes a slave or an offline server out of its group.
pub fn remove_server(cluster: &Cluster, id: GroupId, addr: &Addr) -> Result<Plan, Refusal> {
    let what = format!("cannot remove {addr} from group {id}");
    let group = group(cluster, id, &what)?;
    let Some(server) = group.server(addr) else {
        return Err(Refusal::missing(what, format!("servers/group_{id}"), "the server is not listed there")
            .next(format!("codisctl group show {id}")));
    };
    if server.role == Role::Master {
        return Err(Refusal::unsafe_(what, format!("servers/group_{id}/{addr}"), "it is the group's master")
            .next(format!("codisctl group promote {id} HOST:PORT    of a slave, first")));
    }
    let mut plan = Plan::new(format!("remove {addr} ({}) from group {id}", server.role));
    plan.steps.push(Step::RemoveServer(server.clone()));
    plan.steps.push(changed(id, None, false));
    Ok(plan)
}

/// Takes a slave out of use without taking it off the list. Proxies know nothing of slaves, so they
/// are not told. [`add_server`] takes it back.
pub fn offline_server(cluster: &Cluster, addr: &Addr) -> Result<Plan, Refusal> {
    let what = format!("cannot take {addr} offline");
    let Some(server) = cluster.server(addr) else {
        return Err(
            Refusal::missing(what, "servers", "no group lists the server").next("codisctl group list")
        );
    };
    let id = server.group;
    let mut plan = Plan::new(format!("take {addr} of group {id} offline"));
    let group = group(cluster, id, &what)?;
    match server.role {
        Role::Offline => plan.note("it is offline already"),
        Role::Slave => {
            if group.slaves().count() == 1 {
                plan.note(format!(
                    "it is the last slave of group {id}: nobody can take over from the master then"
                ));
            }
            plan.note("it keeps running and replicating, but cannot be promoted");
            let offline = Server { role: Role::Offline, ..server.value.clone() };
            plan.steps.push(Step::PutServers(vec![Versioned::new(offline, server.version)]));
        }
        Role::Master => {
            let next = match group.slaves().next() {
                Some(slave) => {
                    format!("codisctl group promote {id} {}    which takes this one offline", slave.addr)
                }
                None => format!(
                    "codisctl server add {id} HOST:PORT    then: codisctl group promote {id} HOST:PORT"
                ),
            };
            let place = format!("servers/group_{id}/{addr}");
            return Err(Refusal::unsafe_(what, place, "it is the group's master").next(next));
        }
    }
    Ok(plan)
}

/// Deletes a group that owns no slot and holds no keys of one.
pub fn remove_group(cluster: &Cluster, id: GroupId) -> Result<Plan, Refusal> {
    let what = format!("cannot remove group {id}");
    let group = group(cluster, id, &what)?;
    if let Some(gap) = cluster.gaps.iter().find(|gap| gap.path.contains("/slots")) {
        return Err(Refusal::missing(what, &gap.path, &gap.why).next("codisctl slot list"));
    }
    let moving = |slot: &&Versioned<Slot>| slot.moving().is_some();
    let (moving, used): (Vec<_>, Vec<_>) = cluster.slots_using(id).partition(moving);
    if let Some(slot) = moving.first() {
        return Err(Refusal::unsafe_(
            what,
            format!("slots/slot_{}", slot.id),
            "keys of it move from or to this group",
        )
        .next("codisctl migrate run    finishes the move"));
    }
    if !used.is_empty() {
        let slots: SlotSet = used.iter().map(|slot| slot.id).collect();
        return Err(Refusal::unsafe_(what, format!("slots {slots}"), "the group owns them")
            .next(format!("codisctl migrate start --slots {slots} --to GROUP")));
    }
    if let Some(task) = cluster.moves.iter().find(|task| task.from == id || task.to == id) {
        return Err(Refusal::unsafe_(what, format!("moves/{:010}", task.task), "a task names the group")
            .next(format!("codisctl task delete {}", task.task)));
    }
    if let Some(task) = cluster.go_tasks.iter().find(|task| task.to == id) {
        let place = format!("migrate_tasks/{}", task.name);
        return Err(Refusal::unsafe_(what, place, "a task in the queue of the Go tools names the group")
            .next("codisctl task list"));
    }
    let mut plan = Plan::new(format!("remove group {id}"));
    plan.steps.extend(group.servers.iter().cloned().map(Step::RemoveServer));
    plan.steps.push(Step::RemoveGroup(id));
    plan.steps.push(Step::Announce { kind: ActionKind::GroupRemove(id), confirm: false });
    if !group.servers.is_empty() {
        let servers = plural(group.servers.len(), "server keeps", "servers keep");
        plan.note(format!("its {servers} running with whatever data there is"));
    }
    Ok(plan)
}
