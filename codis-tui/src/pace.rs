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
    /// Tasks that came or went within the window do not count: a finished task takes its figures
    /// with it, and that is not a negative rate.
    pub fn rate(&self, tasks: &[u64]) -> Option<f64> {
        let (then, old) = self.samples.front()?;
        let (now, new) = self.samples.back()?;
        let elapsed = now.checked_sub(*then).filter(|ms| *ms >= LEAST_MS)?;
        let moved: u64 = tasks.iter().filter_map(|task| new.get(task)?.checked_sub(*old.get(task)?)).sum();
        Some(moved as f64 * 1_000.0 / elapsed as f64)
    }
}
