//! How far a wave is: told as events, noted in its tasks, summed up in the report.

use std::time::{Duration, Instant};

use codis_redis::{BulkProgress, BulkReport};

use super::{RunReport, queue::Wave};
use crate::{WavePhase, WaveProgress};

/// The progress of one wave, from which events are made.
pub(crate) struct Progress {
    shown: WaveProgress,
    /// When the rate was last computed, and the keys moved by then.
    since: (Instant, u64),
    /// Keys moved by earlier bulk moves of this wave in this run.
    before: u64,
}

impl Progress {
    pub(crate) fn new(wave: &Wave) -> Self {
        let shown = WaveProgress {
            wave: wave.number,
            from: wave.from,
            to: wave.to,
            slots: wave.slots(),
            phase: WavePhase::PreFlight,
            acks: (0, 0),
            keys_total: None,
            keys_moved: 0,
            keys_per_s: 0.0,
            eta_s: None,
            batch_keys: 0,
            stall_p50_ms: 0.0,
            stall_p99_ms: 0.0,
            stall_max_ms: 0.0,
            note: String::new(),
        };
        Self { shown, since: (Instant::now(), 0), before: 0 }
    }

    pub(crate) fn phase(&mut self, phase: WavePhase) -> WaveProgress {
        self.shown.phase = phase;
        self.shown.acks = (0, 0);
        self.shown.clone()
    }

    pub(crate) fn failed(&mut self, note: String) -> WaveProgress {
        self.shown.note = note;
        self.phase(WavePhase::Failed)
    }

    pub(crate) fn total(&mut self, keys: u64) {
        self.shown.keys_total = Some(keys);
    }

    pub(crate) fn acks(&mut self, received: usize, expected: usize) -> WaveProgress {
        self.shown.acks = (received, expected);
        self.shown.clone()
    }

    pub(crate) fn moved(&mut self, bulk: &BulkProgress) -> WaveProgress {
        let shown = &mut self.shown;
        shown.keys_moved = self.before + bulk.done();
        let seconds = self.since.0.elapsed().as_secs_f64();
        if seconds > 0.5 || shown.keys_per_s == 0.0 {
            shown.keys_per_s = (shown.keys_moved - self.since.1) as f64 / seconds.max(1e-3);
            self.since = (Instant::now(), shown.keys_moved);
        }
        let left = shown.keys_total.map(|total| total.saturating_sub(shown.keys_moved));
        shown.eta_s = left
            .filter(|_| shown.keys_per_s > 0.0)
            .map(|left| (left as f64 / shown.keys_per_s).ceil() as u64);
        shown.batch_keys = u32::try_from(bulk.batch).unwrap_or(u32::MAX);
        shown.stall_p50_ms = ms(bulk.stall.p50);
        shown.stall_p99_ms = ms(bulk.stall.p99);
        shown.stall_max_ms = ms(bulk.stall.max);
        shown.clone()
    }

    /// A bulk move ended and another may follow.
    pub(crate) fn keep(&mut self) {
        self.before = self.shown.keys_moved;
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The figures of a whole run.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    report: RunReport,
    /// When keys moved, in each bulk move; those of several waves overlap.
    moving: Vec<(Instant, Instant)>,
}

impl Totals {
    pub(crate) fn bulk(&mut self, bulk: &BulkReport) {
        let (progress, report) = (&bulk.progress, &mut self.report);
        report.keys_moved += progress.done();
        report.bytes_moved += progress.bytes;
        report.stall_p50_ms = report.stall_p50_ms.max(ms(progress.stall.p50));
        report.stall_p99_ms = report.stall_p99_ms.max(ms(progress.stall.p99));
        report.stall_max_ms = report.stall_max_ms.max(ms(progress.stall.max));
        self.moving.extend(bulk.moving);
    }

    pub(crate) fn wave(&mut self) {
        self.report.waves += 1;
    }

    pub(crate) fn slots(&mut self, count: usize) {
        self.report.slots_moved += count;
    }

    pub(crate) fn report(&self, begun: Instant) -> RunReport {
        RunReport {
            keys_per_s: self.report.keys_moved as f64 / covered(&self.moving).as_secs_f64().max(1e-3),
            took_ms: begun.elapsed().as_millis() as u64,
            ..self.report.clone()
        }
    }
}

/// How long at least one of these spans lasted.
fn covered(spans: &[(Instant, Instant)]) -> Duration {
    let mut spans = spans.to_vec();
    spans.sort_unstable();
    let mut covered = Duration::ZERO;
    let mut until = None;
    for (begin, end) in spans {
        let begin = until.map_or(begin, |until| begin.max(until));
        covered += end.saturating_duration_since(begin);
        until = until.max(Some(end));
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_that_overlap_are_not_counted_twice() {
        let zero = Instant::now();
        let span = |from, to| (zero + Duration::from_secs(from), zero + Duration::from_secs(to));
        assert_eq!(covered(&[]), Duration::ZERO);
        assert_eq!(covered(&[span(7, 9), span(0, 4), span(1, 2), span(3, 6)]), Duration::from_secs(8));
    }
}
