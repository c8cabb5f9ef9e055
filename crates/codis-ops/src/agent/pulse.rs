//! Whether this process has been asleep, stopped or without a turn: it has asked nobody meanwhile, so nobody was silent.
//!
//! A tick cannot tell by itself, because it may have waited for the store: meanwhile the servers were asked as always.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

/// Time between two beats.
const BEAT: Duration = Duration::from_millis(200);
/// A beat may be late by so much on a busy machine.
const LATE: Duration = Duration::from_secs(1);

/// A task that does nothing but beat.
#[derive(Debug)]
pub(super) struct Pulse {
    beats: Arc<Mutex<Beats>>,
    limit: Duration,
    task: AbortHandle,
}

#[derive(Debug)]
struct Beats {
    last: Instant,
    /// The longest gap since somebody asked, if it was one.
    gap: Option<Duration>,
}

impl Pulse {
    /// One that calls it sleep when two questions to a server have fallen out.
    pub(super) fn start(interval: Duration) -> Self {
        let beats = Arc::new(Mutex::new(Beats { last: Instant::now(), gap: None }));
        let limit = interval * 2 + LATE;
        let own = Arc::clone(&beats);
        let task = tokio::spawn(async move {
            loop {
                sleep(BEAT).await;
                beat(&own, limit);
            }
        });
        Self { beats, limit, task: task.abort_handle() }
    }

    /// For how long this process has been asleep since this was last asked; also if it wakes only now.
    pub(super) fn slept(&self) -> Option<Duration> {
        beat(&self.beats, self.limit);
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).gap.take()
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn beat(beats: &Mutex<Beats>, limit: Duration) {
    beats.lock().unwrap_or_else(PoisonError::into_inner).beat(Instant::now(), limit);
}

impl Beats {
    fn beat(&mut self, now: Instant, limit: Duration) {
        let gap = now.duration_since(self.last);
        if gap > limit {
            self.gap = self.gap.max(Some(gap));
        }
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_is_late_is_sleep_until_somebody_has_asked() {
        let (begun, limit) = (Instant::now(), Duration::from_secs(3));
        let mut beats = Beats { last: begun, gap: None };
        let mut now = begun;
        for _ in 0..300 {
            now += BEAT;
            beats.beat(now, limit);
        }
        assert_eq!(beats.gap, None, "somebody waits for a minute, and the heart beats");
        now += Duration::from_secs(10);
        beats.beat(now, limit);
        beats.beat(now + BEAT, limit);
        assert_eq!(beats.gap, Some(Duration::from_secs(10)));
    }
}
