//! What this agent says of the servers, in its node.

use std::collections::BTreeMap;

use codis_core::{
    Addr,
    ha::{AgentView, Seen, ServerView},
};

use super::AgentOptions;
use crate::{Context, Failure, context};

/// What was said last, and in which session.
#[derive(Debug, Default)]
pub(super) struct Published(Option<(i64, BTreeMap<Addr, bool>)>);

impl Published {
    /// Says it, if it has changed, and returns it. How long a server has been silent is for people and may be old.
    pub(super) async fn say(
        &mut self,
        cx: &Context,
        id: &str,
        options: &AgentOptions,
        views: &BTreeMap<Addr, ServerView>,
    ) -> Result<AgentView, Failure> {
        let silent: BTreeMap<Addr, Seen> = views
            .iter()
            .filter_map(|(addr, view)| Some((addr.clone(), seen(view, options.policy.down_after_ms)?)))
            .collect();
        let now = silent.iter().map(|(addr, seen)| (addr.clone(), seen.down)).collect();
        let observe_only = options.observe_only;
        let view = AgentView { id: id.to_owned(), observe_only, ts_ms: context::now_ms(), silent };
        let now = (cx.product.store().session_id(), now);
        if self.0.as_ref() != Some(&now) {
            let said = cx.product.publish_agent(&view).await;
            said.map_err(|error| Failure::store("cannot say what this agent sees", &error))?;
            self.0 = Some(now);
        }
        Ok(view)
    }

    /// It is gone from the store.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

fn seen(view: &ServerView, down_after_ms: u64) -> Option<Seen> {
    match (&view.silence, view.emptied) {
        (Some(silence), _) => Some(Seen { ms: silence.ms, down: silence.ms >= down_after_ms }),
        (None, Some(_)) => Some(Seen { ms: 0, down: true }),
        (None, None) => None,
    }
}
