//! Groups whose requests are held back while their master changes as planned.
//!
//! The journal of the switch ([`codis_core::Switch`]) says so, and only the journal ends it: a proxy that let go
//! by itself could write to a master that is none any more. So a proxy whose patience is over gives the switch
//! up in the journal, by compare-and-set, which works until the switch has become irrevocable; and one that has
//! lost its store goes on holding.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use codis_core::{GroupId, Switch, SwitchStep, Versioned};
use codis_store::{ErrorKind, Fired, StoreError, Watch};
use futures::future::select_all;

use super::Follower;
use crate::report::causes;

/// Groups that are held back, each with the switch that wants it and since when we know.
pub(super) type Holding = BTreeMap<GroupId, (u64, Instant)>;

impl Follower {
    /// Reads which of these groups are to be held back, into the view. Those whose journal cannot be
    /// understood stay as they are.
    pub(super) async fn read_switches(
        &mut self,
        groups: &[GroupId],
    ) -> Result<BTreeSet<GroupId>, StoreError> {
        let read = self.product.switches(groups).await?;
        for gap in &read.gaps {
            tracing::error!(path = gap.path, why = gap.why, "the journal of a switch cannot be understood");
        }
        let unread = |id: &GroupId| {
            let name = format!("/group_{id}");
            self.view.is_held(*id) && read.gaps.iter().any(|gap| gap.path.ends_with(&name))
        };
        let wanted =
            |id: &GroupId| read.found.get(id).map_or_else(|| unread(id), |switch| switch.step.holds());
        let held: BTreeSet<GroupId> = groups.iter().copied().filter(|id| wanted(id)).collect();
        for (id, switch) in &read.found {
            if switch.step.holds() {
                self.note_hold(*id, switch);
            }
        }
        Ok(held)
    }

    fn note_hold(&mut self, id: GroupId, switch: &Switch) {
        let known = self.holding.get(&id).is_some_and(|(epoch, _)| *epoch == switch.epoch);
        if !known {
            tracing::info!(group = %id, from = %switch.from, to = %switch.to, by = switch.owner, "requests of a group are held back");
            self.holding.insert(id, (switch.epoch, Instant::now()));
        }
    }

    /// Watches the journals of all groups that are held back. The groups that are to be so no longer are returned as
    /// well; a switch that has taken too long is given up.
    pub(super) async fn watch_switches(&mut self) -> Result<(Vec<Watch>, BTreeSet<GroupId>), StoreError> {
        let mut watches = Vec::new();
        let mut over = BTreeSet::new();
        for id in self.view.held_groups() {
            match self.product.watch_switch(id).await {
                Ok((Some(switch), watch)) if switch.step.holds() => {
                    self.note_hold(id, &switch);
                    if self.is_overdue(id, &switch) && self.give_up(&switch).await? {
                        over.insert(id);
                    }
                    watches.push(watch);
                }
                Ok(_) => {
                    over.insert(id);
                }
                Err(error) if matches!(error.kind, ErrorKind::Corrupt { .. }) => {
                    tracing::error!(group = %id, error = %causes(&error), "the group is held back still");
                }
                Err(error) => return Err(error),
            }
        }
        self.holding.retain(|id, _| !over.contains(id));
        Ok((watches, over))
    }

    fn is_overdue(&self, id: GroupId, switch: &Switch) -> bool {
        let patience = Duration::from_millis(switch.hold_ms);
        switch.step == SwitchStep::Hold
            && self.holding.get(&id).is_some_and(|(_, since)| since.elapsed() >= patience)
    }

    /// Gives a switch up. False if somebody has been faster, to that or another end.
    async fn give_up(&self, switch: &Versioned<Switch>) -> Result<bool, StoreError> {
        match self.product.step_switch(switch, SwitchStep::Aborted).await {
            Ok(_) => {
                let after_ms = switch.hold_ms;
                tracing::warn!(group = %switch.group, after_ms, "a planned switch has taken too long and is given up");
                Ok(true)
            }
            Err(error) if matches!(error.kind, ErrorKind::BadVersion | ErrorKind::NoNode) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Waits for the first of some notices; for ever if there are none.
pub(super) async fn any(watches: &mut [Watch]) -> Fired {
    if watches.is_empty() {
        return std::future::pending().await;
    }
    select_all(watches.iter_mut().map(|watch| Box::pin(watch.fired()))).await.0
}
