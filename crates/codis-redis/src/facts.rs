//! What INFO says of a server, in the words that decisions about masters are made in.

use std::collections::BTreeMap;

use codis_core::{Addr, ha::Facts};

use crate::info::{key_counts, slave};

/// The fields that are used, besides those of slaves and databases. INFO has many more; to put them in order is most of the
/// work, and an agent does it all the time.
const USED: [&str; 22] = [
    "aof_rewrite_in_progress",
    "loading",
    "master_host",
    "master_last_io_seconds_ago",
    "master_link_down_since_seconds",
    "master_link_status",
    "master_port",
    "master_repl_offset",
    "master_replid",
    "master_replid2",
    "master_sync_in_progress",
    "maxmemory",
    "rdb_bgsave_in_progress",
    "rdb_last_bgsave_status",
    "redis_version",
    "role",
    "run_id",
    "second_repl_offset",
    "sync_full",
    "total_system_memory",
    "uptime_in_seconds",
    "used_memory",
];

fn is_used(name: &str) -> bool {
    name.starts_with("slave") || name.starts_with("db") || USED.contains(&name)
}

/// Reads the text of INFO.
///
/// # Errors
/// The name of the field without which nothing can be said: `role` or `run_id`.
pub fn facts(text: &str) -> Result<Facts, &'static str> {
    let lines = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    let fields: BTreeMap<&str, &str> = lines.filter(|(name, _)| is_used(name)).collect();
    let text = |name: &str| {
        debug_assert!(is_used(name), "{name} is passed over");
        fields.get(name).copied().unwrap_or_default()
    };
    let number = |name: &str| text(name).parse::<u64>().unwrap_or_default();
    let is_master = match text("role") {
        "master" => true,
        "slave" => false,
        _ => return Err("role"),
    };
    if text("run_id").is_empty() {
        return Err("run_id");
    }
    let history = |name: &str| {
        // A history that there is not is written as zeros.
        Some(text(name)).filter(|id| id.bytes().any(|byte| byte != b'0')).map(str::to_owned)
    };
    let former = history("master_replid2").zip(text("second_repl_offset").parse().ok());
    let (keys, _) = key_counts(&fields);
    let slaves = fields.iter().filter_map(|(name, value)| slave(name, value));
    Ok(Facts {
        is_master,
        master: address(text("master_host"), text("master_port")),
        run_id: text("run_id").to_owned(),
        history: history("master_replid"),
        former,
        offset: if is_master { number("master_repl_offset") } else { number("slave_repl_offset") },
        link_up: text("master_link_status") == "up",
        link_down_s: text("master_link_down_since_seconds").parse().ok(),
        last_io_s: text("master_last_io_seconds_ago").parse().ok(),
        syncing: number("master_sync_in_progress") != 0,
        loading: number("loading") != 0,
        // Servers that do not say have the default.
        priority: text("slave_priority").parse().unwrap_or(100),
        keys,
        version: text("redis_version").to_owned(),
        used_memory: number("used_memory"),
        maxmemory: number("maxmemory"),
        slaves: slaves.map(|slave| (slave.addr, slave.offset)).collect(),
        forked: number("rdb_bgsave_in_progress") + number("aof_rewrite_in_progress") != 0,
        host_memory: number("total_system_memory"),
        full_syncs: number("sync_full"),
        snapshot_ok: text("rdb_last_bgsave_status") != "err",
        uptime_s: number("uptime_in_seconds"),
    })
}

/// An address of version 6 has brackets where it stands before a port.
fn address(host: &str, port: &str) -> Option<Addr> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{host}:{port}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_that_has_lost_its_master() {
        let text = "redis_version:7.0.15\r\nrun_id:abc\r\nloading:0\r\nrole:slave\r\nmaster_host:10.0.0.1\r\n\
            master_port:6379\r\nmaster_link_status:down\r\nmaster_last_io_seconds_ago:-1\r\n\
            master_sync_in_progress:0\r\nslave_repl_offset:90\r\nmaster_link_down_since_seconds:7\r\n\
            slave_priority:50\r\nmaster_replid:feed\r\nmaster_replid2:beef\r\nsecond_repl_offset:41\r\n\
            master_repl_offset:90\r\ndb0:keys=12,expires=0,avg_ttl=0\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n";
        let facts = facts(text).unwrap();
        assert!(!facts.is_master && !facts.link_up && !facts.syncing);
        assert_eq!((facts.link_down_s, facts.last_io_s), (Some(7), None));
        assert_eq!((facts.offset, facts.priority, facts.keys), (90, 50, 13));
        assert_eq!(facts.former, Some(("beef".to_owned(), 41)));
        assert_eq!(facts.master.unwrap().as_str(), "10.0.0.1:6379");
    }

    #[test]
    fn an_old_server_has_no_history_and_a_link_that_never_was_no_age() {
        let text = "redis_version:2.8.21\nrun_id:x\nrole:slave\nmaster_host:h\nmaster_port:1\n\
            master_link_status:down\nmaster_link_down_since_seconds:-1\n";
        let facts = facts(text).unwrap();
        assert_eq!((facts.history, facts.former, facts.link_down_s), (None, None, None));
        assert_eq!(super::facts("role:master\n").unwrap_err(), "run_id");
        assert_eq!(super::facts("run_id:x\n").unwrap_err(), "role");
        let zeros = "run_id:x\nrole:master\nmaster_replid:ab\nmaster_replid2:0000000000\nsecond_repl_offset:-1\n\
            slave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=1\n";
        let facts = super::facts(zeros).unwrap();
        assert_eq!((facts.former, facts.slaves), (None, vec![("10.0.0.2:6379".to_owned(), 42)]));
    }
}
