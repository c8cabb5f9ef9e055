//! Removing a whole product from the store.

use std::{net::ToSocketAddrs as _, time::Duration};

use codis_core::{
    Cluster,
    plan::{self, Plan},
};
use codis_store::{ErrorKind, Node, Op, StoreError};

use crate::{Context, Failure, FailureKind};

/// Nodes deleted in one transaction: a few milliseconds of a local store.
const BATCH: usize = 128;
/// How long a dashboard may take to accept a connection; the Go tools wait as long.
const KNOCK: Duration = Duration::from_secs(3);

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
        Some(dashboard) if !dashboard.ephemeral && !listens(&dashboard.addr).await => {
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

/// Whether something accepts connections at an address. What cannot be resolved does not.
async fn listens(addr: &str) -> bool {
    let addr = addr.to_owned();
    let knock = tokio::task::spawn_blocking(move || {
        let mut found = addr.to_socket_addrs().into_iter().flatten();
        found.any(|addr| std::net::TcpStream::connect_timeout(&addr, KNOCK).is_ok())
    });
    // A knock that takes long is no proof of death.
    tokio::time::timeout(2 * KNOCK, knock).await.is_ok_and(|knocked| knocked.unwrap_or(true))
}

/// Deletes everything below the product's root, and the root. Under `LOCK`.
///
/// In this order, so that stopping anywhere leaves nothing that could be used and can be completed by
/// asking again: slots, each still at the version at which it was looked at, so that no proxy can start
/// serving; everything else, children first; and in one transaction the lock and the root. A node that
/// appears meanwhile keeps its parents, and the next run finds it.
pub(crate) async fn remove(cx: &Context) -> Result<(), Failure> {
    let what = format!("cannot remove product {}", cx.product_name());
    let fail = |error: StoreError| failed(&what, &error);
    let mut cluster = cx.load().await?;
    // It is ours now; who waits behind us finds nothing.
    cluster.locks.clear();
    let slots = cluster.slots.clone();
    decide(cluster).await?;
    let root = cx.product.root().to_owned();
    let (store, locks) = (cx.product.store(), format!("{root}/LOCK"));
    let slots = slots.iter().flatten().map(|slot| Op::Delete {
        path: format!("{root}/slots/slot_{}", slot.id),
        version: Some(slot.version),
    });
    delete(cx, slots.collect()).await.map_err(fail)?;
    let below = tree(cx, &root).await.map_err(fail)?;
    let (held, rest): (Vec<_>, Vec<_>) = below.into_iter().partition(|(path, _)| path.starts_with(&locks));
    if let Some((path, _)) = rest.iter().find(|(_, node)| node.ephemeral) {
        let why = "somebody has registered while the product was removed";
        return Err(Failure::new(FailureKind::Unsafe, what, path, why)
            .next("stop that program, then run this again: it does the rest"));
    }
    delete(cx, rest.iter().rev().map(removal).collect()).await.map_err(fail)?;
    let mut last: Vec<Op> = held.iter().rev().map(removal).collect();
    last.push(Op::Delete { path: root, version: None });
    store.commit_settled(last).await.map(drop).map_err(fail)
}

fn removal((path, node): &(String, Node)) -> Op {
    Op::Delete { path: path.clone(), version: Some(node.version) }
}

async fn delete(cx: &Context, ops: Vec<Op>) -> Result<(), StoreError> {
    for batch in ops.chunks(BATCH) {
        cx.product.store().commit_settled(batch.to_vec()).await?;
    }
    Ok(())
}

/// Everything below a node, parents before their children.
async fn tree(cx: &Context, root: &str) -> Result<Vec<(String, Node)>, StoreError> {
    let store = cx.product.store();
    let mut all = Vec::new();
    let mut level = vec![root.to_owned()];
    while !level.is_empty() {
        let lists = store.children_many(&level).await?;
        let below: Vec<String> = level
            .iter()
            .zip(lists)
            .flat_map(|(path, names)| {
                names.unwrap_or_default().into_iter().map(move |name| format!("{path}/{name}"))
            })
            .collect();
        let nodes = store.get_many(&below).await?;
        all.extend(below.iter().cloned().zip(nodes).filter_map(|(path, node)| Some((path, node?))));
        level = below;
    }
    Ok(all)
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
