//! The beginning of a failover: should the old master be alive after all, it takes no more writes.

use std::time::Duration;

use codis_core::{
    Versioned,
    ha::{Saga, Stage},
};
use tokio::time::{Instant, sleep};

use super::{Work, look, write_stop};
use crate::Failure;

/// How long the old master may take to say anything: it is most likely dead.
const OLD: Duration = Duration::from_millis(500);
/// How long a candidate may take to get what an old master still had to give.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(5);

/// Steps 1 and 2. A server that cannot be stopped is not waited for: it is dead, or out of our reach, and then its writes end
/// when it becomes a slave.
pub(super) async fn stop_old(work: &Work<'_>, saga: Versioned<Saga>) -> Result<(), Failure> {
    let what = format!("cannot stop writes on {}", saga.old);
    match work.lead.connect(work.cx, &saga.old, OLD).await {
        Ok(mut old) => match write_stop::stop(&mut old, &saga.old, &what).await {
            Ok(()) => catch_up(work, &saga).await,
            Err(failure) => tracing::info!(%failure, "going on without"),
        },
        Err(failure) => tracing::info!(%failure, "going on without"),
    }
    work.lead.fresh().await?;
    work.put(&saga, |saga| saga.stage = Stage::Promote).await.map(drop)
}

/// What the old master has taken, the candidate may still get. Whether it has is found out again afterwards.
async fn catch_up(work: &Work<'_>, saga: &Saga) {
    let begun = Instant::now();
    while begun.elapsed() < CATCH_UP {
        let (old, new) = tokio::join!(look::one(work.cx, &saga.old), look::one(work.cx, &saga.new));
        match (old.facts, new.facts) {
            (Some(old), Some(new))
                if old.history == new.history && new.link_up && new.offset < old.offset => {}
            _ => return,
        }
        sleep(ASK).await;
    }
}
