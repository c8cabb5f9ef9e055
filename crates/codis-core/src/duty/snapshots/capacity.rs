//! How full a host may be.

use super::{Host, Instance, SnapshotsPolicy};
use crate::Addr;

/// How full a host is, and may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The host.
    pub host: String,
    /// Bytes it has; 0 if nobody knows.
    pub memory: u64,
    /// Its listed servers.
    pub instances: u64,
    /// Servers of these that do not say how much they use.
    pub silent: Vec<Addr>,
    /// Bytes that its servers have.
    pub used: u64,
    /// What its servers may use together; `None` if one has no limit, or none answers.
    pub max: Option<u64>,
    /// What a child may need: as much as the largest server.
    pub needs: u64,
    /// That largest server.
    pub largest: Option<Addr>,
    /// To what it may be filled where one child lives at a time: (n-1)/n.
    pub fill: u64,
    /// It is fuller than that, or a child of the largest server does not fit.
    pub over: bool,
}

/// Adds up what the servers of a host say.
pub fn capacity(host: &Host, policy: &SnapshotsPolicy) -> Capacity {
    let largest = host.instances.iter().filter_map(|instance| Some((instance.heard()?.needs(), instance)));
    let largest = largest.max_by_key(|(needs, _)| *needs);
    let needs = largest.map_or(0, |(needs, _)| needs);
    let limits =
        host.instances.iter().filter_map(Instance::heard).map(|said| Some(said.max).filter(|max| *max > 0));
    let count = host.instances.len() as u64;
    let fill = match count {
        0 => host.memory,
        // Alone on its host: its child needs as much as it does.
        1 => host.memory / 2,
        n => host.memory / n * (n - 1) + host.memory % n * (n - 1) / n,
    };
    let used = host.used();
    let fits = used.saturating_add(needs).saturating_add(policy.reserve) <= host.memory;
    Capacity {
        host: host.name.clone(),
        memory: host.memory,
        instances: count,
        silent: host.instances.iter().filter(|one| one.said.is_err()).map(|one| one.addr.clone()).collect(),
        used,
        max: limits.sum::<Option<u64>>().filter(|max| *max > 0),
        needs,
        largest: largest.map(|(_, instance)| instance.addr.clone()),
        fill,
        over: host.memory > 0 && (used > fill || !fits),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Said;
    use super::*;
    use crate::{GroupId, Role};

    const GIB: u64 = 1 << 30;

    fn host(memory: u64, sizes: &[u64]) -> Host {
        let instance = |(n, used): (usize, &u64)| Instance {
            addr: format!("10.0.7.51:{}", 6381 + n).parse().unwrap(),
            group: GroupId(1),
            role: Role::Master,
            said: Ok(Said { used: *used, rss: *used, max: 15 * GIB, ..Said::default() }),
            kept: None,
        };
        let instances = sizes.iter().enumerate().map(instance).collect();
        Host { name: "10.0.7.51".into(), memory, instances }
    }

    #[test]
    fn one_server_of_n_is_left_free() {
        let policy = SnapshotsPolicy::default();
        for n in [2u64, 4, 7, 24] {
            let memory = 128 * GIB;
            let all = capacity(&host(memory, &vec![GIB; n as usize]), &policy);
            assert_eq!(all.fill, memory / n * (n - 1) + memory % n * (n - 1) / n);
            // Filled to that by equal servers, a child still fits.
            let each = all.fill / n;
            let full = capacity(&host(memory, &vec![each; n as usize]), &policy);
            assert!(!full.over && full.needs == each, "{n}: {full:?}");
            let over = capacity(&host(memory, &vec![each + GIB; n as usize]), &policy);
            assert!(over.over, "{n}: {over:?}");
        }
    }

    #[test]
    fn what_the_largest_server_needs_decides_where_they_differ() {
        let policy = SnapshotsPolicy::default();
        let seen = capacity(&host(64 * GIB, &[4 * GIB, 30 * GIB, 2 * GIB]), &policy);
        assert_eq!((seen.fill / GIB, seen.used / GIB, seen.needs / GIB), (42, 36, 30));
        assert_eq!(seen.largest.unwrap().as_str(), "10.0.7.51:6382");
        assert!(seen.over, "36 used and 30 for a child");
        assert_eq!(seen.max, Some(45 * GIB));
        let unknown = capacity(&host(0, &[GIB]), &policy);
        assert!(!unknown.over && unknown.memory == 0);
    }

    #[test]
    fn what_is_kept_free_counts() {
        let host = host(64 * GIB, &[15 * GIB, 15 * GIB]);
        assert!(!capacity(&host, &SnapshotsPolicy::default()).over);
        assert!(capacity(&host, &SnapshotsPolicy { reserve: 20 * GIB, ..SnapshotsPolicy::default() }).over);
    }
}
