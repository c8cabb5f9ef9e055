//! The right to say when the servers of a host fork: at most one governor has it.

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
        let what = format!("cannot govern the snapshots of {host}");
        let taken = cx.product.take_governor(host, &own_id()).await;
        match taken.map_err(|error| Failure::store(&what, &error))? {
            Ok(lease) => Ok(Self { lease, host: host.to_owned() }),
            Err(other) => {
                let why = format!("{} (pid {}) does", other.owner, other.pid);
                let next = "codisctl agent list    an agent does so where duty.snapshots.on says it";
                Err(Failure::new(FailureKind::Unsafe, what, format!("governors/{host}"), why).next(next))
            }
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
