//! What people have set.

/// When agents act, and how far they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Pause between two questions to a server, milliseconds.
    pub check_interval_ms: u64,
    /// After how long without an answer a master is replaced, milliseconds.
    pub down_after_ms: u64,
    /// For how long a slave may have been without its master before that was lost, seconds.
    pub max_lag_s: u64,
    /// How long a group is left alone after a failover, milliseconds.
    pub recovery_block_ms: u64,
    /// A single agent may decide, if the proxies' witness agrees.
    pub single_observer: bool,
    /// An old master that is back becomes a slave by itself.
    pub auto_rejoin: bool,
    /// How long proxies hold requests back before they give a planned switch up, milliseconds.
    pub hold_ms: u64,
    /// `save` of a new master, `None` leaves it as it is.
    pub master_save: Option<String>,
    /// `save` of a server that becomes a slave.
    pub slave_save: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            check_interval_ms: 1000,
            down_after_ms: 6000,
            max_lag_s: 10,
            recovery_block_ms: 60_000,
            single_observer: true,
            auto_rejoin: true,
            hold_ms: 5000,
            master_save: None,
            slave_save: None,
        }
    }
}

/// Failovers of the product are suspended (`codisctl ha pause`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// `user@host`.
    pub by: String,
    /// Why, in their words.
    pub why: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Until when, Unix milliseconds. `None`: until somebody resumes.
    pub until_ms: Option<u64>,
}

impl Pause {
    /// True if it holds at this time.
    pub fn holds(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| now_ms < until)
    }
}
