//! Whether a server is fit to be listed, looked up on the server itself before anything is written.

use std::time::Duration;

use codis_core::{Addr, Cluster, GroupId, Role, plan::plural};
use codis_redis::{LiveRole, RedisCause, RedisError, ServerInfo, ServerKind, probe};
use codis_store::Product;

use crate::{Context, Failure, FailureKind, observe};

/// How long the servers that are listed already are waited for; one that keeps silent is not compared.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks at a server that shall be listed as `role`. Returns what a person should know before saying yes.
///
/// # Errors
/// `Unreachable` if it does not answer; `Unsafe` if it is loading its data, has another role, is listed
/// elsewhere, is a server that is listed under another address, or cannot replicate from the master.
pub async fn admit(
    cx: &Context,
    cluster: &Cluster,
    group: GroupId,
    addr: &Addr,
    role: Role,
) -> Result<Vec<String>, Failure> {
    let what = format!("cannot add {addr} to group {group} as {role}");
    let listed = async { Ok(observe::servers(cx, cluster, PATIENCE).await) };
    let asked = async { probe(addr, &cx.redis).await.map_err(|error| silent(&what, addr, &error)) };
    let (info, listed, ()) = tokio::try_join!(asked, listed, elsewhere(cx, addr, &what))?;
    let refuse =
        |why: String, next: String| Err(Failure::new(FailureKind::Unsafe, &what, addr, why).next(next));
    if info.loading {
        let next = format!("codisctl server info {addr}    until it has, then run this again");
        return refuse("it is still loading its data".to_owned(), next);
    }
    let twin = listed.iter().find(|(other, answer)| {
        *other != addr && answer.as_ref().is_ok_and(|other| other.run_id == info.run_id)
    });
    if let Some((other, _)) = twin {
        let group = cluster.server(other).map_or(group, |server| server.group);
        let why = format!("it is the server that group {group} lists as {other}");
        return refuse(why, format!("codisctl group show {group}"));
    }
    let mut notes = Vec::new();
    if role == Role::Master {
        if info.role == LiveRole::Slave {
            let of = info.master.as_ref().map_or_else(|| "another".to_owned(), ToString::to_string);
            let why = format!("it is a slave of {of}: it does not take writes");
            return refuse(why, format!("REPLICAOF NO ONE    on {addr}, or add it with --role slave"));
        }
        if info.keys > 0 {
            notes.push(format!("it holds {} already", keys(&info)));
        }
        return Ok(notes);
    }
    let Some(listed_master) = cluster.groups.get(&group).and_then(|group| group.master()) else {
        return Ok(notes);
    };
    let master = match listed.get(&listed_master.addr) {
        Some(Ok(master)) => master.clone(),
        // It may only have been slow.
        _ => {
            let asked = probe(&listed_master.addr, &cx.redis).await;
            asked.map_err(|error| dead_master(&what, group, &error))?
        }
    };
    if let Err(why) = follows(&info, &master, &mut notes) {
        let next = format!("start it with version {} or newer, then run this again", master.version);
        return refuse(why, next);
    }
    let known = cluster.server(addr).is_some();
    notes.extend(what_it_loses(&info, &master, &listed_master.addr, known));
    Ok(notes)
}

/// What becomes of a server that is told to replicate from `master`, listed at `addr`. One that is `known`
/// to the group, or follows this master already, is a copy: coming back loses nothing.
fn what_it_loses(info: &ServerInfo, master: &ServerInfo, addr: &Addr, known: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let copy = known || (master.replid == info.replid && !info.replid.is_empty());
    if info.keys > 0 && !copy {
        notes.push(format!("it holds {}, replaced by those of the master", keys(info)));
    }
    if info.role == LiveRole::Slave
        && let Some(of) = info.master.as_ref().filter(|of| *of != addr)
    {
        notes.push(format!("it replicates from {of} now"));
    }
    if !info.slaves.is_empty() {
        let slaves: Vec<&str> = info.slaves.iter().map(|slave| slave.addr.as_str()).collect();
        notes.push(format!("it has slaves of its own, which get the same data: {}", slaves.join(" ")));
    }
    notes
}

fn keys(info: &ServerInfo) -> String {
    plural(usize::try_from(info.keys).unwrap_or(usize::MAX), "key", "keys")
}

/// Why a server cannot replicate from this master; or what is odd about it.
fn follows(slave: &ServerInfo, master: &ServerInfo, notes: &mut Vec<String>) -> Result<(), String> {
    if slave.major() < master.major() {
        return Err(format!(
            "it is version {} and its master {}: it could not read the master's data",
            slave.version, master.version
        ));
    }
    if slave.version != master.version {
        notes.push(format!("it is version {}, its master {}", slave.version, master.version));
    }
    if slave.kind != master.kind {
        let name = |kind| match kind {
            Some(ServerKind::Native) => "a codis-server",
            _ => "a stock server",
        };
        notes.push(format!(
            "it is {}, its master {}: keys move differently after a promotion",
            name(slave.kind),
            name(master.kind)
        ));
    }
    Ok(())
}

fn dead_master(what: &str, group: GroupId, error: &RedisError) -> Failure {
    let why =
        format!("the master of group {group} does not answer, so nobody can follow it: {}", error.cause);
    Failure::new(FailureKind::Unreachable, what, &error.addr, without_number(&why))
        .next(format!("codisctl group show {group}    then bring it back, or promote a slave with --force"))
}

fn silent(what: &str, addr: &Addr, error: &RedisError) -> Failure {
    let next = match &error.cause {
        RedisCause::Auth(_) | RedisCause::Refused(_) => {
            "put its password into CODIS_PASSWORD or password_file: all servers of a product have the same"
        }
        RedisCause::Unexpected(_) => "give the address of a Redis server; this is something else",
        _ => "start it, or correct the address, then run this again",
    };
    let why = error.cause.to_string();
    Failure::new(FailureKind::Unreachable, what, addr, without_number(&why)).next(next)
}

/// A cause without the number of the operating system's error.
fn without_number(why: &str) -> &str {
    why.split(" (os error").next().unwrap_or(why)
}

/// Refuses a server that another product of the store lists: two products would write into it.
async fn elsewhere(cx: &Context, addr: &Addr, what: &str) -> Result<(), Failure> {
    let fail = |error| Failure::store("cannot look at the other products of the store", &error);
    let store = cx.product.store();
    for name in Product::list(store).await.map_err(fail)? {
        if &name == cx.product_name() {
            continue;
        }
        let groups = Product::new(store.clone(), name.clone()).groups().await.map_err(fail)?;
        let Some(server) = groups.found.values().find_map(|group| group.server(addr)) else { continue };
        let why = format!("product {name} lists it in group {} as {}", server.group, server.role);
        return Err(Failure::new(FailureKind::Unsafe, what, addr, why)
            .next(format!("codisctl --product {name} server remove {} {addr}", server.group)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, kind: ServerKind) -> ServerInfo {
        let text = format!("role:master\nredis_version:{version}\nrun_id:1\n");
        ServerInfo { kind: Some(kind), ..ServerInfo::parse(&text).unwrap() }
    }

    #[test]
    fn a_slave_is_not_older_than_its_master() {
        let stock = |version| server(version, ServerKind::Stock);
        let mut notes = Vec::new();
        assert_eq!(follows(&stock("7.0.15"), &stock("7.0.15"), &mut notes), Ok(()));
        assert_eq!(notes, [""; 0]);
        let older = follows(&stock("6.2.1"), &stock("7.0.15"), &mut notes).unwrap_err();
        assert_eq!(older, "it is version 6.2.1 and its master 7.0.15: it could not read the master's data");
        assert_eq!(follows(&stock("7.0.15"), &server("2.8.21", ServerKind::Native), &mut notes), Ok(()));
        assert_eq!(notes[0], "it is version 7.0.15, its master 2.8.21");
        assert!(notes[1].starts_with("it is a stock server, its master a codis-server"), "{notes:?}");
    }
}
