//! Looking at the nodes of a store as they are, whoever made them and whatever is in them.

use codis_core::{Gap, ProductName};
use codis_store::{ErrorKind, Product, StoreError};

use crate::{Failure, FailureKind, StoreAccess};

pub use codis_store::{Listed, NodeStat};

/// The children of a node without their content, in the order of their names. One that goes meanwhile is
/// left out.
///
/// # Errors
/// `Failed` if there is no such node, `Usage` if the path is none; `Unreachable` if the store does not answer.
pub async fn list(access: &StoreAccess, path: &str) -> Result<Vec<Listed>, Failure> {
    let mut children = walk(access, "list", path, 1, false).await?;
    children.retain(|node| node.depth == 1);
    Ok(children)
}

/// One node.
///
/// # Errors
/// As [`list`].
pub async fn get(access: &StoreAccess, path: &str) -> Result<Listed, Failure> {
    let node = walk(access, "read", path, 0, true).await?.pop();
    node.ok_or_else(|| {
        Failure::new(FailureKind::Failed, format!("cannot read {path}"), path, "it has just gone")
    })
}

/// A node and everything below it, in the order of the paths. It is read node by node: what changes
/// meanwhile may be seen before or after.
///
/// # Errors
/// As [`list`].
pub async fn export(access: &StoreAccess, path: &str) -> Result<Vec<Listed>, Failure> {
    let mut all = walk(access, "export", path, usize::MAX, true).await?;
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

async fn walk(
    access: &StoreAccess,
    verb: &str,
    path: &str,
    depth: usize,
    content: bool,
) -> Result<Vec<Listed>, Failure> {
    let what = format!("cannot {verb} {path}");
    if !path.starts_with('/') || (path.len() > 1 && path.ends_with('/')) {
        let why = "a path begins with a slash and does not end with one";
        return Err(Failure::new(FailureKind::Usage, what, path, why)
            .next(format!("codisctl store ls /{}", path.trim_matches('/'))));
    }
    let mut walk = access.store.walk(path, depth, content);
    let mut all = Vec::new();
    while let Some(page) = walk.next_page().await.map_err(|error| failed(&what, path, &error))? {
        all.extend(page);
    }
    Ok(all)
}

fn failed(what: &str, path: &str, error: &StoreError) -> Failure {
    let parent =
        path.rsplit_once('/').map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent });
    let failure = Failure::store(what, error);
    if error.kind == ErrorKind::NoNode {
        failure.next(format!("codisctl store ls {parent}"))
    } else {
        failure
    }
}

/// The products of a store, each with the nodes of it that this version does not understand.
///
/// # Errors
/// If the store does not answer.
pub async fn understood(access: &StoreAccess) -> Result<Vec<(ProductName, Vec<Gap>)>, Failure> {
    let mut found = Vec::new();
    for name in access.products().await? {
        let product = Product::new(access.store.clone(), name.clone());
        let cluster = product.load().await;
        let cluster =
            cluster.map_err(|error| Failure::store(format!("cannot read product {name}"), &error))?;
        found.push((name, cluster.gaps));
    }
    Ok(found)
}
