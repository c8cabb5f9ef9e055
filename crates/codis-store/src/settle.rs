//! Writes whose fate a broken connection left open, brought to a known end.
//!
//! A write that ended `Ambiguous` was done, was not done, or will still be done when the server gets to it. Here
//! it is looked at again: every step of the transaction shows whether it was done, and one that was not is tried again.
//! That is safe because each step names the version it replaces, or creates what must not exist: of the first
//! attempt and the second at most one goes through.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::error::{ErrorKind, StoreError};
use crate::node::{Node, Op, OpDone};
use crate::store::Store;

/// Attempts after the first; with the pauses they outlast a restart of a ZooKeeper server.
const AGAIN: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What a second look says about a transaction.
enum Fate {
    Done(Vec<OpDone>),
    NotDone,
    /// Others have changed the same nodes since.
    Unknown,
}

impl Store {
    /// [`Store::commit`] that looks again and tries again when the connection breaks meanwhile. Not for sequential
    /// nodes, whose names cannot be looked up.
    ///
    /// # Errors
    /// `Ambiguous` only when the store stays away, or others have changed the same nodes, so that nobody can tell.
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
        let changes: Vec<&Op> = ops.iter().filter(|op| !matches!(op, Op::Check { .. })).collect();
        let paths: Vec<String> = changes.iter().map(|op| op.path().to_owned()).collect();
        let nodes = self.get_many(&paths).await?;
        let own = self.session_id();
        let looks: Vec<Option<bool>> =
            changes.iter().zip(&nodes).map(|(op, node)| is_done(op, node.as_ref(), own)).collect();
        if looks.iter().all(|look| *look == Some(true)) {
            return Ok(Fate::Done(ops.iter().map(done).collect()));
        }
        let undone = looks.iter().all(|look| *look == Some(false));
        Ok(if undone { Fate::NotDone } else { Fate::Unknown })
    }
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

fn done(op: &Op) -> OpDone {
    match op {
        Op::Check { .. } => OpDone::Checked,
        Op::Create { path, .. } => OpDone::Created(path.clone()),
        Op::Set { version, .. } => OpDone::Set(version + 1),
        Op::Delete { .. } => OpDone::Deleted,
    }
}

/// Doubles with each attempt; between half and all of it, so that many clients do not come back at once.
fn pause(attempt: u32) -> Duration {
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
