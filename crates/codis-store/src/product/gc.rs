//! Old actions, and what was left of them, are removed.
//!
//! The original keeps every action for ever; each is two nodes and one more for each proxy that answered. Proxies look at
//! the newest one only, and its publisher waits for it for half a minute at most. So all but the newest hundreds are of use
//! to nobody.

use std::time::Duration;

use tokio::time::timeout;

use super::{Product, Result};
use crate::error::ErrorKind;
use crate::node::Op;

/// Nodes in `actions` or `ActionResponse` at which publishing collects first. Publishers that look at the same time
/// may each add one, so the limit of 1,000 is not waited for.
const CROWDED: u64 = 900;
/// Actions kept then.
const KEPT: usize = 500;
/// Longest time that publishing gives to it; the next one goes on where it ended.
const PATIENCE: Duration = Duration::from_secs(1);
/// Deletions in one transaction: a few milliseconds of a local store.
const BATCH: usize = 128;
/// Actions whose acknowledgements are listed at once.
const PAGE: usize = 512;

impl Product {
    /// Removes all but the newest `keep` actions with their responses, and responses without an action that are
    /// older than those or not among the newest `keep` either; says how many actions.
    ///
    /// An action goes with its response and acknowledgements in one transaction, so this can be interrupted and run by
    /// several at once. One that gets an acknowledgement in this moment is left to the next run. Numbers go on
    /// where they were: proxies that have seen a higher one would not look at a lower one.
    pub async fn gc_actions(&self, keep: usize) -> Result<usize> {
        let lists = self.store.children_many(&[self.layout.actions(), self.layout.responses()]).await?;
        let mut lists = lists.into_iter().map(|names| numbers(&names.unwrap_or_default()));
        let (actions, responses) = (lists.next().unwrap_or_default(), lists.next().unwrap_or_default());
        let (old, count) = old(&actions, &responses, keep);
        for page in old.chunks(PAGE) {
            let paths: Vec<String> = page.iter().map(|seq| self.layout.response(*seq)).collect();
            let acks = self.store.children_many(&paths).await?;
            let removals =
                page.iter().zip(acks).map(|(seq, acks)| self.removal(*seq, &actions, acks)).collect();
            self.remove_all(removals).await?;
        }
        Ok(count)
    }

    /// Collects when there are many. What goes wrong here is no reason not to publish.
    pub(super) async fn gc_when_crowded(&self) {
        let collect = async {
            let dirs = [self.layout.actions(), self.layout.responses()];
            let stats = self.store.stat_many(&dirs).await?;
            match stats.iter().flatten().any(|dir| dir.children >= CROWDED) {
                true => self.gc_actions(KEPT).await,
                false => Ok(0),
            }
        };
        match timeout(PATIENCE, collect).await {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::debug!(count, "old actions were removed"),
            Ok(Err(error)) => tracing::warn!(%error, "old actions cannot be removed now"),
            Err(_) => {
                tracing::debug!("removing old actions takes long; the next publication goes on with it")
            }
        }
    }

    /// Everything of one action, children first.
    fn removal(&self, seq: u64, actions: &[u64], acks: Option<Vec<String>>) -> Vec<Op> {
        let gone = |path| Op::Delete { path, version: None };
        let response = self.layout.response(seq);
        let mut ops = Vec::new();
        if let Some(acks) = acks {
            ops.extend(acks.iter().map(|id| gone(format!("{response}/{id}"))));
            ops.push(gone(response));
        }
        if actions.binary_search(&seq).is_ok() {
            ops.push(gone(self.layout.action(seq)));
        }
        ops
    }

    /// Several removals in each transaction; where one is refused, each in its own.
    async fn remove_all(&self, removals: Vec<Vec<Op>>) -> Result<()> {
        let mut rest = removals.as_slice();
        while !rest.is_empty() {
            let mut count = 0;
            let fits = |removal: &&Vec<Op>| {
                count += removal.len();
                count <= BATCH
            };
            let (batch, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            rest = after;
            if !self.removed(batch.concat()).await? {
                for removal in batch {
                    self.removed(removal.clone()).await?;
                }
            }
        }
        Ok(())
    }

    /// False when somebody else collects as well, or a late proxy has just answered.
    async fn removed(&self, removal: Vec<Op>) -> Result<bool> {
        match self.store.commit(removal).await {
            Err(error) if matches!(error.kind, ErrorKind::NoNode | ErrorKind::NotEmpty) => Ok(false),
            done => done.map(|_| true),
        }
    }
}

/// Numbers of actions among the names, ascending. Other names are not ours.
pub(super) fn numbers(names: &[String]) -> Vec<u64> {
    let number = |name: &String| name.parse().ok().filter(|seq| *name == format!("{seq:010}"));
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Numbers to remove, ascending, and how many of them are actions.
fn old(actions: &[u64], responses: &[u64], keep: usize) -> (Vec<u64>, usize) {
    let beyond = |all: &[u64]| all.len().saturating_sub(keep);
    let gone = &actions[..beyond(actions)];
    let newest_gone = gone.last().copied();
    let old_responses = beyond(responses);
    let lost = responses.iter().enumerate().filter(|(place, seq)| {
        actions.binary_search(seq).is_err() && (*place < old_responses || Some(**seq) < newest_gone)
    });
    let mut old: Vec<u64> = gone.iter().copied().chain(lost.map(|(_, seq)| *seq)).collect();
    old.sort_unstable();
    (old, gone.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_actions_stay_and_what_is_left_of_older_ones_goes() {
        assert_eq!(old(&[2, 4, 6], &[2, 4, 6], 3), (vec![], 0));
        assert_eq!(old(&[2, 4, 6], &[2, 4, 6], 2), (vec![2], 1));
        // Drawn and never published; the last one may be about to be.
        assert_eq!(old(&[2, 4, 6], &[1, 2, 3, 4, 6, 7], 1), (vec![1, 2, 3, 4], 2));
        // An action whose response somebody else has removed, and many responses without an action.
        assert_eq!(old(&[2, 4], &[4], 1), (vec![2], 1));
        assert_eq!(old(&[9], &[1, 2, 3, 9, 10], 2), (vec![1, 2, 3], 0));
        assert_eq!(old(&[2, 4], &[2, 4, 6], 0), (vec![2, 4, 6], 2));
    }

    #[test]
    fn only_ten_digits_are_a_number() {
        let names = ["0000000012", "12", "0000000002", "00000000x2", "lock-00001"].map(str::to_owned);
        assert_eq!(numbers(&names), [2, 12]);
    }
}
