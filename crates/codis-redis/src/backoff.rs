//! Growing, jittered pauses between a bounded number of attempts.

use std::time::Duration;

use rand::Rng as _;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(3);

/// Counts failures in a row.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    failures: u32,
}

impl Backoff {
    /// Gives up at the `attempts`-th failure in a row.
    pub(crate) fn new(attempts: u32) -> Self {
        Self { attempts, failures: 0 }
    }

    /// After a failure: how long to pause before the next attempt, or `None` if it was the last.
    /// Half of the pause is random, so that workers that failed together do not come back together.
    pub(crate) fn next(&mut self) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.attempts {
            return None;
        }
        let full = (FIRST * 2u32.saturating_pow(self.failures - 1)).min(LONGEST);
        Some(full.mul_f64(rand::rng().random_range(0.5..=1.0)))
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row so far.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_end() {
        let mut backoff = Backoff::new(12);
        let pauses: Vec<Duration> = std::iter::from_fn(|| backoff.next()).collect();
        assert_eq!(pauses.len(), 11);
        assert!(pauses[0] <= FIRST && pauses[0] >= FIRST / 2);
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        assert!(pauses[10] >= LONGEST / 2);
    }
}
