//! How many requests the proxies had answered when a master was at an offset: an upper bound of the writes that are lost
//! with what a slave has not received.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use codis_admin::ProxyStats;
use codis_core::{Addr, Cluster, ProxyId, ha::Observed};
use tokio::{task::JoinHandle, time::Instant};

use super::servers::Watchers;
use crate::observe;

/// How often the proxies' pages are read.
const PERIOD: Duration = Duration::from_secs(2);
/// How long a proxy may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Looks that are remembered.
const MEMORY: usize = 32;

type Pages = BTreeMap<ProxyId, Result<ProxyStats, String>>;

/// One look at all proxies.
#[derive(Debug, Clone)]
struct Sample {
    /// After all had answered.
    at: Instant,
    /// Answered requests by server; only if every proxy was ours and said.
    calls: BTreeMap<Addr, u64>,
    /// How far each master was, asked later than that.
    offsets: BTreeMap<Addr, u64>,
}

#[derive(Debug, Default)]
struct Inner {
    pages: Pages,
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
    /// How many requests were answered after the last moment at which the master was certainly not beyond `offset`.
    pub(super) fn writes_since(&self, master: &Addr, offset: u64) -> Option<u64> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = inner.samples.back()?.calls.get(master)?;
        let before = inner.samples.iter().rev().find(|sample| {
            sample.offsets.get(master).is_some_and(|seen| *seen <= offset)
                && sample.calls.contains_key(master)
        })?;
        Some(newest.saturating_sub(*before.calls.get(master)?))
    }

    fn add(&self, pages: Pages) {
        let complete = pages.values().all(Result::is_ok);
        let mut calls: BTreeMap<Addr, u64> = BTreeMap::new();
        for backend in pages.values().flatten().flat_map(|page| &page.backends) {
            if let Ok(addr) = backend.addr.parse() {
                *calls.entry(addr).or_default() += backend.calls;
            }
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.pages = pages;
        if !complete {
            return;
        }
        if inner.samples.len() >= MEMORY {
            inner.samples.pop_front();
        }
        inner.samples.push_back(Sample { at: Instant::now(), calls, offsets: BTreeMap::new() });
    }
}

impl Counted {
    pub(super) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// What each proxy said last.
    pub(super) fn pages(&self) -> Pages {
        self.counts.0.lock().unwrap_or_else(PoisonError::into_inner).pages.clone()
    }

    /// Notes how far the masters are, and reads the pages when it is time.
    pub(super) fn note(&mut self, observed: &Observed, servers: &Watchers) {
        {
            let mut inner = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
            for sample in &mut inner.samples {
                for (addr, view) in &observed.servers {
                    let later = servers.asked_at(addr).is_some_and(|asked| asked > sample.at);
                    if let Some(facts) = view.facts.as_ref().filter(|facts| facts.is_master && later) {
                        sample.offsets.entry(addr.clone()).or_insert(facts.offset);
                    }
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
    counts.add(observe::proxies(&cluster, PATIENCE).await);
}
