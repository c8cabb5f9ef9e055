//! The right to change masters, and connections that are used only while it is proved.
//!
//! A redis-server knows no token that would tell an order of today from one of yesterday. One that was asleep past its
//! session may still send what it was about to send. So each order goes over a connection with the number of its leader in
//! its name; whoever leads next has the servers close those of its predecessors before it uses its own, and a connection
//! is used only after a write to the store has proved that we lead, and only for a third of the session's time-out after
//! the last proof.

use std::{
    sync::{Mutex as StdMutex, PoisonError},
    time::{Duration, Instant},
};

use codis_core::{Addr, MoverLease};
use codis_redis::{ConnectOptions, Redis, kill_older};
use tokio::sync::Mutex;

use crate::{Context, Failure, FailureKind};

/// What the names of leaders' connections begin with.
const NAME: &str = "codis-lead-";
/// For how long a proof is one: a third of the session of [`Context`].
const PROOF: Duration = Duration::from_millis(3300);
/// How long a server may take to answer a leader unless it is to be waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// We lead, until a proof fails.
#[derive(Debug)]
pub(crate) struct Lead {
    lease: Mutex<codis_store::Lease>,
    epoch: u64,
    proved: StdMutex<Instant>,
}

impl Lead {
    /// Takes the lead; else says who has it.
    pub(crate) async fn take(cx: &Context, owner: &str) -> Result<Result<Self, MoverLease>, Failure> {
        let asked = Instant::now();
        let taken = cx.product.take_lead(owner).await;
        let taken = taken.map_err(|error| Failure::store("cannot take the lead of the agents", &error))?;
        Ok(taken.map(|lease| {
            let epoch = lease.epoch();
            Self { lease: Mutex::new(lease), epoch, proved: StdMutex::new(asked) }
        }))
    }

    /// Number of this leader.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Makes sure that we led a moment ago; asks the store if the last proof is too old.
    ///
    /// # Errors
    /// If the store does not answer, or another one leads: then nothing may be sent to any server.
    pub(crate) async fn fresh(&self) -> Result<(), Failure> {
        if self.age() < PROOF { Ok(()) } else { self.prove().await }
    }

    /// Proves by a write that we lead.
    ///
    /// # Errors
    /// As [`Lead::fresh`].
    pub(crate) async fn prove(&self) -> Result<(), Failure> {
        let mut lease = self.lease.lock().await;
        let asked = Instant::now();
        let proof = lease.prove().await;
        proof.map_err(|error| Failure::store("cannot prove to be the leader of the agents", &error))?;
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = asked;
        Ok(())
    }

    /// How long ago the store was asked when it last said that we lead.
    pub(crate) fn age(&self) -> Duration {
        self.proved.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// True while no proof is needed.
    pub(crate) fn is_fresh(&self) -> bool {
        self.age() < PROOF
    }

    /// Has a server close the connections of earlier leaders.
    ///
    /// # Errors
    /// If it does not answer.
    pub(crate) async fn close_predecessors(
        &self,
        cx: &Context,
        addr: &Addr,
        patience: Duration,
    ) -> Result<u64, Failure> {
        let what = format!("cannot close connections of earlier leaders on {addr}");
        let closed = kill_older(addr, &options(cx, patience), NAME, self.epoch).await;
        closed.map_err(|error| Failure::redis(what, &error))
    }

    /// A connection for orders: as long as we lead those of predecessors are closed, it is opened, and we prove that we still lead.
    ///
    /// # Errors
    /// If the server does not answer in time, or we do not lead.
    pub(crate) async fn connect(
        &self,
        cx: &Context,
        addr: &Addr,
        patience: Duration,
    ) -> Result<Acting<'_>, Failure> {
        self.fresh().await?;
        self.close_predecessors(cx, addr, patience).await?;
        let what = format!("cannot give orders to {addr}");
        let redis = Redis::connect(addr, &options(cx, patience).named(self.name())).await;
        let redis = redis.map_err(|error| Failure::redis(what, &error))?;
        self.prove().await?;
        Ok(Acting { lead: self, redis })
    }

    /// Lets another one lead.
    pub(crate) async fn release(self) {
        if let Err(error) = self.lease.into_inner().release().await {
            tracing::warn!(%error, "the lead goes only with the session");
        }
    }

    /// The dash at its end keeps 7 and 70 apart.
    fn name(&self) -> String {
        format!("{NAME}{}-", self.epoch)
    }
}

/// A connection over which a leader gives orders.
#[derive(Debug)]
pub(crate) struct Acting<'a> {
    lead: &'a Lead,
    redis: Redis,
}

impl Acting<'_> {
    /// The connection, for one order.
    ///
    /// # Errors
    /// If we do not lead any more, or cannot tell.
    pub(crate) async fn redis(&mut self) -> Result<&mut Redis, Failure> {
        self.lead.fresh().await?;
        Ok(&mut self.redis)
    }

    /// The connection, for questions, which anybody may ask.
    pub(crate) fn ask(&mut self) -> &mut Redis {
        &mut self.redis
    }
}

/// How servers are talked to when `patience` is all there is.
pub(crate) fn options(cx: &Context, patience: Duration) -> ConnectOptions {
    ConnectOptions { connect_timeout: patience, command_timeout: patience, ..cx.redis.clone() }
}

/// That another one leads, as a failure.
pub(crate) fn led_by(other: &MoverLease, what: impl std::fmt::Display) -> Failure {
    let why = format!("{} (pid {}) leads the agents", other.owner, other.pid);
    Failure::new(FailureKind::Unsafe, what, "agent_leader", why).next("codisctl agent list")
}
