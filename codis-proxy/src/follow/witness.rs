//! Tells the store how this proxy's connections to the servers do: a second opinion for whoever has to decide
//! whether a server is dead.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codis_core::{ProxyId, Witness};
use codis_store::Product;
use tokio::time::{sleep, timeout};

use super::jittered;
use crate::report::causes;
use crate::workers::Workers;

/// How often the connections are looked at; what has changed is written as often at most.
const PERIOD: Duration = Duration::from_secs(1);
/// Time for writing it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the proxy's view up to date.
pub(super) async fn publish(product: Product, workers: Workers, proxy: ProxyId) -> Infallible {
    let mut known = None;
    loop {
        let servers = workers.sights().await;
        let now = (product.store().session_id(), servers);
        if known.as_ref() != Some(&now) {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let ts_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            let witness = Witness { proxy: proxy.clone(), ts_ms, servers: now.1.clone() };
            match timeout(PATIENCE, product.publish_witness(&witness)).await {
                Ok(Ok(())) => known = Some(now),
                Ok(Err(error)) => tracing::debug!(error = %causes(&error), "cannot tell how servers do yet"),
                Err(_) => tracing::debug!("the store does not take how servers do"),
            }
        }
        sleep(jittered(PERIOD)).await;
    }
}
