//! Who has not acknowledged what was told last: read in the background, and only when something was told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use codis_core::duty::ActionSeen;
use codis_core::{Cluster, Proxy, ProxyId, ProxyState};
use codis_store::Followed;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{Context, Failure};

/// So many of the newest actions are looked at.
const NEWEST: usize = 8;
/// How often, while somebody has not acknowledged, or the store is away.
const AGAIN: Duration = Duration::from_secs(1);
/// How often at least: a notice can get lost with a session.
const REST: Duration = Duration::from_secs(30);

/// The newest actions with those that were told and have not acknowledged; `None` before they were read.
#[derive(Debug, Default)]
pub(super) struct Told {
    found: Arc<Mutex<Option<Vec<Followed>>>>,
    reading: Option<JoinHandle<()>>,
}

impl Told {
    /// Begins to read. Must be called in a runtime.
    pub(super) fn follow(&mut self, cx: &Context) {
        if self.reading.as_ref().is_none_or(JoinHandle::is_finished) {
            let (cx, found) = (cx.clone(), Arc::clone(&self.found));
            self.reading = Some(tokio::spawn(read_on(cx, found)));
        }
    }

    /// What waits, and for whom.
    pub(super) fn waiting(&self, cluster: &Cluster) -> Option<Vec<ActionSeen>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.as_ref().map(|newest| waiting(newest, |id| cluster.proxies.get(id).map(|proxy| &proxy.value)))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(task) = &self.reading {
            task.abort();
        }
    }
}

async fn read_on(cx: Context, found: Arc<Mutex<Option<Vec<Followed>>>>) {
    loop {
        let pause = match look(&cx).await {
            Ok((newest, mut watch)) => {
                // Whoever has left since need not be waited for, but costs no more than a look now and then.
                let all = newest.iter().all(|one| one.receivers.iter().all(|id| one.acked.contains(id)));
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(newest);
                if all {
                    // Something was told, or it is time to look anyway.
                    let _ = timeout(REST, watch.fired()).await;
                    Duration::ZERO
                } else {
                    AGAIN
                }
            }
            Err(failure) => {
                tracing::debug!(%failure, "nobody knows who has acknowledged");
                *found.lock().unwrap_or_else(PoisonError::into_inner) = None;
                AGAIN
            }
        };
        sleep(pause).await;
    }
}

async fn look(cx: &Context) -> Result<(Vec<Followed>, codis_store::Watch), Failure> {
    let fail = |error| Failure::store("cannot read the actions", &error);
    let (_, watch) = cx.product.watch_actions().await.map_err(fail)?;
    let recent = cx.product.recent_actions(NEWEST).await.map_err(fail)?;
    Ok((recent.newest.found, watch))
}

/// Of actions, newest first: who is online as it was then, and has acknowledged neither that one nor a later one.
fn waiting<'a>(newest: &[Followed], proxy: impl Fn(&ProxyId) -> Option<&'a Proxy>) -> Vec<ActionSeen> {
    let mut heard: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for one in newest {
        heard.extend(one.acked.iter().map(String::as_str));
        let waits = one.receivers.iter().zip(&one.action.receivers).filter_map(|(id, text)| {
            let proxy = proxy(&id.parse().ok()?)?;
            // One that was started anew has read everything then.
            let same = text.contains(&proxy.start_at);
            let waits = !heard.contains(id.as_str()) && same && proxy.state == ProxyState::Online;
            waits.then(|| (proxy.id.clone(), proxy.addr.to_string()))
        });
        let waiting: Vec<(ProxyId, String)> = waits.collect();
        if !waiting.is_empty() {
            found.push(ActionSeen {
                seq: one.action.seq.unwrap_or_default(),
                kind: one.action.kind.clone(),
                waiting,
            });
        }
    }
    found
}
