//! The tables `[agent]` and `[ha]` as what an agent goes by.

use std::{path::PathBuf, time::Duration};

use codis_core::ha::Policy;

use super::File;
use crate::Failure;

/// Where the data of old masters is kept unless the file names another folder: in the directory that an agent runs in.
const BACKUPS: &str = "rejoin-backups";

/// How masters are watched and replaced, and where the data of old ones is kept.
///
/// # Errors
/// `Usage` for thresholds that cannot work together.
pub fn ha(file: &File) -> Result<(Policy, PathBuf), Failure> {
    let usual = Policy::default();
    let ms = |key: &str, usual: u64| file.span(key, Duration::from_millis(usual)).as_millis() as u64;
    let policy = Policy {
        check_interval_ms: ms("agent.check_interval", usual.check_interval_ms),
        down_after_ms: ms("ha.down_after", usual.down_after_ms),
        max_lag_s: ms("ha.max_lag", usual.max_lag_s * 1000) / 1000,
        recovery_block_ms: ms("ha.recovery_block", usual.recovery_block_ms),
        single_observer: file.flag("ha.single_observer", usual.single_observer),
        auto_rejoin: file.get("ha.rejoin") != Some("manual"),
        hold_ms: ms("ha.hold_timeout", usual.hold_ms),
        master_save: file.get("ha.master_save").map(str::to_owned),
        slave_save: file.get("ha.slave_save").map(str::to_owned),
    };
    if policy.down_after_ms < policy.check_interval_ms * 2 {
        let why = format!(
            "a master would be lost after {} ms, and it is asked every {} ms: one late answer would do",
            policy.down_after_ms, policy.check_interval_ms
        );
        return Err(file.wrong("ha.down_after", why));
    }
    Ok((policy, PathBuf::from(file.get("ha.backup_dir").unwrap_or(BACKUPS))))
}
