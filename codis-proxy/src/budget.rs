//! How much all workers together may hold for clients and servers, and who is let through when it is much.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Nobody: clients are numbered from 1.
const NOBODY: u64 = 0;

/// What the workers hold, as far as they have told. Touched a few times a second, never by a request.
#[derive(Debug)]
pub(crate) struct Budget {
    max: usize,
    workers: usize,
    used: AtomicUsize,
    /// The one client that may go on with something big while memory is short, so that even a request that
    /// is larger than the whole budget passes.
    privileged: AtomicU64,
}

/// How short memory is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// It is not.
    #[default]
    None,
    /// Half is used: who has much waits.
    Some,
    /// All is used: who has most has to go.
    Full,
}

impl Budget {
    /// `max` bytes for so many workers.
    pub(crate) fn new(max: usize, workers: usize) -> Self {
        Self { max, workers: workers.max(1), used: AtomicUsize::new(0), privileged: AtomicU64::new(NOBODY) }
    }

    /// A worker that had told `before` now holds `now`.
    pub(crate) fn tell(&self, before: usize, now: usize) {
        self.used.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// How short memory is.
    pub(crate) fn pressure(&self) -> Pressure {
        match self.used.load(Ordering::Relaxed) {
            used if used >= self.max => Pressure::Full,
            used if used >= self.max / 2 => Pressure::Some,
            _ => Pressure::None,
        }
    }

    /// What a worker may keep when it has to let go.
    pub(crate) fn share(&self) -> usize {
        self.max / 2 / self.workers
    }

    /// How much a worker may take in before it looks again.
    pub(crate) fn step(&self) -> usize {
        (self.max / 16 / self.workers).max(64 << 10)
    }

    /// Tries to become the client that may go on; true if it is.
    pub(crate) fn claim(&self, client: u64) -> bool {
        let order = Ordering::Relaxed;
        let was = self.privileged.compare_exchange(NOBODY, client, order, order);
        was.is_ok() || was == Err(client)
    }

    /// The client needs it no longer.
    pub(crate) fn unclaim(&self, client: u64) {
        let order = Ordering::Relaxed;
        // It was another's, then.
        let _ = self.privileged.compare_exchange(client, NOBODY, order, order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_tell_adds_up() {
        let budget = Budget::new(100, 2);
        assert_eq!(budget.pressure(), Pressure::None);
        budget.tell(0, 40);
        budget.tell(0, 10);
        assert_eq!(budget.pressure(), Pressure::Some);
        budget.tell(40, 95);
        assert_eq!(budget.pressure(), Pressure::Full);
        budget.tell(95, 0);
        budget.tell(10, 0);
        assert_eq!((budget.pressure(), budget.share()), (Pressure::None, 25));
    }

    #[test]
    fn one_client_at_a_time_may_go_on() {
        let budget = Budget::new(100, 1);
        assert!(budget.claim(7) && budget.claim(7));
        assert!(!budget.claim(8));
        budget.unclaim(8);
        assert!(!budget.claim(8));
        budget.unclaim(7);
        assert!(budget.claim(8));
    }
}
