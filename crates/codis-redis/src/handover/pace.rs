//! How much to move at once: as much as the stall budget allows, found out by trying.

use std::time::Duration;

use crate::Found;

/// Weight of the smallest batch tried first.
const START: u64 = 32;
const STEP: u64 = 16;
const MAX: u64 = 4096;

/// The limit on a batch, raised a little after each quick one and halved after each slow one.
///
/// A server runs the pipelined commands of one connection in one go, so the time that a batch's DUMPs
/// or RESTOREs take, waiting for other batches included, is what a client of that server may have to wait.
#[derive(Debug)]
pub(crate) struct Pace {
    budget: Duration,
    limit: u64,
}

impl Pace {
    pub(crate) fn new(budget: Duration) -> Self {
        Self { budget, limit: START }
    }

    /// What a batch may weigh now.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// A batch of this weight took this long. Growth stops at half the budget, so that a hiccup
    /// still fits into the rest.
    pub(crate) fn observe(&mut self, weight: u64, slowest: Duration) {
        if slowest > self.budget {
            self.limit = (self.limit.min(weight) / 2).max(1);
        } else if slowest < self.budget / 2 && weight * 2 >= self.limit {
            self.limit = (self.limit + STEP).min(MAX);
        }
    }
}

/// What moving a key costs, in small keys: one, and one more for each KiB.
pub(crate) fn weight(found: &Found) -> u64 {
    1 + found.bytes / 1024
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: Duration = Duration::from_millis(5);

    #[test]
    fn it_settles_below_the_budget() {
        // A server that needs 10 us per key.
        let mut pace = Pace::new(BUDGET);
        for _ in 0..200 {
            pace.observe(pace.limit(), Duration::from_micros(10 * pace.limit()));
        }
        assert!((200..=300).contains(&pace.limit()), "{pace:?}");
        // It becomes ten times slower: two batches later the pace fits again.
        for _ in 0..3 {
            pace.observe(pace.limit(), Duration::from_micros(100 * pace.limit()));
        }
        assert!(pace.limit() <= 50, "{pace:?}");
    }

    #[test]
    fn a_small_last_batch_says_nothing() {
        let mut pace = Pace::new(BUDGET);
        pace.observe(1, Duration::from_micros(50));
        assert_eq!(pace.limit(), START);
    }

    proptest! {
        #[test]
        fn there_is_always_room_for_one_key(times in proptest::collection::vec(0u64..50_000, 0..300)) {
            let mut pace = Pace::new(BUDGET);
            for micros in times {
                pace.observe(pace.limit(), Duration::from_micros(micros));
                prop_assert!((1..=MAX).contains(&pace.limit()));
            }
        }
    }
}
