//! Whether proxies route as the store says, and what Go proxies count. One of ours says with its figures which routes it has,
//! as a digest; only where that is not the digest of the store's routes the page with all of them is read, about 100 kB.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codis_admin::{AdminClient, ProxyPulse};
use codis_core::duty::ProxyCounters;
use codis_core::{Cluster, Proxy, ProxyId, ProxyKind, ProxyState, SlotSet};
use futures::{StreamExt as _, stream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::{agent::Pulses, insight};

/// How long a proxy may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many are asked at the same time.
const AT_ONCE: usize = 16;

/// What was read of a proxy; what it did not answer is left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    /// Slots that it routes otherwise than the store says.
    pub(super) differing: Option<SlotSet>,
    /// Of a Go proxy: its counters, or why it does not tell.
    pub(super) go: Option<Result<ProxyCounters, String>>,
}

pub(super) type Pages = BTreeMap<ProxyId, Page>;

/// The pages of all proxies.
#[derive(Debug)]
pub(super) struct Tables {
    interval: Duration,
    found: Arc<Mutex<Arc<Pages>>>,
    reading: Option<(Instant, JoinHandle<()>)>,
}

impl Tables {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, found: Arc::default(), reading: None }
    }

    /// Reads them when it is time.
    pub(super) fn read(&mut self, cluster: &Cluster, pulses: &Arc<Pulses>) {
        let resting = |(since, task): &(Instant, JoinHandle<()>)| {
            !task.is_finished() || since.elapsed() < self.interval
        };
        if self.reading.as_ref().is_some_and(resting) {
            return;
        }
        let (cluster, pulses, found) = (cluster.clone(), Arc::clone(pulses), Arc::clone(&self.found));
        let task = tokio::spawn(async move {
            let all = Arc::new(compare(&cluster, &pulses).await);
            *found.lock().unwrap_or_else(PoisonError::into_inner) = all;
        });
        self.reading = Some((Instant::now(), task));
    }

    /// What was read last.
    pub(super) fn pages(&self) -> Arc<Pages> {
        Arc::clone(&self.found.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.reading {
            task.abort();
        }
    }
}

async fn compare(cluster: &Cluster, pulses: &Pulses) -> Pages {
    let digest = insight::digest(cluster);
    let digest = digest.as_str();
    let online: Vec<Proxy> = cluster
        .proxies
        .values()
        .filter(|proxy| proxy.state == ProxyState::Online)
        .map(|proxy| proxy.value.clone())
        .collect();
    let asks = online.into_iter().map(|proxy| async move {
        let same = |pulse: &ProxyPulse| pulse.slots_digest == digest;
        if pulses.get(&proxy.id).and_then(|pulse| pulse.as_ref().ok()).is_some_and(same) {
            return (proxy.id, Page { differing: Some(SlotSet::default()), go: None });
        }
        let found = insight::differing(cluster, &proxy, PATIENCE).await.ok();
        let differing = found.map(|found| found.iter().map(|one| one.slot).collect());
        let go = match proxy.kind() {
            ProxyKind::Go => Some(counters(&proxy).await),
            _ => None,
        };
        (proxy.id, Page { differing, go })
    });
    stream::iter(asks).buffer_unordered(AT_ONCE).collect().await
}

async fn counters(proxy: &Proxy) -> Result<ProxyCounters, String> {
    let page = AdminClient::new(PATIENCE).moni_data(&proxy.debug_var_addr).await;
    let counted = page.map_err(|error| error.to_string())?.router;
    let server = |one: &codis_admin::go::RedisStats| Some((one.redis_addr.parse().ok()?, one.fail_calls));
    Ok(ProxyCounters {
        ops: counted.op_num,
        failed_ops: counted.op_fail_num,
        connections: counted.conn_num,
        failed_connections: counted.conn_fail_num,
        by_server: Arc::new(counted.cmd_redis.iter().filter_map(server).collect()),
    })
}
