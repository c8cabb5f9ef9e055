//! Keeps a broken pair of servers from holding up the slots that need only one of them.

use std::time::{Duration, Instant};

/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Closed while hand-overs of a pair work; open, with one probe after each pause, while they do not.
#[derive(Debug)]
pub(crate) struct Breaker {
    /// Nothing while closed.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    pause: Duration,
    until: Instant,
    probing: bool,
}

/// The breaker's answer to a hand-over that wants to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Go on.
    Go,
    /// Go on; everything else waits for your result.
    Probe,
    /// Not now. Try again after this long.
    Refused(Duration),
}

impl Breaker {
    /// A closed breaker.
    pub(crate) fn new() -> Self {
        Self { open: None }
    }

    /// Asks for permission to begin a hand-over. A [`Admission::Probe`] must be followed by
    /// [`Breaker::worked`], [`Breaker::failed`] or [`Breaker::gave_up`].
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        match &mut self.open {
            None => Admission::Go,
            Some(open) if open.probing => Admission::Refused(FIRST_PAUSE),
            Some(open) if now < open.until => Admission::Refused(open.until - now),
            Some(open) => {
                open.probing = true;
                Admission::Probe
            }
        }
    }

    /// A hand-over got its answers: the pair works.
    pub(crate) fn worked(&mut self) {
        self.open = None;
    }

    /// A hand-over got no answer. `jitter` in 0..1 spreads the probes of many proxies.
    pub(crate) fn failed(&mut self, now: Instant, jitter: f64) {
        let pause = match &self.open {
            None => FIRST_PAUSE,
            Some(open) if open.probing => (open.pause * 2).min(LONGEST_PAUSE),
            // One of several hand-overs that were on their way when the pair broke.
            Some(_) => return,
        };
        let until = now + pause.mul_f64(0.5 + jitter / 2.0);
        self.open = Some(Open { pause, until, probing: false });
    }

    /// The probe could not be made (its queue was full, say): the next one may.
    pub(crate) fn gave_up(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// Whether hand-overs are being refused.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_probes_grows_and_closes() {
        let mut breaker = Breaker::new();
        let mut now = Instant::now();
        assert_eq!(breaker.admit(now), Admission::Go);
        breaker.failed(now, 1.0);
        breaker.failed(now, 1.0);
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let Admission::Refused(wait) = breaker.admit(now) else {
                panic!("must refuse before the pause is over")
            };
            pauses.push(wait.as_millis());
            now += wait;
            assert_eq!(breaker.admit(now), Admission::Probe);
            assert!(matches!(breaker.admit(now), Admission::Refused(_)), "one probe only");
            breaker.failed(now, 1.0);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000]);
        assert!(breaker.is_open());
        breaker.worked();
        assert_eq!(breaker.admit(now), Admission::Go);
    }

    #[test]
    fn a_probe_that_was_not_made_leaves_room_for_another() {
        let mut breaker = Breaker::new();
        let now = Instant::now();
        breaker.failed(now, 0.0);
        let later = now + FIRST_PAUSE;
        assert_eq!(breaker.admit(later), Admission::Probe);
        breaker.gave_up();
        assert_eq!(breaker.admit(later), Admission::Probe);
    }
}
