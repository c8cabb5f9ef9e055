//! Asking the servers of a group what they are, right now.

use std::{collections::BTreeMap, time::Duration};

use codis_core::{
    Addr, Group,
    ha::{Facts, Saga, ServerView, Silence},
};
use codis_redis::{Redis, RedisCause, RedisError};

use super::lead::options;
use crate::{Context, context};

/// How long each may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// All servers of a group, asked at once. A master that does not answer has been silent for as long as the journal says.
pub(crate) async fn look(cx: &Context, group: &Group, saga: Option<&Saga>) -> BTreeMap<Addr, ServerView> {
    let now_ms = context::now_ms();
    let asks = group.servers.iter().map(|server| async {
        let addr = server.addr.clone();
        let mut view = one(cx, &addr).await;
        if let Some(saga) = saga.filter(|saga| saga.old == addr) {
            let receipt = &saga.receipt;
            if let Some(silence) = &mut view.silence {
                silence.ms = now_ms.saturating_sub(receipt.last_good_ms);
            }
            if receipt.old_offset > 0 {
                view.furthest = Some((receipt.old_history.clone(), receipt.old_offset));
            }
        }
        (addr, view)
    });
    futures::future::join_all(asks).await.into_iter().collect()
}

/// One server.
pub(crate) async fn one(cx: &Context, addr: &Addr) -> ServerView {
    let mut view = ServerView::default();
    match ask(cx, addr).await {
        Ok(facts) => {
            if facts.is_master {
                view.furthest = Some((facts.history.clone(), facts.offset));
            }
            view.facts = Some(facts);
        }
        Err(error) if is_answer(&error) => view.refusal = Some(error.cause.to_string()),
        Err(error) => view.silence = Some(Silence { ms: 0, why: error.cause.to_string() }),
    }
    view
}

async fn ask(cx: &Context, addr: &Addr) -> Result<Facts, RedisError> {
    Redis::connect(addr, &options(cx, PATIENCE).named("codis-observe")).await?.facts().await
}

/// An error that only somebody who lives can have sent.
pub(crate) fn is_answer(error: &RedisError) -> bool {
    matches!(error.cause, RedisCause::Auth(_) | RedisCause::Refused(_) | RedisCause::Unexpected(_))
}
