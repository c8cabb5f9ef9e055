//! What makes servers fit to give and to take keys, judged from what they say of themselves. The pre-flight asks it of the servers that
//! a wave is about to use, the forecast of those that a plan would.

use codis_core::Addr;
use codis_redis::{LiveRole, ServerInfo, ServerKind};

/// The hand-over needs UNLINK, WAIT and DUMP formats of this major version.
const OLDEST: u32 = 5;

/// Why two servers cannot pass keys on: on whom it lies, why, and what to do.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) addr: Addr,
    pub(crate) why: String,
    pub(crate) next: String,
}

/// Why a server that the store calls a master can neither give nor take keys.
pub(crate) fn unfit(info: &ServerInfo) -> Option<String> {
    if info.role != LiveRole::Master {
        return Some("the store calls it a master, but it is a slave".into());
    }
    if info.loading {
        return Some("it is still loading its data".into());
    }
    // A codis-server of Codis 3 has all that the hand-over needs.
    let old = info.major() < OLDEST && info.kind != Some(ServerKind::Native);
    (!info.traits().is_native() && old)
        .then(|| format!("it is version {}, and keys can be handed over from {OLDEST} on", info.version))
}

/// Whether the source moves keys by its own commands, not by the hand-over.
///
/// # Errors
/// If no key can get from one to the other.
pub(crate) fn native(from: (&Addr, &ServerInfo), to: (&Addr, &ServerInfo)) -> Result<bool, Misfit> {
    let ((source, gives), (destination, takes)) = (from, to);
    let misfit = |addr: &Addr, why: String, next: String| Err(Misfit { addr: addr.clone(), why, next });
    if source == destination {
        let why = "it is the master of both groups".to_owned();
        return misfit(source, why, "codisctl group list".to_owned());
    }
    if gives.run_id == takes.run_id {
        let why = format!("{source} and {destination} are the same server");
        return misfit(source, why, "codisctl group list".to_owned());
    }
    let native = gives.traits().is_native();
    if native && takes.kind != Some(ServerKind::Native) {
        let why = format!("{source} moves keys with SLOTSRESTORE, which it does not have");
        return misfit(destination, why, "make a codis-server the destination".to_owned());
    }
    if !native && takes.traits().is_native() {
        let why = format!("it is version {}, and does not know the format of {source}", takes.version);
        let next = format!("make a server from version {OLDEST} on the destination");
        return misfit(destination, why, next);
    }
    if let Some((writes, reads)) = formats(gives, takes).filter(|(writes, reads)| writes > reads) {
        let why = format!("it reads dumps up to RDB version {reads}, and {source} writes version {writes}");
        return misfit(destination, why, format!("make a server like {source} the destination"));
    }
    Ok(native)
}

/// RDB versions of what the source dumps and of what the destination restores, if both are known.
pub(crate) fn formats(source: &ServerInfo, destination: &ServerInfo) -> Option<(u32, u32)> {
    Some((rdb_version(&source.version)?, rdb_version(&destination.version)?))
}

/// By version of Redis; a Valkey says which one it is compatible with. Newer ones than these are not judged: the probe key will
/// tell.
fn rdb_version(version: &str) -> Option<u32> {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    match (numbers.next()??, numbers.next()??) {
        (2, 6..) | (3, 0) => Some(6),
        (3, 2) => Some(7),
        (4, _) => Some(8),
        (5 | 6, _) => Some(9),
        (7, 0) => Some(10),
        (7, 2) => Some(11),
        (7, 4) | (8, 0) => Some(12),
        _ => None,
    }
}

/// Whether a server can take about so many bytes more.
pub(crate) fn has_room(destination: &ServerInfo, need: u64) -> bool {
    destination.maxmemory == 0 || destination.used_memory + need <= destination.maxmemory
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str, run_id: &str, kind: ServerKind) -> ServerInfo {
        let text = format!("role:master\r\nredis_version:{version}\r\nrun_id:{run_id}\r\n");
        ServerInfo { kind: Some(kind), ..ServerInfo::parse(&text).unwrap() }
    }

    fn between(from: &str, to: &str, kinds: [ServerKind; 2]) -> Result<bool, String> {
        let [s, d]: [Addr; 2] = ["10.0.0.1:6379", "10.0.0.2:6379"].map(|addr| addr.parse().unwrap());
        let (source, destination) = (server(from, "a", kinds[0]), server(to, "b", kinds[1]));
        native((&s, &source), (&d, &destination)).map_err(|misfit| format!("{}: {}", misfit.addr, misfit.why))
    }

    #[test]
    fn keys_go_to_servers_that_understand_them() {
        use ServerKind::{Native, Stock};
        let stock = [Stock, Stock];
        for (from, to) in [("5.0.14", "7.0.15"), ("6.2.1", "5.0.14"), ("7.0.15", "7.0.1"), ("9.9.0", "7.0.1")]
        {
            assert_eq!(between(from, to, stock), Ok(false), "{from} {to}");
        }
        let older = between("7.2.4", "7.0.15", stock).unwrap_err();
        assert_eq!(
            older,
            "10.0.0.2:6379: it reads dumps up to RDB version 10, and 10.0.0.1:6379 writes version 11"
        );
        assert_eq!(between("2.8.21", "2.8.21", [Native, Native]), Ok(true));
        assert!(between("2.8.21", "7.0.15", [Native, Stock]).unwrap_err().contains("SLOTSRESTORE"));
        assert!(
            between("7.0.15", "2.8.21", [Stock, Native]).unwrap_err().contains("does not know the format")
        );
    }

    #[test]
    fn a_slave_one_that_loads_and_an_old_one_are_unfit() {
        let well = server("7.0.15", "a", ServerKind::Stock);
        assert_eq!(unfit(&well), None);
        let slave = ServerInfo { role: LiveRole::Slave, ..well.clone() };
        assert!(unfit(&slave).unwrap().contains("is a slave"));
        assert!(unfit(&ServerInfo { loading: true, ..well.clone() }).unwrap().contains("loading"));
        assert!(unfit(&server("4.0.9", "a", ServerKind::Stock)).unwrap().contains("from 5 on"));
        assert_eq!(unfit(&server("3.2.9", "a", ServerKind::Native)), None);
        assert!(has_room(&well, u64::MAX / 2), "no limit");
        let full = ServerInfo { maxmemory: 100, used_memory: 60, ..well };
        assert!(has_room(&full, 40) && !has_room(&full, 41));
    }
}
