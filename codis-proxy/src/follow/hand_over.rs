//! Leaves the store to a successor, and comes back when that does not get there.

use std::time::Duration;

use codis_core::ProxyState;

use super::Follower;
use crate::restart::Successor;

impl Follower {
    /// Hands over to another process of this proxy. `None`: it serves now. Else this one is registered again.
    ///
    /// Nothing is unfinished on any server when node and fence go: from then on others may change what this
    /// process goes by.
    pub(super) async fn hand_over(
        &mut self,
        mut successor: Successor,
        grace: Duration,
    ) -> Option<ProxyState> {
        tracing::info!(id = %self.own.id, "handing over to another process");
        loop {
            let why = match self.doors.step_aside().await {
                Ok(before) => match self.take_out().await {
                    Ok(()) => break self.go(successor, grace, &before).await,
                    Err(why) => {
                        self.doors.restore(&before).await;
                        why
                    }
                },
                Err(why) => why,
            };
            let state = self.join_again().await;
            if !successor.not_now(why).await {
                break Some(state);
            }
        }
    }

    async fn go(
        &mut self,
        mut successor: Successor,
        grace: Duration,
        before: &crate::table::Table,
    ) -> Option<ProxyState> {
        if let Err(error) = successor.go().await {
            tracing::warn!(%error, "the new process does not serve; going on here");
            drop(successor);
            self.doors.restore(before).await;
            return Some(self.join_again().await);
        }
        self.doors.leave_to(successor, grace).await;
        self.close_store().await;
        None
    }
}
