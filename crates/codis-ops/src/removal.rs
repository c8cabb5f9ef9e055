//! Removing a whole product from the store.

use codis_core::{
    Cluster,
    plan::{self, Plan},
};
use codis_store::{ErrorKind, StoreError};
use tokio::time::Instant;

use crate::{Context, Event, Events, Failure, FailureKind, locks};

/// The plan to remove the product, or why it must not be. A dashboard node behind which nothing listens
/// is that of a dead one and stands in nobody's way.
///
/// # Errors
/// If the store does not answer, and what [`plan::remove_product`] refuses.
pub async fn plan_removal(cx: &Context) -> Result<Plan, Failure> {
    decide(cx.load().await?).await
}

async fn decide(mut cluster: Cluster) -> Result<Plan, Failure> {
    let dead = match &cluster.dashboard {
        Some(dashboard) if !dashboard.ephemeral && !locks::listens(&dashboard.addr).await => {
            let name = format!("the dashboard at {} (pid {})", dashboard.addr, dashboard.pid);
            Some(format!("{name} is gone and left its node"))
        }
        _ => None,
    };
    if dead.is_some() {
        cluster.dashboard = None;
    }
    let mut plan = plan::remove_product(&cluster)?;
    plan.notes.extend(dead);
    Ok(plan)
}

/// Deletes everything that the store has of the product, once more looked at. Under `LOCK`.
///
/// An interrupted removal leaves a product that is still listed, and is completed by asking again.
pub(crate) async fn remove(cx: &Context, events: &Events) -> Result<(), Failure> {
    let what = format!("cannot remove product {}", cx.product_name());
    let mut cluster = cx.load().await?;
    // It is ours now; who waits behind us finds nothing.
    cluster.locks.clear();
    decide(cluster).await?;
    nobody_else_lives(cx, &what).await?;
    let on = format!("the nodes of product {}", cx.product_name());
    let begun = Instant::now();
    let progress = |_| {
        events.emit(Event::Waiting { on: vec![on.clone()], ms: begun.elapsed().as_millis() as u64 });
    };
    cx.product.remove(progress).await.map(drop).map_err(|error| failed(&what, &error))
}

/// A node that goes with a session is that of a program at work, also of one that this version does not know.
async fn nobody_else_lives(cx: &Context, what: &str) -> Result<(), Failure> {
    let locks = format!("{}/LOCK/", cx.product.root());
    let mut walk = cx.product.store().walk(cx.product.root(), usize::MAX, false);
    while let Some(page) = walk.next_page().await.map_err(|error| failed(what, &error))? {
        let alive = page.iter().find(|node| node.stat.owner != 0 && !node.path.starts_with(&locks));
        if let Some(node) = alive {
            let why = "a program that is at work with the product keeps this node";
            return Err(Failure::new(FailureKind::Unsafe, what, &node.path, why)
                .next("stop that program, then run this again"));
        }
    }
    Ok(())
}

fn failed(what: &str, error: &StoreError) -> Failure {
    let failure = Failure::store(what, error);
    match error.kind {
        ErrorKind::BadVersion | ErrorKind::NotEmpty | ErrorKind::NoNode => {
            failure.next("somebody else is at work; run this again: it looks at what is left before it acts")
        }
        _ => failure,
    }
}
