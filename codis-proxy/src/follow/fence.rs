//! What happens when the store is away for long: nothing (`on_store_loss = "serve"`), or the proxy answers every
//! request with an error until the store is back (`"fence"`).
//!
//! Serving on is safe: while our fence stands in the store, nobody changes what we serve and counts on it. Whoever
//! would rather have an error than answers that rest on that chooses to be fenced.

use std::time::Instant;

use tokio::time::timeout;

use super::{Follower, join::DRAIN};
use crate::table::Table;

impl Follower {
    /// The store has not answered.
    pub(super) fn store_lost(&mut self) {
        self.lost.get_or_insert_with(Instant::now);
    }

    /// When the proxy has to be fenced, if the store does not come back.
    pub(super) fn fence_due(&self) -> Option<Instant> {
        let (lost, after) = (self.lost?, self.fence_after?);
        (!self.fenced).then(|| lost + after)
    }

    /// Fences the proxy if that is due.
    pub(super) async fn fence_if_due(&mut self) {
        if self.fence_due().is_none_or(|due| due > Instant::now()) {
            return;
        }
        let seconds = self.lost.map_or(0, |lost| lost.elapsed().as_secs());
        let why = format!("the store has been away for {seconds} s (on_store_loss = fence)");
        tracing::error!(why, "requests are answered with an error until the store is back");
        self.status.update(|facts| facts.not_ready = Some(why));
        self.fenced = true;
        let old = self.workers.table();
        let mut table = Table::unassigned();
        (table.epoch, table.membership, table.fenced) = (old.epoch + 1, old.membership, true);
        // Requests that hang on a server are waited for by the workers, not here.
        let _ = timeout(DRAIN, self.workers.install(table.into())).await;
    }

    /// The store answers. True if the proxy was fenced and must read everything anew.
    pub(super) fn store_found(&mut self) -> bool {
        self.lost = None;
        let fenced = std::mem::take(&mut self.fenced);
        if fenced {
            tracing::info!("the store is back; requests are served again");
            self.status.update(|facts| facts.not_ready = None);
        }
        fenced
    }
}
