//! A source and a destination: their connections, and whose turn it is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use codis_core::Addr;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Settings;
use super::breaker::{Admission, Breaker};
use super::debts::Debts;
use super::handover::{Cause, Done, Job, Lane};

/// Two servers between which keys are handed over.
pub(super) struct Pair {
    from: Addr,
    to: Addr,
    settings: Rc<Settings>,
    debts: Debts,
    breaker: RefCell<Breaker>,
    idle: RefCell<Vec<Lane>>,
    permits: Semaphore,
    waiting: Cell<usize>,
}

impl Pair {
    pub(super) fn new(from: &Addr, to: &Addr, settings: Rc<Settings>, debts: Debts) -> Self {
        Self {
            from: from.clone(),
            to: to.clone(),
            debts,
            breaker: RefCell::new(Breaker::new()),
            idle: RefCell::default(),
            permits: Semaphore::new(settings.lanes),
            waiting: Cell::new(0),
            settings,
        }
    }

    /// Whether hand-overs are being refused because they do not work.
    pub(super) fn is_broken(&self) -> bool {
        self.breaker.borrow().is_open()
    }

    /// Waits for its turn, then runs the hand-over.
    ///
    /// # Errors
    /// When it is unknown whether the keys are settled, and at once while the servers do not answer.
    pub(super) async fn hand_over(&self, job: &Job) -> Result<Done, Cause> {
        self.no_debts()?;
        let probe = match self.breaker.borrow_mut().admit(Instant::now()) {
            Admission::Go => false,
            Admission::Probe => true,
            Admission::Refused(retry_in) => return Err(Cause::Paused { retry_in }),
        };
        let turn = self.turn().await;
        if turn.is_err() && probe {
            self.breaker.borrow_mut().gave_up();
        }
        let _turn = turn?;
        // Those before us may have found out that a server does not answer.
        if !probe {
            self.no_debts()?;
            if self.is_broken() {
                return Err(Cause::Paused { retry_in: self.settings.command_timeout });
            }
        }
        let lane = self.idle.borrow_mut().pop();
        let new = || Lane::new(&self.from, &self.to, &self.settings, &self.debts);
        let mut lane = lane.unwrap_or_else(new);
        let outcome = lane.hand_over(job).await;
        self.idle.borrow_mut().push(lane);
        self.note(job, &outcome);
        outcome
    }

    /// Nothing is tried while a connection is still to be killed on one of the servers.
    fn no_debts(&self) -> Result<(), Cause> {
        if self.debts.owed(&self.from) || self.debts.owed(&self.to) {
            return Err(Cause::Paused { retry_in: self.settings.command_timeout });
        }
        Ok(())
    }

    /// Waits for one of the lanes, no longer than a server may take for an answer.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Cause> {
        if self.waiting.get() >= self.settings.queue {
            return Err(Cause::Full);
        }
        self.waiting.set(self.waiting.get() + 1);
        let permit = tokio::time::timeout(self.settings.command_timeout, self.permits.acquire()).await;
        self.waiting.set(self.waiting.get() - 1);
        match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Cause::Full),
        }
    }

    /// Tells the breaker how a hand-over ended, and people when that changes something.
    fn note(&self, job: &Job, outcome: &Result<Done, Cause>) {
        let mut breaker = self.breaker.borrow_mut();
        let was_open = breaker.is_open();
        match outcome {
            Err(cause) if cause.breaks() => {
                breaker.failed(Instant::now(), rand::random());
                if !was_open {
                    tracing::warn!(
                        slot = %job.slot, from = %self.from, to = %self.to, %cause,
                        "keys cannot be handed over; trying again"
                    );
                }
            }
            _ => {
                breaker.worked();
                if was_open {
                    tracing::info!(from = %self.from, to = %self.to, "keys can be handed over again");
                }
            }
        }
    }
}
