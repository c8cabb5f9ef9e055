//! How long rounds take, for the log: who watches too much for one agent should know.

use std::time::Duration;

use tokio::time::Instant;

/// How often the log is told.
const PERIOD: Duration = Duration::from_secs(60);
/// For the first time earlier: people look at a log at its beginning.
const FIRST: Duration = Duration::from_secs(10);

/// The rounds since the log was told last.
#[derive(Debug, Default)]
pub(super) struct Pace {
    since: Option<Instant>,
    told: bool,
    rounds: u32,
    longest: Duration,
    oldest: Duration,
}

impl Pace {
    /// Takes note of a round, and of how old the oldest answer of a server that answers was at its end.
    pub(super) fn note(&mut self, took: Duration, oldest: Duration, seen: bool) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if seen {
            self.rounds += 1;
            self.longest = self.longest.max(took);
            self.oldest = self.oldest.max(oldest);
        }
        if since.elapsed() < if self.told { PERIOD } else { FIRST } {
            return;
        }
        let (longest_ms, oldest_ms) = (self.longest.as_millis() as u64, self.oldest.as_millis() as u64);
        tracing::info!(rounds = self.rounds, longest_ms, oldest_ms, "rounds so far");
        *self = Self { since: Some(Instant::now()), told: true, ..Self::default() };
    }
}
