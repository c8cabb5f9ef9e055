//! Keys found by the scan and not yet taken by a worker.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::pace::weight;
use crate::Found;

/// Keys that may wait; the scan pauses above it.
const ROOM: usize = 8192;

/// One scan fills it, several workers empty it.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    keys: VecDeque<Found>,
    /// No more keys will come.
    complete: bool,
}

impl Queue {
    /// Adds a page, waiting for room first.
    pub(crate) async fn put(&self, page: Vec<Found>) {
        loop {
            let changed = self.changed.notified();
            if self.lock().keys.len() < ROOM {
                break;
            }
            changed.await;
        }
        self.lock().keys.extend(page);
        self.changed.notify_waiters();
    }

    /// No more keys will come.
    pub(crate) fn complete(&self) {
        self.lock().complete = true;
        self.changed.notify_waiters();
    }

    /// Keys that weigh no more than `limit` together, but at least one; `None` when all are taken.
    pub(crate) async fn take(&self, limit: u64) -> Option<Vec<Found>> {
        loop {
            let changed = self.changed.notified();
            if let Some(batch) = self.lock().take(limit) {
                self.changed.notify_waiters();
                return Some(batch).filter(|batch| !batch.is_empty());
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// `None`: nothing there yet. Empty: nothing will come.
    fn take(&mut self, limit: u64) -> Option<Vec<Found>> {
        let Some(first) = self.keys.pop_front() else { return self.complete.then(Vec::new) };
        let mut total = weight(&first);
        let mut batch = vec![first];
        while let Some(next) = self.keys.pop_front_if(|next| total + weight(next) <= limit) {
            total += weight(&next);
            batch.push(next);
        }
        Some(batch)
    }
}
