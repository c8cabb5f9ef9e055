//! How fast keys move, from what the queue said over the last seconds.

use std::collections::{BTreeMap, VecDeque};

use codis_core::Cluster;

/// Samples older than this are forgotten, milliseconds.
const WINDOW_MS: u64 = 10_000;
/// A rate over less time than this says nothing, milliseconds.
const LEAST_MS: u64 = 900;

/// Keys handed over per task, at a few moments of the last ten seconds.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    samples: VecDeque<(u64, BTreeMap<u64, u64>)>,
}

impl Pace {
    /// Notes what the queue says now.
    pub fn note(&mut self, cluster: &Cluster, now_ms: u64) {
        let tasks = cluster.moves.iter().map(|entry| (entry.task, entry.keys_moved)).collect();
        self.samples.push_back((now_ms, tasks));
        while self.samples.front().is_some_and(|(at, _)| at + WINDOW_MS < now_ms) {
            self.samples.pop_front();
        }
    }

    /// Keys per second of these tasks together, or `None` if they were not watched long enough.
    ///
    /// Counted from the oldest moment that knew all of them: tasks are queued and finished at any
    /// time, and their coming and going is no movement of keys. The time in which none of them had
    /// moved a key was not spent on moving keys, and does not count either.
    pub fn rate(&self, tasks: &[u64]) -> Option<f64> {
        let moved = |sample: &BTreeMap<u64, u64>| -> Option<u64> {
            tasks.iter().map(|task| sample.get(task).copied()).sum()
        };
        let known = self.samples.iter().filter_map(|(at, sample)| Some((*at, moved(sample)?)));
        let known: Vec<(u64, u64)> = known.collect();
        let start = known.iter().rposition(|(_, moved)| *moved == 0).unwrap_or(0);
        let ((then, old), (now, new)) = (known.get(start)?, known.last()?);
        let elapsed = now.checked_sub(*then).filter(|ms| *ms >= LEAST_MS)?;
        Some(new.checked_sub(*old)? as f64 * 1_000.0 / elapsed as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pace that saw these tasks, with so many keys moved, at these moments.
    fn seen(samples: &[(u64, &[(u64, u64)])]) -> Pace {
        let samples = samples.iter().map(|(at, tasks)| (*at, tasks.iter().copied().collect()));
        Pace { samples: samples.collect() }
    }

    #[test]
    fn tasks_that_come_and_go_do_not_change_the_rate_of_the_others() {
        let pace =
            seen(&[(0, &[(1, 500)]), (1_000, &[(1, 900), (2, 0), (3, 0)]), (3_000, &[(2, 100), (3, 300)])]);
        assert_eq!(pace.rate(&[2, 3]), Some(200.0));
        assert_eq!(pace.rate(&[3]), Some(150.0));
    }

    #[test]
    fn the_time_before_the_first_key_does_not_count() {
        let waiting: &[(u64, u64)] = &[(1, 0), (2, 0)];
        let pace = seen(&[
            (0, waiting),
            (5_000, waiting),
            (6_000, &[(1, 50), (2, 0)]),
            (7_000, &[(1, 90), (2, 10)]),
        ]);
        assert_eq!(pace.rate(&[1, 2]), Some(50.0));
        assert_eq!(seen(&[(0, &[(1, 70)]), (2_000, &[(1, 70)])]).rate(&[1]), Some(0.0), "it stands still");
    }

    #[test]
    fn a_short_look_says_nothing() {
        assert_eq!(seen(&[]).rate(&[1]), None);
        assert_eq!(seen(&[(0, &[(1, 0)]), (500, &[(1, 900)])]).rate(&[1]), None);
        assert_eq!(seen(&[(0, &[]), (5_000, &[(1, 900)])]).rate(&[1]), None);
    }
}
