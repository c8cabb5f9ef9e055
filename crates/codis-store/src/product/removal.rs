//! Removing a product as a whole.

use super::{Product, Result};
use crate::error::ErrorKind;
use crate::node::Op;
use crate::walk::Walk;

/// Nodes deleted in one transaction: a few milliseconds of a local store.
const BATCH: usize = 128;
/// Children of one node that are looked at, with all below them, at a time.
const PAGE: usize = 512;

impl Product {
    /// Removes the product: everything below its root, and the root. Asks nobody and refuses nothing: whoever calls it
    /// holds the lock and knows that the product is not in use. `progress` is told the number of nodes gone so far.
    ///
    /// Many transactions of bounded size, children before their parents. What the product is recognised by, its
    /// slots, goes last, and `LOCK` with the last of it and the root: an interrupted removal leaves a product
    /// that is still listed and still locked, and removing it again goes on. Says how many nodes are gone.
    ///
    /// # Errors
    /// `BadVersion` or `NotEmpty` with the path when somebody writes to the product meanwhile: what was not there when it
    /// was looked at is not removed. What is gone stays gone.
    pub async fn remove(&self, mut progress: impl FnMut(usize)) -> Result<usize> {
        let (root, slots, locks) = (self.root().to_owned(), self.layout.slots(), self.layout.locks());
        let mut gone = 0;
        let tops = match self.store.children(&root).await {
            Err(error) if error.kind == ErrorKind::NoNode => return Ok(0),
            names => names?,
        };
        let tops: Vec<String> = tops.iter().map(|name| format!("{root}/{name}")).collect();
        let (last, first): (Vec<String>, Vec<String>) =
            tops.into_iter().partition(|path| *path == slots || *path == locks);
        for path in first {
            self.clear(&path, &mut gone, &mut progress).await?;
            gone += self.delete_all(self.look(vec![path], 0).await?).await?;
        }
        if last.contains(&slots) {
            self.clear(&slots, &mut gone, &mut progress).await?;
        }
        // Few nodes: the root, the empty `slots`, the lock's queue.
        let mut end = self.look(vec![locks], usize::MAX).await?;
        end.extend(self.look(vec![slots], 0).await?);
        end.extend(self.look(vec![root], 0).await?);
        gone += end.len();
        self.store.commit_settled(end).await?;
        progress(gone);
        Ok(gone)
    }

    /// Deletes everything below a node.
    async fn clear(&self, dir: &str, gone: &mut usize, progress: &mut impl FnMut(usize)) -> Result<()> {
        let names = match self.store.children(dir).await {
            Err(error) if error.kind == ErrorKind::NoNode => return Ok(()),
            names => names?,
        };
        for page in names.chunks(PAGE) {
            let paths = page.iter().map(|name| format!("{dir}/{name}")).collect();
            let ops = self.look(paths, usize::MAX).await?;
            for batch in ops.chunks(BATCH) {
                *gone += self.delete_all(batch.to_vec()).await?;
                progress(*gone);
            }
        }
        Ok(())
    }

    /// Deletions of these nodes and what is below them, down to `depth`, as they are now, children first.
    async fn look(&self, paths: Vec<String>, depth: usize) -> Result<Vec<Op>> {
        let mut walk = Walk::over(self.store.clone(), paths, depth, false);
        let mut ops = Vec::new();
        while let Some(page) = walk.next_page().await? {
            ops.extend(
                page.into_iter().map(|node| Op::Delete { path: node.path, version: Some(node.stat.version) }),
            );
        }
        ops.reverse();
        Ok(ops)
    }

    /// Deletes in one transaction what is still there; says how many that were.
    async fn delete_all(&self, ops: Vec<Op>) -> Result<usize> {
        match self.store.commit_settled(ops.clone()).await {
            // Ephemeral nodes go by themselves.
            Err(error) if error.kind == ErrorKind::NoNode => {}
            done => return done.map(|_| ops.len()),
        }
        let paths: Vec<String> = ops.iter().map(|op| op.path().to_owned()).collect();
        let stats = self.store.stat_many(&paths).await?;
        let left: Vec<Op> =
            ops.into_iter().zip(stats).filter_map(|(op, stat)| stat.is_some().then_some(op)).collect();
        let count = left.len();
        self.store.commit_settled(left).await.map(|_| count)
    }
}
