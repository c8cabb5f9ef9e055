//! What the store says.
//!
//! Journals, pause and the other agents are read at every tick. Everything else is many nodes, and is read when an action was told,
//! as every change of slots and groups is, and once in a while. Where that picture asks for something to be done,
//! groups and witnesses are read anew in the same tick: nothing is decided on what may be old.

use std::time::Duration;

use codis_core::{
    Cluster,
    ha::{AgentView, Decision, Observed, Policy, Upkeep, decide, upkeep},
};
use codis_store::Watch;
use futures::FutureExt as _;
use tokio::time::{Instant, timeout};

use super::{Agent, work::picture};
use crate::{Failure, context};

/// How long the store may take for everything that a tick needs.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How old may be what is not told by an action: proxies, moves, locks.
const WHOLE: Duration = Duration::from_secs(5);

/// The store's picture.
#[derive(Debug, Default)]
pub(super) struct Seen {
    whole: Option<(Instant, Cluster)>,
    /// Fires when an action is told.
    told: Option<Watch>,
    /// The store did not answer last time.
    away: bool,
    /// In what was seen last there was nothing to decide.
    pub(super) quiet: bool,
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
        let told = self.seen.told.as_mut().is_none_or(|watch| watch.fired().now_or_never().is_some());
        let young = self.seen.whole.as_ref().is_some_and(|(at, _)| at.elapsed() < WHOLE);
        if told || !young {
            if told {
                // First the notice, then the picture: what comes in between is noticed.
                self.seen.told = Some(product.watch_actions().await.map_err(fail)?.1);
            }
            let cluster = self.cx.load().await?;
            self.seen.whole = Some((Instant::now(), cluster));
        }
        let (sagas, paused) = tokio::try_join!(product.sagas(), product.ha_pause()).map_err(fail)?;
        let mut cluster = self
            .seen
            .whole
            .as_ref()
            .map(|(_, cluster)| cluster.clone())
            .unwrap_or_else(|| Cluster::empty(self.cx.product_name().clone()));
        cluster.sagas = sagas.found;
        let listed = cluster.groups.values().flat_map(|group| &group.servers);
        self.servers.watch(listed.map(|server| &server.addr));
        // As late as can be: also who slept while the store was read has asked nobody meanwhile.
        if let Some(slept) = self.pulse.slept() {
            tracing::warn!(
                ms = slept.as_millis() as u64,
                "this agent has been asleep; it asks everybody anew"
            );
            self.servers.forget_silence();
        }
        let views = self.servers.views();
        // Said before it is heard, so that this agent is among those that are counted.
        let own = self.published.say(self.cx, &self.id, self.options, &views).await?;
        let agents = self.cx.product.agents().await.map_err(fail)?;
        let others = agents.found.into_iter().filter(|agent| agent.id != own.id);
        let agents: Vec<AgentView> = others.chain([own.clone()]).collect();
        let sagas = cluster.sagas.clone();
        let now_ms = context::now_ms();
        let observed =
            Observed { cluster, servers: views, agents, witnesses: Vec::new(), sagas, paused, now_ms };
        self.seen.quiet = is_quiet(&observed, &self.options.policy);
        if self.seen.quiet {
            return Ok(observed);
        }
        let (groups, witnesses) = tokio::try_join!(product.groups(), product.witnesses()).map_err(fail)?;
        let cluster = Cluster { groups: groups.found, ..observed.cluster };
        Ok(Observed { cluster, witnesses: witnesses.found, ..observed })
    }
}

/// True if there is nothing to decide for any group, whatever proxies see, and nothing under way.
fn is_quiet(observed: &Observed, policy: &Policy) -> bool {
    observed.cluster.groups.keys().all(|id| {
        let Some(picture) = picture(observed, *id, true) else { return true };
        let open = picture.saga.is_some_and(|saga| !saga.stage.is_over());
        let waits = |one: &Upkeep| matches!(one, Upkeep::Waiting { .. });
        !open && decide(&picture, policy) == Decision::Nothing && upkeep(&picture, policy).iter().all(waits)
    })
}
