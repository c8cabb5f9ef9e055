//! What workers tell the one who follows the store: that a server, by its own word, is no master.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use codis_core::Addr;
use tokio::sync::Notify;

/// Servers that have refused writes and have not been looked after.
#[derive(Debug, Default)]
pub(crate) struct Nudge {
    servers: Mutex<BTreeSet<Addr>>,
    told: Notify,
}

impl Nudge {
    /// A server has said that it is no master.
    pub(crate) fn refused_by(&self, server: &Addr) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).insert(server.clone());
        self.told.notify_one();
    }

    /// Waits for the next ones. Dropping the future forgets none.
    pub(crate) async fn refused(&self) -> BTreeSet<Addr> {
        loop {
            let servers = std::mem::take(&mut *self.servers.lock().unwrap_or_else(PoisonError::into_inner));
            if !servers.is_empty() {
                return servers;
            }
            self.told.notified().await;
        }
    }
}
