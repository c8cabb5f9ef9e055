//! Follows the store: registration, routes, actions and acknowledgements.
//!
//! The proxy serves what the store says, and proves it: an action is acknowledged only when every
//! worker uses the new routes and nothing sent under the old ones can still happen on a server.
//! Losing the store stops nothing: the last known routes are served, and because the fence stands
//! nobody can change anything that matters meanwhile.
//!
//! [`join`] registers and goes online, [`watch`] follows what happens then, [`routes`] turns what
//! the store says into a table.

mod error;
mod fence;
mod hand_over;
mod hold;
mod identity;
mod join;
mod lag;
mod linked;
mod load;
mod routes;
mod watch;
mod witness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codis_core::{Proxy, ProxyState, Versioned};
use codis_store::{ConnectOptions, ErrorKind, Product, Store, StoreAddr, StoreError};
use tokio::sync::mpsc;

use crate::config::{Config, FollowConfig, ReadFrom};
use crate::report::causes;
use crate::restart::{Doors, Successor};
use crate::shutdown::Shutdown;
use crate::status::Status;
use crate::table::Table;
use crate::workers::Workers;
pub(crate) use error::FollowError;
use hold::Holding;
use lag::Lag;
use linked::Access;
use routes::View;

/// First and longest pause between two attempts to do something with the store.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Time that taking the proxy out of the store may take when it stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves until `shutdown` or until the store marks this proxy offline.
///
/// # Errors
/// When the proxy cannot be started. Once it serves, nothing that happens to the store ends it.
pub(crate) async fn run(
    config: &Config,
    follow: &FollowConfig,
    workers: Workers,
    (doors, mut successors): (Doors, mpsc::Receiver<Successor>),
    status: Status,
    shutdown: Shutdown,
) -> Result<(), FollowError> {
    let me = identity::identity(&follow.id, &config.listen, &config.admin)?;
    let address: StoreAddr = follow.store.parse()?;
    status.update(|facts| {
        facts.id = Some(me.id.to_string());
        facts.product = Some(follow.product.to_string());
        facts.addr = me.addr.to_string();
        facts.not_ready = Some(format!("connecting to the store {address}"));
    });
    let deadline = tokio::time::Instant::now() + follow.start_timeout;
    let connected = tokio::select! {
        () = shutdown.asked() => return Ok(()),
        connected = connect(&address, follow) => connected?,
    };
    let limits = &config.limits;
    let access = Access { password: limits.password.clone(), tls: limits.backend_tls.clone() };
    let lag = (limits.read_from != ReadFrom::Master)
        .then(|| Lag::new(workers.freshness(), limits.max_lag, access.clone()));
    let mut follower = Follower {
        product: Product::new(connected, follow.product.clone()),
        address,
        own: Versioned::new(me, 0),
        start_timeout: follow.start_timeout,
        auto_online: follow.auto_online,
        access,
        view: View::empty(),
        membership: 0,
        seen: BTreeSet::new(),
        holding: Holding::new(),
        lost: None,
        fenced: false,
        fence_after: follow.fence_after,
        lag,
        workers,
        doors,
        joined: false,
        status,
    };
    let joined = tokio::select! {
        () = shutdown.asked() => None,
        joined = follower.join_first(deadline) => Some(joined),
    };
    match joined {
        Some(Err(error)) => {
            follower.unregister().await;
            return Err(error);
        }
        Some(Ok(ProxyState::MarkOffline)) | None => {}
        Some(Ok(_)) => loop {
            let successor = tokio::select! {
                () = shutdown.asked() => break,
                () = follower.live() => break,
                Some(successor) = successors.recv() => successor,
            };
            match follower.hand_over(successor, config.limits.stop_grace).await {
                Some(ProxyState::MarkOffline) => break,
                Some(_) => {}
                None => return Ok(()),
            }
        },
    }
    follower.leave().await;
    Ok(())
}

/// Connects, and tries again until `start_timeout` is over.
async fn connect(address: &StoreAddr, follow: &FollowConfig) -> Result<Store, FollowError> {
    let start_timeout = follow.start_timeout;
    let options = ConnectOptions { session_timeout: follow.session_timeout, ..ConnectOptions::proxy() };
    let deadline = tokio::time::Instant::now() + start_timeout;
    let mut pause = PAUSE.0;
    loop {
        match Store::connect(address, &options).await {
            Ok(store) => return Ok(store),
            Err(source) if tokio::time::Instant::now() + pause >= deadline => {
                return Err(FollowError::Unreachable {
                    store: address.clone(),
                    after: start_timeout,
                    source: Box::new(source),
                });
            }
            Err(error) => {
                tracing::warn!(store = %address, error = %causes(&error), "cannot connect to the store; trying again");
                tokio::time::sleep(jittered(pause)).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

/// The proxy's part in the product.
struct Follower {
    product: Product,
    address: StoreAddr,
    /// Our node as we last wrote or read it.
    own: Versioned<Proxy>,
    /// How long the store may be away at the start.
    start_timeout: Duration,
    /// Go online without being asked to.
    auto_online: bool,
    /// For the servers.
    access: Access,
    view: View,
    /// Counts our registrations.
    membership: u64,
    /// The actions that were there when all of them had been looked at.
    seen: BTreeSet<u64>,
    /// Groups that are held back.
    holding: Holding,
    /// Since when the store has not answered.
    lost: Option<Instant>,
    /// Nothing is served because of that.
    fenced: bool,
    /// After how long that comes; `None`: never.
    fence_after: Option<Duration>,
    /// Measures slaves, if they may be read.
    lag: Option<Lag>,
    workers: Workers,
    doors: Doors,
    /// It has been online.
    joined: bool,
    status: Status,
}

impl Follower {
    /// Follows until the store marks this proxy offline. Comes back after a lost session.
    async fn live(&mut self) {
        loop {
            let witness = witness::publish(self.product.clone(), self.workers.clone(), self.own.id.clone());
            let ended = tokio::select! {
                ended = self.watch() => ended,
                never = witness => match never {},
            };
            match ended {
                watch::Ended::MarkedOffline => {
                    tracing::info!(id = %self.own.id, "marked offline");
                    return;
                }
                watch::Ended::Rejoin(why) => tracing::warn!(id = %self.own.id, why, "registering again"),
            }
            if self.join_again().await == ProxyState::MarkOffline {
                return;
            }
        }
    }

    /// Finishes what is in flight and takes the proxy out of the store. The node and the fence go
    /// last: as long as they stand, nobody changes what the last requests rely on.
    async fn leave(&mut self) {
        self.status.update(|facts| {
            facts.state = ProxyState::MarkOffline.as_str();
            facts.not_ready = Some("stopping".to_owned());
        });
        let mark = self.product.set_proxy_state(&self.own, ProxyState::MarkOffline);
        if let Ok(Err(error)) = tokio::time::timeout(LEAVE_TIMEOUT, mark).await {
            // It is marked already, or the store is away.
            tracing::debug!(error = %causes(&error), "could not mark itself offline");
        }
        self.workers.stop().await;
        self.unregister().await;
    }

    async fn unregister(&self) {
        let why = match self.take_out().await {
            Ok(()) => return self.close_store().await,
            Err(why) => why,
        };
        tracing::warn!(
            fence = %self.own.addr, why,
            "the fence could not be removed and holds up changes; next: codisctl proxy fence clear"
        );
    }

    /// Removes node and fence.
    async fn take_out(&self) -> Result<(), String> {
        match tokio::time::timeout(LEAVE_TIMEOUT, self.product.unregister_proxy(&self.own)).await {
            Ok(gone) => gone.map_err(|error| causes(&error)),
            Err(_) => Err(format!("no answer within {LEAVE_TIMEOUT:?}")),
        }
    }

    async fn close_store(&self) {
        // The session ends by itself, a little later.
        let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.product.store().close()).await;
    }

    /// Begins to use a table for the current view; the future resolves when nothing under the old
    /// routes is unfinished. Slots that cannot be resolved are logged.
    fn next_table(&mut self) -> Arc<Table> {
        let old = self.workers.table();
        let (mut table, troubles) = self.view.table(&old, old.epoch + 1);
        table.membership = self.membership;
        for trouble in troubles.iter().take(3) {
            let kept = if table.route(trouble.slot).master().is_some() { "its old route" } else { "errors" };
            tracing::error!(slot = %trouble.slot, why = trouble.why, serving = kept, "a slot cannot be resolved");
        }
        if troubles.len() > 3 {
            tracing::error!(more = troubles.len() - 3, "further slots cannot be resolved");
        }
        if let Some(lag) = &mut self.lag {
            lag.measure(&table);
        }
        Arc::new(table)
    }
}

/// Between half of the pause and all of it, so that many proxies do not come back at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// Whether the session is over, so that only a new registration helps.
fn is_expired(error: &StoreError) -> bool {
    error.kind == ErrorKind::Expired
}
