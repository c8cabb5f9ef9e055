//! How much of its master's data each slave has, as the workers may rely on it.
//!
//! One who follows the store measures it ([`crate::follow`]); workers only read a number.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use codis_core::Addr;

/// What is known of one slave of one master.
#[derive(Debug, Default)]
pub(crate) struct Age {
    /// The slave has everything that its master had acknowledged by then, microseconds of the
    /// [`Freshness`]' clock; 0: nothing is known.
    as_of: AtomicU64,
    /// How long it takes to answer, microseconds.
    rtt: AtomicU32,
}

impl Age {
    /// The slave has everything that its master had acknowledged by `as_of`.
    pub(crate) fn has_all_of(&self, as_of: u64) {
        self.as_of.fetch_max(as_of, Ordering::Relaxed);
    }

    /// See [`Age::has_all_of`].
    pub(crate) fn as_of(&self) -> u64 {
        self.as_of.load(Ordering::Relaxed)
    }

    /// It has answered after so many microseconds.
    pub(crate) fn answered_after(&self, micros: u32) {
        let before = self.rtt.load(Ordering::Relaxed);
        let smooth = if before == 0 { micros } else { before - before / 8 + micros / 8 };
        self.rtt.store(smooth.max(1), Ordering::Relaxed);
    }

    /// How long it takes to answer, microseconds; 0 if that is not known.
    pub(crate) fn rtt(&self) -> u32 {
        self.rtt.load(Ordering::Relaxed)
    }
}

/// All pairs of master and slave. That of a master and itself knows how far away the master is.
#[derive(Debug)]
pub(crate) struct Freshness {
    base: Instant,
    pairs: Mutex<HashMap<(Addr, Addr), Arc<Age>>>,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { base: Instant::now(), pairs: Mutex::default() }
    }
}

impl Freshness {
    /// Microseconds of the common clock at this instant.
    pub(crate) fn at(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }

    /// What is known of a slave of a master.
    pub(crate) fn of(&self, master: &Addr, slave: &Addr) -> Arc<Age> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.entry((master.clone(), slave.clone())).or_default().clone()
    }

    /// Forgets what nobody uses any more.
    pub(crate) fn forget_unused(&self) {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.retain(|_, age| Arc::strong_count(age) > 1);
    }
}
