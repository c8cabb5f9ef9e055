//! A worker takes batches from the queue and hands them over until there are none left.

use std::time::Instant;

use super::{
    Pair,
    batch::{Again, Outcome},
    bulk::Job,
    report::BulkError,
};
use crate::{Found, RedisError, backoff::Backoff};

/// One connection to either end, replaced when it fails.
pub(crate) struct Worker<'a> {
    job: &'a Job<'a>,
    index: usize,
    /// Counts connections, so that each pair has a name of its own.
    generation: u32,
    pair: Option<Pair>,
    /// The name of a pair that failed and is not known to be dead on the servers.
    unburied: Option<String>,
}

/// Why a worker could not get a pair.
enum NoPair {
    Server(RedisError),
    Lease(String),
}

impl<'a> Worker<'a> {
    pub(crate) fn new(job: &'a Job<'a>, index: usize) -> Self {
        Self { job, index, generation: 0, pair: None, unburied: None }
    }

    pub(crate) async fn run(mut self) {
        while !self.job.is_over() {
            let batch = tokio::select! {
                batch = self.job.queue.take(self.job.limit()) => batch,
                () = self.job.failed.cancelled() => None,
                () = self.job.stop.cancelled() => None,
            };
            let Some(batch) = batch else { return };
            self.job.respect_rate(batch.len()).await;
            if let Err(error) = self.settle(batch).await {
                self.job.fail(error);
            }
        }
    }

    /// Hands a batch over, in parts if need be, until none of it is on the source or it is stopped.
    async fn settle(&mut self, batch: Vec<Found>) -> Result<(), BulkError> {
        let mut parts = vec![batch];
        let mut backoff = Backoff::new(self.job.options.attempts);
        while let Some(part) = parts.pop() {
            if self.job.is_over() {
                return Ok(());
            }
            let begun = Instant::now();
            match self.hand_over(&part).await {
                Ok(outcome) => {
                    self.job.account(&part, &outcome, begun);
                    self.after(outcome, &mut parts, &mut backoff).await?;
                }
                Err(NoPair::Lease(why)) => return Err(BulkError::LeaseLost(why)),
                Err(NoPair::Server(source)) => {
                    tracing::warn!(error = %source, cause = %source.cause, "a hand-over failed");
                    parts.push(part);
                    if !self.job.pause(&mut backoff).await {
                        return Err(BulkError::Server { attempts: backoff.failures(), source });
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts what has to be tried again on the pile.
    async fn after(
        &self,
        outcome: Outcome,
        parts: &mut Vec<Vec<Found>>,
        backoff: &mut Backoff,
    ) -> Result<(), BulkError> {
        let mut again = outcome.again;
        let Some(why) = outcome.why else {
            backoff.reset();
            return Ok(());
        };
        let keys = again.len();
        let first = again.first().map(|found| String::from_utf8_lossy(&found.key).into_owned());
        if why == Again::Touched && keys > 1 {
            parts.push(again.split_off(keys / 2));
            parts.push(again);
            return Ok(());
        }
        parts.push(again);
        if self.job.pause(backoff).await {
            return Ok(());
        }
        let (attempts, route) = (backoff.failures(), self.job.route);
        let first = first.unwrap_or_default();
        Err(match why {
            Again::Touched => {
                BulkError::KeepsChanging { addr: route.from.addr.clone(), key: first, attempts }
            }
            Again::Refused(answer) => BulkError::Refused { addr: route.to.addr.clone(), keys, first, answer },
            Again::DestinationShort => BulkError::DestinationShort {
                addr: route.to.addr.clone(),
                slaves: route.to.slaves,
                patience: route.wait_timeout,
                attempts,
            },
        })
    }

    async fn hand_over(&mut self, part: &[Found]) -> Result<Outcome, NoPair> {
        let mut pair = match self.pair.take() {
            Some(pair) => pair,
            None => self.open().await?,
        };
        match pair.hand_over(part).await {
            Ok(outcome) => {
                self.pair = Some(pair);
                Ok(outcome)
            }
            Err(error) => {
                self.unburied = Some(self.name());
                Err(NoPair::Server(error))
            }
        }
    }

    /// A new pair: the old one dead on both servers, the new one named, the lease proved, in this order.
    async fn open(&mut self) -> Result<Pair, NoPair> {
        if let Some(name) = &self.unburied {
            Pair::kill(self.job.route, name).await.map_err(NoPair::Server)?;
            self.unburied = None;
        }
        self.generation += 1;
        let pair = Pair::open(self.job.route, &self.name()).await.map_err(NoPair::Server)?;
        self.job.lease.prove().await.map_err(NoPair::Lease)?;
        Ok(pair)
    }

    /// Ends in a full stop, so that no name is the beginning of another.
    fn name(&self) -> String {
        format!("{}.{}.{}.", self.job.route.connect.name, self.index, self.generation)
    }
}
