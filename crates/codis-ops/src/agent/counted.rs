//! How many requests the proxies had answered when a master was at an offset: an upper bound of the writes that are lost
//! with what a slave has not received.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use codis_admin::ProxyPulse;
use codis_core::{Addr, Cluster, ProxyId, ha::Observed};
use tokio::{task::JoinHandle, time::Instant};

use super::servers::Watchers;
use crate::{context, observe};

/// How often the proxies' pages are read.
const PERIOD: Duration = Duration::from_secs(2);
/// How long a proxy may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Looks that are remembered.
const MEMORY: usize = 32;

/// What each proxy said last, or why it did not.
pub type Pulses = BTreeMap<ProxyId, Result<ProxyPulse, String>>;

/// One look at all proxies.
#[derive(Debug, Clone)]
struct Sample {
    /// Before the first was asked, Unix milliseconds.
    begun_ms: u64,
    /// After all had answered.
    at: Instant,
    /// Answered requests by server; only if every proxy was ours and said.
    calls: BTreeMap<Addr, u64>,
    /// Who has counted: each process begins with nothing.
    processes: BTreeMap<ProxyId, u32>,
    /// How far each master was, asked later than that.
    offsets: BTreeMap<Addr, u64>,
}

#[derive(Debug, Default)]
struct Inner {
    pages: Arc<Pulses>,
    samples: VecDeque<Sample>,
}

/// What is remembered, for the tasks.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(Arc<Mutex<Inner>>);

/// Reads the pages in the background.
#[derive(Debug, Default)]
pub(super) struct Counted {
    counts: Counts,
    reading: Option<(Instant, JoinHandle<()>)>,
}

impl Counts {
    /// How many requests were answered after the last moment at which the master was certainly not beyond `offset`. Unknown
    /// unless the proxies have been asked since `silent_ms`, Unix milliseconds, when it answered nobody any more; and
    /// where they have not counted on from then to now, as over a time in which it was no master.
    pub(super) fn writes_since(&self, master: &Addr, offset: u64, silent_ms: u64) -> Option<u64> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = inner.samples.back().filter(|sample| sample.begun_ms > silent_ms)?;
        let last = *newest.calls.get(master)?;
        let mut next = last;
        for sample in inner.samples.iter().rev() {
            let calls = *sample.calls.get(master)?;
            if calls > next || sample.processes != newest.processes {
                return None;
            }
            if sample.offsets.get(master).is_some_and(|seen| *seen <= offset) {
                return Some(last - calls);
            }
            next = calls;
        }
        None
    }

    fn add(&self, begun_ms: u64, pages: Pulses) {
        let complete = pages.values().all(Result::is_ok);
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for backend in pages.values().flatten().flat_map(|page| &page.backends) {
            *sums.entry(&backend.addr).or_default() += backend.calls;
        }
        let said = pages.iter().filter_map(|(id, page)| Some((id.clone(), page.as_ref().ok()?.pid)));
        let processes = said.collect();
        let calls = sums.into_iter().filter_map(|(addr, calls)| Some((addr.parse().ok()?, calls))).collect();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.pages = Arc::new(pages);
        if !complete {
            return;
        }
        if inner.samples.len() >= MEMORY {
            inner.samples.pop_front();
        }
        let at = Instant::now();
        inner.samples.push_back(Sample { begun_ms, at, calls, processes, offsets: BTreeMap::new() });
    }
}

impl Counted {
    pub(super) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// What each proxy said last.
    pub(super) fn pages(&self) -> Arc<Pulses> {
        Arc::clone(&self.counts.0.lock().unwrap_or_else(PoisonError::into_inner).pages)
    }

    /// Notes how far the masters are, and reads the pages when it is time.
    pub(super) fn note(&mut self, observed: &Observed, servers: &Watchers) {
        let masters = observed.servers.iter().filter_map(|(addr, view)| {
            let facts = view.facts.as_ref().filter(|facts| facts.is_master)?;
            Some((addr, facts.offset, servers.asked_at(addr)?))
        });
        let masters: Vec<_> = masters.collect();
        for sample in &mut self.counts.0.lock().unwrap_or_else(PoisonError::into_inner).samples {
            for (addr, offset, asked) in &masters {
                if *asked > sample.at && !sample.offsets.contains_key(*addr) {
                    sample.offsets.insert((*addr).clone(), *offset);
                }
            }
        }
        let due =
            self.reading.as_ref().is_none_or(|(since, task)| task.is_finished() && since.elapsed() >= PERIOD);
        if due {
            let task = tokio::spawn(read(observed.cluster.clone(), self.counts.clone()));
            self.reading = Some((Instant::now(), task));
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.reading {
            task.abort();
        }
    }
}

async fn read(cluster: Cluster, counts: Counts) {
    let begun_ms = context::now_ms();
    counts.add(begun_ms, observe::pulses(&cluster, PATIENCE).await);
}

#[cfg(test)]
mod tests {
    use codis_admin::BackendPulse;

    use super::*;

    const MASTER: &str = "10.0.0.1:6379";

    /// The proxies had got so many answers from the master, which was then at this offset.
    fn look(counts: &Counts, begun_ms: u64, calls: u64, offset: Option<u64>) {
        let backend = BackendPulse { addr: MASTER.to_owned(), calls, ..BackendPulse::default() };
        let page = ProxyPulse { backends: vec![backend], ..ProxyPulse::default() };
        counts.add(begun_ms, [("px-1".parse().unwrap(), Ok(page))].into());
        let mut inner = counts.0.lock().unwrap();
        let sample = inner.samples.back_mut().unwrap();
        sample.offsets.extend(offset.map(|offset| (MASTER.parse().unwrap(), offset)));
    }

    #[test]
    fn what_is_lost_at_most_is_known_when_the_proxies_were_asked_after_the_last_answer() {
        let counts = Counts::default();
        let master = MASTER.parse().unwrap();
        look(&counts, 1000, 10, Some(500));
        look(&counts, 3000, 30, Some(700));
        assert_eq!(counts.writes_since(&master, 600, 3500), None, "it may have answered more since");
        look(&counts, 5000, 45, None);
        assert_eq!(counts.writes_since(&master, 600, 3500), Some(35));
        assert_eq!(counts.writes_since(&master, 700, 3500), Some(15));
        assert_eq!(counts.writes_since(&master, 400, 3500), None, "nobody knows when it was there");
    }

    #[test]
    fn what_was_counted_before_a_count_began_anew_says_nothing() {
        let counts = Counts::default();
        let master = MASTER.parse().unwrap();
        look(&counts, 1000, 2000, Some(500));
        // It was no master meanwhile, and is one again.
        look(&counts, 3000, 5, Some(900));
        look(&counts, 5000, 161, None);
        assert_eq!(counts.writes_since(&master, 700, 3500), None);
        assert_eq!(counts.writes_since(&master, 900, 3500), Some(156));
        counts.add(6000, BTreeMap::new());
        look(&counts, 7000, 200, None);
        assert_eq!(counts.writes_since(&master, 900, 3500), None, "nobody used it");
    }
}
