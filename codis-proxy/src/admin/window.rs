//! Rates of the last seconds, from counters that only grow.

use std::collections::VecDeque;
use std::time::Instant;

use codis_admin::Rates;
use hdrhistogram::Histogram;

use super::pages;
use crate::stats::Stats;

/// How many samples are kept: with one every 2 s, the last 10 s.
const SAMPLES: usize = 5;

/// The newest samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct Window {
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    requests: u64,
    errors: u64,
    latency: Histogram<u64>,
}

impl Sample {
    fn of(stats: &Stats) -> Self {
        Self {
            at: Instant::now(),
            requests: stats.requests,
            errors: stats.errors,
            latency: pages::total_latency(stats),
        }
    }
}

impl Window {
    /// Keeps a sample, and drops the oldest when there are enough.
    pub(super) fn sample(&mut self, stats: &Stats) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample::of(stats));
    }

    /// The difference between now and the oldest sample.
    pub(super) fn recent(&self, stats: &Stats) -> Rates {
        let Some(oldest) = self.samples.front() else { return Rates::default() };
        let now = Sample::of(stats);
        let seconds = now.at.duration_since(oldest.at).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        let per_s = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
        let mut latency = now.latency;
        if latency.subtract(&oldest.latency).is_err() {
            latency.reset();
        }
        Rates {
            seconds,
            requests_per_s: per_s(now.requests, oldest.requests),
            errors_per_s: per_s(now.errors, oldest.errors),
            latency: pages::latency(&latency),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::pages::tests::{call, stats};

    #[test]
    fn only_what_came_after_the_oldest_sample_counts() {
        let mut window = Window::default();
        assert_eq!(window.recent(&stats()), Rates::default());
        let mut counters = stats();
        call(&mut counters, "GET", &[50_000; 100]);
        window.sample(&counters);
        window.samples[0].at -= Duration::from_secs(10);
        call(&mut counters, "GET", &[1000; 50]);
        let recent = window.recent(&counters);
        assert!((10.0..11.0).contains(&recent.seconds), "{recent:?}");
        assert!((4.5..=5.0).contains(&recent.requests_per_s), "{recent:?}");
        assert!((0.9..1.1).contains(&recent.latency.p99_ms), "{recent:?}");
        for _ in 0..20 {
            window.sample(&counters);
        }
        assert_eq!(window.samples.len(), SAMPLES);
    }
}
