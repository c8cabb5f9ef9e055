//! The right to move keys, the proof of it, and what keeps a Go dashboard from starting meanwhile.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use codis_redis::Lease;
use codis_store::DashboardGuard;
use futures::future::BoxFuture;
use tokio::sync::Mutex;

use crate::{Context, Event, Events, Failure, FailureKind, context::hostname};

/// What the names of a mover's connections begin with.
pub(crate) const NAME: &str = "codis-mover-";
/// The lease of a mover that was killed stands until its session runs out; a live one keeps it longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Further attempts at a proof while the store is away.
const PROOFS: u32 = 8;
/// Pause before the store is asked again.
const ASK: Duration = Duration::from_millis(250);

/// The lease, as the part that moves keys wants it.
pub(crate) struct Held {
    lease: Mutex<Option<codis_store::Lease>>,
    epoch: u64,
}

impl Held {
    /// Becomes the mover, waiting for one that has died to be forgotten by the store.
    ///
    /// # Errors
    /// `Unsafe` with its owner if there is another one.
    pub(crate) async fn take(cx: &Context, owner: &str, events: &Events) -> Result<Self, Failure> {
        let begun = Instant::now();
        loop {
            let taken = cx.product.take_mover(owner).await;
            match taken.map_err(|error| Failure::store("cannot become the mover", &error))? {
                Ok(lease) => return Ok(Self { epoch: lease.epoch(), lease: Mutex::new(Some(lease)) }),
                Err(other) if begun.elapsed() > PATIENCE => {
                    let why = format!("{} (pid {}) moves slots already", other.owner, other.pid);
                    return Err(Failure::new(FailureKind::Unsafe, "cannot move slots", "mover", why)
                        .next("codisctl migrate watch    shows how far it is"));
                }
                Err(other) => {
                    let on = vec![format!("the mover of {} (pid {})", other.owner, other.pid)];
                    events.emit(Event::Waiting { on, ms: begun.elapsed().as_millis() as u64 });
                    tokio::time::sleep(ASK).await;
                }
            }
        }
    }

    /// What the names of this mover's connections begin with.
    pub(crate) fn name(&self) -> String {
        format!("{NAME}{}", self.epoch)
    }

    /// Lets another one move.
    pub(crate) async fn release(&self) {
        let Some(lease) = self.lease.lock().await.take() else { return };
        if let Err(error) = lease.release().await {
            tracing::warn!(%error, "the mover's lease goes only with the session");
        }
    }
}

impl Lease for Held {
    /// A store that is away for a moment is asked again: that it is silent says nothing about the lease.
    fn prove(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let mut held = self.lease.lock().await;
            let Some(lease) = held.as_mut() else { return Err("the lease was given back".to_owned()) };
            let mut proof = lease.prove().await;
            for _ in 0..PROOFS {
                match &proof {
                    Err(error) if error.is_transient() => tokio::time::sleep(ASK).await,
                    _ => break,
                }
                proof = lease.prove().await;
            }
            proof.map_err(|error| error.to_string())
        })
    }
}

/// Our dashboard node, and a socket behind it: a Go dashboard that finds the node tries its address, and
/// refuses to start if something listens there.
pub(crate) struct Guard {
    guard: DashboardGuard,
    _listener: TcpListener,
}

impl Guard {
    /// Puts it up.
    ///
    /// # Errors
    /// `Unsafe` if there is a dashboard.
    pub(crate) async fn take(cx: &Context) -> Result<Self, Failure> {
        let what = "cannot keep Go dashboards from starting";
        let socket = TcpListener::bind(("0.0.0.0", 0)).and_then(|listener| {
            let port = listener.local_addr()?.port();
            Ok((listener, port))
        });
        let (listener, port) =
            socket.map_err(|error| Failure::new(FailureKind::Failed, what, "0.0.0.0", error))?;
        let addr = format!("{}:{port}", hostname());
        let held = cx.product.hold_dashboard(&addr).await.map_err(|error| Failure::store(what, &error))?;
        match held {
            Ok(guard) => Ok(Self { guard, _listener: listener }),
            Err(other) => {
                let why = format!(
                    "a dashboard is registered at {} (pid {}); it moves slots, too",
                    other.addr, other.pid
                );
                Err(Failure::new(FailureKind::Unsafe, "cannot move slots", "dashboard", why)
                    .next("stop it, then: codisctl migrate run    if it is dead, first: codisctl lock clear dashboard"))
            }
        }
    }

    /// Returns when the node is not ours any more: a Go dashboard that is configured with our very address
    /// takes it away and moves slots itself.
    pub(crate) async fn lost(&self) {
        loop {
            match self.guard.watch().await {
                Ok((true, mut watch)) => drop(watch.fired().await),
                Ok((false, _)) => return,
                // The session decides: with it the lease is gone, too, and that ends the run.
                Err(error) => {
                    tracing::debug!(%error, "our dashboard node cannot be watched now");
                    tokio::time::sleep(ASK).await;
                }
            }
        }
    }

    pub(crate) async fn release(self) {
        if let Err(error) = self.guard.release().await {
            tracing::warn!(%error, "our dashboard node goes only with the session");
        }
    }
}
