//! The right to say when the servers of a host fork: at most one governor has it.

use codis_core::MoverLease;
use codis_store::Lease;

use crate::{Context, Failure, FailureKind, agent::own_id};

/// We govern a host, until a proof fails.
#[derive(Debug)]
pub(super) struct Claim {
    lease: Lease,
    host: String,
}

impl Claim {
    /// Takes it.
    ///
    /// # Errors
    /// `Unsafe` with who has it, or if the store does not answer.
    pub(super) async fn take(cx: &Context, host: &str) -> Result<Self, Failure> {
        let taken = cx.product.take_governor(host, &own_id()).await;
        match taken.map_err(|error| Failure::store(title(host), &error))? {
            Ok(lease) => Ok(Self { lease, host: host.to_owned() }),
            Err(other) => Err(taken_by(host, &other)),
        }
    }

    /// Proves by a write that it is ours; before each order that matters.
    ///
    /// # Errors
    /// If it is not, or the store does not answer.
    pub(super) async fn prove(&mut self) -> Result<(), Failure> {
        let what = format!("cannot prove to govern the snapshots of {}", self.host);
        self.lease.prove().await.map_err(|error| Failure::store(what, &error))
    }

    /// Lets another one govern.
    pub(super) async fn release(self) {
        if let Err(error) = self.lease.release().await {
            tracing::info!(%error, host = self.host, "the claim goes only with the session");
        }
    }
}

/// Makes sure that nobody governs a host, before anything is begun on several.
///
/// # Errors
/// `Unsafe` with who does, or if the store does not answer.
pub(super) async fn is_free(cx: &Context, host: &str) -> Result<(), Failure> {
    let governor = cx.product.governor(host).await;
    match governor.map_err(|error| Failure::store(title(host), &error))? {
        Some(other) => Err(taken_by(host, &other)),
        None => Ok(()),
    }
}

fn title(host: &str) -> String {
    format!("cannot govern the snapshots of {host}")
}

fn taken_by(host: &str, other: &MoverLease) -> Failure {
    let why = format!("{} (pid {}) does", other.owner, other.pid);
    let next = "codisctl agent list    an agent does so where duty.snapshots.on says it";
    Failure::new(FailureKind::Unsafe, title(host), format!("governors/{host}"), why).next(next)
}
