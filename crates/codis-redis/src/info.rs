//! What INFO says, as a value.

use std::collections::BTreeMap;

use codis_core::{Addr, ServerTraits};

/// What a server is right now, whatever the store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveRole {
    /// Accepts writes.
    Master,
    /// Replicates.
    Slave,
}

/// Which SLOTS* commands a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// A stock Redis or Valkey.
    Stock,
    /// A codis-server: has SLOTSMGRTTAGONE and its kin.
    Native,
}

/// One slave as its master sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlaveLink {
    /// Where it says it listens, as reported.
    pub addr: String,
    /// True if it takes the stream of writes (`online`), not still loading.
    pub online: bool,
    /// How far it has come, bytes of the replication stream.
    pub offset: u64,
    /// Seconds since it last said so.
    pub lag_s: u64,
}

/// The parts of INFO that this toolkit uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Master or slave.
    pub role: LiveRole,
    /// Version, e.g. `7.0.15`.
    pub version: String,
    /// Changes with every start of the process.
    pub run_id: String,
    /// Changes when the data set is replaced or a slave becomes a master.
    pub replid: String,
    /// Stock or native, if it was asked for.
    pub kind: Option<ServerKind>,
    /// The master it follows, slaves only.
    pub master: Option<Addr>,
    /// True for a slave whose link to its master is up. Masters: `None`.
    pub link_up: Option<bool>,
    /// Position in the replication stream, bytes.
    pub offset: u64,
    /// The slaves it sees.
    pub slaves: Vec<SlaveLink>,
    /// Memory in use, bytes.
    pub used_memory: u64,
    /// Memory limit, bytes; 0 is none.
    pub maxmemory: u64,
    /// Eviction policy, e.g. `noeviction`.
    pub policy: String,
    /// Keys in all databases.
    pub keys: u64,
    /// Databases other than 0 that hold keys.
    pub other_dbs: u64,
    /// Commands in the last second.
    pub ops_per_s: u64,
    /// Connected clients, slaves not counted.
    pub clients: u64,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// True while it reads its data set from disk.
    pub loading: bool,
}

impl ServerInfo {
    /// Reads the text of INFO. Fields that an old server lacks are 0 or empty.
    ///
    /// # Errors
    /// The name of the field without which nothing can be said: `role`, `run_id` or `redis_version`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let fields: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(':')).collect();
        let text = |name: &str| fields.get(name).copied().unwrap_or_default().trim();
        let number = |name: &str| text(name).parse::<u64>().unwrap_or_default();
        let role = match text("role") {
            "master" => LiveRole::Master,
            "slave" => LiveRole::Slave,
            _ => return Err("role"),
        };
        let need = |name: &'static str| Some(text(name).to_owned()).filter(|t| !t.is_empty()).ok_or(name);
        let (keys, other_dbs) = key_counts(&fields);
        Ok(Self {
            role,
            version: need("redis_version")?,
            run_id: need("run_id")?,
            // Before Redis 4 there was none: then a data set lasts as long as the process.
            replid: match text("master_replid") {
                "" => text("run_id").to_owned(),
                replid => replid.to_owned(),
            },
            kind: None,
            master: format!("{}:{}", text("master_host"), text("master_port")).parse().ok(),
            link_up: (role == LiveRole::Slave).then(|| text("master_link_status") == "up"),
            offset: match role {
                LiveRole::Master => number("master_repl_offset"),
                LiveRole::Slave => number("slave_repl_offset"),
            },
            slaves: fields.iter().filter_map(|(name, value)| slave(name, value)).collect(),
            used_memory: number("used_memory"),
            maxmemory: number("maxmemory"),
            policy: text("maxmemory_policy").to_owned(),
            keys,
            other_dbs,
            ops_per_s: number("instantaneous_ops_per_sec"),
            clients: number("connected_clients"),
            uptime_s: number("uptime_in_seconds"),
            loading: text("loading") == "1",
        })
    }

    /// Slaves that take the stream of writes: what a WAIT can count on.
    pub fn slaves_online(&self) -> u32 {
        self.slaves.iter().filter(|slave| slave.online).count() as u32
    }

    /// What moving keys depends on. Without SLOTS* commands if the kind was not asked for.
    pub fn traits(&self) -> ServerTraits<'_> {
        let slots = self.kind == Some(ServerKind::Native);
        ServerTraits { major: self.major(), slots, policy: &self.policy }
    }

    /// Major version, 0 if unreadable.
    pub fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

/// `slave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=1`
pub(crate) fn slave(name: &str, value: &str) -> Option<SlaveLink> {
    let index = name.strip_prefix("slave")?;
    if index.is_empty() || !index.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let parts: BTreeMap<&str, &str> =
        value.trim().split(',').filter_map(|part| part.split_once('=')).collect();
    let number = |name: &str| parts.get(name).and_then(|text| text.parse().ok()).unwrap_or_default();
    Some(SlaveLink {
        addr: format!("{}:{}", parts.get("ip")?, parts.get("port")?),
        online: parts.get("state") == Some(&"online"),
        offset: number("offset"),
        lag_s: number("lag"),
    })
}

/// `db0:keys=12,expires=0,avg_ttl=0` → keys in all, and how many other databases hold some.
pub(crate) fn key_counts(fields: &BTreeMap<&str, &str>) -> (u64, u64) {
    let mut counts = (0, 0);
    for (name, value) in fields {
        let index = name.strip_prefix("db").and_then(|text| text.parse::<u32>().ok());
        let keys = value.strip_prefix("keys=").and_then(|text| text.split(',').next()?.parse::<u64>().ok());
        if let (Some(index), Some(keys)) = (index, keys) {
            counts.0 += keys;
            counts.1 += u64::from(index > 0 && keys > 0);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASTER: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nuptime_in_seconds:9\r\n\
        # Clients\r\nconnected_clients:3\r\n# Memory\r\nused_memory:1000\r\nmaxmemory:0\r\n\
        maxmemory_policy:noeviction\r\n# Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\n\
        connected_slaves:2\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=42,lag=1\r\n\
        slave1:ip=10.0.0.3,port=6380,state=wait_bgsave,offset=0,lag=0\r\nslave_read_only:1\r\n\
        master_replid:feed\r\nmaster_repl_offset:43\r\n# Stats\r\ninstantaneous_ops_per_sec:7\r\n\
        # Keyspace\r\ndb0:keys=12,expires=0,avg_ttl=0\r\ndb3:keys=1,expires=0,avg_ttl=0\r\n";

    #[test]
    fn a_master_with_two_slaves() {
        let info = ServerInfo::parse(MASTER).unwrap();
        assert_eq!(info.role, LiveRole::Master);
        assert_eq!((info.keys, info.other_dbs, info.offset, info.clients), (13, 1, 43, 3));
        assert_eq!((info.slaves.len(), info.slaves_online()), (2, 1));
        assert_eq!(info.slaves[0].addr, "10.0.0.2:6379");
        assert_eq!((info.major(), info.link_up, info.master), (7, None, None));
    }

    #[test]
    fn a_slave_with_a_broken_link() {
        let text = "redis_version:2.8.21\nrun_id:x\nrole:slave\nmaster_host:10.0.0.1\nmaster_port:6379\n\
            master_link_status:down\nslave_repl_offset:5\n";
        let info = ServerInfo::parse(text).unwrap();
        assert_eq!(info.link_up, Some(false));
        assert_eq!(info.master.unwrap().as_str(), "10.0.0.1:6379");
        assert_eq!(info.offset, 5);
    }

    #[test]
    fn the_missing_field_is_named() {
        assert_eq!(ServerInfo::parse("run_id:x\n").unwrap_err(), "role");
        assert_eq!(ServerInfo::parse("role:master\nredis_version:7\n").unwrap_err(), "run_id");
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_a_value(text in "(role|db|slave|run_id|[0-9a-z]{0,4})[:=,0-9a-z\r\n]{0,200}") {
            let _ = ServerInfo::parse(&text);
            let _ = ServerInfo::parse(&format!("{MASTER}{text}"));
        }
    }
}
