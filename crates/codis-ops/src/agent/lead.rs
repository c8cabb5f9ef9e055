//! Becoming the one that acts, and noticing that one is not any more.

use std::{sync::Arc, time::Duration};

use codis_core::ha::Observed;
use futures::future::join_all;
use tokio::time::timeout;

use crate::{Context, Events, FailureKind, failover::Lead};

/// How long a server may take to close connections of an earlier leader when a new one begins; one that does not answer is
/// asked again before it is used.
const CLOSE: Duration = Duration::from_secs(1);
/// How old a proof may get while there is nothing to do.
const RENEW: Duration = Duration::from_millis(1500);

/// Whether this agent leads.
#[derive(Debug, Default)]
pub(super) struct Leading {
    lead: Option<Arc<Lead>>,
    /// Who leads instead, for the log.
    other: Option<String>,
}

impl Leading {
    pub(super) fn leads(&self) -> bool {
        self.lead.is_some()
    }

    pub(super) fn lead(&self) -> Option<&Arc<Lead>> {
        self.lead.as_ref()
    }

    /// The lease is gone, or may be.
    pub(super) fn lost(&mut self) {
        if self.lead.take().is_some() {
            tracing::warn!("this agent does not lead any more");
        }
    }

    /// Keeps the lead, or tries to get it.
    pub(super) async fn hold(
        &mut self,
        cx: &Context,
        id: &str,
        observe_only: bool,
        observed: &Observed,
        events: &Events,
    ) {
        if let Some(lead) = &self.lead {
            if lead.age() > RENEW
                && let Err(failure) = lead.prove().await
            {
                tracing::warn!(%failure, "cannot prove to lead");
                // A store that is silent says nothing about the lease; meanwhile nothing is sent to any server.
                if failure.kind != FailureKind::Unreachable {
                    self.lost();
                }
            }
            return;
        }
        if observe_only {
            return;
        }
        match Lead::take(cx, id).await {
            Ok(Ok(lead)) => {
                let servers = observed.servers.iter().filter(|(_, view)| view.silence.is_none());
                let closing = servers.map(|(addr, _)| async {
                    if let Err(failure) = lead.close_predecessors(cx, addr, CLOSE).await {
                        tracing::info!(%failure, "done before it is used");
                    }
                });
                let _ = timeout(CLOSE * 2, join_all(closing)).await;
                events.note(format!("this agent leads (epoch {})", lead.epoch()));
                tracing::info!(epoch = lead.epoch(), "this agent leads");
                (self.lead, self.other) = (Some(Arc::new(lead)), None);
            }
            Ok(Err(other)) => {
                if self.other.as_ref() != Some(&other.owner) {
                    tracing::info!(leader = other.owner, "another agent leads");
                    self.other = Some(other.owner);
                }
            }
            Err(failure) => tracing::warn!(%failure, "cannot try to lead"),
        }
    }

    /// Lets another one lead at once.
    pub(super) async fn release(&mut self) {
        // Tasks have been dismissed, so nobody else has it.
        if let Some(lead) = self.lead.take().and_then(Arc::into_inner) {
            lead.release().await;
        }
    }
}
