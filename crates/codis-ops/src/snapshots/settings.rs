//! `[duty.snapshots]` of the settings: whether servers are saved one after another, and how often.

use std::{collections::BTreeMap, time::Duration};

use codis_core::{duty::snapshots::SnapshotsPolicy, ha};

use crate::config::{File, size};

/// Table of hosts whose memory the settings tell.
const MEMORY: &str = "duty.snapshots.host_memory";

/// How servers are saved.
#[derive(Debug, Clone, Default)]
pub struct SnapshotSettings {
    /// Agents do it.
    pub on: bool,
    /// How often, and who.
    pub policy: SnapshotsPolicy,
    /// What hosts have, for servers that do not say, and hosts of which only a part is for them. Bytes.
    pub host_memory: BTreeMap<String, u64>,
}

impl SnapshotSettings {
    /// Reads what the settings file says. Who is not saved stands in the table `ha`: `master_save`, `slave_save`.
    pub fn read(file: &File, ha: &ha::Policy) -> Self {
        let usual = SnapshotsPolicy::default();
        let interval = file.span("duty.snapshots.interval", Duration::from_millis(usual.interval_ms));
        let saves = |save: &Option<String>| save.as_ref().map(|save| !save.trim().is_empty());
        let policy = SnapshotsPolicy {
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            reserve: file.get("duty.snapshots.reserve").and_then(size).unwrap_or(usual.reserve),
            masters: saves(&ha.master_save),
            slaves: saves(&ha.slave_save),
        };
        let host_memory = file.below(MEMORY).filter_map(|(host, text)| Some((host.to_owned(), size(text)?)));
        Self { on: file.flag("duty.snapshots.on", false), policy, host_memory: host_memory.collect() }
    }
}
