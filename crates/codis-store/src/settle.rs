//! Writes whose fate a broken connection left open, brought to a known end.
//!
//! A write that ended `Ambiguous` was done, was not done, or will still be done when the server gets to it. Here
//! it is looked at again: every step of the transaction shows whether it was done, and one that was not is tried again.
//! That is safe because each step names the version it replaces, or creates what must not exist: of the first
//! attempt and the second at most one goes through. A sequential node has no name to look for; it is found by its content
//! among its siblings. For that the server first brings itself up to date: whatever came before on this session, also
//! over a connection that has broken, is decided then, so what is not there will not come any more.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::error::{ErrorKind, StoreError};
use crate::node::{Node, Op, OpDone};
use crate::store::Store;

/// Attempts after the first; with the pauses they outlast a restart of a ZooKeeper server.
const AGAIN: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// So many of the newest siblings are read in search of a sequential node.
const LOOKED_AT: usize = 1024;

/// What a second look says about a transaction.
enum Fate {
    Done(Vec<OpDone>),
    NotDone,
    /// Others have changed the same nodes since.
    Unknown,
}

impl Store {
    /// [`Store::commit`] that looks again and tries again when the connection breaks meanwhile. The content of a
    /// sequential node must be unlike that of its siblings, or one that is the same as good as this one.
    ///
    /// # Errors
    /// `Ambiguous` only when the store stays away, or others have changed the same nodes, so that nobody can tell; `Expired`
    /// also when the session ended before anybody could look.
    pub async fn commit_settled(&self, ops: Vec<Op>) -> Result<Vec<OpDone>, StoreError> {
        let mut open = match self.commit(ops.clone()).await {
            Err(error) if error.kind == ErrorKind::Ambiguous => error,
            settled => return settled,
        };
        for attempt in 0..AGAIN {
            tokio::time::sleep(pause(attempt)).await;
            match self.fate(&ops).await {
                Ok(Fate::Done(done)) => return Ok(done),
                Ok(Fate::Unknown) => return Err(open),
                Ok(Fate::NotDone) => match self.commit(ops.clone()).await {
                    Ok(done) => return Ok(done),
                    Err(error) if error.is_transient() => open = error,
                    // The first attempt may have come through late, and be what stands in the way.
                    Err(error) => match self.fate(&ops).await {
                        Ok(Fate::Done(done)) => return Ok(done),
                        _ => return Err(error),
                    },
                },
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError { kind: ErrorKind::Ambiguous, ..open })
    }

    async fn fate(&self, ops: &[Op]) -> Result<Fate, StoreError> {
        self.catch_up().await?;
        let found = self.sequential_nodes(ops).await?;
        let named: Vec<String> =
            ops.iter().filter(|op| sequential(op).is_none()).map(|op| op.path().to_owned()).collect();
        let own = self.session_id();
        let mut nodes = self.get_many(&named).await?.into_iter();
        let looks = ops.iter().zip(&found).map(|(op, found)| match sequential(op) {
            Some(_) => Some(found.is_some()),
            None => is_done(op, nodes.next().flatten().as_ref(), own),
        });
        let changes = ops.iter().zip(looks).filter(|(op, _)| !matches!(op, Op::Check { .. }));
        let looks: BTreeSet<Option<bool>> = changes.map(|(_, look)| look).collect();
        Ok(if looks.iter().all(|look| *look == Some(true)) {
            let path = |op: &Op, found: Option<String>| found.unwrap_or_else(|| op.path().to_owned());
            Fate::Done(ops.iter().zip(found).map(|(op, found)| done(op, path(op, found))).collect())
        } else if looks.iter().all(|look| *look == Some(false)) {
            Fate::NotDone
        } else {
            Fate::Unknown
        })
    }

    /// Paths of the sequential nodes that the steps have made, where they are there.
    async fn sequential_nodes(&self, ops: &[Op]) -> Result<Vec<Option<String>>, StoreError> {
        let begins: BTreeSet<&str> = ops.iter().filter_map(sequential).collect();
        let mut siblings = Vec::new();
        for begin in &begins {
            let (below, _) = begin.rsplit_once('/').unwrap_or_default();
            let dir = if below.is_empty() { "/" } else { below };
            let names = self.children_many(&[dir.to_owned()]).await?.into_iter().flatten().flatten();
            let mut paths: Vec<String> =
                names.map(|name| format!("{below}/{name}")).filter(|path| is_numbered(path, begin)).collect();
            paths.sort_unstable();
            let newest = paths.split_off(paths.len().saturating_sub(LOOKED_AT.max(ops.len())));
            let nodes = self.get_many(&newest).await?;
            siblings.extend(newest.into_iter().zip(nodes));
        }
        let own = self.session_id();
        // The last step first: an older node with the same content is somebody else's.
        let mut found: Vec<Option<String>> = Vec::with_capacity(ops.len());
        for op in ops.iter().rev() {
            let ours = sequential(op).and_then(|begin| {
                siblings.iter().rposition(|(path, node)| {
                    is_numbered(path, begin) && is_done(op, node.as_ref(), own) == Some(true)
                })
            });
            found.push(ours.map(|at| siblings.remove(at).0));
        }
        found.reverse();
        Ok(found)
    }
}

/// Where the path of a sequential node begins that the step makes.
fn sequential(op: &Op) -> Option<&str> {
    match op {
        Op::Create { path, mode, .. } if mode.is_sequential() => Some(path),
        _ => None,
    }
}

/// True for a path that the store may have made of the beginning of one.
fn is_numbered(path: &str, begin: &str) -> bool {
    path.strip_prefix(begin)
        .is_some_and(|digits| digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether the node shows that the step was done; `None` when it shows neither.
fn is_done(op: &Op, node: Option<&Node>, own_session: i64) -> Option<bool> {
    match (op, node) {
        (Op::Set { data, version, .. }, Some(node)) if node.version == version + 1 => {
            (node.data == *data).then_some(true)
        }
        (Op::Set { version, .. }, Some(node)) => (node.version == *version).then_some(false),
        (Op::Set { .. }, None) => None,
        (Op::Create { data, mode, .. }, Some(node)) => {
            let ours = node.data == *data && (!mode.is_ephemeral() || node.owner == own_session);
            ours.then_some(true)
        }
        (Op::Create { .. }, None) => Some(false),
        (Op::Delete { .. }, node) => Some(node.is_none()),
        (Op::Check { .. }, _) => Some(true),
    }
}

fn done(op: &Op, path: String) -> OpDone {
    match op {
        Op::Check { .. } => OpDone::Checked,
        Op::Create { .. } => OpDone::Created(path),
        Op::Set { version, .. } => OpDone::Set(version + 1),
        Op::Delete { .. } => OpDone::Deleted,
    }
}

/// How long to wait before attempt number `attempt` is repeated. Doubles with each; between half and all of it, so that many clients do not come back at once.
pub(crate) fn pause(attempt: u32) -> Duration {
    let full = FIRST_PAUSE * 2u32.pow(attempt);
    let chance = (RandomState::new().build_hasher().finish() % 512) as u32;
    full / 2 + full / 1024 * chance
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Acl, CreateMode};

    fn node(data: &[u8], version: i32, owner: i64) -> Node {
        let data = data.to_vec();
        Node { data, version, ephemeral: owner != 0, owner, created_ms: 0, modified_ms: 0 }
    }

    #[test]
    fn a_second_look_tells_done_from_not_done_from_overtaken() {
        let set = Op::Set { path: "/a".into(), data: b"new".to_vec(), version: 3 };
        assert_eq!(is_done(&set, Some(&node(b"new", 4, 0)), 9), Some(true));
        assert_eq!(is_done(&set, Some(&node(b"old", 3, 0)), 9), Some(false));
        assert_eq!(is_done(&set, Some(&node(b"other", 4, 0)), 9), None);
        assert_eq!(is_done(&set, Some(&node(b"new", 5, 0)), 9), None);
        assert_eq!(is_done(&set, None, 9), None);

        let mode = CreateMode::Ephemeral;
        let create = Op::Create { path: "/e".into(), data: b"me".to_vec(), mode, acl: Acl::File };
        assert_eq!(is_done(&create, Some(&node(b"me", 0, 9)), 9), Some(true));
        assert_eq!(is_done(&create, Some(&node(b"me", 0, 8)), 9), None, "another session's");
        assert_eq!(is_done(&create, None, 9), Some(false));

        let delete = Op::Delete { path: "/a".into(), version: Some(3) };
        assert_eq!(is_done(&delete, None, 9), Some(true));
        assert_eq!(is_done(&delete, Some(&node(b"", 3, 0)), 9), Some(false));
    }

    #[test]
    fn pauses_grow_and_vary() {
        for attempt in 0..AGAIN {
            let full = FIRST_PAUSE * 2u32.pow(attempt);
            assert!((full / 2..=full).contains(&pause(attempt)));
        }
    }
}
