//! What the control thread knows and the admin pages show.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Shared by the thread that follows the store and the one that serves the admin pages.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    facts: Arc<Mutex<Facts>>,
}

/// One state of affairs.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Id in the product; nothing with a fixed slot map.
    pub(crate) id: Option<String>,
    /// The product; nothing with a fixed slot map.
    pub(crate) product: Option<String>,
    /// Where clients connect, as other hosts see it.
    pub(crate) addr: String,
    /// `offline`, `online` or `mark_offline`.
    pub(crate) state: &'static str,
    /// Why clients are not served; nothing once they are.
    pub(crate) not_ready: Option<String>,
    /// Sequence number of the last action that was acknowledged.
    pub(crate) last_action: Option<u64>,
    /// Whether the store answers.
    pub(crate) store_connected: bool,
    /// When the process started.
    pub(crate) started: Instant,
}

impl Status {
    /// Before anything has happened.
    pub(crate) fn starting(addr: &str) -> Self {
        let facts = Facts {
            id: None,
            product: None,
            addr: addr.to_owned(),
            state: "offline",
            not_ready: Some("starting".to_owned()),
            last_action: None,
            store_connected: false,
            started: Instant::now(),
        };
        Self { facts: Arc::new(Mutex::new(facts)) }
    }

    /// With a fixed slot map: nobody has to agree.
    pub(crate) fn serving_static(&self) {
        self.update(|facts| {
            facts.state = "online";
            facts.not_ready = None;
        });
    }

    /// Changes the facts.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock());
    }

    /// A copy of the facts.
    pub(crate) fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// The facts are whole after every change, also one that panicked.
    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
