//! What the store says, read anew at every tick as far as masters are concerned.

use std::time::Duration;

use codis_core::{
    Cluster,
    ha::{AgentView, Observed},
};
use tokio::time::{Instant, timeout};

use super::Agent;
use crate::{Failure, context};

/// How long the store may take for everything that a tick needs.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How old slots and proxies may be: they are many, and no master is lost because of them.
const WHOLE: Duration = Duration::from_secs(5);

/// The store's picture.
#[derive(Debug, Default)]
pub(super) struct Seen {
    whole: Option<(Instant, Cluster)>,
    /// The store did not answer last time.
    away: bool,
}

impl Agent<'_> {
    /// Everything that was seen. `None` while the store does not answer.
    pub(super) async fn look(&mut self) -> Option<Observed> {
        let read = match timeout(PATIENCE, self.read()).await {
            Ok(read) => read,
            Err(_) => {
                let why = format!("no answer within {} s", PATIENCE.as_secs());
                Err(Failure::new(crate::FailureKind::Unreachable, "cannot read the product", "store", why))
            }
        };
        match read {
            Ok(observed) => {
                if std::mem::take(&mut self.seen.away) {
                    tracing::info!("the store answers again");
                }
                Some(observed)
            }
            Err(failure) => {
                if !std::mem::replace(&mut self.seen.away, true) {
                    tracing::warn!(%failure, "the store is away; nothing is changed meanwhile");
                }
                self.seen.whole = None;
                self.reopen().await;
                None
            }
        }
    }

    /// A session that has ended is begun anew: what it held is gone, the lead as well.
    async fn reopen(&mut self) {
        let store = self.cx.product.store();
        let ended = *store.session().borrow() == codis_store::SessionState::Expired;
        if ended {
            self.lead.lost();
            self.published.forget();
            if let Err(error) = store.reopen().await {
                tracing::debug!(%error, "no new session yet");
            }
        }
    }

    async fn read(&mut self) -> Result<Observed, Failure> {
        let fail = |error| Failure::store("cannot read the product", &error);
        let product = &self.cx.product;
        let fresh = self.seen.whole.as_ref().is_some_and(|(at, _)| at.elapsed() < WHOLE);
        if !fresh {
            let cluster = self.cx.load().await?;
            self.seen.whole = Some((Instant::now(), cluster));
        }
        let (groups, sagas, witnesses, paused) =
            tokio::try_join!(product.groups(), product.sagas(), product.witnesses(), product.ha_pause())
                .map_err(fail)?;
        let mut cluster = self
            .seen
            .whole
            .as_ref()
            .map(|(_, cluster)| cluster.clone())
            .unwrap_or_else(|| Cluster::empty(self.cx.product_name().clone()));
        (cluster.groups, cluster.sagas) = (groups.found, sagas.found);
        let listed = cluster.groups.values().flat_map(|group| &group.servers);
        self.servers.watch(listed.map(|server| &server.addr));
        let views = self.servers.views();
        // Said before it is heard, so that this agent is among those that are counted.
        let own = self.published.say(self.cx, &self.id, self.options, &views).await?;
        let agents = self.cx.product.agents().await.map_err(fail)?;
        let others = agents.found.into_iter().filter(|agent| agent.id != own.id);
        let agents: Vec<AgentView> = others.chain([own.clone()]).collect();
        let sagas = cluster.sagas.clone();
        let now_ms = context::now_ms();
        let witnesses = witnesses.found;
        Ok(Observed { cluster, servers: views, agents, witnesses, sagas, paused, now_ms })
    }
}
